//! Whatever a future waits for when it is dropped, what it held comes back.

use crate::support::{Act, Ask, Asked, Dependency, MS, Parts, context, now};
use mainstay_resilience::{
    Jitter,
    admission::{self, Admission, Refused},
    breaker::State,
    race,
    retry::Safety,
};
use std::{
    pin::pin,
    task::{Context, Waker},
    time::Duration,
};
use tokio::time::advance;
use tower::{Layer as _, Service as _};

/// Polls the future this often, a millisecond apart, and drops it; whether it ended by itself.
async fn poll_and_drop<T>(future: impl Future<Output = T>, polls: usize) -> bool {
    let mut future = pin!(future);
    for _ in 0..polls {
        let mut task = Context::from_waker(Waker::noop());
        if future.as_mut().poll(&mut task).is_ready() {
            return true;
        }
        advance(MS).await;
    }
    false
}

/// Drops what `make` makes at every poll, and checks after each.
async fn at_every_poll<F: Future>(make: impl Fn() -> F, check: impl Fn(usize)) {
    let mut polls = 0;
    loop {
        let ended = poll_and_drop(make(), polls).await;
        check(polls);
        if ended {
            break;
        }
        polls += 1;
    }
    assert!(polls > 2, "it never waited");
}

fn nothing_is_held(parts: &Parts, polls: usize) {
    assert_eq!(parts.bulkhead.in_flight(), 0, "after {polls} polls");
    assert_eq!(parts.bulkhead.waiting(), 0, "after {polls} polls");
    assert_eq!(parts.dependency.running(), 0, "after {polls} polls");
}

#[tokio::test(start_paused = true)]
async fn a_call_dropped_at_any_poll_gives_its_permits_back() {
    let parts = Parts::new(&[Act::Dawdle]);
    let make = || parts.stack().ask(Ask::new(Safety::Safe));
    at_every_poll(make, |polls| nothing_is_held(&parts, polls)).await;
    assert!(parts.stack().ask(Ask::new(Safety::Safe)).await.is_ok());
}

#[tokio::test(start_paused = true)]
async fn a_call_dropped_while_it_waits_its_turn_leaves_the_queue() {
    let parts = Parts::new(&[Act::Succeed]);
    let held = parts.bulkhead.try_acquire().unwrap();
    for polls in 0..50 {
        assert!(!poll_and_drop(parts.stack().ask(Ask::new(Safety::Safe)), polls).await);
        assert_eq!((parts.bulkhead.in_flight(), parts.bulkhead.waiting()), (1, 0));
    }
    drop(held);
    assert!(parts.stack().ask(Ask::new(Safety::Safe)).await.is_ok());
    nothing_is_held(&parts, 50);
}

#[tokio::test(start_paused = true)]
async fn a_call_dropped_while_it_backs_off_holds_no_permit_and_gives_its_token_back() {
    let parts = Parts::new(&[Act::Fail]);
    let left = parts.budget.left(now());
    for polls in 1..50 {
        // The breaker would refuse a call after some failures.
        parts.breaker.force(None, now());
        let mut call = Box::pin(parts.stack().ask(Ask::new(Safety::Safe)));
        assert!(!poll_and_drop(call.as_mut(), polls).await);
        nothing_is_held(&parts, polls);
        drop(call);
        assert!(parts.budget.left(now()) >= left, "after {polls} polls");
    }
}

#[tokio::test(start_paused = true)]
async fn a_probe_dropped_at_any_poll_lets_another_one_in() {
    let parts = Parts::new(&[Act::Fail]);
    while parts.breaker.state(now()) == State::Closed {
        let _failed = parts.behind_breaker().ask(Ask::new(Safety::Safe)).await;
    }
    advance(2_000 * MS).await;
    parts.dependency.becomes(Act::Dawdle);
    for polls in 0..3 {
        // More than there are permits.
        for _ in 0..5 {
            let probe = parts.behind_breaker().ask(Ask::new(Safety::Safe));
            assert!(!poll_and_drop(probe, polls).await);
        }
    }
    assert_eq!(parts.breaker.state(now()), State::HalfOpen);
    for _ in 0..3 {
        assert!(parts.behind_breaker().ask(Ask::new(Safety::Safe)).await.is_ok());
    }
    assert_eq!(parts.breaker.state(now()), State::Closed);
}

#[tokio::test(start_paused = true)]
async fn a_hedge_dropped_at_any_poll_leaves_no_call_behind() {
    let (dependency, parts) = (Dependency::new(&[Act::Dawdle]), Parts::new(&[Act::Dawdle]));
    let cx = context();
    let make = || {
        let mut dependency = dependency.clone();
        let call = move |cx| dependency.ask(Ask { cx, safety: Safety::Safe });
        race::hedge(&cx, MS, &parts.budget, call)
    };
    at_every_poll(make, |_| assert_eq!(dependency.running(), 0)).await;
}

#[tokio::test(start_paused = true)]
async fn a_request_dropped_at_any_poll_leaves_its_place_in_service_and_in_the_queue() {
    let config = admission::Config { in_service: 1, ..admission::Config::default() };
    let admission = Admission::new(config, Jitter::none());
    let dependency = Dependency::new(&[Act::Dawdle]);
    let layer = admission::Layer::new(
        admission.clone(),
        |_: &Ask| Some(Duration::ZERO),
        |_: Refused| 0_u32,
    );
    let make = || {
        let cx = context().with_deadline(now() + 1_000 * MS);
        layer.layer(dependency.clone()).call(Ask { cx, safety: Safety::Safe })
    };
    let counts = || {
        let now = admission.snapshot();
        (now.in_service, now.waiting)
    };
    at_every_poll(make, |polls| assert_eq!(counts(), (0, 0), "after {polls} polls")).await;

    let held = admission.acquire(None, Duration::ZERO).await.unwrap();
    for polls in 0..20 {
        assert!(!poll_and_drop(make(), polls).await);
        assert_eq!(counts(), (1, 0), "after {polls} polls");
    }
    drop(held);
    assert_eq!((make().await, counts()), (Ok(1), (0, 0)));
}
