//! The tables as what a world keeps its orders in.

use jiff::Timestamp;
use orders::{
    domain::{Entry, Order, OrderId, Position, Record, TenantId, Version},
    ports::{
        Answer, Census, Change, Cursor, Cutoff, Dossier, FeedPage, Filter, Forgotten, Leased,
        OrderRef, Page, ReadError, Receipt, ReceiptKey, Scope, Task, TaskId,
    },
};
use tokio::time::Instant;

use super::{Tables, Verdict};
use crate::world::{bug::Bug, engine::Engine};

impl Engine for Tables {
    fn commit(&mut self, change: Change) -> Answer {
        let verdict = self.seen.remove(&change.id).unwrap_or_else(|| self.check(&change));
        self.carry_out(verdict, change)
    }

    fn lease(&mut self, now: Timestamp, until: Timestamp, limit: usize) -> Vec<Leased> {
        self.hand_out(now, until, limit)
    }

    fn forget(&mut self, cutoff: Cutoff, limit: usize) -> Forgotten {
        self.forget_old(cutoff, limit)
    }

    fn order(&mut self, tenant: &TenantId, order: OrderRef) -> Option<Record> {
        self.find(tenant, order)
    }

    fn orders(&mut self, ids: &[OrderId]) -> Vec<Order> {
        self.named(ids)
    }

    fn receipt(&mut self, key: &ReceiptKey, at: Timestamp) -> Option<Receipt> {
        let receipt = self.receipts.get(&self.scope(key))?;
        (at < receipt.expires_at).then(|| receipt.clone())
    }

    fn list(&mut self, tenant: &TenantId, filter: &Filter, page: Page<Cursor>) -> Vec<Order> {
        self.listed(tenant, filter, page)
    }

    fn history(&mut self, tenant: &TenantId, order: OrderId, page: Page<Version>) -> Vec<Entry> {
        self.entries(tenant, order, page)
    }

    fn events(&mut self, scope: &Scope, page: Page<Position>) -> Result<FeedPage, ReadError> {
        self.feed(scope, page)
    }

    fn task(&mut self, id: TaskId) -> Option<Task> {
        self.tasks.get(&id).map(|leased| leased.task.clone())
    }

    fn published(&mut self) -> Option<Position> {
        self.published
    }

    fn mark_published(&mut self, to: Position) {
        let (to, back) = (Some(to), self.has(Bug::PublishedTurnedBack));
        self.published = if back { to } else { self.published.max(to) };
    }

    fn tasks(&mut self) -> Vec<Task> {
        self.tasks.values().map(|leased| leased.task.clone()).collect()
    }

    fn head(&mut self) -> Position {
        self.last()
    }

    fn census(&mut self) -> Census {
        self.count()
    }

    fn dossiers(&mut self, page: Page<OrderId>) -> Vec<Dossier> {
        self.told(page)
    }

    fn crash(&mut self) {
        self.later.clear();
        self.seen.clear();
    }

    fn settle(&mut self, now: Instant) {
        self.now = now;
        while let Some(next) = self.later.first_entry().filter(|next| next.key().0 <= now) {
            let step = next.remove();
            self.step(step);
        }
    }

    fn looks_ahead(&mut self, change: &Change) -> bool {
        if !self.has(Bug::CheckThenInsert) {
            return false;
        }
        let verdict = self.check(change);
        let writes = matches!(verdict, Verdict::Write);
        self.seen.insert(change.id, verdict);
        writes
    }
}
