//! What was measured where several calls are made for one answer.

use super::row::{Act, Dependency, MS, Row, Verdict, Work};

/// Takes the first success of several calls.
pub(crate) trait Race: 'static {
    /// Fails with the number of the errors that are told.
    fn first(calls: Vec<Work>) -> impl Future<Output = Result<(), usize>> + Send;
}

pub(crate) fn rows<R: Race>() -> Vec<Row> {
    let part = "race";
    vec![
        Row::new(part, "an early error hides no success", an_early_error_hides_no_success::<R>),
        Row::new(part, "no loser outlives the race", no_loser_outlives_the_race::<R>),
        Row::new(part, "without a success every error is kept", every_error_is_kept::<R>),
    ]
}

/// A call for each of these.
fn calls(dependency: &Dependency, acts: &[Act]) -> Vec<Work> {
    acts.iter().copied().map(|act| dependency.make(move |_| act)()).collect()
}

async fn an_early_error_hides_no_success<R: Race>() -> Verdict {
    let acts = [Act::FailIn(5 * MS), Act::Take(50 * MS), Act::FailIn(10 * MS)];
    let won = R::first(calls(&Dependency::default(), &acts)).await;
    Verdict::of(won.is_ok(), "the first error was told, 45 ms before a success")
}

async fn no_loser_outlives_the_race<R: Race>() -> Verdict {
    let dependency = Dependency::default();
    let acts = [Act::Hang, Act::Take(5 * MS), Act::Hang];
    let won = R::first(calls(&dependency, &acts)).await;
    let left = dependency.running();
    Verdict::of(won.is_ok() && left == 0, format!("{left} were still under way"))
}

async fn every_error_is_kept<R: Race>() -> Verdict {
    let acts = [Act::FailIn(5 * MS), Act::Fail, Act::FailIn(10 * MS)];
    let kept = R::first(calls(&Dependency::default(), &acts)).await;
    Verdict::of(kept == Err(3), format!("of three errors: {kept:?}"))
}
