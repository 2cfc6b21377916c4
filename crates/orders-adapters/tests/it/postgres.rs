//! The PostgreSQL store, on a real PostgreSQL: directly, and through PgBouncer in transaction mode.

mod contract;
mod fixture;
mod idempotency;
mod sim;
