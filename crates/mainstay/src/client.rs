//! Calls to other services, with limits on everything a callee can do to its caller.
//!
//! [`http`] calls over HTTP/1.1 and [`grpc`] over HTTP/2. What is configured, reported and told of a
//! call that has no answer is the same of both.

pub mod grpc;
pub mod http;
pub mod tls;

mod ask;
mod dial;
mod limit;
mod meters;
mod stack;
mod unanswered;
