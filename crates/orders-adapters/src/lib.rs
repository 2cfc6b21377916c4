//! The ports of the order core, implemented on real things.

mod any;
mod checks;
mod content;
pub mod gateway;
mod instruments;
#[cfg(feature = "kafka")]
pub mod kafka;
mod pace;
#[cfg(feature = "postgres")]
pub mod postgres;
mod queue;
pub mod settings;
pub mod sqlite;
mod stored;
mod system;

pub use any::{AnyLead, AnySnapshot, AnyStore};
pub use instruments::{Counters, ReadCounters};
pub use system::{SystemClock, SystemIds};
