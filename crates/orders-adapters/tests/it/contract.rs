//! The suite that every store passes.

use orders_testkit::contract;

use crate::fixture::Fixture;

#[tokio::test]
async fn sqlite_holds_to_every_fact() {
    contract::facts(&|| async { Fixture::new() }).await;
}

#[tokio::test]
async fn sqlite_is_the_same_machine_as_the_model() {
    contract::state_machine(&|| async { Fixture::new() }, 24).await;
}
