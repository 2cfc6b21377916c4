//! The driving side: orders over HTTP and gRPC.
//!
//! [`http`] is the API as an axum router and as an OpenAPI document made from the same routes;
//! [`grpc`] is the same API by `api/orders/v1/orders.proto`;
//! [`problem`] is the one table of everything that can go wrong; [`auth`] says who asks, [`limits`] how
//! much.
//!
//! Both protocols only read what is asked and write what is answered. What stands between is theirs
//! together: `change`, `placing`, `listing` and `history` judge what is asked and call one use case,
//! `items` reads a body that has many of them, `batch` places many orders, `live` follows the feed, `wait`
//! holds an answer back, `wire` has the types of JSON, `gate` is what every request passes, `admission`
//! says which are refused under load.
//!
//! Deliberately absent: rules about orders, a store, and the listener the router is
//! served on.

pub mod auth;
pub mod grpc;
pub mod http;
pub mod limits;
pub mod problem;

mod admission;
mod api;
mod batch;
mod body;
mod change;
mod gate;
mod history;
mod items;
mod listing;
mod live;
mod placing;
mod wait;
mod wire;
