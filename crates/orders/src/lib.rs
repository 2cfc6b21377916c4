//! Orders and their rules, the use cases over them, and the ports they need.
//!
//! Deliberately absent: a runtime, a clock, random numbers, a database driver, HTTP. Time and ids
//! come in through [`ports`], so that the whole core runs under a simulator from one seed.

#![cfg_attr(
    not(test),
    warn(
        clippy::arithmetic_side_effects,
        clippy::as_conversions,
        clippy::float_arithmetic,
        clippy::indexing_slicing
    )
)]

pub mod audit;
pub mod codec;
pub mod domain;
mod error;
mod names;
pub mod ports;
pub mod usecase;

pub use error::{Error, Refusal, Violation};
pub use usecase::Orders;
