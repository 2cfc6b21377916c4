//! Calls to other services, with limits on everything a callee can do to its caller.
//!
//! Not here: gRPC.

pub mod http;
pub mod tls;
