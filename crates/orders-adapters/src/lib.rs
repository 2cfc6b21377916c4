//! The ports of the order core, implemented on real things.

mod content;
pub mod gateway;
pub mod sqlite;
mod system;

pub use system::{SystemClock, SystemIds};
