//! What changes touch that are under way in this process, so that no two of them touch the same.
//!
//! Two of one batch would be in each other's way in one statement. One that came after another's batch
//! was sent would only wait for its commit, and mostly be undone, with its own batch. Over processes
//! nobody sees to this but the server.

use std::{
    collections::HashSet,
    sync::{Mutex, MutexGuard, PoisonError},
};

use orders::{
    domain::{ExternalReference, OrderNumber, TenantId},
    ports::{Change, Expects, ReceiptKey},
};
use uuid::Uuid;

use super::{Shared, commit::new_order};

/// Something of which there is one.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Thing {
    /// An order, or a task.
    Row(Uuid),
    Key(ReceiptKey),
    Number(TenantId, OrderNumber),
    Reference(TenantId, ExternalReference),
}

/// What the batches touch that are under way.
#[derive(Debug, Default)]
pub(super) struct Touched(Mutex<HashSet<Thing>>);

impl Touched {
    fn things(&self) -> MutexGuard<'_, HashSet<Thing>> {
        // Nothing here panics half-way, so a poisoned lock still guards a sound set.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What one batch touches, for as long as it holds that.
#[derive(Debug)]
pub(super) struct Hold<'a> {
    shared: &'a Shared,
    things: Vec<Thing>,
}

impl<'a> Hold<'a> {
    /// Of a batch that is still empty.
    pub(super) const fn of_nothing(shared: &'a Shared) -> Self {
        Self { shared, things: Vec::new() }
    }

    /// Adds what a change touches, unless some of it is held already, here or elsewhere.
    pub(super) fn add(&mut self, change: &Change) -> bool {
        let things = things_of(change);
        let mut touched = self.shared.touched.things();
        let are_free = things.iter().all(|thing| !touched.contains(thing));
        if are_free {
            touched.extend(things.iter().cloned());
            self.things.extend(things);
        }
        are_free
    }
}

/// Lets go of it, and has those look who wait for some of it.
impl Drop for Hold<'_> {
    fn drop(&mut self) {
        let mut touched = self.shared.touched.things();
        for thing in &self.things {
            touched.remove(thing);
        }
        drop(touched);
        self.shared.queue.look_again();
    }
}

fn things_of(change: &Change) -> Vec<Thing> {
    let tenant = || change.tenant.clone();
    let tasks = change.plans.iter().map(|task| task.id);
    let tasks = tasks.chain(change.lease.map(|lease| lease.task));
    let mut things: Vec<Thing> = tasks.map(|task| Thing::Row(task.0)).collect();
    things.extend(order_of(change).map(Thing::Row));
    things.extend(change.receipt.as_ref().map(|receipt| Thing::Key(receipt.key.clone())));
    if let Some(write) = new_order(change) {
        things.push(Thing::Number(tenant(), write.order.number));
        let reference = write.order.external_reference.clone();
        things.extend(reference.map(|reference| Thing::Reference(tenant(), reference)));
    }
    things
}

fn order_of(change: &Change) -> Option<Uuid> {
    match change.expects {
        Expects::New => new_order(change).map(|write| write.order.id.0),
        Expects::Version(order, _) => Some(order.0),
        Expects::Task => None,
    }
}
