//! The seats of a call that streams and is open to all: they bound how many make it at a time.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::problem::Problem;

/// How many make such a call at a time.
const AT_ONCE: usize = 1_024;

/// The seats of one call. Clones share them.
#[derive(Clone)]
pub(super) struct Seats(Arc<Semaphore>);

/// One seat, taken until it is dropped.
pub(super) type Seat = OwnedSemaphorePermit;

impl Default for Seats {
    fn default() -> Self {
        Self(Arc::new(Semaphore::new(AT_ONCE)))
    }
}

impl Seats {
    /// A seat. Whoever finds none is told that there is no such call: clients that follow the standards
    /// do without it then, and do not ask at once again.
    pub(super) fn take(&self) -> Result<Seat, Problem> {
        let seat = Arc::clone(&self.0).try_acquire_owned();
        let full = "Too many make this call at the moment; do without it.";
        seat.map_err(|_none_left| Problem::no_address(full))
    }
}
