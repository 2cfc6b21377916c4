//! The clock of a world.

use std::{
    sync::{Mutex, PoisonError},
    time::Instant,
};

use jiff::{SignedDuration, Timestamp};
use orders::ports;
use tokio::time;

/// A wall clock that is set by tests. It stands still until it is moved, or runs with the
/// runtime's (paused) time once [`Clock::run`] is called. Monotonic time is always the runtime's.
#[derive(Debug)]
pub struct Clock(Mutex<Wall>);

#[derive(Debug)]
struct Wall {
    at: Timestamp,
    runs_since: Option<time::Instant>,
    jumps: u64,
}

/// Where every world's clock starts: 2026-01-01T00:00:00Z.
pub const START: Timestamp = Timestamp::constant(1_767_225_600, 0);

impl Clock {
    pub(super) fn new() -> Self {
        Self(Mutex::new(Wall { at: START, runs_since: None, jumps: 0 }))
    }

    /// Lets the wall clock run with the runtime's time from here on.
    pub fn run(&self) {
        let mut wall = self.wall();
        wall.at = wall.now();
        wall.runs_since = Some(time::Instant::now());
    }

    /// Moves the wall clock, either way.
    pub fn jump(&self, by: SignedDuration) {
        let mut wall = self.wall();
        wall.at = wall.at.saturating_add(by).expect("a signed duration fits a timestamp's sum");
        wall.jumps += 1;
    }

    /// Sets the wall clock.
    pub fn set(&self, to: Timestamp) {
        let mut wall = self.wall();
        let by = to.duration_since(wall.now());
        wall.at = wall.at.saturating_add(by).expect("a signed duration fits a timestamp's sum");
        wall.jumps += 1;
    }

    /// How often the wall clock was moved.
    pub fn jumps(&self) -> u64 {
        self.wall().jumps
    }

    fn wall(&self) -> std::sync::MutexGuard<'_, Wall> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Wall {
    fn now(&self) -> Timestamp {
        let run = self.runs_since.map_or(0, |since| since.elapsed().as_micros());
        let run = SignedDuration::from_micros(i64::try_from(run).unwrap_or(i64::MAX));
        self.at.saturating_add(run).unwrap_or(self.at)
    }
}

impl ports::Clock for Clock {
    fn now(&self) -> Timestamp {
        self.wall().now()
    }

    fn instant(&self) -> Instant {
        time::Instant::now().into_std()
    }
}
