//! The order itself: placed once, then moved by commands, one version at a time.

use std::{collections::BTreeMap, ops::Deref, sync::Arc};

use jiff::Timestamp;
use mainstay_context::{RequestId, TraceContext};

use super::{
    draft::Placement,
    ids::{AttemptId, ChangeId, OrderId, Version},
    line::FulfillmentState,
    number::OrderNumber,
    payment::{Payment, PaymentState},
    personal::Personal,
    pricing::{Goods, Pricing},
    state::{Command, State, Transition},
    text::{CustomerId, ExternalReference, NoteText, Reason, TenantId},
};
use crate::Refusal;

/// The most notes an order may have.
pub const MAX_NOTES: u32 = 100;

/// All that is stored of an order, but its personal data, notes and history.
#[derive(Clone, Debug, PartialEq)]
pub struct Snapshot {
    /// Our id of it.
    pub id: OrderId,
    /// What people call it.
    pub number: OrderNumber,
    /// Whose it is.
    pub tenant: TenantId,
    /// The tenant's id of the customer.
    pub customer_id: CustomerId,
    /// The tenant's id of the order.
    pub external_reference: Option<ExternalReference>,
    /// What is sold.
    pub goods: Goods,
    /// The tenant's own fields.
    pub metadata: BTreeMap<String, String>,
    /// Where it stands.
    pub state: State,
    /// Its payments.
    pub payments: Vec<Payment>,
    /// How many notes it has.
    pub notes: u32,
    /// How many changes it has seen.
    pub version: Version,
    /// When it was placed.
    pub created_at: Timestamp,
    /// When it last changed.
    pub updated_at: Timestamp,
}

/// An order. It can be read field by field as its [`Snapshot`], and is changed by commands only.
#[derive(Clone, Debug, PartialEq)]
pub struct Order {
    snapshot: Snapshot,
    pricing: Pricing,
}

/// Read access only: without `DerefMut` nobody outside can break an order's rules.
impl Deref for Order {
    type Target = Snapshot;

    fn deref(&self) -> &Snapshot {
        &self.snapshot
    }
}

/// Who makes a change, when, and in which request.
#[derive(Clone, Debug)]
pub struct Stamp {
    /// The change's id.
    pub change: ChangeId,
    /// When.
    pub at: Timestamp,
    /// The principal that asked for it.
    pub actor: Arc<str>,
    /// The request it was asked in.
    pub request_id: RequestId,
    /// The trace of that request.
    pub trace: TraceContext,
}

/// One row of an order's history: one version.
#[derive(Clone, Debug, PartialEq)]
pub struct Entry {
    /// The order.
    pub order: OrderId,
    /// The version this change made.
    pub version: Version,
    /// The change.
    pub change: ChangeId,
    /// Where the order stood; `None` before it existed.
    pub from: Option<State>,
    /// Where it stands then.
    pub to: State,
    /// What was done.
    pub command: Command,
    /// Who did it.
    pub actor: Arc<str>,
    /// Why.
    pub reason: Option<Reason>,
    /// In which request.
    pub request_id: RequestId,
    /// In which trace.
    pub trace: TraceContext,
    /// When.
    pub at: Timestamp,
}

/// A remark on an order.
#[derive(Clone, Debug, PartialEq)]
pub struct Note {
    /// The version that added it.
    pub version: Version,
    /// When.
    pub at: Timestamp,
    /// Who wrote it.
    pub author: Arc<str>,
    /// What it says.
    pub text: NoteText,
}

/// An order with what is kept apart from it.
#[derive(Clone, Debug, PartialEq)]
pub struct Record {
    /// The order.
    pub order: Order,
    /// The buyer's personal data, unless none was given or it was erased.
    pub personal: Option<Personal>,
    /// The remarks, oldest first.
    pub notes: Vec<Note>,
}

/// A change that the rules allow: the order as it would be, and the history row that says so.
#[derive(Clone, Debug)]
pub struct Applied {
    /// The order after it.
    pub order: Order,
    /// Its history row.
    pub entry: Entry,
    /// The type of its event.
    pub event: &'static str,
    /// The attempts that are to be sent to the gateway.
    pub owes: Vec<AttemptId>,
}

/// Why a snapshot is not an order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Corrupt {
    /// The lines do not come to a price.
    #[error("the lines do not come to a price")]
    Unpriceable,
    /// A line's counters cannot be true.
    #[error("a line's counters cannot be true")]
    Counters,
    /// There is no line.
    #[error("there is no line")]
    NoLines,
    /// More is taken than held, or given back than taken.
    #[error("a payment's attempts cannot all be true")]
    Payments,
}

impl Order {
    /// Places a checked draft: version 1, `PENDING`.
    pub fn place(
        id: OrderId,
        number: OrderNumber,
        tenant: TenantId,
        placement: &Placement,
        stamp: &Stamp,
    ) -> Applied {
        let snapshot = Snapshot {
            id,
            number,
            tenant,
            customer_id: placement.customer_id.clone(),
            external_reference: placement.external_reference.clone(),
            goods: placement.goods.clone(),
            metadata: placement.metadata.clone(),
            state: State::Pending,
            payments: Vec::new(),
            notes: 0,
            version: Version::FIRST,
            created_at: stamp.at,
            updated_at: stamp.at,
        };
        let order = Self { snapshot, pricing: placement.pricing.clone() };
        let placed = super::state::PLACED;
        let entry = order.entry(&placed, None, stamp);
        Applied { order, entry, event: placed.event, owes: Vec::new() }
    }

    /// The order of a stored snapshot.
    ///
    /// # Errors
    /// [`Corrupt`] when no sequence of commands leads to this snapshot.
    pub fn restore(snapshot: Snapshot) -> Result<Self, Corrupt> {
        if snapshot.goods.lines.is_empty() {
            return Err(Corrupt::NoLines);
        }
        if !snapshot.goods.lines.iter().all(super::Line::is_sound) {
            return Err(Corrupt::Counters);
        }
        if !snapshot.payments.iter().all(Payment::is_sound) {
            return Err(Corrupt::Payments);
        }
        let pricing = Pricing::of(&snapshot.goods).map_err(|_| Corrupt::Unpriceable)?;
        Ok(Self { snapshot, pricing })
    }

    /// Carries out a command.
    ///
    /// # Errors
    /// [`Refusal::IllegalTransition`] when the table has no such move from where the order stands;
    /// [`Refusal::NotesFull`] when it already has [`MAX_NOTES`].
    pub fn apply(
        &self,
        command: Command,
        reason: Option<Reason>,
        stamp: &Stamp,
    ) -> Result<Applied, Refusal> {
        let notes = self.notes;
        let adds = command == Command::AddNote;
        let applied = self.step(command, reason, stamp, |snapshot| {
            snapshot.notes = notes.saturating_add(u32::from(adds));
        })?;
        if adds && notes >= MAX_NOTES { Err(Refusal::NotesFull) } else { Ok(applied) }
    }

    /// One version on: the move of this command, and what else it changes.
    ///
    /// # Errors
    /// [`Refusal::IllegalTransition`].
    pub(super) fn step(
        &self,
        command: Command,
        reason: Option<Reason>,
        stamp: &Stamp,
        change: impl FnOnce(&mut Snapshot),
    ) -> Result<Applied, Refusal> {
        let illegal = Refusal::IllegalTransition { state: self.state, command };
        let transition = command.from(Some(self.state)).ok_or(illegal)?;
        let mut order = self.clone();
        change(&mut order.snapshot);
        order.snapshot.state = transition.to;
        order.snapshot.version = self.version.next();
        order.snapshot.updated_at = stamp.at;
        let entry = order.entry(transition, reason, stamp);
        Ok(Applied { order, entry, event: transition.event, owes: Vec::new() })
    }

    /// For the rules of other files, which step on once they have changed it.
    pub(super) const fn snapshot_mut(&mut self) -> &mut Snapshot {
        &mut self.snapshot
    }

    /// All of its fields.
    pub const fn snapshot(&self) -> &Snapshot {
        &self.snapshot
    }

    /// Every amount of the order.
    pub const fn pricing(&self) -> &Pricing {
        &self.pricing
    }

    /// Where its money is.
    pub fn payment_state(&self) -> PaymentState {
        PaymentState::of(&self.payments)
    }

    /// Where its goods are.
    pub fn fulfillment_state(&self) -> FulfillmentState {
        FulfillmentState::of(&self.goods.lines)
    }

    fn entry(&self, transition: &Transition, reason: Option<Reason>, stamp: &Stamp) -> Entry {
        Entry {
            order: self.id,
            version: self.version,
            change: stamp.change,
            from: transition.from,
            to: transition.to,
            command: transition.command,
            actor: Arc::clone(&stamp.actor),
            reason,
            request_id: stamp.request_id.clone(),
            trace: stamp.trace,
            at: stamp.at,
        }
    }
}
