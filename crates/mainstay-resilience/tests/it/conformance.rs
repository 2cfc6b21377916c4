//! The failures that were measured on published crates, or reported by their users, as rows that hold
//! of whatever is given to them. `make check-conformance` holds published crates to the same rows.

mod admission;
mod breaker;
mod hedge;
mod layer;
mod limit;
mod ours;
mod pool;
mod race;
mod retry;
mod row;

use self::row::{Row, Verdict};

/// Tries every row, and tells of all that do not pass at once.
async fn every_one_passes(rows: Vec<Row>) {
    let mut failing = Vec::new();
    for row in rows {
        let (part, fact) = (row.part, row.fact);
        match row.run().await {
            Verdict::Passes => {}
            Verdict::Fails(found) => failing.push(format!("{part}: {fact}: {found}")),
            Verdict::Absent => failing.push(format!("{part}: {fact}: there is no such thing")),
        }
    }
    assert!(failing.is_empty(), "{failing:#?}");
}

#[tokio::test(start_paused = true)]
async fn the_breaker_passes_every_row() {
    every_one_passes(breaker::rows::<ours::Breaker>()).await;
}

#[tokio::test(start_paused = true)]
async fn retries_pass_every_row() {
    every_one_passes(retry::rows::<ours::Retry>()).await;
}

#[tokio::test(start_paused = true)]
async fn the_rate_limit_passes_every_row() {
    every_one_passes(limit::rows::<ours::Limit>()).await;
}

#[tokio::test(start_paused = true)]
async fn admission_passes_every_row() {
    every_one_passes(admission::rows::<ours::Admission>()).await;
}

/// In real time: its threads know no other.
#[tokio::test]
async fn the_pool_passes_every_row() {
    every_one_passes(pool::rows::<ours::Pool>()).await;
}

#[tokio::test(start_paused = true)]
async fn the_race_passes_every_row() {
    every_one_passes(race::rows::<ours::Race>()).await;
}

#[tokio::test(start_paused = true)]
async fn the_hedge_passes_every_row() {
    every_one_passes(hedge::rows::<ours::Hedge>()).await;
}

#[tokio::test(start_paused = true)]
async fn the_layers_pass_every_row() {
    every_one_passes(layer::rows::<ours::Layer>()).await;
}

/// The rows can fail: a race that takes the first result, whatever it is, is told to.
#[tokio::test(start_paused = true)]
async fn a_race_that_takes_the_first_result_is_told() {
    struct First;
    impl race::Race for First {
        async fn first(mut calls: Vec<row::Work>) -> Result<(), usize> {
            let first = std::future::poll_fn(|task| {
                let mut ended = calls.iter_mut().map(|call| call.as_mut().poll(task));
                ended.find(std::task::Poll::is_ready).unwrap_or(std::task::Poll::Pending)
            });
            first.await.map_err(|_one| 1)
        }
    }
    let mut verdicts = Vec::new();
    for row in race::rows::<First>() {
        verdicts.push(row.run().await == Verdict::Passes);
    }
    assert_eq!(verdicts, [false, true, false]);
}
