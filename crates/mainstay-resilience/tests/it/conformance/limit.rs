//! What was measured of rate limits.

use super::row::{MS, PATIENCE, Row, Verdict};
use std::{future::ready, time::Duration};
use tokio::time::timeout;

/// One a minute for each key.
pub(crate) trait Limit: Sized + 'static {
    fn new() -> Self;

    /// Whether one more of this key passes now; `None` where keys are not told apart.
    fn check(&self, key: u32) -> Option<bool>;

    /// How many keys it holds; `None` where that cannot be known.
    fn held(&self) -> Option<usize>;

    /// Waits for the turn of one more, no longer than this where that can be said; whether it passed.
    fn wait(&self, time: Duration) -> impl Future<Output = bool> + Send;
}

pub(crate) fn rows<L: Limit>() -> Vec<Row> {
    let part = "rate limit";
    vec![
        Row::new(part, "it does not grow with spoofed keys", || ready(keys_are_bounded::<L>())),
        Row::new(part, "a flood of keys frees none of its limit", || ready(none_is_freed::<L>())),
        Row::new(part, "no wait outlasts its deadline", no_wait_outlasts_its_deadline::<L>),
    ]
}

/// Keys that somebody makes up, and how many may be held.
const SPOOFED: u32 = 200_000;
const HELD: usize = 65_536;

fn keys_are_bounded<L: Limit>() -> Verdict {
    let limit = L::new();
    if (0..SPOOFED).any(|key| limit.check(key).is_none()) {
        return Verdict::Absent;
    }
    let Some(held) = limit.held() else { return Verdict::Absent };
    Verdict::of(held <= HELD, format!("{held} of {SPOOFED} made-up keys are held"))
}

fn none_is_freed<L: Limit>() -> Verdict {
    let limit = L::new();
    if (0..SPOOFED).any(|key| limit.check(key).is_none()) {
        return Verdict::Absent;
    }
    Verdict::of(limit.check(0) == Some(false), "the first key may ask again at once")
}

async fn no_wait_outlasts_its_deadline<L: Limit>() -> Verdict {
    let limit = L::new();
    if !limit.wait(PATIENCE).await {
        return Verdict::Fails("the first one is not let through".to_owned());
    }
    match timeout(PATIENCE, limit.wait(100 * MS)).await {
        Ok(passed) => Verdict::of(!passed, "more than the limit was let through"),
        Err(_elapsed) => Verdict::Fails("one with 100 ms still waits after two seconds".to_owned()),
    }
}
