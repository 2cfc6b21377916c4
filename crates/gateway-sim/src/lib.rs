//! A payment provider that can be made to fail: the gateway contract (`api/gateway.yaml`) over a
//! durable ledger, with scripted faults.
//!
//! Guarantees, whatever faults are in force: an effect and its key are one commit, so that a key
//! takes effect exactly once inside its window, over crashes too; the sums of a payment hold; the
//! ledger tells what really happened, and after a test it is the judge. Faults change what callers
//! are told and when, and the one that shortens a key's window says so by its name.
//!
//! As a program it is `gateway-sim serve`. In a test it runs in the process:
//!
//! ```no_run
//! # async fn test() -> Result<(), Box<dyn std::error::Error>> {
//! use gateway_sim::{Config, Fault, Sim};
//!
//! let mut config = Config::default();
//! config.http.listen = ([127, 0, 0, 1], 0).into();
//! config.ledger.path = "gateway-sim.db".into();
//! let sim = Sim::start(config).await?;
//! sim.faults().next(Fault::AnswerLost, 1);
//! // ... let the service pay through sim.url() ...
//! for payment in sim.ledger().all()? {
//!     assert!(payment.successful.authorization <= 1, "charged twice: {payment:?}");
//! }
//! sim.stop().await;
//! # Ok(())
//! # }
//! ```
//!
//! Deliberately absent: money that moves, disputes, settlement, and anything about orders.

mod config;
pub mod faults;
mod gateway;
mod http;
mod instrument;
pub mod ledger;
pub mod operation;
mod random;
mod rules;
mod sim;
pub mod webhooks;

pub use self::{
    config::{Config, DEVELOPMENT_SECRET, Http},
    faults::{Fault, Faults},
    gateway::Gateway,
    http::CONTRACT,
    ledger::Ledger,
    sim::{Sim, StartError},
};
