//! What may go wrong between a relay and the bus.

use std::time::Duration;

use crate::Stream;

/// How often what goes wrong on the way to the bus, per mille of records unless it says otherwise, drawn
/// anew for each. The default is a bus without faults.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BusFaults {
    /// A record takes up to this long to be kept, and as long again to be acknowledged.
    pub latency: Duration,
    /// Records that fail and are never kept.
    pub failed: u64,
    /// Records that are kept and whose acknowledgement is lost.
    pub lost: u64,
    /// Records that are told as failed and are kept later.
    pub late: u64,
    /// Records that are kept and acknowledged, slowly.
    pub slow: u64,
    /// How long a late one and a slow one take at most.
    pub late_by: Duration,
    /// Of the times that records are sent at once, per mille, those at which the producer fails for
    /// good: of what was under way some is kept and the rest never is.
    pub fatal: u64,
}

impl Default for BusFaults {
    fn default() -> Self {
        Self {
            latency: Duration::ZERO,
            failed: 0,
            lost: 0,
            late: 0,
            slow: 0,
            late_by: Duration::from_secs(2),
            fatal: 0,
        }
    }
}

/// What holds for all that is sent to the bus until it is changed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum BusMode {
    /// Records get through, but for their faults.
    #[default]
    Up,
    /// No broker can be reached, and the sender is told so.
    Refusing,
    /// Records arrive nowhere, and nobody says so.
    Silent,
}

/// Longer than anybody waits.
pub(super) const HANGS: Duration = Duration::from_hours(1);

/// What becomes of one record.
#[derive(Clone, Copy, Debug)]
pub(super) struct Fate {
    /// After how long it is kept, if it ever is.
    pub(super) kept: Option<Duration>,
    /// Whether its sender is told that it is kept.
    pub(super) acknowledged: bool,
    /// After how long its sender is told something.
    pub(super) told: Duration,
}

/// Draws what records meet.
#[derive(Debug)]
pub(super) struct Mishaps {
    pub(super) faults: BusFaults,
    pub(super) mode: BusMode,
    stream: Stream,
}

impl Mishaps {
    pub(super) fn new(stream: Stream) -> Self {
        Self { faults: BusFaults::default(), mode: BusMode::Up, stream }
    }

    /// Whether the producer fails for good with what it sends now.
    pub(super) fn fails_for_good(&mut self) -> bool {
        self.mode == BusMode::Up && self.stream.chance(self.faults.fatal)
    }

    /// What meets a record that is under way when its producer fails for good.
    pub(super) fn fails(&mut self) -> Fate {
        let kept = self.stream.chance(500).then_some(Duration::ZERO);
        Fate { kept, acknowledged: false, told: Duration::ZERO }
    }

    /// What meets the next record.
    pub(super) fn sends(&mut self) -> Fate {
        let (there, back) = (self.upto(self.faults.latency), self.upto(self.faults.latency));
        let told = there + back;
        match self.mode {
            BusMode::Up => {}
            BusMode::Refusing => return Fate { kept: None, acknowledged: false, told },
            BusMode::Silent => return Fate { kept: None, acknowledged: false, told: HANGS },
        }
        let BusFaults { failed, lost, late, slow, late_by, .. } = self.faults;
        if failed + lost + late + slow == 0 {
            return Fate { kept: Some(there), acknowledged: true, told };
        }
        let (draw, far) = (self.stream.below(1_000), self.upto(late_by));
        let kept = Some(there);
        match draw {
            draw if draw < failed => Fate { kept: None, acknowledged: false, told },
            draw if draw < failed + lost => Fate { kept, acknowledged: false, told },
            draw if draw < failed + lost + late => {
                Fate { kept: Some(told + far), acknowledged: false, told }
            }
            draw if draw < failed + lost + late + slow => {
                Fate { kept: Some(there + far), acknowledged: true, told: told + far }
            }
            _ => Fate { kept, acknowledged: true, told },
        }
    }

    /// A time up to this one; without a draw when there is none.
    fn upto(&mut self, most: Duration) -> Duration {
        let most = u64::try_from(most.as_micros()).unwrap_or(u64::MAX);
        if most == 0 { Duration::ZERO } else { Duration::from_micros(self.stream.below(most)) }
    }

    pub(super) fn bits(&mut self) -> u64 {
        self.stream.bits()
    }
}
