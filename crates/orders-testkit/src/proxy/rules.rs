//! Which faults are set, as connections look at them.

use std::{sync::Arc, time::Duration};

use super::{Fault, Way};

/// All that is set.
#[derive(Clone, Debug, Default)]
pub(super) struct Rules {
    pub(super) refuse: bool,
    /// How often all open connections were reset.
    pub(super) resets: u64,
    to_server: Lane,
    to_client: Lane,
    cuts: u64,
}

/// What is set for one way.
#[derive(Clone, Debug, Default)]
pub(super) struct Lane {
    pub(super) latency: Option<(Duration, Duration)>,
    pub(super) bytes_per_second: Option<u64>,
    pub(super) blackhole: bool,
    pub(super) paused: bool,
    /// How often all open connections were half-closed.
    pub(super) half_closes: u64,
    pub(super) cut: Option<Cut>,
}

/// The end of one connection, to come.
#[derive(Clone, Debug)]
pub(super) struct Cut {
    /// Tells it from those that were set before.
    pub(super) number: u64,
    pub(super) at: At,
    pub(super) how: How,
}

/// When a connection ends.
#[derive(Clone, Debug)]
pub(super) enum At {
    /// When so many bytes have passed since this was set.
    Bytes(u64),
    /// When these bytes have passed.
    Seen(Arc<[u8]>),
}

/// How a connection ends.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum How {
    /// The client sees a reset.
    Reset,
    /// Both see an end in order.
    Close,
}

impl Rules {
    pub(super) fn set(&mut self, fault: Fault) {
        match fault {
            Fault::Latency { way, delay, jitter } => {
                self.lane_mut(way).latency = Some((delay, jitter));
            }
            Fault::Rate { way, bytes_per_second } => {
                self.lane_mut(way).bytes_per_second = Some(bytes_per_second);
            }
            Fault::Blackhole { way } => self.lane_mut(way).blackhole = true,
            Fault::Pause { way } => self.lane_mut(way).paused = true,
            Fault::Refuse => self.refuse = true,
            Fault::ResetNow => self.resets += 1,
            Fault::ResetAfter { way, bytes } => self.cut(way, At::Bytes(bytes), How::Reset),
            Fault::ResetOn { way, seen } => self.cut(way, At::Seen(seen.into()), How::Reset),
            Fault::CloseAfter { way, bytes } => self.cut(way, At::Bytes(bytes), How::Close),
            Fault::HalfClose { way } => self.lane_mut(way).half_closes += 1,
        }
    }

    /// Takes all away but the counts of what happened.
    pub(super) fn heal(&mut self) {
        self.refuse = false;
        for lane in [&mut self.to_server, &mut self.to_client] {
            *lane = Lane { half_closes: lane.half_closes, ..Lane::default() };
        }
    }

    /// Takes this cut away, since a connection ends by it. False when another's end was quicker.
    pub(super) fn spend(&mut self, way: Way, number: u64) -> bool {
        self.lane_mut(way).cut.take_if(|cut| cut.number == number).is_some()
    }

    pub(super) fn lane(&self, way: Way) -> &Lane {
        match way {
            Way::ToServer => &self.to_server,
            Way::ToClient => &self.to_client,
        }
    }

    fn lane_mut(&mut self, way: Way) -> &mut Lane {
        match way {
            Way::ToServer => &mut self.to_server,
            Way::ToClient => &mut self.to_client,
        }
    }

    fn cut(&mut self, way: Way, at: At, how: How) {
        self.cuts += 1;
        let number = self.cuts;
        self.lane_mut(way).cut = Some(Cut { number, at, how });
    }
}
