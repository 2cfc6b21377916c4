//! Events to and from Apache Kafka.
//!
//! Out goes [`KafkaPublisher`], a [`Publisher`](orders::ports::Publisher); in comes a [`Consumer`] with
//! a [`Handler`], such as [`Shipments`]. Both keep the order of the records of one key, and park a key
//! of which one record cannot be carried out: that record and all later ones of its key go, in order, to
//! the dead letter topic `<topic>.dlq`, and other keys flow. [`dlq`] lists what is there, hands it out
//! again, or drops it.
//!
//! The topics belong to one store, by a claim in each dead letter topic: another store that finds it
//! neither publishes nor takes anything.
//!
//! Every event is delivered at least once, and one that comes twice is recognised by its id. The topic of
//! orders as they are now is written in transactions, so that nothing late can come last there.
//! Deliberately absent: transactions for anything else.

mod client;
mod config;
mod consumer;
mod delivery;
pub mod dlq;
mod fold;
mod instruments;
mod publisher;
mod retention;
mod shipments;
mod sink;
mod states;
mod topics;

pub use self::{
    config::{Config, Inbound, Mechanism, Security, SetupError},
    consumer::Consumer,
    delivery::{Delivery, Handler, Verdict},
    publisher::{KafkaPublisher, Republisher},
    retention::{Misfit, misfits},
    shipments::Shipments,
    topics::{CreateError, WeakTopic, create_topics, missing_topics, weak_topics},
};
