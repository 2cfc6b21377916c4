//! Several calls for one answer.

use crate::support::{MS, context, now};
use mainstay_context::{Cause, Context};
use mainstay_resilience::{
    race::{first_ok, hedge},
    retry::{Budget, BudgetConfig},
};
use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
    time::Duration,
};
use tokio::time::{Instant, sleep};

type Answer = Result<&'static str, &'static str>;

async fn after(ms: u32, answer: Answer) -> Answer {
    sleep(ms * MS).await;
    answer
}

fn budget() -> Budget {
    Budget::new(&BudgetConfig::default(), now())
}

/// Counts the calls that run.
struct Running(Arc<AtomicUsize>);

impl Drop for Running {
    fn drop(&mut self) {
        self.0.fetch_sub(1, SeqCst);
    }
}

#[tokio::test(start_paused = true)]
async fn an_early_error_does_not_hide_a_success_that_was_coming() {
    let start = Instant::now();
    let calls = [after(1, Err("a")), after(20, Ok("b")), after(30, Ok("c")), after(2, Err("d"))];
    assert_eq!(first_ok(calls).await, Ok("b"));
    assert_eq!(start.elapsed(), 20 * MS);
}

#[tokio::test(start_paused = true)]
async fn without_a_success_every_error_is_kept() {
    let calls = [after(2, Err("late")), after(1, Err("early"))];
    assert_eq!(first_ok(calls).await, Err(vec!["early", "late"]));
    assert_eq!(first_ok(Vec::<std::future::Ready<Answer>>::new()).await, Err(vec![]));
}

#[tokio::test(start_paused = true)]
async fn losers_are_gone_before_the_winner_is_told() {
    let running = Arc::new(AtomicUsize::new(0));
    let call = |ms| {
        let running = Arc::clone(&running);
        async move {
            running.fetch_add(1, SeqCst);
            let _running = Running(running);
            after(ms, Ok("won")).await
        }
    };
    assert_eq!(first_ok([5, 1, 9].map(call)).await, Ok("won"));
    assert_eq!(running.load(SeqCst), 0);
}

#[tokio::test(start_paused = true)]
async fn a_hedge_is_made_only_when_the_first_call_is_late_and_wins_when_it_is_faster() {
    let (cx, start) = (context(), Instant::now());
    let slow_then_quick = |cx: Context| async move {
        if cx.attempt() == 1 { after(100, Ok("first")).await } else { after(5, Ok("second")).await }
    };
    assert_eq!(hedge(&cx, 10 * MS, &budget(), slow_then_quick).await, Ok("second"));
    assert_eq!(start.elapsed(), 15 * MS);

    let mut calls = 0;
    let won = hedge(&cx, 10 * MS, &budget(), |_| {
        calls += 1;
        after(9, Ok("first"))
    })
    .await;
    assert_eq!((won, calls), (Ok("first"), 1));
}

#[tokio::test(start_paused = true)]
async fn a_hedge_that_fails_does_not_hide_the_first_call() {
    let call = |cx: Context| async move {
        if cx.attempt() == 1 { after(100, Ok("first")).await } else { after(1, Err("no")).await }
    };
    assert_eq!(hedge(&context(), 10 * MS, &budget(), call).await, Ok("first"));
}

#[tokio::test(start_paused = true)]
async fn hedges_stay_within_the_budget() {
    let (budget, mut calls) = (budget(), 0);
    for _ in 0..1_000 {
        budget.call();
        let won = hedge(&context(), MS, &budget, |_| {
            calls += 1;
            after(2, Ok("slow"))
        })
        .await;
        assert_eq!(won, Ok("slow"));
    }
    // A fifth, the floor of two seconds, and the one there was.
    assert!((1_100..=1_203).contains(&calls), "{calls}");
}

#[tokio::test(start_paused = true)]
async fn the_context_of_the_loser_is_cancelled_and_the_callers_is_not() {
    let (cx, seen) = (context(), Arc::new(std::sync::Mutex::new(Vec::new())));
    let call = |cx: Context| {
        seen.lock().unwrap().push(cx.clone());
        let time = if cx.attempt() == 1 { 100 } else { 1 };
        after(time, Ok("won"))
    };
    assert_eq!(hedge(&cx, MS, &budget(), call).await, Ok("won"));
    assert_eq!(seen.lock().unwrap()[0].ended(now()), Some(Cause::CallerGone));
    assert_eq!(cx.ended(now()), None);
}

#[tokio::test(start_paused = true)]
async fn no_hedge_is_made_for_a_request_that_has_ended() {
    let cx = context().with_deadline(now() + 5 * MS);
    let mut calls = 0;
    let won = hedge(&cx, Duration::from_millis(10), &budget(), |_| {
        calls += 1;
        after(20, Err("too late"))
    })
    .await;
    assert_eq!((won, calls), (Err(vec!["too late"]), 1));
}
