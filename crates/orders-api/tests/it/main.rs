//! The API over the real core and a world, whose orders are in memory, in SQLite or in PostgreSQL.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "tests fail by panicking"
)]

mod admission;
mod auth;
mod batch;
mod create;
mod document;
mod feed;
mod grpc;
mod isolation;
mod limits;
mod list;
mod money;
mod parity;
mod problems;
mod read;
mod requests;
mod schemas;
mod scopes;
mod shop;
mod tokens;
mod verbs;
mod wait;
mod webhook;
mod who;
