//! The canonical encodings of commands, events and decisions.
//!
//! What is written here is read for years: fingerprints are compared across versions and
//! protocols, events are consumed by others. Change an encoding only under a new name.

mod cloud_event;
mod decision;
mod event;
mod fingerprint;
mod shipment;
mod state;

pub use cloud_event::{CloudEvent, Malformed, attributes};
pub use decision::{DecodeError, decode, encode};
pub use event::{EventFacts, event_data, event_facts};
pub use fingerprint::{VerbFields, batch_item_key, create_fingerprint, verb_fingerprint};
pub use shipment::{SHIPPED, Shipment, consumed_event_key, shipment};
pub use state::{STATE, order_state};
