//! The rules of an order. Pure: no I/O, no clock, no async; time and ids are arguments.

pub mod claiming;
pub mod currency;
pub mod draft;
pub mod fulfilling;
pub mod ids;
pub mod line;
pub mod money;
pub mod number;
pub mod order;
pub mod owing;
pub mod paying;
pub mod payment;
pub mod personal;
pub mod pricing;
pub mod state;
pub mod text;

pub use claiming::Claim;
pub use currency::Currency;
pub use draft::{Draft, DraftLine, MAX_LINES, MAX_METADATA, Placement};
pub use fulfilling::Pieces;
pub use ids::{AttemptId, ChangeId, OrderId, PaymentId, Position, Version};
pub use line::{FulfillmentState, Line, Progress, Quantity, Tax};
pub use money::{Money, UnitPrice};
pub use number::OrderNumber;
pub use order::{Applied, Entry, Note, Order, Record, Snapshot, Stamp};
pub use paying::{Doubt, DrawAttempt, Outcome, Resolution};
pub use payment::{
    Attempt, AttemptState, LineShare, Means, Payment, PaymentOperation, PaymentState,
};
pub use personal::{Address, Personal};
pub use pricing::{Goods, LineAmounts, Pricing, Totals};
pub use state::{Command, State};
pub use text::{
    CustomerId, DeclineCode, ExternalReference, IdempotencyKey, Instrument, InstrumentError,
    NoteText, Reason, Sku, TenantId, TextError,
};
