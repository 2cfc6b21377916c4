//! What was measured of circuit breakers.

use super::row::{Act, Answer, Dependency, Failure, MS, Make, PATIENCE, Row, Verdict, poll_once};
use std::{sync::Arc, time::Duration};
use tokio::time::{Instant, sleep};

/// Over what time ratios are taken, where they are of a time.
pub(crate) const WINDOW: Duration = Duration::from_secs(1);
/// The longest that one stays open the first time.
pub(crate) const OPEN: Duration = Duration::from_millis(100);
/// When a probe counts as hung, where it ever does.
pub(crate) const PROBE: Duration = Duration::from_millis(200);

/// A breaker that opens on half of the calls failing, for [`OPEN`].
pub(crate) trait Breaker: Sized + 'static {
    fn new() -> Option<Self>;

    fn call(&self, make: Make) -> impl Future<Output = Answer> + Send;
}

pub(crate) fn rows<B: Breaker>() -> Vec<Row> {
    let part = "breaker";
    vec![
        Row::new(part, "old successes hide no failures", old_successes_hide_no_failures::<B>),
        Row::new(part, "no herd is let through half-open", no_herd_is_let_through::<B>),
        Row::new(part, "a probe that hangs is not waited for for ever", a_hung_probe_ends::<B>),
        Row::new(part, "a probe that is dropped makes room", a_dropped_probe_makes_room::<B>),
    ]
}

/// A hundred thousand successes, and then as many failures, of which this many may pass.
const MANY: usize = 100_000;
const FEW: usize = 1_000;

async fn old_successes_hide_no_failures<B: Breaker>() -> Verdict {
    let Some(breaker) = B::new() else { return Verdict::Absent };
    let dependency = Dependency::default();
    let (succeed, fail) = (dependency.make(|_| Act::Succeed), dependency.make(|_| Act::Fail));
    for _ in 0..MANY {
        let _answer = breaker.call(Arc::clone(&succeed)).await;
    }
    let before = dependency.calls();
    if before < MANY {
        return Verdict::Fails(format!("only {before} of {MANY} good calls passed"));
    }
    // The successes are of another time than the failures.
    sleep(2 * WINDOW).await;
    for _ in 0..MANY {
        let _answer = breaker.call(Arc::clone(&fail)).await;
    }
    let passed = dependency.calls() - before;
    Verdict::of(passed <= FEW, format!("{passed} of {MANY} failures were let through"))
}

async fn no_herd_is_let_through<B: Breaker>() -> Verdict {
    let Some(breaker) = B::new() else { return Verdict::Absent };
    let dependency = Dependency::default();
    if !half_open(&breaker, &dependency).await {
        return never_opens();
    }
    let (hang, before) = (dependency.make(|_| Act::Hang), dependency.calls());
    let mut herd = Vec::new();
    for _ in 0..1_000 {
        let mut call = Box::pin(breaker.call(Arc::clone(&hang)));
        poll_once(&mut call).await;
        herd.push(call);
    }
    let passed = dependency.calls() - before;
    drop(herd);
    Verdict::of((1..=10).contains(&passed), format!("{passed} of 1,000 were let through at once"))
}

async fn a_hung_probe_ends<B: Breaker>() -> Verdict {
    let Some(breaker) = B::new() else { return Verdict::Absent };
    let dependency = Dependency::default();
    if !half_open(&breaker, &dependency).await {
        return never_opens();
    }
    let hang = dependency.make(|_| Act::Hang);
    let mut probes = Vec::new();
    for _ in 0..10 {
        let mut call = Box::pin(breaker.call(Arc::clone(&hang)));
        poll_once(&mut call).await;
        probes.push(call);
    }
    let recovered = recovers(&breaker, &dependency).await;
    drop(probes);
    Verdict::of(recovered, "while it hung, calls were refused for as long as anybody waited")
}

async fn a_dropped_probe_makes_room<B: Breaker>() -> Verdict {
    let Some(breaker) = B::new() else { return Verdict::Absent };
    let dependency = Dependency::default();
    if !half_open(&breaker, &dependency).await {
        return never_opens();
    }
    let hang = dependency.make(|_| Act::Hang);
    for _ in 0..10 {
        poll_once(&mut Box::pin(breaker.call(Arc::clone(&hang)))).await;
    }
    let recovered = recovers(&breaker, &dependency).await;
    Verdict::of(recovered, "after it, calls were refused for as long as anybody waited")
}

fn never_opens() -> Verdict {
    Verdict::Fails("it never opened, though every call failed".to_owned())
}

/// Has it open and waits until it is open no longer; `false` where it does not open.
async fn half_open<B: Breaker>(breaker: &B, dependency: &Dependency) -> bool {
    let fail = dependency.make(|_| Act::Fail);
    let until = Instant::now() + 3 * WINDOW;
    while Instant::now() < until {
        if breaker.call(Arc::clone(&fail)).await == Err(Failure::Refused) {
            sleep(OPEN + OPEN / 2).await;
            return true;
        }
        sleep(MS).await;
    }
    false
}

/// Whether good calls pass again before patience is lost.
async fn recovers<B: Breaker>(breaker: &B, dependency: &Dependency) -> bool {
    let succeed = dependency.make(|_| Act::Succeed);
    let until = Instant::now() + PATIENCE;
    while Instant::now() < until {
        let mut passed = 0;
        for _ in 0..10 {
            passed += u32::from(breaker.call(Arc::clone(&succeed)).await.is_ok());
        }
        if passed == 10 {
            return true;
        }
        sleep(20 * MS).await;
    }
    false
}
