//! Reads of one order that are late are asked for once more, on another connection; the first answer
//! counts.
//!
//! Late is what is slower than 95 of 100 recent ones, and so slow that a caller may notice. The budget
//! keeps a database that is slow for all from being asked much more. `cancel.rs` sees to the read that is
//! not waited for any more.

use std::time::Duration;

use mainstay::metrics::{Counter, Metrics};
use mainstay_context::Context;
use mainstay_resilience::{
    race::{self, Latencies},
    retry::{Budget, BudgetConfig},
};
use orders::ports::ReadError;
use tokio::time::Instant;

use crate::instruments::now;

/// Of a hundred reads, so many are answered before one is late.
const IN_TIME: usize = 95;

/// No read that takes less is late, however quick the others are.
const QUICK: Duration = Duration::from_millis(10);

#[derive(Debug)]
pub(super) struct Hedges {
    is_on: bool,
    latencies: Latencies,
    budget: Budget,
    sent: Counter,
    won: Counter,
}

impl Hedges {
    /// None are made when there is one connection only.
    pub(super) fn new(connections: usize, metrics: &Metrics) -> Self {
        let budget = BudgetConfig { ratio: 0.1, ..BudgetConfig::default() };
        let counter = |name: &str, help: &str| metrics.counter(name, help, &[]);
        Self {
            is_on: connections > 1,
            latencies: Latencies::default(),
            budget: Budget::new(&budget, now()),
            sent: counter("read_hedges_total", "Reads asked for once more, since they were late"),
            won: counter("read_hedges_won_total", "Of these, those that were answered first"),
        }
    }

    /// Reads, and reads again when that is late.
    pub(super) async fn read<T, F>(
        &self,
        cx: &Context,
        read: impl Fn(Context) -> F,
    ) -> Result<T, ReadError>
    where
        F: Future<Output = Result<T, ReadError>>,
    {
        let began = Instant::now();
        let answered = match self.late().filter(|_| self.is_on) {
            None => read(cx.clone()).await,
            // Two reads are large.
            Some(late) => Box::pin(self.hedged(cx, late, read)).await,
        };
        if answered.is_ok() {
            self.latencies.record(began.elapsed());
        }
        answered
    }

    fn late(&self) -> Option<Duration> {
        self.latencies.percentile(IN_TIME).map(|late| late.max(QUICK))
    }

    async fn hedged<T, F>(
        &self,
        cx: &Context,
        late: Duration,
        read: impl Fn(Context) -> F,
    ) -> Result<T, ReadError>
    where
        F: Future<Output = Result<T, ReadError>>,
    {
        self.budget.call();
        let answered = race::hedge(cx, late, &self.budget, |tried| {
            let is_second = tried.attempt() > cx.attempt();
            if is_second {
                self.sent.inc(&[]);
            }
            let reading = read(tried);
            async move {
                let answered = reading.await;
                if is_second && answered.is_ok() {
                    self.won.inc(&[]);
                }
                answered
            }
        });
        let failed = |errors: Vec<_>| errors.into_iter().next();
        answered.await.map_err(|errors| failed(errors).unwrap_or(ReadError::Unavailable(None)))
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use orders_testkit::builders;
    use tokio::time::sleep;

    use super::*;

    const MS: Duration = Duration::from_millis(1);

    /// Hedges that know of reads that took so long.
    async fn hedges(connections: usize, time: Duration) -> Hedges {
        let hedges = Hedges::new(connections, &Metrics::new("test"));
        for _ in 0..100 {
            read(&hedges, async |_| sleep(time).await).await;
        }
        hedges
    }

    /// Reads by this; says which of the reads made it was that answered.
    async fn read(hedges: &Hedges, by: impl AsyncFn(u32)) -> u32 {
        let (cx, made) = (builders::context("shop"), Cell::new(0));
        let read = |_| {
            made.set(made.get() + 1);
            let number = made.get();
            let by = &by;
            async move {
                by(number).await;
                Ok(number)
            }
        };
        hedges.read(&cx, read).await.unwrap()
    }

    #[tokio::test(start_paused = true)]
    async fn the_second_of_two_reads_answers_when_the_first_hangs() {
        let hedges = hedges(2, 20 * MS).await;
        let began = Instant::now();
        let hangs = async |number| sleep(if number == 1 { 1_000 * MS } else { MS }).await;
        assert_eq!(read(&hedges, hangs).await, 2);
        assert_eq!(began.elapsed(), 21 * MS);
    }

    #[tokio::test(start_paused = true)]
    async fn a_read_in_time_is_made_once() {
        assert_eq!(read(&hedges(2, 20 * MS).await, async |_| sleep(19 * MS).await).await, 1);
    }

    #[tokio::test(start_paused = true)]
    async fn a_read_that_is_only_slower_than_quick_ones_is_made_once() {
        let hedges = hedges(2, MS).await;
        assert_eq!(read(&hedges, async |_| sleep(9 * MS).await).await, 1);
        assert_eq!(
            read(&hedges, async |n| sleep(if n == 1 { 30 * MS } else { MS }).await).await,
            2
        );
    }

    #[tokio::test(start_paused = true)]
    async fn one_connection_is_asked_once_however_late_it_is() {
        let hedges = hedges(1, 20 * MS).await;
        assert_eq!(read(&hedges, async |_| sleep(1_000 * MS).await).await, 1);
    }

    #[tokio::test(start_paused = true)]
    async fn a_database_that_is_slow_for_all_is_asked_little_more() {
        let hedges = hedges(2, 20 * MS).await;
        let mut again = 0;
        for _ in 0..100 {
            let slow = async |number| sleep(if number == 1 { 100 * MS } else { MS }).await;
            again += read(&hedges, slow).await - 1;
        }
        // As much as was saved up, and a little for the reads and the time since.
        assert!((1..30).contains(&again), "{again}");
    }
}
