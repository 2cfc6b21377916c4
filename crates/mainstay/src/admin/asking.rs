//! Asking the service's own closures, none of which can hold up the listener.

use std::{sync::Arc, time::Duration};
use tokio::{sync::Semaphore, task::spawn_blocking, time::timeout};

/// The most questions under way; more wait within [`LIMIT`].
pub(super) const AT_ONCE: usize = 8;

/// The longest that an answer may take.
pub(super) const LIMIT: Duration = Duration::from_secs(1);

/// Bounds the questions under way. Clones share the bound.
#[derive(Clone, Debug)]
pub(super) struct Asking(Arc<Semaphore>);

impl Asking {
    pub(super) fn new() -> Self {
        Self(Arc::new(Semaphore::new(AT_ONCE)))
    }

    /// What `answer` gives, on a thread of its own; `None` when that takes longer than [`LIMIT`]
    /// or panics. One that never ends keeps one of [`AT_ONCE`] places.
    pub(super) async fn ask<T: Send + 'static>(
        &self,
        answer: impl FnOnce() -> T + Send + 'static,
    ) -> Option<T> {
        let asked = async {
            let place = Arc::clone(&self.0).acquire_owned().await.ok()?;
            let work = move || {
                let answer = answer();
                drop(place);
                answer
            };
            spawn_blocking(work).await.ok()
        };
        timeout(LIMIT, asked).await.ok().flatten()
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
        assert_eq!(asking.0.available_permits(), AT_ONCE);
    }

    #[tokio::test]
    async fn what_hangs_is_not_waited_for() {
        let asking = Asking::new();
        let (release, held) = mpsc::channel::<()>();
        assert_eq!(asking.ask(move || held.recv().is_ok()).await, None);
        assert_eq!(asking.ask(|| 1).await, Some(1), "others are answered meanwhile");
        drop(release);
    }
}
