//! Reading a world's store.

use std::ops::Bound;

use super::{Row, Tables};
use crate::world::bug::Bug;
use orders::{
    domain::{Entry, Order, OrderId, Position, Record, TenantId, Version},
    ports::{
        Census, Cursor, Derived, Dossier, FeedPage, Filter, OrderRef, Page, ReadError, Scope, Told,
    },
};

impl Tables {
    pub(super) fn find(&self, tenant: &TenantId, order: OrderRef) -> Option<Record> {
        let id = match order {
            OrderRef::Id(id) => id,
            OrderRef::Number(number) => *self.numbers.get(&(tenant.clone(), number))?,
        };
        let row = self.rows.get(&id)?;
        let own = row.order.tenant == *tenant || self.has(Bug::OrderReadWithoutTenant);
        own.then(|| record(row))
    }

    pub(super) fn named(&self, ids: &[OrderId]) -> Vec<Order> {
        ids.iter().filter_map(|id| self.rows.get(id)).map(|row| row.order.clone()).collect()
    }

    pub(super) fn listed(
        &self,
        tenant: &TenantId,
        filter: &Filter,
        page: Page<Cursor>,
    ) -> Vec<Order> {
        let everybody = self.has(Bug::ListWithoutTenant);
        let mut orders: Vec<&Order> = Vec::new();
        for (owner, cursors) in &self.by_time {
            if owner != tenant && !everybody {
                continue;
            }
            let end = page.after.map_or(Bound::Unbounded, Bound::Excluded);
            let older = cursors.range((Bound::Unbounded, end)).rev();
            let fitting = older
                .filter_map(|cursor| self.rows.get(&cursor.id))
                .map(|row| &row.order)
                .filter(|order| fits(filter, order));
            orders.extend(fitting.take(page.limit));
        }
        if everybody {
            orders.sort_by_key(|order| std::cmp::Reverse((order.created_at, order.id)));
        }
        orders.into_iter().take(page.limit).cloned().collect()
    }

    pub(super) fn entries(
        &self,
        tenant: &TenantId,
        order: OrderId,
        page: Page<Version>,
    ) -> Vec<Entry> {
        let own = |row: &&Row| row.order.tenant == *tenant;
        let Some(row) = self.rows.get(&order).filter(own) else { return Vec::new() };
        let entries = row.history.iter().map(|(entry, _)| entry);
        let rest = entries.filter(|entry| page.after.is_none_or(|after| entry.version > after));
        rest.take(page.limit).cloned().collect()
    }

    pub(super) fn feed(&self, scope: &Scope, page: Page<Position>) -> Result<FeedPage, ReadError> {
        let oldest = self.oldest;
        let after = page.after.unwrap_or(Position(oldest.0 - 1));
        if after.next() < oldest && !self.has(Bug::OldCursorSkips) {
            return Err(ReadError::CursorTooOld { oldest });
        }
        let everybody = *scope == Scope::All || self.has(Bug::FeedWithoutTenant);
        let skip = usize::try_from(after.0.saturating_sub(oldest.0 - 1)).unwrap_or(usize::MAX);
        let visible = |at: &Position| self.hidden.get(at).is_none_or(|until| *until <= self.now);
        let mut events = Vec::new();
        // A cursor past the head can only come from another feed: go on from the head.
        let mut next = after.min(self.last());
        for event in self.events.iter().skip(skip).filter(|event| visible(&event.position)) {
            if events.len() == page.limit {
                break;
            }
            next = event.position;
            let own = matches!(scope, Scope::Tenant(tenant) if *tenant == event.tenant);
            if own || everybody {
                events.push(event.clone());
            }
        }
        Ok(FeedPage { events, next, head: self.last() })
    }

    pub(super) fn count(&self) -> Census {
        Census {
            orders: self.rows.len() as u64,
            history: self.rows.values().map(|row| row.history.len() as u64).sum(),
            events: self.events.len() as u64,
            receipts: self.receipts.len() as u64,
            notes: self.rows.values().map(|row| row.notes.len() as u64).sum(),
            personal: self.rows.values().filter(|row| row.personal.is_some()).count() as u64,
            tasks: self.tasks.len() as u64,
            oldest: self.oldest,
            head: self.last(),
        }
    }

    pub(super) fn told(&self, page: Page<OrderId>) -> Vec<Dossier> {
        let after = page.after.map_or(Bound::Unbounded, Bound::Excluded);
        let rows = self.rows.range((after, Bound::Unbounded)).take(page.limit);
        let mut dossiers: Vec<Dossier> = rows.map(|(id, row)| self.dossier(*id, row)).collect();
        for receipt in self.receipts.values() {
            if let Ok(at) = dossiers.binary_search_by_key(&receipt.order, |d| d.id) {
                dossiers[at].receipts.push(receipt.clone());
            }
        }
        dossiers
    }

    fn dossier(&self, id: OrderId, row: &Row) -> Dossier {
        let told = |(entry, position): &(Entry, Option<Position>)| Told {
            entry: entry.clone(),
            position: *position,
            event: position.and_then(|at| {
                let at = usize::try_from(at.0.checked_sub(self.oldest.0)?).ok()?;
                self.events.get(at).cloned()
            }),
        };
        Dossier {
            id,
            record: Ok(record(row)),
            derived: Derived {
                total_minor: row.order.pricing().totals.total.minor,
                payment_state: row.order.payment_state().as_str().to_owned(),
            },
            history: row.history.iter().map(told).collect(),
            receipts: Vec::new(),
            tasks: self
                .tasks
                .values()
                .map(|l| &l.task)
                .filter(|t| t.order == id)
                .cloned()
                .collect(),
            unreadable: Vec::new(),
        }
    }
}

fn record(row: &Row) -> Record {
    Record { order: row.order.clone(), personal: row.personal.clone(), notes: row.notes.clone() }
}

fn fits(filter: &Filter, order: &Order) -> bool {
    let Filter { state, payment_state, customer_id, created_after, external_reference } = filter;
    state.is_none_or(|state| order.state == state)
        && payment_state.is_none_or(|state| order.payment_state() == state)
        && customer_id.as_ref().is_none_or(|id| order.customer_id == *id)
        && created_after.is_none_or(|after| order.created_at > after)
        && (external_reference.is_none() || order.external_reference == *external_reference)
}
