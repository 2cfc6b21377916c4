//! The suite that every store passes.

use orders_testkit::contract;

use super::fixture::Fixture;

#[tokio::test]
async fn postgres_holds_to_every_fact() {
    contract::facts(&Fixture::direct).await;
}

#[tokio::test]
async fn postgres_is_the_same_machine_as_the_model() {
    contract::state_machine(&Fixture::direct, 12).await;
}

#[tokio::test]
async fn postgres_behind_a_pooler_holds_to_every_fact() {
    contract::facts(&Fixture::pooled).await;
}

#[tokio::test]
async fn postgres_behind_a_pooler_is_the_same_machine_as_the_model() {
    contract::state_machine(&Fixture::pooled, 12).await;
}
