//! The ids of a world.

use std::sync::{Mutex, PoisonError};

use jiff::Timestamp;
use orders::{domain::OrderNumber, ports};
use uuid::Uuid;

use crate::Stream;

/// Draws ids from a seed. Ids of the same millisecond rise in the order they were drawn.
#[derive(Debug)]
pub struct Ids(Mutex<State>);

#[derive(Debug)]
struct State {
    uuids: Stream,
    numbers: Stream,
    drawn: u32,
    number_space: u64,
}

impl Ids {
    pub(super) fn new(uuids: Stream, numbers: Stream) -> Self {
        Self(Mutex::new(State { uuids, numbers, drawn: 0, number_space: 1 << 40 }))
    }

    /// Draws order numbers from this many only, so that some are taken.
    pub fn number_space(&self, size: u64) {
        self.state().number_space = size;
    }

    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl ports::Ids for Ids {
    fn uuid(&self, at: Timestamp) -> Uuid {
        let mut state = self.state();
        state.drawn = state.drawn.wrapping_add(1);
        // A counter of 32 bits, the version and the variant lying over none of it, then random bits.
        let count = state.drawn.to_be_bytes();
        let mut tail = [0; 10];
        tail[1] = count[0];
        tail[3..6].copy_from_slice(&count[1..]);
        tail[6..].copy_from_slice(&state.uuids.bits().to_be_bytes()[..4]);
        let millis = u64::try_from(at.as_millisecond()).unwrap_or(0);
        uuid::Builder::from_unix_timestamp_millis(millis, &tail).into_uuid()
    }

    fn number(&self) -> OrderNumber {
        let mut state = self.state();
        let space = state.number_space;
        OrderNumber::from_bits(state.numbers.below(space))
    }
}
