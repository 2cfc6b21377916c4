//! What admission does before a service.

use crate::support::{Act, Ask, Dependency, Error, MS, context};
use mainstay_context::Principal;
use mainstay_resilience::{
    Jitter,
    admission::{Admission, Config, Layer, Reason, Refused, Snapshot},
    retry::Safety,
};
use std::time::Duration;
use tokio::time::Instant;
use tower::{Layer as _, Service};

/// What is answered where nothing was asked.
const REFUSED: u32 = 503;

fn admission() -> Admission {
    let config = Config { in_service: 1, queue: 1, queue_per_tenant: 1 };
    Admission::new(config, Jitter::none())
}

/// How a refusal is told.
type Answer = fn(Refused) -> u32;

/// A layer that lets in whatever is tried a second time, and counts on this wait behind it.
fn layer(
    admission: &Admission,
    beyond: Duration,
) -> Layer<impl Fn(&Ask) -> Option<Duration> + Clone + Send + use<>, Answer> {
    let waits = move |ask: &Ask| (ask.cx.attempt() == 1).then_some(beyond);
    let answer: Answer = |_refused| REFUSED;
    Layer::new(admission.clone(), waits, answer)
}

/// A call of this tenant, with this long.
fn ask(tenant: &str, time: Duration) -> Ask {
    let cx = context().with_principal(Principal::new(tenant, "till"));
    let cx = cx.with_deadline((Instant::now() + time).into_std());
    Ask { cx, safety: Safety::Safe }
}

fn counts(admission: &Admission) -> (usize, usize) {
    let Snapshot { in_service, waiting, .. } = admission.snapshot();
    (in_service, waiting)
}

#[tokio::test(start_paused = true)]
async fn services_of_repeated_layers_share_what_is_in_service() {
    let (admission, dependency) = (admission(), Dependency::new(&[Act::Dawdle]));
    let layer = layer(&admission, Duration::ZERO);
    let mut services = [layer.layer(dependency.clone()), layer.layer(dependency.clone())];
    let [one, two] = &mut services;
    let all = async {
        tokio::join!(
            one.call(ask("a", 100 * MS)),
            two.call(ask("b", 100 * MS)),
            layer.clone().layer(dependency.clone()).call(ask("c", 100 * MS)),
        )
    };
    assert_eq!(all.await, (Ok(1), Ok(1), Ok(REFUSED)));
    assert_eq!((dependency.calls(), counts(&admission)), (2, (0, 0)));
}

#[tokio::test(start_paused = true)]
async fn what_could_not_be_done_in_time_is_answered_at_once_and_not_called() {
    let (admission, start) = (admission(), Instant::now());
    let dependency = Dependency::new(&[Act::Succeed]);
    let mut service = layer(&admission, 200 * MS).layer(dependency.clone());
    assert_eq!(service.call(ask("a", 100 * MS)).await, Ok(REFUSED));
    assert_eq!((dependency.calls(), start.elapsed()), (0, Duration::ZERO));
    assert_eq!(service.call(ask("a", 300 * MS)).await, Ok(1));
    let unlimited = Ask::new(Safety::Safe);
    assert_eq!(service.call(unlimited).await, Ok(1));
}

#[tokio::test(start_paused = true)]
async fn who_has_no_deadline_waits_for_as_long_as_is_said() {
    let (admission, start) = (admission(), Instant::now());
    let held = admission.acquire(None, Duration::ZERO).await.unwrap();
    let dependency = Dependency::new(&[Act::Succeed]);
    let mut service =
        layer(&admission, Duration::ZERO).with_patience(50 * MS).layer(dependency.clone());
    assert_eq!(service.call(Ask::new(Safety::Safe)).await, Ok(REFUSED));
    assert_eq!((dependency.calls(), start.elapsed()), (0, 50 * MS));
    drop(held);
    assert_eq!(service.call(Ask::new(Safety::Safe)).await, Ok(1));
}

#[tokio::test(start_paused = true)]
async fn what_is_let_in_whatever_the_load_is_takes_no_permit() {
    let (admission, dependency) = (admission(), Dependency::new(&[Act::Succeed]));
    let _held = admission.acquire(None, Duration::ZERO).await.unwrap();
    let mut service = layer(&admission, Duration::ZERO).layer(dependency);
    let exempt = Ask { cx: context().with_attempt(2), safety: Safety::Safe };
    assert_eq!(service.call(exempt).await, Ok(2));
    let without = admission.acquire(None, Duration::ZERO).await.unwrap_err();
    assert_eq!(without.reason, Reason::Full);
    assert_eq!(counts(&admission), (1, 0));
}

#[tokio::test(start_paused = true)]
async fn a_failure_of_the_service_stays_one_and_frees_its_place() {
    let (admission, dependency) = (admission(), Dependency::new(&[Act::Fail]));
    let mut service = layer(&admission, Duration::ZERO).layer(dependency);
    assert_eq!(service.call(ask("a", 100 * MS)).await, Err(Error::Failed));
    assert_eq!(counts(&admission), (0, 0));
}
