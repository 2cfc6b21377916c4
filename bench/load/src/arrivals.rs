//! The schedule of an open loop.
//!
//! The arrival times are fixed by the seed before anything is sent. Callers pass a gate one after
//! the other: whoever is inside waits for the next arrival and leaves with it. When all callers are
//! busy the arrivals wait, and their times stand, so that the wait is part of their latency.

use crate::{args::Open, args::Spread, plan::Plan, rng::Rng};
use rustix::time::{
    Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create,
    timerfd_settime,
};
use std::{io, os::fd::OwnedFd, time::Duration};
use tokio::{
    io::{Interest, unix::AsyncFd},
    sync::Mutex,
    time::Instant,
};

/// Its own stream of randomness, apart from the mix of requests.
const ARRIVALS: u64 = u64::MAX;

#[derive(Debug)]
pub(crate) struct Arrivals {
    gate: Mutex<Gate>,
    max_lag: Duration,
}

#[derive(Debug)]
struct Gate {
    schedule: Schedule,
    timer: Timer,
}

#[derive(Debug)]
struct Schedule {
    start: Instant,
    end: Instant,
    spread: Spread,
    rate: f64,
    rng: Rng,
    /// Seconds from the start to the arrival before the next.
    at: f64,
}

/// Tokio's timer counts whole milliseconds, which is too coarse for thousands of requests a second.
#[derive(Debug)]
struct Timer(AsyncFd<OwnedFd>);

impl Arrivals {
    pub(crate) fn new(open: &Open, start: Instant, end: Instant) -> io::Result<Self> {
        let rng = Rng::derived(open.common.seed, ARRIVALS);
        let schedule =
            Schedule { start, end, spread: open.arrivals, rate: open.rate, rng, at: 0.0 };
        let gate = Mutex::new(Gate { schedule, timer: Timer::new()? });
        Ok(Self { gate, max_lag: open.max_lag.0 })
    }

    /// Waits for the next arrival and gives its intended time; `None` at the end of the schedule.
    pub(crate) async fn next(&self, plan: &Plan) -> io::Result<Option<Instant>> {
        let mut gate = self.gate.lock().await;
        while let Some(intended) = gate.schedule.next() {
            if intended.elapsed() > self.max_lag {
                plan.tally().unsent(intended);
                continue;
            }
            gate.timer.until(intended).await?;
            return Ok(Some(intended));
        }
        Ok(None)
    }
}

impl Iterator for Schedule {
    type Item = Instant;

    fn next(&mut self) -> Option<Instant> {
        let gap = match self.spread {
            Spread::Poisson => self.rng.exponential(),
            Spread::Uniform => 1.0,
        };
        self.at += gap / self.rate;
        let intended = self.start + Duration::from_secs_f64(self.at);
        (intended < self.end).then_some(intended)
    }
}

impl Timer {
    fn new() -> io::Result<Self> {
        let flags = TimerfdFlags::NONBLOCK | TimerfdFlags::CLOEXEC;
        let fd = timerfd_create(TimerfdClockId::Monotonic, flags)?;
        #[expect(
            deprecated,
            reason = "its successor is unsafe for types that can swap their descriptor; OwnedFd cannot"
        )]
        let fd = AsyncFd::with_interest(fd, Interest::READABLE)?;
        Ok(Self(fd))
    }

    async fn until(&self, at: Instant) -> io::Result<()> {
        loop {
            let left = at.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(());
            }
            // Setting the timer also takes back an expiry that nobody read.
            let it_value = Timespec::try_from(left).map_err(io::Error::other)?;
            let it_interval = Timespec { tv_sec: 0, tv_nsec: 0 };
            let once = Itimerspec { it_interval, it_value };
            timerfd_settime(self.0.get_ref(), TimerfdTimerFlags::empty(), &once)?;
            self.0.readable().await?.clear_ready();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Schedule;
    use crate::{args::Spread, rng::Rng};
    use std::time::Duration;
    use tokio::time::Instant;

    fn times(spread: Spread, seed: u64) -> Vec<Duration> {
        let start = Instant::now();
        let end = start + Duration::from_secs(10);
        let schedule =
            Schedule { start, end, spread, rate: 1000.0, rng: Rng::derived(seed, 0), at: 0.0 };
        schedule.map(|at| at - start).collect()
    }

    #[test]
    fn a_seed_fixes_the_arrivals() {
        assert_eq!(times(Spread::Poisson, 1), times(Spread::Poisson, 1));
        assert_ne!(times(Spread::Poisson, 1), times(Spread::Poisson, 2));
    }

    #[test]
    fn poisson_and_uniform_keep_the_rate() {
        let poisson = times(Spread::Poisson, 3).len();
        assert!((9_500..10_500).contains(&poisson), "{poisson}");
        assert!((9_998..=10_000).contains(&times(Spread::Uniform, 3).len()));
    }
}
