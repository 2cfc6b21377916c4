//! The layers together, and the failures that were measured on published crates.
#![expect(clippy::unwrap_used, reason = "tests fail by panicking")]

mod admission;
mod conformance;
mod dropping;
mod layers;
mod racing;
mod support;
