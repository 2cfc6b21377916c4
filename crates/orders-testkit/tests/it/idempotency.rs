//! The idempotency table, on the core over the world.

use jiff::SignedDuration;
use orders_testkit::{
    World,
    idempotency::{CoreDriver, run, table},
};

#[tokio::test]
async fn the_core_over_the_world_keeps_the_idempotency_table() {
    run(async || {
        let world = World::new(1);
        let clock = world.clone();
        CoreDriver::new(world.orders(), move |hours| {
            clock.clock().jump(SignedDuration::from_hours(hours));
        })
    })
    .await;
}

#[test]
fn no_row_is_told_twice() {
    let mut names: Vec<String> = table().into_iter().map(|row| row.name).collect();
    let rows = names.len();
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), rows);
}
