//! The API over the real core and a world, whose orders are in memory or in PostgreSQL.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "tests fail by panicking"
)]

mod auth;
mod batch;
mod create;
mod document;
mod feed;
mod grpc;
mod limits;
mod list;
mod money;
mod problems;
mod read;
mod requests;
mod schemas;
mod shop;
mod verbs;
mod wait;
mod webhook;
