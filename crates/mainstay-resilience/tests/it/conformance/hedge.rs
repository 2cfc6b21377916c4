//! What was measured where a second call is made because the first one is late.

use super::row::{Act, Answer, Dependency, MS, Make, Row, Verdict};
use std::{sync::Arc, time::Duration};

/// How late the first call is before there is a second.
pub(crate) const AFTER: Duration = Duration::from_millis(5);

/// Makes a second call after [`AFTER`], within the budget that it has, of a fifth of the calls where
/// that can be said.
pub(crate) trait Hedge: Sized + 'static {
    fn new() -> Self;

    fn call(&mut self, make: Make) -> impl Future<Output = Answer> + Send;
}

pub(crate) fn rows<H: Hedge>() -> Vec<Row> {
    let part = "hedge";
    vec![
        Row::new(part, "its error does not hide the first call", its_error_hides_nothing::<H>),
        Row::new(part, "no loser outlives the answer", no_loser_outlives_the_answer::<H>),
        Row::new(part, "a slow dependency is not called twice as much", load_is_not_doubled::<H>),
    ]
}

async fn its_error_hides_nothing<H: Hedge>() -> Verdict {
    let dependency = Dependency::default();
    let acts = |number| if number == 1 { Act::Take(100 * MS) } else { Act::FailIn(MS) };
    let answer = H::new().call(dependency.make(acts)).await;
    if dependency.calls() < 2 {
        return no_second_call();
    }
    Verdict::of(answer.is_ok(), "the second call failed, and the first was given up")
}

async fn no_loser_outlives_the_answer<H: Hedge>() -> Verdict {
    let dependency = Dependency::default();
    let mut hedge = H::new();
    let acts = |number| if number == 1 { Act::Hang } else { Act::Take(MS) };
    let answer = hedge.call(dependency.make(acts)).await;
    let left = dependency.running();
    Verdict::of(answer.is_ok() && left == 0, format!("{left} were still under way"))
}

async fn load_is_not_doubled<H: Hedge>() -> Verdict {
    let dependency = Dependency::default();
    let mut hedge = H::new();
    let slow = dependency.make(|_| Act::Take(4 * AFTER));
    for _ in 0..200 {
        let _answer = hedge.call(Arc::clone(&slow)).await;
    }
    let made = dependency.calls();
    if made == 200 {
        return no_second_call();
    }
    // A fifth, and a reserve.
    Verdict::of(made <= 270, format!("200 calls were made {made} times"))
}

fn no_second_call() -> Verdict {
    Verdict::Fails("there was no second call".to_owned())
}
