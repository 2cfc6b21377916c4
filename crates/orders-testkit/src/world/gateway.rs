//! The gateway port of a world: a provider with a ledger of its own, which is the judge of what
//! happened, and with faults on demand.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::{MutexGuard, PoisonError},
    time::Duration,
};

use jiff::{SignedDuration, Timestamp};
use mainstay_context::Context;
use orders::{
    domain::{AttemptId, Outcome, PaymentId, PaymentOperation},
    ports::{Clock as _, Found, Gateway, Instruction, Sent},
};
use tokio::time::{self, Instant};

use super::World;
use crate::Stream;

/// How long the provider knows a key.
const WINDOW: SignedDuration = SignedDuration::from_hours(24);

/// What may go wrong with one request to the provider, for a script: see [`World::gateway_fails_next`].
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
}

/// How often what goes wrong at the provider, per mille, drawn anew for every call.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct GatewayFaults {
    /// Every call takes up to this long.
    pub latency: Duration,
    /// Requests that find it away.
    pub not_sent: u64,
    /// Requests whose answer is lost: a third each before, after and long before they take effect.
    pub lost: u64,
    /// Authorizations that are declined.
    pub declined: u64,
    /// Questions without an answer.
    pub look_ups: u64,
}

/// Something that really happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Effect {
    /// Under which reference.
    pub attempt: AttemptId,
    /// On which payment.
    pub payment: PaymentId,
    /// What.
    pub operation: PaymentOperation,
    /// How much, in minor units.
    pub minor: i64,
}

#[derive(Debug)]
pub(super) struct Provider {
    effects: Vec<Effect>,
    /// What was answered, by key, and since when the key is known.
    known: BTreeMap<AttemptId, (Outcome, Timestamp)>,
    later: Vec<(Instant, Instruction)>,
    faults: GatewayFaults,
    script: VecDeque<GatewayFault>,
    stream: Stream,
}

impl Provider {
    pub(super) fn new(stream: Stream) -> Self {
        Self {
            effects: Vec::new(),
            known: BTreeMap::new(),
            later: Vec::new(),
            faults: GatewayFaults::default(),
            script: VecDeque::new(),
            stream,
        }
    }

    /// What meets the next request that `is` meant for.
    fn fate(&mut self, is: fn(GatewayFault) -> bool) -> (Duration, Option<GatewayFault>) {
        if self.script.front().is_some_and(|fault| is(*fault)) {
            let fault = self.script.pop_front();
            let slow =
                if let Some(GatewayFault::Slow(time)) = fault { time } else { Duration::ZERO };
            return (slow, fault);
        }
        if self.faults == GatewayFaults::default() {
            return (Duration::ZERO, None);
        }
        let GatewayFaults { latency, not_sent, lost, declined, look_ups } = self.faults.clone();
        let latency = Duration::from_micros(
            self.stream.below(u64::try_from(latency.as_micros()).unwrap_or(u64::MAX)),
        );
        let (draw, coin) = (self.stream.below(1_000), self.stream.bits());
        let lost_fault = match coin % 3 {
            0 => GatewayFault::RequestLost,
            1 => GatewayFault::ReplyLost,
            _ => GatewayFault::Late(Duration::from_micros((coin >> 2) % 2_000_000)),
        };
        let mut below = 0;
        let fault = [
            (not_sent, GatewayFault::NotSent),
            (lost, lost_fault),
            (declined, GatewayFault::Declined),
            (look_ups, GatewayFault::LookUpFails),
        ];
        let fault = fault.into_iter().filter(|(_, fault)| is(*fault)).find(|(per_mille, _)| {
            below += per_mille;
            draw < below
        });
        (latency, fault.map(|(_, fault)| fault))
    }

    /// Does what is due by now.
    fn settle(&mut self, now: Instant, at: Timestamp) {
        let (due, later) =
            std::mem::take(&mut self.later).into_iter().partition(|(t, _)| *t <= now);
        self.later = later;
        for (_, order) in <Vec<(Instant, Instruction)>>::into_iter(due) {
            self.apply(&order, at, false);
        }
    }

    /// Does an operation, unless its key is known.
    fn apply(&mut self, order: &Instruction, at: Timestamp, decline: bool) -> Outcome {
        if let Some((outcome, since)) = self.known.get(&order.attempt)
            && at.duration_since(*since) < WINDOW
        {
            return outcome.clone();
        }
        let refused = self.refusal(order).or(decline.then_some("card-declined"));
        let outcome = refused.map_or(Outcome::Succeeded, |code| {
            Outcome::Declined(code.parse().expect("a decline code"))
        });
        if refused.is_none() {
            self.effects.push(Effect {
                attempt: order.attempt,
                payment: order.payment,
                operation: order.operation,
                minor: order.amount.minor,
            });
        }
        self.known.insert(order.attempt, (outcome.clone(), at));
        outcome
    }

    fn refusal(&self, order: &Instruction) -> Option<&'static str> {
        use PaymentOperation as P;
        let sum = |operation| self.sum(order.payment, operation);
        let held = sum(P::Authorize) - sum(P::Capture) - sum(P::Void);
        let kept = sum(P::Capture) - sum(P::Refund);
        match order.operation {
            P::Capture | P::Void if order.amount.minor > held => Some("exceeds-authorized"),
            P::Refund if order.amount.minor > kept => Some("exceeds-captured"),
            P::Authorize | P::Capture | P::Void | P::Refund => None,
        }
    }

    fn sum(&self, payment: PaymentId, operation: PaymentOperation) -> i64 {
        let of_it = |e: &&Effect| e.payment == payment && e.operation == operation;
        self.effects.iter().filter(of_it).map(|effect| effect.minor).sum()
    }
}

impl World {
    /// From here on, requests to the provider go wrong this often.
    pub fn set_gateway_faults(&self, faults: GatewayFaults) {
        self.provider().faults = faults;
    }

    /// The next request to the provider that it applies to meets this fault.
    pub fn gateway_fails_next(&self, fault: GatewayFault) {
        self.provider().script.push_back(fault);
    }

    /// Everything that really happened at the provider, in order.
    pub fn charges(&self) -> Vec<Effect> {
        self.provider().effects.clone()
    }

    fn provider(&self) -> MutexGuard<'_, Provider> {
        let mut provider = self.0.provider.lock().unwrap_or_else(PoisonError::into_inner);
        provider.settle(Instant::now(), self.0.clock.now());
        provider
    }

    async fn wait_for_provider(&self, cx: &Context, time: Duration) -> Result<(), ()> {
        let Some(left) = cx.remaining(self.0.clock.instant()) else {
            time::sleep(time).await;
            return Ok(());
        };
        time::timeout(left, time::sleep(time)).await.map_err(|_| ())
    }
}

const fn is_of_sending(fault: GatewayFault) -> bool {
    !matches!(fault, GatewayFault::LookUpFails)
}

impl Gateway for World {
    async fn send(&self, cx: &Context, order: &Instruction) -> Sent {
        let (time, fault) = self.provider().fate(is_of_sending);
        if fault == Some(GatewayFault::NotSent) {
            return Sent::NotSent("the provider is away".to_owned());
        }
        let lost = || Sent::Unknown("the answer was lost".to_owned());
        // Half of the time on its way there, half on its way back.
        if self.wait_for_provider(cx, time / 2).await.is_err() {
            return lost();
        }
        let at = self.0.clock.now();
        match fault {
            Some(GatewayFault::RequestLost) => return lost(),
            Some(GatewayFault::Late(by)) => {
                self.provider().later.push((Instant::now() + by, order.clone()));
                return lost();
            }
            _ => {}
        }
        let declined =
            fault == Some(GatewayFault::Declined) && order.operation == PaymentOperation::Authorize;
        let outcome = self.provider().apply(order, at, declined);
        let back = self.wait_for_provider(cx, time / 2).await;
        if fault == Some(GatewayFault::ReplyLost) || back.is_err() {
            return lost();
        }
        Sent::Answered(outcome)
    }

    async fn look_up(&self, cx: &Context, order: &Instruction) -> Found {
        let (time, fault) = self.provider().fate(|fault| !is_of_sending(fault));
        if self.wait_for_provider(cx, time).await.is_err() || fault.is_some() {
            return Found::Unknown("no answer".to_owned());
        }
        match self.provider().known.get(&order.attempt) {
            Some((outcome, _)) => Found::Answered(outcome.clone()),
            None => Found::Absent,
        }
    }

    fn key_window(&self) -> SignedDuration {
        WINDOW - SignedDuration::from_hours(1)
    }
}
