//! Who asks, until when, and under which trace: the [`Context`] that travels with every call.
//!
//! A handler receives a context and passes `&cx` to everything it calls, as Go passes `ctx`:
//! deadline, cancellation and principal are part of the contract of a call, never ambient.
//!
//! Deliberately absent: I/O, timers and a runtime. Time is passed in, so deadlines are exact in
//! tests, and waking up *at* a deadline belongs to whoever owns a timer.

mod activity;
mod cancel;
mod context;
mod principal;
mod request_id;
mod trace;

pub use activity::Activity;
pub use cancel::Cause;
pub use context::Context;
pub use principal::Principal;
pub use request_id::{InvalidRequestId, RequestId};
pub use trace::{InvalidTraceParent, TraceContext};
