//! Connections that are lost under a commit.

use orders_testkit::servers;

use super::trials::{Cut, run};

const TRIALS: u32 = 50;

#[tokio::test]
async fn an_order_whose_answer_was_lost_after_commit_is_there_once() {
    let outcome = run(&servers::postgres().database(), Cut::AfterCommit, TRIALS).await;
    assert!(outcome.is_sound(), "{outcome:?}");
    assert_eq!(outcome.resets, u64::from(TRIALS), "each of them was cut: {outcome:?}");
}

#[tokio::test]
async fn an_order_whose_connection_was_lost_anywhere_is_there_once() {
    for cut in [Cut::Anywhere, Cut::InTheAnswer] {
        let outcome = run(&servers::postgres().database(), cut, TRIALS).await;
        assert!(outcome.is_sound(), "{cut:?}: {outcome:?}");
        assert!(outcome.resets >= u64::from(TRIALS) / 5, "{cut:?}: {outcome:?}");
    }
}
