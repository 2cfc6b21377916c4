//! What a store should say, in the plainest terms: lists that are searched from the front.
//!
//! It shares no code with the world, so that the two can find each other's mistakes.

use jiff::Timestamp;
use orders::{
    Refusal,
    domain::{ChangeId, Entry, Note, Order, OrderId, Personal, Position, TenantId, Version},
    ports::{
        Answer, Change, Decision, Expects, Filter, Operation, Receipt, ReceiptKey, Scope, Unique,
    },
};

#[derive(Debug, Default)]
pub(super) struct Model {
    pub(super) orders: Vec<Known>,
    pub(super) receipts: Vec<(ChangeId, Receipt)>,
    /// Every event there ever was: position is index + 1.
    pub(super) events: Vec<(TenantId, ChangeId, Timestamp)>,
    /// How many events are forgotten.
    pub(super) forgotten: usize,
    written: Vec<ChangeId>,
}

#[derive(Debug)]
pub(super) struct Known {
    pub(super) tenant: TenantId,
    pub(super) create_key: Option<ReceiptKey>,
    pub(super) versions: Vec<Order>,
    pub(super) personal: Option<Personal>,
    pub(super) notes: Vec<Note>,
    pub(super) history: Vec<Entry>,
}

impl Known {
    pub(super) fn now(&self) -> &Order {
        self.versions.last().expect("at least the first version")
    }
}

impl Model {
    /// What committing this change must answer; several answers where the contract leaves open how
    /// a remembered refusal answers its own change.
    pub(super) fn commit(&mut self, change: &Change) -> Vec<Answer> {
        if self.written.contains(&change.id) {
            return vec![Answer::Committed];
        }
        let answer = self.seen(change).unwrap_or_else(|| self.decide(change));
        let own = |(by, receipt): &(ChangeId, Receipt)| {
            *by == change.id && change.receipt.as_ref().is_some_and(|r| r.key == receipt.key)
        };
        if matches!(answer, Answer::Seen { .. }) && self.receipts.iter().any(own) {
            return vec![answer, Answer::Committed];
        }
        vec![answer]
    }

    fn seen(&self, change: &Change) -> Option<Answer> {
        let asked = change.receipt.as_ref()?;
        if let Some(receipt) = self.live(&asked.key, change.at) {
            if receipt.fingerprint != asked.fingerprint {
                return Some(Answer::KeyReused);
            }
            return Some(Answer::Seen { order: receipt.order, decision: receipt.decision });
        }
        let made = self.orders.iter().find(|known| known.create_key.as_ref() == Some(&asked.key));
        made.map(|known| Answer::KeyExpired(known.now().id))
    }

    /// The receipt of a key at a time.
    pub(super) fn live(&self, key: &ReceiptKey, at: Timestamp) -> Option<&Receipt> {
        let of_key = self.receipts.iter().map(|(_, receipt)| receipt).find(|r| r.key == *key);
        of_key.filter(|receipt| at < receipt.expires_at)
    }

    fn decide(&mut self, change: &Change) -> Answer {
        match change.expects {
            Expects::New => {
                let order = &change.write.as_ref().expect("a create writes").order;
                if let Some(taken) = self.taken(order) {
                    if let (Answer::Taken(Unique::ExternalReference, other), Some(receipt)) =
                        (&taken, &change.receipt)
                    {
                        let refusal = Refusal::ExternalReferenceTaken { order: *other };
                        let decision = Decision::Refused(refusal);
                        // Not the change is committed but its refusal: the id stands for nothing.
                        let nobody = ChangeId(uuid::Uuid::nil());
                        let receipt = Receipt { order: *other, decision, ..receipt.clone() };
                        self.remember(nobody, receipt);
                    }
                    return taken;
                }
            }
            Expects::Version(id, expected) => {
                let known = self.orders.iter().find(|known| known.now().id == id);
                let current = known.map_or(Version::FIRST, |known| known.now().version);
                if known.is_none() || current != expected {
                    return Answer::Conflict { current };
                }
            }
            // Tasks have facts of their own.
            Expects::Task => return Answer::Committed,
        }
        self.write(change);
        Answer::Committed
    }

    fn taken(&self, order: &Order) -> Option<Answer> {
        let same = self.orders.iter().find(|known| known.now().id == order.id);
        if let Some(known) = same {
            return Some(Answer::Conflict { current: known.now().version });
        }
        let mut own = self.orders.iter().map(Known::now).filter(|o| o.tenant == order.tenant);
        let mut twin = own.clone();
        if let Some(other) = own.find(|other| other.number == order.number) {
            return Some(Answer::Taken(Unique::Number, other.id));
        }
        let reference = order.external_reference.as_ref()?;
        let other = twin.find(|other| other.external_reference.as_ref() == Some(reference))?;
        Some(Answer::Taken(Unique::ExternalReference, other.id))
    }

    fn write(&mut self, change: &Change) {
        if let Some(write) = &change.write {
            self.written.push(change.id);
            self.events.push((change.tenant.clone(), change.id, change.at));
            let note = write.note.iter().cloned();
            let id = write.order.id;
            match self.orders.iter_mut().find(|known| known.now().id == id) {
                Some(known) => {
                    known.versions.push(write.order.clone());
                    known.history.push(write.entry.clone());
                    known.notes.extend(note);
                }
                None => self.orders.push(Known {
                    tenant: change.tenant.clone(),
                    create_key: change.receipt.as_ref().map(|receipt| receipt.key.clone()),
                    versions: vec![write.order.clone()],
                    personal: write.personal.clone(),
                    notes: note.collect(),
                    history: vec![write.entry.clone()],
                }),
            }
        }
        if let Some(receipt) = &change.receipt {
            self.remember(change.id, receipt.clone());
        }
    }

    fn remember(&mut self, by: ChangeId, receipt: Receipt) {
        self.receipts.retain(|(_, old)| old.key != receipt.key);
        self.receipts.push((by, receipt));
    }

    /// Whether committing this change again is beyond what the contract says: it was a refusal, and
    /// that is no longer remembered as this change's.
    pub(super) fn is_lost_refusal(&self, change: &Change) -> bool {
        change.write.is_none() && !self.receipts.iter().any(|(by, _)| *by == change.id)
    }

    /// Forgets; answers how many events, and how many receipts at least and at most.
    pub(super) fn forget(
        &mut self,
        events: Timestamp,
        receipts: Timestamp,
    ) -> (usize, usize, usize) {
        let left = &self.events[self.forgotten..];
        let due = left.iter().take_while(|(_, _, at)| *at < events || *at > receipts);
        let last = due.enumerate().filter(|(_, (_, _, at))| *at <= receipts).last();
        let due = last.map_or(0, |(index, _)| index + 1);
        self.forgotten += due;
        let before = self.receipts.len();
        let due_receipt = |receipt: &Receipt| receipt.expires_at <= receipts;
        let most = self.receipts.iter().filter(|(_, receipt)| due_receipt(receipt)).count();
        // An accepted create's receipt may be kept with its order; it is past its time either way.
        self.receipts.retain(|(_, receipt)| {
            let kept = receipt.key.operation == Operation::Create
                && matches!(receipt.decision, Decision::Accepted { .. });
            kept || !due_receipt(receipt)
        });
        (due, before - self.receipts.len(), most)
    }

    /// The ids of a tenant's orders that pass, newest first.
    pub(super) fn list(&self, tenant: &TenantId, filter: &Filter) -> Vec<OrderId> {
        let mut found: Vec<&Order> = self
            .orders
            .iter()
            .map(Known::now)
            .filter(|order| order.tenant == *tenant)
            .filter(|order| filter.state.is_none_or(|state| state == order.state))
            .filter(|order| filter.customer_id.as_ref().is_none_or(|id| *id == order.customer_id))
            .filter(|order| filter.created_after.is_none_or(|after| order.created_at > after))
            .filter(|order| {
                let wanted = filter.external_reference.as_ref();
                wanted.is_none() || wanted == order.external_reference.as_ref()
            })
            .collect();
        found.sort_by_key(|order| std::cmp::Reverse((order.created_at, order.id)));
        found.into_iter().map(|order| order.id).collect()
    }

    /// Positions and changes of the feed in scope, after a position.
    pub(super) fn feed(&self, scope: &Scope, after: usize) -> Vec<(Position, ChangeId)> {
        let positions = (1..).map(Position).zip(&self.events).skip(after.max(self.forgotten));
        positions
            .filter(|(_, (tenant, ..))| match scope {
                Scope::All => true,
                Scope::Tenant(own) => own == tenant,
            })
            .map(|(position, (_, change, _))| (position, *change))
            .collect()
    }
}
