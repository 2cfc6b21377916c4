//! What an audit reads of a store.

use super::{Event, Receipt, Task};
use crate::domain::{Entry, OrderId, Position, Record};

/// How many rows of each kind a store holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Census {
    /// Orders.
    pub orders: u64,
    /// History rows.
    pub history: u64,
    /// Events.
    pub events: u64,
    /// Receipts, those kept with an order included.
    pub receipts: u64,
    /// Notes.
    pub notes: u64,
    /// Rows of personal data.
    pub personal: u64,
    /// Tasks.
    pub tasks: u64,
    /// The oldest position still kept; one past the last when there is none.
    pub oldest: Position,
    /// The last position given.
    pub head: Position,
}

/// All that is kept about one order.
#[derive(Debug)]
pub struct Dossier {
    /// The order.
    pub id: OrderId,
    /// As it is stored; the text says why it cannot be read.
    pub record: Result<Record, String>,
    /// What the store keeps beside the order for its lists, and for readers with other tools.
    pub derived: Derived,
    /// Its history, by version, each with its event.
    pub history: Vec<Told>,
    /// The receipts that name it.
    pub receipts: Vec<Receipt>,
    /// What is owed of it: the tasks of the order, its payments and their attempts.
    pub tasks: Vec<Task>,
    /// Rows of its history, its events, its receipts or its tasks that cannot be read, and why.
    pub unreadable: Vec<String>,
}

/// What follows from an order and is stored all the same.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Derived {
    /// The total, in minor units.
    pub total_minor: i64,
    /// The wire name of the payment state.
    pub payment_state: String,
}

/// A history row and what the feed says of it.
#[derive(Debug)]
pub struct Told {
    /// The history row.
    pub entry: Entry,
    /// Where the feed has it; `None` while it has no position.
    pub position: Option<Position>,
    /// Its event; `None` when the feed has none at that position.
    pub event: Option<Event>,
}
