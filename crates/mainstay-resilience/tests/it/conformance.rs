//! The failures that were measured on published crates, or reported by their users, as tests of
//! whatever stands before a dependency.

use crate::support::{Act, Ask, Asked, Dependency, MS, Parts};
use mainstay_resilience::{
    breaker,
    retry::{BudgetConfig, Safety},
};
use std::time::Duration;
use tokio::time::advance;

/// Asks this often, one after another; how many calls reached the dependency.
async fn reached(service: &mut impl Asked, dependency: &Dependency, calls: usize) -> usize {
    let before = dependency.calls();
    for _ in 0..calls {
        let _whatever = service.ask(Ask::new(Safety::Safe)).await;
    }
    dependency.calls() - before
}

/// Measured: a window that never forgets let 100,000 failures through.
async fn old_successes_hide_no_failures(mut service: impl Asked, dependency: Dependency) {
    assert_eq!(reached(&mut service, &dependency, 100_000).await, 100_000);
    dependency.becomes(Act::Fail);
    // The successes are of another time than the failures.
    advance(Duration::from_secs(10)).await;
    let let_through = reached(&mut service, &dependency, 100_000).await;
    assert!(let_through <= 20, "{let_through} failures were let through");
}

/// Measured: all who waited were admitted at once, onto a dependency that had just come back.
async fn a_herd_is_not_let_through_half_open(mut service: impl Asked, dependency: Dependency) {
    dependency.becomes(Act::Fail);
    reached(&mut service, &dependency, 1_000).await;
    dependency.becomes(Act::Hang);
    let before = dependency.calls();
    advance(Duration::from_secs(2)).await;
    let herd: Vec<_> =
        (0..1_000).map(|_| asked_once(service.ask(Ask::new(Safety::Safe)))).collect();
    assert_eq!(dependency.calls() - before, 3);
    assert_eq!(dependency.running(), 3);
    drop(herd);
    assert_eq!(dependency.running(), 0);
}

/// Measured: with its one probe hanging, a breaker stayed half-open for ever.
async fn a_hung_probe_does_not_keep_it_half_open(mut service: impl Asked, dependency: Dependency) {
    dependency.becomes(Act::Fail);
    reached(&mut service, &dependency, 1_000).await;
    dependency.becomes(Act::Hang);
    advance(Duration::from_secs(2)).await;
    let hung: Vec<_> = (0..3).map(|_| asked_once(service.ask(Ask::new(Safety::Safe)))).collect();
    dependency.becomes(Act::Succeed);
    assert_eq!(reached(&mut service, &dependency, 10).await, 0, "the probes are out");
    // Five seconds for the probe, and three for the second opening.
    advance(Duration::from_secs(8)).await;
    assert_eq!(reached(&mut service, &dependency, 10).await, 10);
    drop(hung);
}

/// Measured: three tries each made an outage three times as heavy.
async fn an_outage_is_not_multiplied(
    mut service: impl Asked,
    dependency: Dependency,
    pace: Duration,
) {
    let start = tokio::time::Instant::now();
    dependency.becomes(Act::Fail);
    let calls = 5_000_u32;
    for _ in 0..calls {
        let _failed = service.ask(Ask::new(Safety::Safe)).await;
        advance(pace).await;
    }
    let made = u32::try_from(dependency.calls()).unwrap();
    let bound = 1.2 * f64::from(calls) + start.elapsed().as_secs_f64() + 1.0;
    assert!(f64::from(made) <= bound, "{made} calls, where {bound} may be");
    assert!(made > calls, "nothing was tried again at all");
}

/// A future that was asked once.
fn asked_once<F: Future>(future: F) -> std::pin::Pin<Box<F>> {
    let mut future = Box::pin(future);
    let mut task = std::task::Context::from_waker(std::task::Waker::noop());
    let _may_be_refused = future.as_mut().poll(&mut task);
    future
}

fn ratios_only() -> breaker::Config {
    breaker::Config { consecutive_failures: None, ..breaker::Config::default() }
}

#[tokio::test(start_paused = true)]
async fn a_hundred_thousand_successes_do_not_hide_a_hundred_thousand_failures() {
    for config in [breaker::Config::default(), ratios_only()] {
        let parts = Parts::with_breaker(&[Act::Succeed], config);
        old_successes_hide_no_failures(parts.behind_breaker(), parts.dependency).await;
    }
}

#[tokio::test(start_paused = true)]
async fn half_open_admits_three_of_a_thousand() {
    let parts = Parts::new(&[Act::Succeed]);
    a_herd_is_not_let_through_half_open(parts.behind_breaker(), parts.dependency).await;
}

#[tokio::test(start_paused = true)]
async fn a_breaker_recovers_from_a_probe_that_hangs() {
    let parts = Parts::new(&[Act::Succeed]);
    a_hung_probe_does_not_keep_it_half_open(parts.behind_breaker(), parts.dependency).await;
}

#[tokio::test(start_paused = true)]
async fn retries_add_a_fifth_to_an_outage_at_any_pace() {
    for pace in [Duration::ZERO, MS, 20 * MS] {
        let parts = Parts::with_budget(&[Act::Succeed], &BudgetConfig::default());
        an_outage_is_not_multiplied(parts.behind_retries(), parts.dependency, pace).await;
    }
}

#[tokio::test(start_paused = true)]
async fn good_times_before_it_do_not_pay_for_a_storm() {
    let parts = Parts::new(&[Act::Succeed]);
    let mut service = parts.behind_retries();
    reached(&mut service, &parts.dependency, 100_000).await;
    parts.dependency.becomes(Act::Fail);
    let made = reached(&mut service, &parts.dependency, 100).await;
    assert!(
        made <= 100 + 20 + 20 + 3,
        "a fifth, the reserve, and the floor of the backoffs: {made}"
    );
}
