//! What the layers do for a call.

use crate::support::{Act, Ask, Asked, Error, MS, Parts, context, now};
use mainstay_context::Cause;
use mainstay_resilience::{
    breaker::{self, Outcome, State},
    bulkhead::Full,
    retry::Safety,
};
use std::time::Duration;
use tokio::time::{Instant, advance};
use tower::Layer;

fn safe() -> Ask {
    Ask::new(Safety::Safe)
}

#[tokio::test(start_paused = true)]
async fn a_failed_call_is_made_again_after_a_wait_with_its_number() {
    let (parts, start) = (Parts::new(&[Act::Fail, Act::Succeed]), Instant::now());
    assert_eq!(parts.stack().ask(safe()).await, Ok(2));
    assert_eq!(start.elapsed(), 50 * MS);
    let third = Ask { cx: context().with_attempt(3), ..safe() };
    assert_eq!(parts.stack().ask(third).await, Ok(3));
}

#[tokio::test(start_paused = true)]
async fn what_may_have_been_sent_once_is_not_sent_again() {
    let parts = Parts::new(&[Act::Fail, Act::Succeed]);
    assert_eq!(parts.stack().ask(Ask::new(Safety::Once)).await, Err(Error::Failed));
    assert_eq!(parts.dependency.calls(), 1);

    let parts = Parts::new(&[Act::Unreachable, Act::Succeed]);
    assert_eq!(parts.stack().ask(Ask::new(Safety::Once)).await, Ok(2));
}

#[tokio::test(start_paused = true)]
async fn a_try_that_was_not_sent_does_not_hide_one_that_may_have_been() {
    let parts = Parts::new(&[Act::Fail, Act::Unreachable]);
    assert_eq!(parts.stack().ask(Ask::new(Safety::Keyed)).await, Err(Error::Failed));
    assert_eq!(parts.dependency.calls(), 2);

    // The breaker opens on the fifth failure, and refuses the try after it.
    let parts = Parts::new(&[Act::Fail]);
    for _ in 0..4 {
        assert_eq!(parts.behind_breaker().ask(safe()).await, Err(Error::Failed));
    }
    assert_eq!(parts.stack().ask(Ask::new(Safety::Keyed)).await, Err(Error::Failed));
    assert_eq!(parts.stack().ask(Ask::new(Safety::Keyed)).await, Err(Error::Refused));
    assert_eq!(parts.dependency.calls(), 5);
}

#[tokio::test(start_paused = true)]
async fn a_call_that_is_cancelled_while_it_backs_off_ends_at_once() {
    let (parts, ask, start) = (Parts::new(&[Act::Fail]), safe(), Instant::now());
    let cancel = async {
        tokio::time::sleep(10 * MS).await;
        ask.cx.cancel(Cause::CallerGone);
    };
    let mut stack = parts.stack();
    let (result, ()) = tokio::join!(stack.ask(ask.clone()), cancel);
    assert_eq!((result, start.elapsed()), (Err(Error::Failed), 10 * MS));
    assert_eq!(parts.dependency.calls(), 1);
    assert_eq!(parts.budget.left(now()), 1, "the token of the try that was not made is back");
}

#[tokio::test(start_paused = true)]
async fn retries_add_a_fifth_to_an_outage_at_any_pace() {
    for pace in [Duration::ZERO, MS, 20 * MS] {
        let (parts, start, calls) = (Parts::new(&[Act::Fail]), Instant::now(), 5_000_u32);
        let mut service = parts.behind_retries();
        for _ in 0..calls {
            assert_eq!(service.ask(safe()).await, Err(Error::Failed));
            advance(pace).await;
        }
        let made = u32::try_from(parts.dependency.calls()).unwrap();
        let bound = 1.2 * f64::from(calls) + start.elapsed().as_secs_f64() + 1.0;
        assert!(f64::from(made) <= bound, "{made} calls, where {bound} may be");
        assert!(made > calls, "nothing was tried again at all");
    }
}

#[tokio::test(start_paused = true)]
async fn a_declined_call_is_final_and_does_not_open_the_breaker() {
    let parts = Parts::new(&[Act::Decline]);
    for _ in 0..1_000 {
        assert_eq!(parts.stack().ask(safe()).await, Err(Error::Declined));
    }
    assert_eq!(parts.dependency.calls(), 1_000);
    assert_eq!(parts.breaker.state(now()), State::Closed);
}

#[tokio::test(start_paused = true)]
async fn services_of_repeated_layers_share_one_state() {
    let parts = Parts::new(&[Act::Fail]);
    let layer =
        breaker::Layer::new(parts.breaker.clone(), |_: &Result<u32, Error>| Outcome::FAILURE);
    let (mut one, mut other) =
        (layer.layer(parts.dependency.clone()), layer.clone().layer(parts.dependency.clone()));
    for _ in 0..5 {
        assert_eq!(one.ask(safe()).await, Err(Error::Failed));
    }
    assert_eq!(other.ask(safe()).await, Err(Error::Refused));

    let parts = Parts::new(&[Act::Hang]);
    let _in_flight = parts.bulkhead.try_acquire().unwrap();
    for _ in 0..2 {
        assert_eq!(parts.stack().ask(safe()).await, Err(Error::Full(Full::Waited)));
    }

    let parts = Parts::new(&[Act::Fail]);
    for calls in [2, 3, 4] {
        assert_eq!(parts.behind_retries().ask(safe()).await, Err(Error::Failed));
        assert_eq!(parts.dependency.calls(), calls, "one token, for all of them");
    }
}

#[tokio::test(start_paused = true)]
async fn a_call_holds_its_permit_until_it_ends() {
    let parts = Parts::new(&[Act::Dawdle]);
    let mut stack = parts.stack();
    let (first, seen) = tokio::join!(stack.ask(safe()), async {
        tokio::time::sleep(MS).await;
        (parts.bulkhead.in_flight(), parts.dependency.running())
    });
    assert_eq!((first, seen), (Ok(1), (1, 1)));
    assert_eq!(parts.bulkhead.in_flight(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_full_bulkhead_is_no_failure_of_the_dependency() {
    let parts = Parts::new(&[Act::Succeed]);
    let _held = parts.bulkhead.try_acquire().unwrap();
    for _ in 0..100 {
        assert_eq!(parts.stack().ask(safe()).await, Err(Error::Full(Full::Waited)));
    }
    assert_eq!(parts.breaker.state(now()), State::Closed);
}

#[tokio::test(start_paused = true)]
async fn a_breaker_opens_and_recovers_by_itself() {
    let parts = Parts::new(&[Act::Fail]);
    for _ in 0..5 {
        assert!(parts.behind_breaker().ask(safe()).await.is_err());
    }
    assert_eq!(parts.behind_breaker().ask(safe()).await, Err(Error::Refused));
    parts.dependency.becomes(Act::Succeed);
    tokio::time::sleep(Duration::from_secs(2)).await;
    for _ in 0..10 {
        assert!(parts.behind_breaker().ask(safe()).await.is_ok());
    }
    assert_eq!(parts.breaker.state(now()), State::Closed);
}
