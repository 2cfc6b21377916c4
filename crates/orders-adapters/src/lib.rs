//! The ports of the order core, implemented on real things.

mod content;
pub mod gateway;
mod instruments;
#[cfg(feature = "postgres")]
pub mod postgres;
mod queue;
pub mod sqlite;
mod stored;
mod system;

pub use system::{SystemClock, SystemIds};
