//! The port contract, on the world.

use orders_testkit::{Bug, World, contract};

#[tokio::test(start_paused = true)]
async fn the_world_keeps_the_port_contract() {
    contract::facts(&async || World::new(1)).await;
    contract::state_machine(&async || World::new(1), 500).await;
}

#[tokio::test(start_paused = true)]
async fn one_call_runs_it_all() {
    contract::run_all(async || World::new(1)).await;
}

#[tokio::test(start_paused = true)]
async fn the_state_machine_has_teeth() {
    for bug in [
        Bug::ReceiptApart,
        Bug::VersionNotCompared,
        Bug::ConflictRemembered,
        Bug::RefusalForgotten,
        Bug::KeyWithoutTenant,
        Bug::KeyWithoutOperation,
        Bug::FingerprintNotCompared,
        Bug::ResubmissionNotRecognised,
        Bug::NumberGivenTwice,
        Bug::ReferenceGivenTwice,
        Bug::OrderReadWithoutTenant,
        Bug::ListWithoutTenant,
        Bug::FeedWithoutTenant,
        Bug::ExpiredKeyMakesSecondOrder,
        Bug::LiveReceiptsForgotten,
    ] {
        let found = contract::counterexample(&async || World::with_bug(1, bug), 500).await;
        assert!(found.is_some(), "{bug:?} escapes");
    }
}
