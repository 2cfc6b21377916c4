//! What was measured of retries.

use super::row::{Act, Answer, Dependency, Make, Row, Verdict};
use std::sync::Arc;

/// Three tries at most with [`MS`](super::row::MS) between them, within the budget that it has, of a
/// fifth of the calls where that can be said.
pub(crate) trait Retry: Sized + 'static {
    fn new() -> Option<Self>;

    fn call(&self, make: Make) -> impl Future<Output = Answer> + Send;
}

pub(crate) fn rows<R: Retry>() -> Vec<Row> {
    let part = "retry";
    vec![
        Row::new(part, "an outage is not multiplied", an_outage_is_not_multiplied::<R>),
        Row::new(part, "good times do not pay for a storm", good_times_pay_for_no_storm::<R>),
    ]
}

async fn an_outage_is_not_multiplied<R: Retry>() -> Verdict {
    let Some(retry) = R::new() else { return Verdict::Absent };
    let dependency = Dependency::default();
    let fail = dependency.make(|_| Act::Fail);
    for _ in 0..1_000 {
        let _answer = retry.call(Arc::clone(&fail)).await;
    }
    let made = dependency.calls();
    // A fifth, and a reserve.
    Verdict::of((1_001..=1_300).contains(&made), format!("1,000 calls were made {made} times"))
}

async fn good_times_pay_for_no_storm<R: Retry>() -> Verdict {
    let Some(retry) = R::new() else { return Verdict::Absent };
    let dependency = Dependency::default();
    let (succeed, fail) = (dependency.make(|_| Act::Succeed), dependency.make(|_| Act::Fail));
    for _ in 0..20_000 {
        let _answer = retry.call(Arc::clone(&succeed)).await;
    }
    let before = dependency.calls();
    for _ in 0..100 {
        let _answer = retry.call(Arc::clone(&fail)).await;
    }
    let made = dependency.calls() - before;
    Verdict::of(made <= 200, format!("then 100 calls were made {made} times"))
}
