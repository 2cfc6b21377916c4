use super::*;
use mainstay_context::Cause;
use std::{
    convert::Infallible,
    future::poll_fn,
    num::NonZeroU32,
    pin::pin,
    sync::{Mutex, atomic::AtomicUsize},
    task::Poll,
};
use tower::{Layer as _, Service as _, service_fn};

const MS: Duration = Duration::from_millis(1);

fn now() -> Instant {
    clock::now()
}

/// Ten a second, of which two at once.
fn rate() -> Rate {
    let some = |number| NonZeroU32::new(number).unwrap();
    Rate::new(some(10), Duration::from_secs(1), some(2))
}

fn limiter() -> Limiter<u32> {
    Limiter::new(&Config::default(), now())
}

fn shadow() -> Limiter<u32> {
    Limiter::new(&Config { shadow: true, ..Config::default() }, now())
}

fn context() -> Context {
    Context::new("test".parse().unwrap())
}

/// How many of so many pass now.
fn pass(limiter: &Limiter<u32>, key: u32, count: usize) -> usize {
    (0..count).filter(|_| limiter.check(&key, rate(), 1, now()).is_ok()).count()
}

#[tokio::test(start_paused = true)]
async fn each_key_has_a_limit_of_its_own_and_clones_share_it() {
    let limiter = limiter();
    assert_eq!(
        (pass(&limiter, 1, 5), pass(&limiter.clone(), 1, 5), pass(&limiter, 2, 5)),
        (2, 0, 2)
    );
    tokio::time::advance(100 * MS).await;
    assert_eq!((pass(&limiter, 1, 5), limiter.held()), (1, 2));
}

#[tokio::test(start_paused = true)]
async fn who_has_nothing_left_is_counted_by_its_own_rate() {
    let limiter = limiter();
    for (key, count) in [(1, 2), (2, 1), (3, 2)] {
        assert_eq!(pass(&limiter, key, count), count);
    }
    let spent = || limiter.spent(now(), |key| (*key != 3).then(rate));
    assert_eq!(spent(), 1);
    tokio::time::advance(100 * MS).await;
    assert_eq!(spent(), 0);
}

#[tokio::test(start_paused = true)]
async fn everything_is_told_and_counted() {
    let told = Arc::new(Mutex::new(Vec::new()));
    for (limiter, refused) in [(limiter(), Outcome::Limited), (shadow(), Outcome::Shadow)] {
        let heard = Arc::clone(&told);
        let limiter = limiter.with_listener(move |key: &u32, outcome| {
            heard.lock().unwrap().push((*key, outcome));
        });
        pass(&limiter, 7, 3);
        let expected = [(7, Outcome::Allowed), (7, Outcome::Allowed), (7, refused)];
        assert_eq!(std::mem::take(&mut *told.lock().unwrap()), expected);
        assert_eq!((limiter.take_asked(), limiter.take_asked()), (3, 0));
    }
}

#[tokio::test(start_paused = true)]
async fn in_its_shadow_everything_passes_at_once() {
    let (limiter, start) = (shadow(), now());
    assert_eq!(pass(&limiter, 1, 100), 100);
    let left = limiter.acquire(&1, rate(), 1, None).await.unwrap();
    assert_eq!((left.remaining, now()), (0, start));
}

#[tokio::test(start_paused = true)]
async fn a_share_slows_the_rate_and_a_whole_one_makes_nothing_of_the_time_before() {
    let limiter = limiter();
    limiter.set_share(Share::millionths(500_000), now());
    assert_eq!(pass(&limiter, 1, 5), 1);
    tokio::time::advance(100 * MS).await;
    assert_eq!(pass(&limiter, 1, 5), 0);
    tokio::time::advance(100 * MS).await;
    assert_eq!(pass(&limiter, 1, 5), 1);
    limiter.set_share(Share::WHOLE, now());
    assert_eq!((pass(&limiter, 1, 5), limiter.share()), (1, Share::WHOLE));
    limiter.set_share(Share::millionths(0), now());
    tokio::time::advance(Duration::from_hours(1)).await;
    assert_eq!(pass(&limiter, 1, 5), 0);
}

#[tokio::test(start_paused = true)]
async fn those_who_wait_are_served_in_order_at_the_rate() {
    let (limiter, start) = (limiter(), now());
    pass(&limiter, 1, 2);
    let served = Mutex::new(Vec::new());
    let wait = async |name: usize| {
        limiter.acquire(&1, rate(), 1, None).await.unwrap();
        served.lock().unwrap().push((name, now() - start));
    };
    tokio::join!(wait(0), wait(1), wait(2));
    let expected = [(0, 100 * MS), (1, 200 * MS), (2, 300 * MS)];
    assert_eq!((served.into_inner().unwrap().as_slice(), limiter.waiting()), (&expected[..], 0));
}

#[tokio::test(start_paused = true)]
async fn one_that_gives_up_has_taken_nothing_and_the_next_has_its_turn() {
    let (limiter, start) = (limiter(), now());
    pass(&limiter, 1, 2);
    let rate = rate();
    {
        let mut first = Box::pin(limiter.acquire(&1, rate, 2, None));
        let mut second = pin!(limiter.acquire(&1, rate, 1, None));
        poll_fn(|task| {
            assert!(first.as_mut().poll(task).is_pending());
            assert!(second.as_mut().poll(task).is_pending());
            Poll::Ready(())
        })
        .await;
        assert_eq!(limiter.waiting(), 2);
        drop(first);
        second.await.unwrap();
    }
    assert_eq!((now() - start, limiter.waiting()), (100 * MS, 0));
}

#[tokio::test(start_paused = true)]
async fn one_that_is_not_polled_any_more_holds_up_the_next_for_a_moment_only() {
    let (limiter, start) = (limiter(), now());
    pass(&limiter, 1, 2);
    let mut stopped = Box::pin(limiter.acquire(&1, rate(), 1, None));
    assert!(poll_fn(|task| Poll::Ready(stopped.as_mut().poll(task).is_pending())).await);
    limiter.acquire(&1, rate(), 1, None).await.unwrap();
    assert!(now() - start <= 1_200 * MS, "{:?}", now() - start);
    drop(stopped);
    assert_eq!(limiter.waiting(), 0);
}

#[tokio::test(start_paused = true)]
async fn no_crowd_that_waits_keeps_others_from_what_is_theirs() {
    let (limiter, mut crowd) = (limiter(), Vec::new());
    for key in &[1, 2, 3, 4] {
        pass(&limiter, *key, 2);
        for _ in 0..1_030 {
            let mut one = Box::pin(limiter.acquire(key, rate(), 1, None));
            if poll_fn(|task| Poll::Ready(one.as_mut().poll(task).is_pending())).await {
                crowd.push(one);
            }
        }
        assert_eq!(limiter.waiting() % 1_024, 0, "no more wait for one key");
    }
    assert_eq!(limiter.waiting(), 4_096);
    let left = limiter.acquire(&5, rate(), 1, None).await.unwrap();
    assert_eq!(left.remaining, 1);
    drop(crowd);
    assert_eq!(limiter.waiting(), 0);
}

#[tokio::test(start_paused = true)]
async fn who_cannot_be_served_in_time_is_told_at_once() {
    let (limiter, start) = (limiter(), now());
    pass(&limiter, 1, 2);
    let cx = context().with_deadline(start + 99 * MS);
    let refused = limiter.acquire(&1, rate(), 1, Some(&cx)).await.unwrap_err();
    assert_eq!((refused.retry_after, now()), (Some(100 * MS), start));
    let cx = context().with_deadline(start + 101 * MS);
    limiter.acquire(&1, rate(), 1, Some(&cx)).await.unwrap();
    let refused = limiter.acquire(&1, rate(), 3, None).await.unwrap_err();
    assert_eq!((refused.retry_after, now()), (None, start + 100 * MS));
}

#[tokio::test(start_paused = true)]
async fn a_wait_ends_with_its_deadline_its_cancellation_and_at_the_latest_after_ten_seconds() {
    let (limiter, start) = (limiter(), now());
    pass(&limiter, 1, 2);
    limiter.set_share(Share::millionths(1), now());
    // The first one has its turn and no hope; it is told to come back soon, since shares move.
    let cx = context().with_deadline(start + 30 * MS);
    let mut behind = pin!(limiter.acquire(&1, rate(), 1, Some(&cx)));
    let mut ahead = pin!(limiter.acquire(&1, rate(), 1, None));
    poll_fn(|task| {
        assert!(ahead.as_mut().poll(task).is_pending());
        assert!(behind.as_mut().poll(task).is_pending());
        Poll::Ready(())
    })
    .await;
    assert!(behind.await.is_err());
    assert_eq!(now() - start, 30 * MS);
    assert!(ahead.await.is_err());
    assert!(now() - start <= Limiter::<u32>::MOST_WAIT);
    let cx = context();
    cx.cancel(Cause::CallerGone);
    assert!(limiter.acquire(&1, rate(), 1, Some(&cx)).await.is_err());
    assert_eq!(limiter.waiting(), 0);
}

/// A service that counts its calls, behind a limit of the even requests; a 0 costs two more.
fn layer(limiter: &Limiter<u32>) -> Layer<u32, u32, Result<u32, Refused>> {
    let rules: Rules<u32, u32, Result<u32, Refused>> = Rules {
        key: |request: &u32| request.is_multiple_of(2).then_some(1),
        refuse: |refused, _rate| Err(refused),
        extra: |answer| if *answer == Ok(0) { 2 } else { 0 },
    };
    Layer::new(limiter.clone(), rate(), rules)
}

#[tokio::test(start_paused = true)]
async fn what_the_layer_refuses_never_reaches_the_service_and_what_has_no_key_always_does() {
    let (limiter, calls) = (limiter(), Arc::new(AtomicUsize::new(0)));
    let counted = Arc::clone(&calls);
    let service = service_fn(move |request: u32| {
        counted.fetch_add(1, Relaxed);
        async move { Ok::<_, Infallible>(Ok(request)) }
    });
    let layer = layer(&limiter);
    // As axum does for each of its routes.
    let mut services = [layer.layer(service.clone()), layer.layer(service)];
    let mut passed = 0;
    for n in 0..5 {
        let service = &mut services[n % 2];
        passed += usize::from(service.call(2).await.unwrap().is_ok());
        assert!(service.call(3).await.unwrap().is_ok());
    }
    assert_eq!((passed, calls.load(Relaxed)), (2, 7));
}

#[tokio::test(start_paused = true)]
async fn an_answer_may_cost_more_than_its_request() {
    let limiter = limiter();
    let mut service = layer(&limiter)
        .layer(service_fn(async |request: u32| Ok::<_, Infallible>(Ok::<_, Refused>(request))));
    assert_eq!(service.call(0).await.unwrap(), Ok(0));
    let refused = service.call(2).await.unwrap().unwrap_err();
    assert_eq!(refused.retry_after, Some(200 * MS));
}
