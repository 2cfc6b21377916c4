//! The PostgreSQL store, on a real PostgreSQL: directly, and through PgBouncer in transaction mode.

mod beside;
mod contract;
mod crowded;
mod down;
mod dropped;
mod dropping;
mod faults;
mod feed;
mod fixture;
mod forgetting;
mod hedged;
mod idempotency;
mod lead;
mod load;
mod migrating;
mod opening;
mod poison;
mod process;
mod restart;
mod shares;
mod sim;
mod take_over;
mod tls;
mod trials;
mod twins;
