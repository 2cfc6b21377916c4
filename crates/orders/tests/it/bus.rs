use std::time::Duration;

use jiff::SignedDuration;
use mainstay_context::Context;
use orders::{
    domain::Position,
    ports::{Event, Store as _},
    usecase::{RelayError, Relayed, relay},
};
use orders_testkit::{
    BusFaults, BusMode, World,
    builders::{confirm, context, draft, key, note},
};
use tokio::time::{Instant, sleep};

/// How many events [`shop`] makes.
const EVENTS: u64 = 6;

/// A world with a bus and two orders, each of three versions.
async fn shop() -> World {
    let world = World::new(1);
    world.start_bus(3);
    let (orders, cx) = (world.orders(), context("acme"));
    for name in ["a", "b"] {
        let id = orders.create(&cx, draft(), key(name)).await.unwrap().record.order.id;
        orders.act(&cx, confirm(id)).await.unwrap();
        orders.act(&cx, note(id, "by the door")).await.unwrap();
    }
    world
}

fn all(world: &World) -> Vec<Event> {
    world.on_the_bus().concat()
}

/// Each event of the feed, in its order, and no other.
async fn feed(world: &World) -> Vec<Event> {
    let page = orders::ports::Page { after: None, limit: 100 };
    world.orders().feed(&context("acme"), page).await.unwrap().events
}

fn soon() -> Context {
    context("acme").with_deadline((Instant::now() + Duration::from_mins(1)).into_std())
}

#[tokio::test]
async fn the_feed_is_published_in_rounds_and_each_event_once() {
    let world = shop().await;
    let producer = world.producer();
    let mut rounds = Vec::new();
    for _ in 0..3 {
        rounds.push(relay(&soon(), &world, &producer, 4).await.unwrap());
    }
    let data: Vec<usize> = feed(&world).await.iter().map(|event| event.data.len()).collect();
    let published = |from: usize, events: usize| Relayed {
        events,
        bytes: data[from..from + events].iter().sum(),
        missed: 0,
        published: Position(u64::try_from(from + events).unwrap()),
        head: Position(EVENTS),
    };
    assert_eq!(rounds, [published(0, 4), published(4, 2), published(6, 0)]);
    let mut kept = all(&world);
    kept.sort_by_key(|event| event.position);
    assert_eq!(kept, feed(&world).await);
    let partitions = world.on_the_bus();
    for event in feed(&world).await {
        let versions: Vec<Vec<u64>> = partitions
            .iter()
            .map(|log| log.iter().filter(|kept| kept.order == event.order))
            .map(|kept| kept.map(|kept| kept.version.get()).collect())
            .filter(|versions: &Vec<u64>| !versions.is_empty())
            .collect();
        assert_eq!(versions, [[1, 2, 3]], "in one partition, in order");
    }
}

#[tokio::test]
async fn an_event_whose_acknowledgement_is_lost_comes_again_as_the_same_message() {
    let world = shop().await;
    let producer = world.producer();
    world.set_bus_faults(BusFaults { lost: 1_000, ..BusFaults::default() });
    let error = relay(&soon(), &world, &producer, 100).await.unwrap_err();
    assert!(matches!(error, RelayError::Publish(_)), "{error:?}");
    let first = all(&world);
    assert!(first.iter().all(|event| event.version.get() == 1), "none goes past it: {first:?}");
    assert_eq!(world.published(&soon()).await.unwrap(), Some(Position(0)));

    world.set_bus_faults(BusFaults::default());
    relay(&soon(), &world, &producer, 100).await.unwrap();
    let kept = all(&world);
    assert_eq!(kept.len() as u64, EVENTS + 2);
    for event in first {
        assert_eq!(kept.iter().filter(|kept| **kept == event).count(), 2);
    }
}

#[tokio::test]
async fn what_a_broken_bus_never_kept_is_not_forgotten() {
    let world = shop().await;
    let orders = world.orders();
    world.set_bus_mode(BusMode::Refusing);
    let producer = world.producer();
    relay(&soon(), &world, &producer, 100).await.unwrap_err();
    world.clock().jump(SignedDuration::from_hours(24 * 365));
    assert_eq!(orders.forget(&soon()).await.unwrap().events, 0);

    world.set_bus_mode(BusMode::Up);
    assert_eq!(relay(&soon(), &world, &producer, 100).await.unwrap().missed, 0);
    assert_eq!(all(&world).len() as u64, EVENTS);
    assert_eq!(orders.forget(&soon()).await.unwrap().events as u64, EVENTS);
}

#[tokio::test(start_paused = true)]
async fn a_silent_bus_holds_a_round_up_to_its_deadline() {
    let world = shop().await;
    world.set_bus_mode(BusMode::Silent);
    let started = Instant::now();
    relay(&soon(), &world, &world.producer(), 100).await.unwrap_err();
    assert!(started.elapsed() >= Duration::from_mins(1));
    assert!(all(&world).is_empty());
}

#[tokio::test(start_paused = true)]
async fn what_comes_late_comes_as_a_repeat_and_never_puts_a_later_event_first() {
    let world = shop().await;
    let late_by = Duration::from_secs(100);
    world.set_bus_faults(BusFaults { late: 1_000, late_by, ..BusFaults::default() });
    relay(&soon(), &world, &world.producer(), 100).await.unwrap_err();
    assert!(all(&world).is_empty(), "nothing has come yet");
    world.set_bus_faults(BusFaults::default());
    // Another process goes on while what the first one sent is still on its way.
    relay(&soon(), &world, &world.producer(), 100).await.unwrap();
    assert_eq!(all(&world).len() as u64, EVENTS);
    sleep(late_by).await;
    let kept = all(&world);
    assert_eq!(kept.len() as u64, EVENTS + 2);
    for event in feed(&world).await {
        let copies = kept.iter().filter(|kept| **kept == event).count();
        assert_eq!(copies, if event.version.get() == 1 { 2 } else { 1 });
    }
}

#[tokio::test]
async fn a_producer_that_failed_for_good_has_kept_some_and_never_keeps_the_rest() {
    let world = shop().await;
    let producer = world.producer();
    world.set_bus_faults(BusFaults { fatal: 1_000, ..BusFaults::default() });
    let mut most = 0;
    for _ in 0..8 {
        relay(&soon(), &world, &producer, 100).await.unwrap_err();
        let kept = all(&world);
        assert!(kept.iter().all(|event| event.version.get() == 1), "{kept:?}");
        most += 2;
    }
    let kept = all(&world).len();
    assert!((1..most).contains(&kept), "{kept} of {most}");
    world.set_bus_faults(BusFaults::default());
    relay(&soon(), &world, &producer, 100).await.unwrap();
    assert_eq!(all(&world).len() as u64, kept as u64 + EVENTS);
}
