use std::time::Duration;

use orders::{
    Error,
    domain::{Draft, OrderId, Position, State},
    ports::{Cursor, Filter, OrderRef, Page},
};
use orders_testkit::{
    World,
    builders::{confirm, context, draft, key, note},
};

async fn place(world: &World, tenant: &str, name: &str) -> OrderId {
    let draft = Draft { customer_id: format!("customer-{name}"), ..draft() };
    let done = world.orders().create(&context(tenant), draft, key(name)).await.unwrap();
    done.record.order.id
}

#[tokio::test]
async fn a_list_is_newest_first_and_goes_on_where_it_ended() {
    let world = World::new(1);
    let mut placed = Vec::new();
    for name in ["a", "b", "c"] {
        placed.push(place(&world, "acme", name).await);
        place(&world, "rival", name).await;
        world.clock().jump(jiff::SignedDuration::from_secs(1));
    }
    let (orders, cx) = (world.orders(), context("acme"));
    let all = Filter::default();
    let page = orders.list(&cx, &all, Page { after: None, limit: 2 }).await.unwrap();
    assert_eq!(page.iter().map(|order| order.id).collect::<Vec<_>>(), [placed[2], placed[1]]);
    let after = Some(Cursor { created_at: page[1].created_at, id: page[1].id });
    let page = orders.list(&cx, &all, Page { after, limit: 2 }).await.unwrap();
    assert_eq!(page.iter().map(|order| order.id).collect::<Vec<_>>(), [placed[0]]);
}

#[tokio::test]
async fn a_list_can_be_narrowed() {
    let world = World::new(1);
    let (first, _) = (place(&world, "acme", "a").await, place(&world, "acme", "b").await);
    let (orders, cx) = (world.orders(), context("acme"));
    orders.act(&cx, confirm(first)).await.unwrap();
    for filter in [
        Filter { state: Some(State::Confirmed), ..Filter::default() },
        Filter { customer_id: Some("customer-a".parse().unwrap()), ..Filter::default() },
    ] {
        let page = orders.list(&cx, &filter, Page { after: None, limit: 10 }).await.unwrap();
        assert_eq!(page.iter().map(|order| order.id).collect::<Vec<_>>(), [first]);
    }
}

#[tokio::test]
async fn foreign_orders_have_no_history() {
    let world = World::new(1);
    let id = place(&world, "acme", "a").await;
    let (orders, page) = (world.orders(), Page { after: None, limit: 100 });
    let error = orders.history(&context("rival"), OrderRef::Id(id), page).await.unwrap_err();
    assert!(matches!(error, Error::NotFound), "{error:?}");
}

#[tokio::test]
async fn a_history_goes_on_where_its_page_ended() {
    let world = World::new(1);
    let id = place(&world, "acme", "a").await;
    let (orders, cx) = (world.orders(), context("acme"));
    orders.act(&cx, confirm(id)).await.unwrap();
    orders.act(&cx, note(id, "Ring twice")).await.unwrap();
    let mut after = None;
    for versions in [&[1, 2][..], &[3], &[]] {
        let page = Page { after, limit: 2 };
        let entries = orders.history(&cx, OrderRef::Id(id), page).await.unwrap();
        let told: Vec<u64> = entries.iter().map(|entry| entry.version.get()).collect();
        assert_eq!(told, versions);
        after = entries.last().map(|entry| entry.version).or(after);
    }
}

#[tokio::test(start_paused = true)]
async fn a_watcher_wakes_when_an_order_is_placed() {
    let world = World::new(1);
    let orders = world.orders();
    let minute = Duration::from_mins(1);
    let early = tokio::time::timeout(minute, orders.feed_grows(Position(0))).await;
    assert!(early.is_err(), "there is nothing to wake for");
    let woken = tokio::time::timeout(minute, orders.feed_grows(Position(0)));
    let (woken, _) = tokio::join!(woken, place(&world, "acme", "a"));
    woken.unwrap();
}
