use super::*;
use mainstay_context::Principal;
use std::{future::poll_fn, pin::Pin, task::Poll};
use tokio::{
    task::JoinSet,
    time::{Instant, sleep},
};

const MS: Duration = Duration::from_millis(1);
/// How long a service takes.
const SERVICE: Duration = Duration::from_millis(10);

fn admission(in_service: usize) -> Admission {
    let config = Config { in_service, queue: 1_000, queue_per_tenant: 1_000 };
    Admission::new(config, Jitter::none())
}

/// A request of this tenant that has this long.
fn request(tenant: &str, time: Duration) -> Context {
    let cx = Context::new("test".parse().unwrap()).with_principal(Principal::new(tenant, "till"));
    cx.with_deadline((Instant::now() + time).into_std())
}

/// Serves one request, and tells how long it waited.
async fn serve(admission: &Admission, tenant: &str) -> Duration {
    let (cx, start) = (request(tenant, Duration::from_secs(10)), Instant::now());
    let permit = admission.acquire(Some(&cx), Duration::ZERO).await.unwrap();
    let waited = start.elapsed();
    sleep(SERVICE).await;
    drop(permit);
    waited
}

fn counts(admission: &Admission) -> (usize, usize) {
    let Snapshot { in_service, waiting, .. } = admission.snapshot();
    (in_service, waiting)
}

/// Asks a future once, and leaves it.
async fn poll_once<F: Future + Unpin>(future: &mut F) -> bool {
    poll_fn(|task| Poll::Ready(Pin::new(&mut *future).poll(task).is_ready())).await
}

#[tokio::test(start_paused = true)]
async fn a_tenant_with_nine_tenths_of_the_load_gets_its_turn_and_others_get_theirs() {
    let (admission, start) = (admission(1), Instant::now());
    let mut hot = JoinSet::new();
    for _ in 0..90 {
        let admission = admission.clone();
        hot.spawn(async move { serve(&admission, "hot").await });
    }
    let mut others = JoinSet::new();
    for tenant in ["a", "b"] {
        let admission = admission.clone();
        others.spawn(async move {
            let mut longest = Duration::ZERO;
            for _ in 0..5 {
                longest = longest.max(serve(&admission, tenant).await);
            }
            longest
        });
    }
    let longest = others.join_all().await;
    // What is in service, and one of each of the two others.
    assert!(longest.iter().all(|wait| *wait <= 3 * SERVICE), "{longest:?}");
    assert!(start.elapsed() <= 20 * SERVICE, "{:?}", start.elapsed());
    let hot = hot.join_all().await;
    assert_eq!((hot.len(), start.elapsed()), (90, 100 * SERVICE));
    assert_eq!(counts(&admission), (0, 0));
}

#[tokio::test(start_paused = true)]
async fn a_wait_ends_with_its_deadline_or_cancellation_and_a_spent_one_never_begins() {
    let (admission, start) = (admission(1), Instant::now());
    let held = admission.acquire(None, Duration::ZERO).await.unwrap();
    let cx = request("a", 30 * MS);
    let refused = admission.acquire(Some(&cx), Duration::ZERO).await.unwrap_err();
    assert_eq!(refused.reason, Reason::Ended(Cause::DeadlineExceeded));
    assert_eq!((start.elapsed(), counts(&admission)), (30 * MS, (1, 0)));

    let cx = request("a", 30 * MS);
    let mut waiting = Box::pin(admission.acquire(Some(&cx), Duration::ZERO));
    assert!(!poll_once(&mut waiting).await);
    assert_eq!((counts(&admission), cx.activity()), ((1, 1), Activity::Queued));
    cx.cancel(Cause::CallerGone);
    assert_eq!(waiting.await.unwrap_err().reason, Reason::Ended(Cause::CallerGone));
    assert_eq!((counts(&admission), cx.activity()), ((1, 0), Activity::Working));

    drop(held);
    let refused = admission.acquire(Some(&cx), Duration::ZERO).await.unwrap_err();
    assert_eq!(refused.reason, Reason::Ended(Cause::CallerGone));
    assert_eq!(counts(&admission), (0, 0));
}

#[tokio::test(start_paused = true)]
async fn nothing_waits_beyond_what_its_deadline_allows() {
    let admission = admission(2);
    serve(&admission, "a").await;
    // Two at a time take 10 ms each: twenty have their turn in time, after the two at once.
    let start = Instant::now();
    let mut all = JoinSet::new();
    for _ in 0..50 {
        let admission = admission.clone();
        all.spawn(async move {
            let cx = request("a", 104 * MS);
            let permit = admission.acquire(Some(&cx), Duration::ZERO).await?;
            sleep(SERVICE).await;
            drop(permit);
            Ok::<_, Refused>(())
        });
    }
    let ended = all.join_all().await;
    let refused: Vec<_> = ended.into_iter().filter_map(Result::err).collect();
    assert!(refused.iter().all(|refused| refused.reason == Reason::Late), "{refused:?}");
    assert_eq!(refused.len(), 50 - 22);
    assert!(start.elapsed() <= 110 * MS, "{:?}", start.elapsed());
}

#[tokio::test(start_paused = true)]
async fn a_tenant_that_holds_its_places_for_long_holds_up_only_itself() {
    let (admission, long) = (admission(4), Duration::from_secs(10));
    let cx = request("slow", long);
    let mut held = Vec::new();
    for _ in 0..3 {
        held.push(admission.acquire(Some(&cx), Duration::ZERO).await.unwrap());
    }
    let mut waits = Box::pin(admission.acquire(Some(&cx), Duration::ZERO));
    assert!(!poll_once(&mut waits).await);
    for _ in 0..3 {
        assert_eq!(serve(&admission, "other").await, Duration::ZERO);
    }
    assert_eq!(counts(&admission), (3, 1));
    drop(held.pop());
    let permit = waits.await.unwrap();
    assert_eq!(counts(&admission), (3, 0));
    drop((permit, held));
    assert_eq!(counts(&admission), (0, 0));
}

#[tokio::test(start_paused = true)]
async fn a_turn_that_comes_as_its_owner_leaves_goes_to_the_next() {
    let admission = admission(1);
    let held = admission.acquire(None, Duration::ZERO).await.unwrap();
    let cx = [request("a", 100 * MS), request("b", 100 * MS)];
    let mut first = Box::pin(admission.acquire(Some(&cx[0]), Duration::ZERO));
    let mut second = Box::pin(admission.acquire(Some(&cx[1]), Duration::ZERO));
    assert!(!poll_once(&mut first).await && !poll_once(&mut second).await);
    drop(held);
    // It was called, and does not hear it.
    drop(first);
    let permit = second.await.unwrap();
    assert_eq!(counts(&admission), (1, 0));
    drop(permit);
    assert_eq!(counts(&admission), (0, 0));
}

#[tokio::test(start_paused = true)]
async fn what_becomes_of_those_who_ask_is_told_and_when_to_come_again() {
    let told = Arc::new(Mutex::new(Vec::new()));
    let hear = Arc::clone(&told);
    let admission = admission(1).with_listener(move |what| hear.lock().unwrap().push(what));
    let held = admission.acquire(None, Duration::ZERO).await.unwrap();
    let cx = request("a", 100 * MS);
    let refused = admission.acquire(Some(&cx), Duration::from_secs(2)).await.unwrap_err();
    assert_eq!(refused, Refused { reason: Reason::Late, retry_after: 5_000 * MS });
    let waits = admission.acquire(Some(&cx), Duration::ZERO);
    let leaves = async {
        sleep(20 * MS).await;
        drop(held);
    };
    let (permit, ()) = tokio::join!(waits, leaves);
    drop(permit.unwrap());
    assert_eq!(*told.lock().unwrap(), [Told::Refused(Reason::Late), Told::Waited(20 * MS)]);
}

#[test]
fn every_reason_has_its_name() {
    let reasons = [
        Reason::Late,
        Reason::Full,
        Reason::Share,
        Reason::Behind,
        Reason::Shed,
        Reason::Ended(Cause::DeadlineExceeded),
    ];
    assert_eq!(reasons.map(Reason::as_str), Reason::NAMES);
}

#[tokio::test(start_paused = true)]
async fn what_waited_to_be_read_is_refused_while_the_threads_are_behind() {
    let admission = admission(1_000);
    let waited = |time: Duration| {
        let (cx, now) = (request("a", Duration::from_secs(1)), clock::now());
        cx.enter(Activity::Queued, now.checked_sub(time).unwrap());
        cx.enter(Activity::Working, now);
        cx
    };
    assert!(admission.acquire(Some(&waited(900 * MS)), Duration::ZERO).await.is_ok());
    for _ in 0..100 {
        let _not_yet = admission.take_up(900 * MS).is_ok();
        sleep(10 * MS).await;
    }
    assert_eq!(admission.snapshot().behind, Behind::Far);
    let after = SOONEST + 900 * MS + SPREAD;
    let refused = admission.take_up(900 * MS).unwrap_err();
    assert_eq!((refused.reason, refused.retry_after), (Reason::Shed, after));
    let refused = admission.acquire(Some(&waited(900 * MS)), Duration::ZERO).await.unwrap_err();
    assert_eq!((refused.reason, refused.retry_after), (Reason::Behind, after));
    assert!(admission.take_up(MS).is_ok());
    assert!(admission.acquire(Some(&waited(MS)), Duration::ZERO).await.is_ok());
}
