//! Placing orders.

use std::sync::Arc;

use jiff::Timestamp;
use mainstay_context::Context;

use super::{Asked, Done, MAX_ROUNDS, Orders, receipt_key, refused};
use crate::{
    Error, Refusal, codec,
    domain::{
        AttemptId, Draft, IdempotencyKey, Order, OrderId, PaymentId, Placement, Record, Stamp,
    },
    ports::{
        Answer, Change, Decision, Expects, Ids as _, NewEvent, Operation, Ports, Progress, Task,
        TaskKind, Unique, Write,
    },
};

impl<P: Ports> Orders<P> {
    /// Checks and prices a draft; stores nothing.
    ///
    /// # Errors
    /// As [`Draft::check`]; [`Error::Unauthenticated`].
    pub fn validate(&self, cx: &Context, draft: Draft) -> Result<Placement, Error> {
        Self::caller(cx)?;
        draft.check()
    }

    /// Places an order; the same key again answers with the same order.
    ///
    /// # Errors
    /// As [`Draft::check`], then: [`Error::Refused`] when the external reference is taken,
    /// [`Error::KeyReused`], [`Error::KeyExpired`], and those of the store.
    pub async fn create(
        &self,
        cx: &Context,
        draft: Draft,
        key: IdempotencyKey,
    ) -> Result<Done, Error> {
        let caller = Self::caller(cx)?;
        let placement = draft.check()?;
        let fingerprint = codec::create_fingerprint(&placement);
        let key = receipt_key(&caller.tenant, Operation::Create, key);
        let asked = Asked { key: &key, fingerprint };
        for _ in 0..MAX_ROUNDS {
            let (change, record) =
                self.placing(&placement, asked, &self.stamp(cx, Arc::clone(&caller.actor)));
            match self.commit(cx, change).await? {
                Answer::Committed => return Ok(Done { record, replayed: false }),
                Answer::Seen { order, decision } => {
                    return self.replay(cx, &caller.tenant, order, decision).await;
                }
                Answer::KeyReused => return Err(Error::KeyReused),
                Answer::KeyExpired(order) => return Err(Error::KeyExpired { order }),
                Answer::Taken(Unique::ExternalReference, order) => {
                    return Err(refused(Refusal::ExternalReferenceTaken { order }));
                }
                // The number or the id is another order's: draw again.
                // It is made under no lease, so that answer means no more.
                Answer::Taken(Unique::Number, _) | Answer::Conflict { .. } | Answer::LeaseLost => {}
            }
        }
        Err(Error::Contended)
    }

    fn placing(&self, placement: &Placement, asked: Asked<'_>, stamp: &Stamp) -> (Change, Record) {
        let tenant = &asked.key.tenant;
        let id = OrderId(self.ports.ids().uuid(stamp.at));
        let number = self.ports.ids().number();
        let mut applied = Order::place(id, number, tenant.clone(), placement, stamp);
        let mut plans = Vec::new();
        if let Some(token) = &placement.instrument {
            let uuid = || self.ports.ids().uuid(stamp.at);
            let unpaid = applied.order.clone();
            applied = applied.paid_with((PaymentId(uuid()), AttemptId(uuid())), token.clone());
            plans = self.plans(&unpaid, &applied, stamp.at);
        }
        let order = applied.order;
        let decision = Decision::Accepted { version: order.version };
        let data = codec::event_data(&order, &applied.entry);
        let write = Write {
            order: order.clone(),
            entry: applied.entry,
            event: NewEvent { kind: applied.event, data },
            note: None,
            personal: placement.personal.clone(),
        };
        let record = Record { order, personal: placement.personal.clone(), notes: Vec::new() };
        plans.extend(self.expiry(&record.order));
        let change = Change {
            id: stamp.change,
            tenant: tenant.clone(),
            at: stamp.at,
            expects: Expects::New,
            write: Some(Box::new(write)),
            receipt: Some(self.receipt(asked, id, decision, stamp.at)),
            lease: None,
            plans,
        };
        (change, record)
    }

    /// What ends the wait for the order's payment; one that costs nothing waits for none.
    fn expiry(&self, order: &Order) -> Option<Task> {
        if order.payable().minor == 0 {
            return None;
        }
        let due = order.created_at.saturating_add(self.policy.pay_within?);
        Some(Task {
            id: order.id.into(),
            tenant: order.tenant.clone(),
            order: order.id,
            kind: TaskKind::ExpireUnpaid,
            due: due.unwrap_or(Timestamp::MAX),
            progress: Progress::default(),
        })
    }
}
