//! The ports of the order core, implemented on real things.

mod content;
pub mod gateway;
#[cfg(feature = "kafka")]
pub mod kafka;
pub mod sqlite;
mod system;

pub use system::{SystemClock, SystemIds};
