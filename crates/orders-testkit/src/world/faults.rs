//! What may go wrong in a world's store.

use std::{collections::VecDeque, time::Duration};

use crate::Stream;

/// How often what goes wrong, drawn anew for every call. The default is a store without faults.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Faults {
    /// Every call takes up to this long before it takes effect, and as long again to answer.
    pub latency: Duration,
    /// Commits per mille that are refused: too many wait.
    pub busy: u64,
    /// Commits per mille that find the store away.
    pub unavailable: u64,
    /// Commits per mille that find the disk full.
    pub full: u64,
    /// Commits per mille that are sent and whose answer is lost: half before they take effect, half
    /// after.
    pub lost: u64,
    /// Commits per mille whose connection is lost and that take effect later.
    pub late: u64,
    /// Reads per mille that fail.
    pub reads: u64,
}

/// One thing that goes wrong, for a script: see [`crate::World::fail_next`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// A commit is refused: too many wait.
    Busy,
    /// A commit finds the store away.
    Unavailable,
    /// A commit finds the disk full.
    Full,
    /// A commit takes effect and its answer is lost.
    ReplyLost,
    /// A commit takes no effect and neither is it known.
    RequestLost,
    /// A commit's outcome is unknown now and it takes effect this much later.
    Late(Duration),
    /// A commit takes this long before it takes effect.
    Slow(Duration),
    /// A read is refused: too many wait.
    ReadBusy,
    /// A read finds the store away.
    ReadUnavailable,
    /// A read takes this long.
    ReadSlow(Duration),
}

impl Fault {
    const fn is_read(self) -> bool {
        matches!(self, Self::ReadBusy | Self::ReadUnavailable | Self::ReadSlow(_))
    }
}

/// What one call will meet.
#[derive(Clone, Copy, Debug)]
pub(super) struct Fate {
    pub(super) before: Duration,
    pub(super) fault: Option<Fault>,
    pub(super) after: Duration,
}

#[derive(Debug)]
pub(super) struct Injector {
    faults: Faults,
    calm: bool,
    stream: Stream,
    commits: VecDeque<Fault>,
    reads: VecDeque<Fault>,
    /// How long changes are told to wait.
    pub(super) expected: Duration,
}

impl Injector {
    pub(super) fn new(stream: Stream) -> Self {
        let (commits, reads) = (VecDeque::new(), VecDeque::new());
        let (faults, expected) = (Faults::default(), Duration::ZERO);
        Self { faults, calm: true, stream, commits, reads, expected }
    }

    pub(super) fn set(&mut self, faults: Faults) {
        self.calm = faults == Faults::default();
        self.faults = faults;
    }

    pub(super) fn script(&mut self, fault: Fault) {
        let queue = if fault.is_read() { &mut self.reads } else { &mut self.commits };
        queue.push_back(fault);
    }

    pub(super) fn commit(&mut self) -> Fate {
        if let Some(fault) = self.commits.pop_front() {
            return scripted(fault);
        }
        if self.calm {
            return Fate { before: Duration::ZERO, fault: None, after: Duration::ZERO };
        }
        let Faults { busy, unavailable, full, lost, late, .. } = self.faults;
        let (draw, coin) = (self.stream.below(1_000), self.stream.bits());
        let lost_fault = if coin & 1 == 0 { Fault::RequestLost } else { Fault::ReplyLost };
        let late_fault = Fault::Late(Duration::from_micros((coin >> 1) % 20_000));
        let mut below = 0;
        let fault = [
            (busy, Fault::Busy),
            (unavailable, Fault::Unavailable),
            (full, Fault::Full),
            (lost, lost_fault),
            (late, late_fault),
        ]
        .into_iter()
        .find(|(per_mille, _)| {
            below += per_mille;
            draw < below
        });
        let fault = fault.map(|(_, fault)| fault);
        Fate { before: self.latency(), fault, after: self.latency() }
    }

    pub(super) fn read(&mut self) -> Fate {
        if let Some(fault) = self.reads.pop_front() {
            return scripted(fault);
        }
        if self.calm {
            return Fate { before: Duration::ZERO, fault: None, after: Duration::ZERO };
        }
        let fault = self.stream.chance(self.faults.reads).then_some(());
        let busy = self.stream.bits() & 1 == 0;
        let fault = fault.map(|()| if busy { Fault::ReadBusy } else { Fault::ReadUnavailable });
        Fate { before: self.latency(), fault, after: Duration::ZERO }
    }

    pub(super) fn latency(&mut self) -> Duration {
        let most = u64::try_from(self.faults.latency.as_micros()).unwrap_or(u64::MAX);
        Duration::from_micros(self.stream.below(most))
    }
}

fn scripted(fault: Fault) -> Fate {
    let before = match fault {
        Fault::Slow(time) | Fault::ReadSlow(time) => time,
        Fault::Busy
        | Fault::Unavailable
        | Fault::Full
        | Fault::ReplyLost
        | Fault::RequestLost
        | Fault::Late(_)
        | Fault::ReadBusy
        | Fault::ReadUnavailable => Duration::ZERO,
    };
    Fate { before, fault: Some(fault), after: Duration::ZERO }
}
