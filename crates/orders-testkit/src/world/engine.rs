//! What a world keeps its orders in.

use std::fmt;

use jiff::Timestamp;
use orders::{
    domain::{Entry, Order, OrderId, Position, Record, TenantId, Version},
    ports::{
        Answer, Census, Change, Cursor, Cutoff, Dossier, FeedPage, Filter, Forgotten, Leased,
        OrderRef, Page, ReadError, Receipt, ReceiptKey, Scope, Task, TaskId,
    },
};
use tokio::time::Instant;

/// A store without time, threads or faults, which a world adds to it: the tables in memory, or a real
/// adapter that is called inline. Each call is what [`orders::ports::Store`] says of the port's.
pub trait Engine: Send + fmt::Debug {
    /// See [`commit`](orders::ports::Store::commit).
    fn commit(&mut self, change: Change) -> Answer;
    /// See [`lease`](orders::ports::Store::lease).
    fn lease(&mut self, now: Timestamp, until: Timestamp, limit: usize) -> Vec<Leased>;
    /// See [`forget`](orders::ports::Store::forget).
    fn forget(&mut self, cutoff: Cutoff, limit: usize) -> Forgotten;
    /// See [`order`](orders::ports::Store::order).
    fn order(&mut self, tenant: &TenantId, order: OrderRef) -> Option<Record>;
    /// See [`orders`](orders::ports::Store::orders).
    fn orders(&mut self, ids: &[OrderId]) -> Vec<Order>;
    /// See [`receipt`](orders::ports::Store::receipt).
    fn receipt(&mut self, key: &ReceiptKey, at: Timestamp) -> Option<Receipt>;
    /// See [`list`](orders::ports::Store::list).
    fn list(&mut self, tenant: &TenantId, filter: &Filter, page: Page<Cursor>) -> Vec<Order>;
    /// See [`history`](orders::ports::Store::history).
    fn history(&mut self, tenant: &TenantId, order: OrderId, page: Page<Version>) -> Vec<Entry>;
    /// See [`events`](orders::ports::Store::events).
    ///
    /// # Errors
    /// [`ReadError::CursorTooOld`].
    fn events(&mut self, scope: &Scope, page: Page<Position>) -> Result<FeedPage, ReadError>;
    /// See [`task`](orders::ports::Store::task).
    fn task(&mut self, id: TaskId) -> Option<Task>;
    /// See [`published`](orders::ports::Store::published).
    fn published(&mut self) -> Option<Position>;
    /// See [`mark_published`](orders::ports::Store::mark_published).
    fn mark_published(&mut self, to: Position);
    /// Every task that is owed.
    fn tasks(&mut self) -> Vec<Task>;
    /// The last position given.
    fn head(&mut self) -> Position;
    /// See [`census`](orders::ports::AuditSource::census).
    fn census(&mut self) -> Census;
    /// See [`dossiers`](orders::ports::AuditSource::dossiers).
    fn dossiers(&mut self, page: Page<OrderId>) -> Vec<Dossier>;
    /// The process that used it ends without notice, and a new one opens it.
    fn crash(&mut self);
    /// It is this late. For planted bugs, which do some of their work later.
    fn settle(&mut self, _now: Instant) {}
    /// Whether a planted bug has looked at a change, and will write it as it saw things then.
    fn looks_ahead(&mut self, _change: &Change) -> bool {
        false
    }
}
