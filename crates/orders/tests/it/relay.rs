//! The relay over the world, and a publisher that can be told to fail.

use std::sync::{
    Mutex,
    atomic::{AtomicBool, Ordering::SeqCst},
};

use jiff::SignedDuration;
use mainstay_context::Context;
use orders::{
    Orders,
    domain::{Order, Position},
    ports::{Event, PublishError, Publisher, Store as _},
    usecase::{Policy, RelayError, relay},
};
use orders_testkit::{
    World,
    builders::{confirm, context, draft, key},
};

/// Keeps what it is given, unless it is away.
#[derive(Default)]
struct Kept {
    is_away: AtomicBool,
    events: Mutex<Vec<Position>>,
    orders: Mutex<Vec<Order>>,
}

impl Publisher for Kept {
    async fn ready(&self, _: &Context) -> Result<(), PublishError> {
        if self.is_away.load(SeqCst) { Err(PublishError("away".into())) } else { Ok(()) }
    }

    async fn publish(
        &self,
        _: &Context,
        events: &[Event],
        orders: &[Order],
    ) -> Result<(), PublishError> {
        if self.is_away.load(SeqCst) {
            return Err(PublishError("away".into()));
        }
        self.events.lock().unwrap().extend(events.iter().map(|event| event.position));
        self.orders.lock().unwrap().extend_from_slice(orders);
        Ok(())
    }
}

/// Places this many orders, each with two events.
async fn place(orders: &Orders<World>, names: &[&str]) {
    let cx = context("acme");
    for name in names {
        let done = orders.create(&cx, draft(), key(name)).await.unwrap();
        orders.act(&cx, confirm(done.record.order.id)).await.unwrap();
    }
}

#[tokio::test]
async fn a_round_publishes_its_events_and_the_orders_they_tell_of_once() {
    let (world, kept) = (World::new(1), Kept::default());
    place(&world.orders(), &["a", "b", "c"]).await;
    let round = relay(&context("relay"), &world, &kept, 4).await.unwrap();
    assert_eq!((round.events, round.published, round.head), (4, Position(4), Position(6)));
    let orders: Vec<u64> =
        kept.orders.lock().unwrap().iter().map(|order| order.version.get()).collect();
    assert_eq!(orders, [2, 2], "each order of the page once, as it is now");
    let rest = relay(&context("relay"), &world, &kept, 4).await.unwrap();
    assert_eq!((rest.events, rest.published, rest.missed), (2, Position(6), 0));
    assert_eq!(*kept.events.lock().unwrap(), [1, 2, 3, 4, 5, 6].map(Position));
}

#[tokio::test]
async fn a_process_that_knows_of_no_relay_forgets_nothing_that_one_has_to_publish() {
    let (world, kept) = (World::new(1), Kept::default());
    let elsewhere = world.orders();
    place(&elsewhere, &["a"]).await;
    let cx = context("retention");
    kept.is_away.store(true, SeqCst);
    let error = relay(&cx, &world, &kept, 9).await.unwrap_err();
    assert!(matches!(error, RelayError::Publish(_)), "{error:?}");
    assert_eq!(world.published(&cx).await.unwrap(), Some(Position(0)));

    world.clock().jump(SignedDuration::from_hours(100 * 24));
    assert_eq!(elsewhere.forget(&cx).await.unwrap().events, 0);
    kept.is_away.store(false, SeqCst);
    assert_eq!(relay(&cx, &world, &kept, 1).await.unwrap().missed, 0);
    assert_eq!(elsewhere.forget(&cx).await.unwrap().events, 1, "what is published goes");

    let for_good = Policy { forgets_unpublished: true, ..Policy::default() };
    assert_eq!(world.orders_with(for_good).forget(&cx).await.unwrap().events, 1);
    assert_eq!(relay(&cx, &world, &kept, 9).await.unwrap().missed, 1, "and the relay tells");
}
