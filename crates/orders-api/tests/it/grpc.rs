//! The gRPC API, over a connection in memory that speaks HTTP/2 as any other; and its client, over the
//! chassis's own server and a network that fails.

mod admission;
pub(crate) mod caller;
mod calls;
mod client;
mod contract;
mod every_call;
mod flaws;
mod health;
mod hostile;
mod limits;
mod reflection;
mod refusals;
pub(crate) mod rows;
mod seats;
mod streams;
mod twins;
