//! The gateway port of a world: what the service sees of the provider, with faults on demand.
//!
//! The provider keeps its own time: the service's wall clock may jump, the provider's does not.

mod faults;
mod provider;
mod webhooks;

use std::{
    sync::{MutexGuard, PoisonError},
    time::Duration,
};

use jiff::SignedDuration;
use mainstay_context::Context;
use orders::{
    domain::{AttemptId, Outcome, PaymentId, PaymentOperation},
    ports::{Clock as _, Found, Gateway, Instruction, Sent},
};
use tokio::time::{self, Instant};

pub use faults::{GatewayFault, GatewayFaults, GatewayMode};
pub use provider::{Calls, Effect};
pub use webhooks::{Webhook, Webhooks};

pub(super) use provider::Provider;

use super::{World, bug::Bug};

impl World {
    /// From here on, requests to the provider go wrong this often.
    pub fn set_gateway_faults(&self, faults: GatewayFaults) {
        self.provider().mishaps.faults = faults;
    }

    /// From here on, this holds for all calls to the provider.
    pub fn set_gateway_mode(&self, mode: GatewayMode) {
        self.provider().mishaps.mode = mode;
    }

    /// From here on, the provider tells this much unasked.
    pub fn set_webhooks(&self, webhooks: Webhooks) {
        self.provider().mail.webhooks = webhooks;
    }

    /// How long the provider knows a key, and how far inside of that the service stays.
    pub fn set_key_window(&self, window: SignedDuration, margin: SignedDuration) {
        let mut provider = self.provider();
        (provider.window, provider.margin) = (window, margin);
    }

    /// The next request to the provider that it applies to meets this fault.
    pub fn gateway_fails_next(&self, fault: GatewayFault) {
        self.provider().mishaps.script.push_back(fault);
    }

    /// Everything that really happened at the provider, in order.
    pub fn charges(&self) -> Vec<Effect> {
        self.provider().effects().to_vec()
    }

    /// What really happened of an attempt.
    pub fn charges_of(&self, attempt: AttemptId) -> Vec<Effect> {
        self.provider().effects_of(attempt)
    }

    /// What an operation really came to on a payment, in minor units.
    pub fn charged(&self, payment: PaymentId, operation: PaymentOperation) -> i64 {
        self.provider().sum(payment, operation)
    }

    /// What the provider decided of an attempt, if it has arrived there.
    pub fn decided(&self, attempt: AttemptId) -> Option<Outcome> {
        self.provider().outcome(attempt)
    }

    /// How an attempt was asked for.
    pub fn calls(&self, attempt: AttemptId) -> Calls {
        self.provider().calls.get(&attempt).copied().unwrap_or_default()
    }

    /// The next message of the provider that has arrived by now.
    pub fn webhook(&self) -> Option<Webhook> {
        self.provider().mail.arrived(Instant::now())
    }

    /// Has the provider tell something again, this much later.
    pub fn webhook_again(&self, word: Webhook, after: Duration) {
        self.provider().mail.again(word, Instant::now() + after);
    }

    /// Whether no message of the provider is on its way.
    pub fn webhooks_delivered(&self) -> bool {
        self.provider().mail.is_empty()
    }

    fn provider(&self) -> MutexGuard<'_, Provider> {
        let mut provider = self.0.provider.lock().unwrap_or_else(PoisonError::into_inner);
        provider.settle(Instant::now());
        provider
    }

    async fn wait_for_provider(&self, cx: &Context, time: Duration) -> Result<(), ()> {
        if time.is_zero() {
            return Ok(());
        }
        let Some(left) = cx.remaining(self.0.clock.instant()) else {
            time::sleep(time).await;
            return Ok(());
        };
        time::timeout(left, time::sleep(time)).await.map_err(|_| ())
    }

    /// Sends a request, and hears of it what the faults let through.
    async fn deliver(&self, cx: &Context, order: &Instruction) -> Sent {
        let authorizes = order.operation == PaymentOperation::Authorize;
        let faults::Fate { time, fault } = self.provider().mishaps.send(authorizes);
        let lost = || Sent::Unknown("the answer was lost".to_owned());
        // Half of the time on its way there, half on its way back.
        if fault == Some(GatewayFault::NotSent) {
            let _gave_up = self.wait_for_provider(cx, time / 2).await;
            return Sent::NotSent("the provider is away".to_owned());
        }
        let marked = self.is_marked(order.attempt);
        self.provider().leaves(order.attempt, self.0.clock.now(), marked);
        if self.wait_for_provider(cx, time / 2).await.is_err() {
            return lost();
        }
        match fault {
            Some(GatewayFault::RequestLost) => return lost(),
            Some(GatewayFault::Late(by)) => {
                self.provider().apply_later(order.clone(), Instant::now() + by);
                return lost();
            }
            _ => {}
        }
        let declined = fault == Some(GatewayFault::Declined);
        let outcome = self.provider().apply(order, Instant::now(), declined);
        let back = self.wait_for_provider(cx, time / 2).await;
        if fault == Some(GatewayFault::ReplyLost) || back.is_err() {
            return lost();
        }
        Sent::Answered(outcome)
    }

    async fn ask(&self, cx: &Context, order: &Instruction) -> Found {
        let faults::Fate { time, fault } = self.provider().mishaps.look_up();
        let answered = self.wait_for_provider(cx, time).await.is_ok();
        if answered && fault == Some(GatewayFault::LookUpContradicts) {
            return Found::Contradicted("another amount".to_owned());
        }
        if !answered || fault.is_some() {
            return Found::Unknown("no answer".to_owned());
        }
        let mut provider = self.provider();
        if let Some(outcome) = provider.outcome(order.attempt) {
            return Found::Answered(outcome);
        }
        provider.calls.entry(order.attempt).or_default().absent += 1;
        Found::Absent
    }

    /// Whether the store knows that an attempt may be sent. One whose task is gone has its outcome.
    fn is_marked(&self, attempt: AttemptId) -> bool {
        let task = self.kept().engine.task(attempt.into());
        task.is_none_or(|task| task.progress.sent.is_some())
    }
}

impl Gateway for World {
    async fn send(&self, cx: &Context, order: &Instruction) -> Sent {
        match (self.deliver(cx, order).await, self.0.bug) {
            (Sent::Unknown(_), Some(Bug::UnknownTakenAsDeclined)) => {
                Sent::Answered(Outcome::Declined("timeout".parse().expect("a code")))
            }
            (Sent::Unknown(_), Some(Bug::UnknownTakenAsSucceeded))
            | (Sent::Answered(_), Some(Bug::DeclineTakenAsSuccess)) => {
                Sent::Answered(Outcome::Succeeded)
            }
            (Sent::Unknown(why), Some(Bug::UnknownTakenAsNotSent)) => Sent::NotSent(why),
            (sent, _) => sent,
        }
    }

    async fn look_up(&self, cx: &Context, order: &Instruction) -> Found {
        match (self.ask(cx, order).await, self.0.bug) {
            (Found::Absent, Some(Bug::AbsentTakenAsDeclined)) => {
                Found::Answered(Outcome::Declined("not-found".parse().expect("a code")))
            }
            (Found::Unknown(_), Some(Bug::SilenceTakenAsAbsent)) => Found::Absent,
            (found, _) => found,
        }
    }

    fn key_window(&self) -> SignedDuration {
        if self.has(Bug::KeyWindowIgnored) {
            return SignedDuration::MAX;
        }
        let provider = self.provider();
        provider.window - provider.margin
    }
}
