//! What was measured of layers: what several services share, and what a dropped call leaves behind.

use super::row::{Act, Dependency, MS, PATIENCE, Row, Stack, Verdict, ask, poll_once};
use std::{sync::Arc, time::Duration};
use tokio::time::{sleep, timeout};

/// How long a failed call waits for its next try.
pub(crate) const BACKOFF: Duration = Duration::from_millis(300);

/// A layer that lets one call through at a time, and has others wait.
pub(crate) trait Layer: Sized + 'static {
    fn new() -> Option<Self>;

    /// The layer around what makes the calls.
    fn stack(&self) -> Stack;

    /// The same with retries after [`BACKOFF`] in their right place; `None` where there are none.
    fn with_retries(&self) -> Option<Stack>;
}

pub(crate) fn rows<L: Layer>() -> Vec<Row> {
    let part = "layer";
    vec![
        Row::new(part, "services of repeated layers share one state", layers_share_a_state::<L>),
        Row::new(part, "a call dropped at any poll frees its place", a_dropped_call_frees::<L>),
        Row::new(part, "who leaves the queue takes nobody's place", who_leaves_takes_nothing::<L>),
        Row::new(part, "no place is held while a retry backs off", no_place_while_it_waits::<L>),
    ]
}

async fn layers_share_a_state<L: Layer>() -> Verdict {
    let Some(layer) = L::new() else { return Verdict::Absent };
    let dependency = Dependency::default();
    let hang = dependency.make(|_| Act::Hang);
    // As axum does for each of its routes.
    let mut one = Box::pin(ask(layer.stack(), Arc::clone(&hang)));
    let mut two = Box::pin(ask(layer.stack(), hang));
    poll_once(&mut one).await;
    poll_once(&mut two).await;
    let running = dependency.running();
    Verdict::of(running == 1, format!("{running} were under way at a time, where one may be"))
}

async fn a_dropped_call_frees<L: Layer>() -> Verdict {
    let Some(layer) = L::new() else { return Verdict::Absent };
    let (stack, dependency) = (layer.stack(), Dependency::default());
    let take = dependency.make(|_| Act::Take(5 * MS));
    for polls in 0..5 {
        let mut call = Box::pin(ask(stack.clone(), Arc::clone(&take)));
        for _ in 0..polls {
            poll_once(&mut call).await;
        }
        drop(call);
        if !is_free(&stack, &dependency).await {
            return Verdict::Fails(format!("dropped after {polls} polls, it has its place still"));
        }
    }
    Verdict::Passes
}

async fn who_leaves_takes_nothing<L: Layer>() -> Verdict {
    let Some(layer) = L::new() else { return Verdict::Absent };
    let (stack, dependency) = (layer.stack(), Dependency::default());
    let hang = dependency.make(|_| Act::Hang);
    let mut holds = Box::pin(ask(stack.clone(), Arc::clone(&hang)));
    poll_once(&mut holds).await;
    let mut waits = Box::pin(ask(stack.clone(), hang));
    poll_once(&mut waits).await;
    // The place becomes that of one who leaves in the same moment.
    drop(holds);
    drop(waits);
    Verdict::of(is_free(&stack, &dependency).await, "no place was free afterwards")
}

async fn no_place_while_it_waits<L: Layer>() -> Verdict {
    let Some(layer) = L::new() else { return Verdict::Absent };
    let Some(stack) = layer.with_retries() else { return Verdict::Absent };
    let dependency = Dependency::default();
    let make = dependency.make(|number| if number == 1 { Act::Fail } else { Act::Succeed });
    let mut fails = Box::pin(ask(stack.clone(), Arc::clone(&make)));
    poll_once(&mut fails).await;
    sleep(20 * MS).await;
    let other = timeout(BACKOFF / 2, ask(stack, make)).await;
    let again = timeout(PATIENCE, fails).await;
    if again != Ok(Ok(())) {
        return Verdict::Fails("the failed call was not made again".to_owned());
    }
    Verdict::of(other == Ok(Ok(())), "another call waits for as long as the failed one does")
}

/// Whether a call gets through before patience is lost.
async fn is_free(stack: &Stack, dependency: &Dependency) -> bool {
    let call = ask(stack.clone(), dependency.make(|_| Act::Succeed));
    timeout(PATIENCE, call).await == Ok(Ok(()))
}
