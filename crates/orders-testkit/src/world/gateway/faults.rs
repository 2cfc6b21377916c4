//! What may go wrong between a world and its provider.

use std::{collections::VecDeque, time::Duration};

use crate::Stream;

/// What may go wrong with one request to the provider, for a script: see
/// [`World::gateway_fails_next`](crate::World::gateway_fails_next).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GatewayFault {
    /// It cannot be reached.
    NotSent,
    /// The request is lost on its way.
    RequestLost,
    /// It takes effect, and the answer is lost.
    ReplyLost,
    /// The answer is lost, and it takes effect this much later.
    Late(Duration),
    /// It is declined.
    Declined,
    /// It takes this long.
    Slow(Duration),
    /// A question about an attempt has no answer.
    LookUpFails,
    /// A question about an attempt is answered with another operation.
    LookUpContradicts,
}

impl GatewayFault {
    /// Whether it is one of questions, and not of requests.
    const fn is_of_questions(self) -> bool {
        matches!(self, Self::LookUpFails | Self::LookUpContradicts)
    }
}

/// How often what goes wrong at the provider, per mille, drawn anew for every call. The default is
/// a provider without faults.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GatewayFaults {
    /// Every call takes up to this long.
    pub latency: Duration,
    /// Calls that take longer than anybody waits.
    pub hang: u64,
    /// Requests that find it away.
    pub not_sent: u64,
    /// Requests whose answer is lost: a third each before, after and long before they take effect.
    pub lost: u64,
    /// How much later the last of them take effect, at most.
    pub late_by: Duration,
    /// Authorizations that are declined.
    pub declined: u64,
    /// Captures, voids and refunds that are declined.
    pub declined_later: u64,
    /// Questions without an answer.
    pub look_ups: u64,
}

impl Default for GatewayFaults {
    fn default() -> Self {
        Self {
            latency: Duration::ZERO,
            hang: 0,
            not_sent: 0,
            lost: 0,
            late_by: Duration::from_secs(2),
            declined: 0,
            declined_later: 0,
            look_ups: 0,
        }
    }
}

/// What holds for every call to the provider until it is changed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum GatewayMode {
    /// Calls go through, but for their faults.
    #[default]
    Up,
    /// None leaves: it cannot be reached, or the breaker in front of it is open.
    Refusing,
    /// Requests arrive nowhere, and nobody says so.
    Silent,
    /// Questions have no answer.
    Mute,
}

/// Longer than anybody waits.
const HANGS: Duration = Duration::from_hours(1);

/// What one call will meet.
#[derive(Clone, Copy, Debug)]
pub(super) struct Fate {
    pub(super) time: Duration,
    pub(super) fault: Option<GatewayFault>,
}

/// Draws what calls meet.
#[derive(Debug)]
pub(super) struct Mishaps {
    pub(super) faults: GatewayFaults,
    pub(super) mode: GatewayMode,
    pub(super) script: VecDeque<GatewayFault>,
    stream: Stream,
}

impl Mishaps {
    pub(super) fn new(stream: Stream) -> Self {
        let (faults, script) = (GatewayFaults::default(), VecDeque::new());
        Self { faults, mode: GatewayMode::Up, script, stream }
    }

    /// What meets the next request.
    pub(super) fn send(&mut self, authorizes: bool) -> Fate {
        if let Some(fate) = self.scripted(|fault| !fault.is_of_questions()) {
            return fate;
        }
        let GatewayFaults { not_sent, lost, late_by, declined, declined_later, .. } = self.faults;
        let Some(mut fate) = self.drawn() else {
            return Fate { time: Duration::ZERO, fault: self.mode_fault() };
        };
        let (draw, coin) = (self.stream.below(1_000), self.stream.bits());
        let late_by = u64::try_from(late_by.as_micros()).unwrap_or(u64::MAX).max(1);
        let lost_fault = match coin % 3 {
            0 => GatewayFault::RequestLost,
            1 => GatewayFault::ReplyLost,
            _ => GatewayFault::Late(Duration::from_micros((coin >> 2) % late_by)),
        };
        let declined = if authorizes { declined } else { declined_later };
        fate.fault = match draw {
            _ if self.mode != GatewayMode::Up => self.mode_fault(),
            draw if draw < not_sent => Some(GatewayFault::NotSent),
            draw if draw < not_sent + lost => Some(lost_fault),
            draw if draw < not_sent + lost + declined => Some(GatewayFault::Declined),
            _ => None,
        };
        fate
    }

    /// What meets the next question.
    pub(super) fn look_up(&mut self) -> Fate {
        if let Some(fate) = self.scripted(GatewayFault::is_of_questions) {
            return fate;
        }
        let fails = Some(GatewayFault::LookUpFails).filter(|_| self.mode != GatewayMode::Up);
        let Some(fate) = self.drawn() else { return Fate { time: Duration::ZERO, fault: fails } };
        let drawn = self.stream.chance(self.faults.look_ups);
        Fate { fault: fails.or(drawn.then_some(GatewayFault::LookUpFails)), ..fate }
    }

    const fn mode_fault(&self) -> Option<GatewayFault> {
        match self.mode {
            GatewayMode::Up | GatewayMode::Mute => None,
            GatewayMode::Refusing => Some(GatewayFault::NotSent),
            GatewayMode::Silent => Some(GatewayFault::RequestLost),
        }
    }

    fn scripted(&mut self, is: fn(GatewayFault) -> bool) -> Option<Fate> {
        let fault = self.script.pop_front_if(|fault| is(*fault))?;
        let time = if let GatewayFault::Slow(time) = fault { time } else { Duration::ZERO };
        Some(Fate { time, fault: Some(fault) })
    }

    /// How long a call takes; nothing when no call has faults.
    fn drawn(&mut self) -> Option<Fate> {
        if self.faults == GatewayFaults::default() {
            return None;
        }
        let most = u64::try_from(self.faults.latency.as_micros()).unwrap_or(u64::MAX);
        let latency = Duration::from_micros(self.stream.below(most));
        let hangs = self.stream.chance(self.faults.hang) || self.mode == GatewayMode::Silent;
        Some(Fate { time: if hangs { HANGS } else { latency }, fault: None })
    }
}
