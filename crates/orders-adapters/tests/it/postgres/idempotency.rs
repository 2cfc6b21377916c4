//! The idempotency table, on the core over PostgreSQL.

use super::fixture::Fixture;
use crate::idempotency::hold;

#[tokio::test]
async fn the_core_over_postgres_keeps_the_idempotency_table() {
    hold(&Fixture::direct).await;
}
