//! A line of the log that anybody can have written as often as they ask, and that is not.

use std::{
    mem,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use tokio::time::Instant;

/// Between two lines.
const SILENCE: Duration = Duration::from_secs(1);

/// Lets one line through in a time, and counts those it stands for.
#[derive(Debug)]
pub(super) struct Sampled(Mutex<State>);

#[derive(Debug)]
struct State {
    next: Option<Instant>,
    left_out: u64,
}

impl Sampled {
    pub(super) const fn new() -> Self {
        Self(Mutex::new(State { next: None, left_out: 0 }))
    }

    /// How many lines were left out before the one that may be written now; `None` when none may.
    pub(super) fn line(&self, now: Instant) -> Option<u64> {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if state.next.is_some_and(|next| now < next) {
            state.left_out += 1;
            return None;
        }
        state.next = Some(now + SILENCE);
        Some(mem::take(&mut state.left_out))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_line_a_second_is_written_and_tells_how_many_were_not() {
        let (sampled, now) = (Sampled::new(), Instant::now());
        assert_eq!(sampled.line(now), Some(0));
        assert_eq!([1, 999].map(|ms| sampled.line(now + Duration::from_millis(ms))), [None; 2]);
        assert_eq!(sampled.line(now + SILENCE), Some(2));
        assert_eq!(sampled.line(now + SILENCE), None);
    }
}
