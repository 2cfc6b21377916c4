//! Asking the service's own closures, none of which can hold up the listener or another.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    task::spawn_blocking,
    time::{Instant, timeout},
};

/// The longest that an answer may take.
pub(super) const LIMIT: Duration = Duration::from_secs(1);

/// The turn to ask one thing, which one has at a time. Clones share it.
#[derive(Clone, Debug)]
pub(super) struct Asking(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    turn: Arc<Semaphore>,
    /// When the answer that is under way was asked for.
    since: Mutex<Option<Instant>>,
}

impl Asking {
    pub(super) fn new() -> Self {
        Self(Arc::new(Shared { turn: Arc::new(Semaphore::new(1)), since: Mutex::default() }))
    }

    /// What `answer` gives, on a thread of its own; `None` when that takes longer than [`LIMIT`]
    /// or panics, and at once while an earlier one does: what hangs takes one thread and no more.
    pub(super) async fn ask<T: Send + 'static>(
        &self,
        answer: impl FnOnce() -> T + Send + 'static,
    ) -> Option<T> {
        if self.hangs() {
            return None;
        }
        let asked = async {
            let turn = self.turn().await?;
            let work = move || {
                let answer = answer();
                drop(turn);
                answer
            };
            spawn_blocking(work).await.ok()
        };
        timeout(LIMIT, asked).await.ok().flatten()
    }

    fn hangs(&self) -> bool {
        self.0.since().is_some_and(|since| since.elapsed() >= LIMIT)
    }

    async fn turn(&self) -> Option<Turn> {
        let permit = Arc::clone(&self.0.turn).acquire_owned().await.ok()?;
        *self.0.since() = Some(Instant::now());
        Some(Turn { asking: self.clone(), _permit: permit })
    }
}

impl Shared {
    fn since(&self) -> MutexGuard<'_, Option<Instant>> {
        self.since.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

struct Turn {
    asking: Asking,
    _permit: OwnedSemaphorePermit,
}

impl Drop for Turn {
    fn drop(&mut self) {
        *self.asking.0.since() = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc;

    #[tokio::test]
    async fn an_answer_is_given_and_a_panic_is_none() {
        let asking = Asking::new();
        assert_eq!(asking.ask(|| 1).await, Some(1));
        assert_eq!(asking.ask(|| -> u8 { panic!("on purpose") }).await, None);
        assert_eq!(asking.ask(|| 2).await, Some(2));
    }

    #[tokio::test]
    async fn what_hangs_is_waited_for_once_until_it_answers() {
        let asking = Asking::new();
        let (release, held) = mpsc::channel::<()>();
        assert_eq!(asking.ask(move || held.recv().is_ok()).await, None);
        let start = Instant::now();
        for _ in 0..100 {
            assert_eq!(asking.ask(|| 1).await, None);
        }
        assert!(start.elapsed() < LIMIT, "at once");
        drop(release);
        while asking.ask(|| 1).await.is_none() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }

    #[tokio::test]
    async fn many_are_answered_in_turn() {
        let asking = Asking::new();
        let answers = futures_util::future::join_all((0..50).map(|n| asking.ask(move || n))).await;
        assert!(answers.into_iter().map(Option::unwrap).eq(0..50));
    }
}
