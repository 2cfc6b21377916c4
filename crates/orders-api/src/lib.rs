//! The driving side: orders over HTTP and gRPC.
//!
//! [`http`] is the API as an axum router and as an OpenAPI document made from the same routes;
//! [`grpc`] is the same API by `api/orders/v1/orders.proto`;
//! [`problem`] is the one table of everything that can go wrong; [`auth`] says who asks.
//!
//! A handler parses, calls one use case, and maps its answer. Deliberately absent: rules about
//! orders, a store, rate limits, and the listener the router is served on.

pub mod auth;
pub mod grpc;
pub mod http;
pub mod problem;
