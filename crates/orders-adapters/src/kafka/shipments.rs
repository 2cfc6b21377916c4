//! Carries out what warehouses tell they shipped.

use std::{fmt, sync::Arc, time::Duration};

use mainstay_context::{Context, Principal, RequestId};
use orders::{
    Error, Orders,
    codec::{self, CloudEvent, Malformed},
    domain::TenantId,
    ports::{Clock as _, Decision, Operation, OrderRef, Ports, Receipt, ReceiptKey, Store as _},
    usecase::{Action, Verb},
};

use super::{
    config::Inbound,
    delivery::{Delivery, Handler, Verdict},
    dlq::cause_of,
};

/// Carries out `fulfillment.shipped.v1` as the verb that notes that pieces were handed over; other types
/// of events are none of its business.
///
/// What has been seen is known by the verb's idempotency key, which is made of the consumer's group and
/// the event's source and id, and is committed with the effect. So a key must be remembered
/// (`retention.keys`) for at least as long as the topic keeps its records; where it is not,
/// [`misfits`](super::misfits) tells.
pub struct Shipments<P> {
    orders: Arc<Orders<P>>,
    group: String,
    try_timeout: Duration,
}

/// Who it is in the history of an order.
const SUBJECT: &str = "fulfillment.events";
/// How often an event that was refused may be handed out again on purpose.
const MOST_ROUNDS: u32 = 100;

impl<P: Ports> Shipments<P> {
    /// A handler over these use cases.
    pub fn new(orders: Arc<Orders<P>>, config: &Inbound) -> Self {
        Self { orders, group: config.group.clone(), try_timeout: config.try_timeout }
    }

    async fn carry_out(&self, delivery: &Delivery, event: &CloudEvent) -> Verdict {
        let shipment = match codec::shipment(event) {
            Ok(shipment) => shipment,
            Err(error) => return Verdict::Refused(error.to_string()),
        };
        let cx = self.context(event, shipment.tenant.as_str());
        // A refusal is remembered. Handed out again on purpose, an event gets past those it had.
        for round in 0..MOST_ROUNDS {
            let Ok(key) = codec::consumed_event_key(&self.group, event, round) else { break };
            let action =
                Action::Fulfill { lines: shipment.lines.clone(), reason: shipment.reason.clone() };
            let order = OrderRef::Id(shipment.order);
            let verb = Verb { order, action, key: Some(key), if_match: None };
            match self.orders.act(&cx, verb).await {
                Ok(_) => return Verdict::Done,
                Err(Error::Refused { replayed: true, .. }) if delivery.again => {}
                Err(error @ Error::Refused { replayed: true, .. }) => {
                    return match self.passed_since(&cx, event, &shipment.tenant).await {
                        Ok(true) => Verdict::Done,
                        Ok(false) => verdict(&error),
                        Err(unread) => verdict(&unread),
                    };
                }
                Err(error) => return verdict(&error),
            }
        }
        Verdict::Refused("it was refused too often".to_owned())
    }

    /// Whether an event that was refused at first has passed since, handed out again on purpose.
    async fn passed_since(
        &self,
        cx: &Context,
        event: &CloudEvent,
        tenant: &TenantId,
    ) -> Result<bool, Error> {
        let ports = self.orders.ports();
        for round in 1..MOST_ROUNDS {
            let Ok(key) = codec::consumed_event_key(&self.group, event, round) else { break };
            let key = ReceiptKey { tenant: tenant.clone(), operation: Operation::Fulfill, key };
            match ports.store().receipt(cx, &key, ports.clock().now()).await? {
                Some(Receipt { decision: Decision::Accepted { .. }, .. }) => return Ok(true),
                Some(Receipt { decision: Decision::Refused(_), .. }) => {}
                None => break,
            }
        }
        Ok(false)
    }

    fn context(&self, event: &CloudEvent, tenant: &str) -> Context {
        let request_id = event.id.parse().unwrap_or_else(|_| RequestId::from_bytes([0; 16]));
        let deadline = self.orders.ports().clock().instant() + self.try_timeout;
        Context::new(request_id)
            .with_principal(Principal::new(tenant, SUBJECT))
            .with_trace(event.trace)
            .with_deadline(deadline)
    }
}

impl<P: Ports> Handler for Shipments<P> {
    async fn handle(&self, delivery: &Delivery) -> Verdict {
        match event(delivery) {
            Ok(event) if event.kind == codec::SHIPPED => self.carry_out(delivery, &event).await,
            Ok(_) => Verdict::Done,
            Err(error) => Verdict::Refused(error.to_string()),
        }
    }
}

/// The event of a record, in either mode. A subject that it leaves out is the record's key.
fn event(delivery: &Delivery) -> Result<CloudEvent, Malformed> {
    let value = delivery.value.as_deref().unwrap_or_default();
    let mut event = if delivery.is_structured() {
        CloudEvent::structured(value)?
    } else {
        let attribute = |name: &str| delivery.header(&format!("ce_{name}")).map(str::to_owned);
        CloudEvent::binary(attribute, value)?
    };
    let key = delivery.key.as_deref().and_then(|key| std::str::from_utf8(key).ok());
    event.subject = event.subject.or_else(|| key.map(str::to_owned));
    Ok(event)
}

/// What an error means for a record.
fn verdict(error: &Error) -> Verdict {
    let cause = cause_of(error);
    match error {
        Error::Contended
        | Error::NotWritten(_)
        | Error::DeadlineExceeded
        | Error::Unavailable(_)
        | Error::OutcomeUnknown => Verdict::Later(cause),
        Error::Unauthenticated
        | Error::Invalid(_)
        | Error::TotalMismatch { .. }
        | Error::NotFound
        | Error::Refused { .. }
        | Error::KeyReused
        | Error::KeyExpired { .. }
        | Error::VersionMismatch { .. }
        | Error::CursorTooOld { .. } => Verdict::Refused(cause),
    }
}

impl<P> fmt::Debug for Shipments<P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shipments").field("group", &self.group).finish_non_exhaustive()
    }
}
