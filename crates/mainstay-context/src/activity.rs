use std::{
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

/// What a request is doing: where its time goes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Activity {
    /// The service works on it; what a request does that nobody told of otherwise.
    #[default]
    Working,
    /// It waits for its turn at the store.
    Queued,
    /// The store reads or writes for it.
    Storing,
}

impl Activity {
    /// Every activity.
    pub const ALL: [Self; 3] = [Self::Working, Self::Queued, Self::Storing];

    /// Its name, for people.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Working => "working",
            Self::Queued => "queued",
            Self::Storing => "storing",
        }
    }
}

/// Where the time of one request goes. At any moment the request does one thing, so that the parts
/// add up to the whole, also when pieces of it run side by side.
#[derive(Debug, Default)]
pub(crate) struct Ledger(Mutex<Book>);

#[derive(Clone, Copy, Debug, Default)]
struct Book {
    current: Activity,
    /// When the current one began; `None` before the first.
    since: Option<Instant>,
    spent: [Duration; Activity::ALL.len()],
}

impl Ledger {
    /// Ends the current activity at `now` and begins the next.
    pub(crate) fn enter(&self, next: Activity, now: Instant) {
        let mut book = self.book();
        let spent = book.since_current(now);
        let current = book.current;
        book.spent[current as usize] += spent;
        // Two threads may tell in another order than they looked at the clock.
        book.since = Some(book.since.map_or(now, |since| since.max(now)));
        book.current = next;
    }

    pub(crate) fn current(&self) -> Activity {
        self.book().current
    }

    pub(crate) fn spent(&self, activity: Activity, now: Instant) -> Duration {
        let book = self.book();
        let open = if book.current == activity { book.since_current(now) } else { Duration::ZERO };
        book.spent[activity as usize] + open
    }

    fn book(&self) -> MutexGuard<'_, Book> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Book {
    fn since_current(&self, now: Instant) -> Duration {
        self.since.map_or(Duration::ZERO, |since| now.saturating_duration_since(since))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Context;
    use proptest::prelude::*;

    fn context() -> Context {
        Context::new("test".parse().unwrap())
    }

    fn start() -> Instant {
        tokio::time::Instant::now().into_std()
    }

    const MS: Duration = Duration::from_millis(1);

    #[test]
    fn time_goes_to_what_was_done() {
        let (cx, start) = (context(), start());
        cx.enter(Activity::Working, start);
        cx.enter(Activity::Queued, start + 2 * MS);
        cx.enter(Activity::Storing, start + 5 * MS);
        cx.enter(Activity::Working, start + 9 * MS);
        let spent = Activity::ALL.map(|activity| cx.spent(activity, start + 10 * MS));
        assert_eq!(spent, [3 * MS, 3 * MS, 4 * MS]);
    }

    #[test]
    fn nothing_is_spent_before_the_first_entry() {
        let cx = context();
        assert_eq!(cx.spent(Activity::Working, start() + MS), Duration::ZERO);
        assert_eq!(cx.activity(), Activity::Working);
    }

    #[test]
    fn clones_and_children_write_into_one_ledger_and_detached_work_does_not() {
        let (cx, start) = (context(), start());
        cx.enter(Activity::Working, start);
        cx.child().enter(Activity::Queued, start + MS);
        assert_eq!(cx.activity(), Activity::Queued);
        cx.clone().with_attempt(2).enter(Activity::Storing, start + 3 * MS);
        cx.detached().enter(Activity::Working, start + 4 * MS);
        assert_eq!(cx.activity(), Activity::Storing);
        assert_eq!(cx.spent(Activity::Queued, start + 5 * MS), 2 * MS);
    }

    proptest! {
        #[test]
        fn the_parts_add_up_to_the_whole(
            entries in prop::collection::vec((0_usize..3, 0_u64..1_000), 1..40), after in 0_u64..100
        ) {
            let (cx, start) = (context(), start());
            for &(which, at) in &entries {
                // Times in any order: no entry may take away or invent time.
                cx.enter(Activity::ALL[which], start + MS * u32::try_from(at).unwrap());
            }
            let first = entries[0].1;
            let last = entries.iter().map(|entry| entry.1).max().unwrap() + after;
            let now = start + Duration::from_millis(last);
            let whole: Duration = Activity::ALL.iter().map(|&a| cx.spent(a, now)).sum();
            prop_assert_eq!(whole, Duration::from_millis(last - first));
        }
    }
}
