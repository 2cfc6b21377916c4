use mainstay_context::Context;
use orders::{
    Error, Refusal,
    domain::{Draft, Money, State, Version},
    ports::{OrderRef, Page},
};
use orders_testkit::{
    World,
    builders::{context, draft, key},
};

#[tokio::test]
async fn a_placed_order_can_be_read_by_id_and_number_and_is_in_the_feed() {
    let world = World::new(1);
    let (orders, cx) = (world.orders(), context("acme"));
    let done = orders.create(&cx, draft(), key("a")).await.unwrap();
    assert!(!done.replayed);
    let order = &done.record.order;
    assert_eq!((order.state, order.version), (State::Pending, Version::FIRST));
    assert_eq!(order.pricing().totals.total, Money::new(399, "EUR".parse().unwrap()));
    for reference in [OrderRef::Id(order.id), OrderRef::Number(order.number)] {
        assert_eq!(orders.get(&cx, reference).await.unwrap(), done.record);
    }
    let page = orders.feed(&cx, Page { after: None, limit: 10 }).await.unwrap();
    let kinds: Vec<&str> = page.events.iter().map(|event| event.kind.as_str()).collect();
    assert_eq!(kinds, ["orders.order.placed.v1"]);
    let page = Page { after: None, limit: 100 };
    let history = orders.history(&cx, OrderRef::Id(order.id), page).await.unwrap();
    assert_eq!(&*history[0].actor, "test");
    assert_eq!(history[0].request_id, *cx.request_id());
}

#[tokio::test]
async fn validating_stores_nothing() {
    let world = World::new(1);
    let (orders, cx) = (world.orders(), context("acme"));
    let placement = orders.validate(&cx, draft()).unwrap();
    assert_eq!(placement.pricing().totals.total.minor, 399);
    let page = orders.feed(&cx, Page { after: None, limit: 10 }).await.unwrap();
    assert_eq!(page.head.0, 0);
}

#[tokio::test]
async fn nobody_places_an_order_without_authentication() {
    let orders = World::new(1).orders();
    let cx = Context::new("anonymous".parse().unwrap());
    let error = orders.create(&cx, draft(), key("a")).await.unwrap_err();
    assert!(matches!(error, Error::Unauthenticated), "{error:?}");
}

#[tokio::test]
async fn a_wrong_expected_total_is_refused_with_the_computed_one() {
    let (orders, cx) = (World::new(1).orders(), context("acme"));
    let expected = Money::new(400, "EUR".parse().unwrap());
    let wrong = Draft { expected_total: Some(expected), ..draft() };
    let error = orders.create(&cx, wrong, key("a")).await.unwrap_err();
    let Error::TotalMismatch { computed, .. } = error else { panic!("{error:?}") };
    assert_eq!(computed.total.minor, 399);
    assert!(!orders.create(&cx, draft(), key("a")).await.unwrap().replayed, "not remembered");
}

#[tokio::test]
async fn a_taken_number_is_drawn_again() {
    let world = World::new(1);
    world.ids().number_space(4);
    let (orders, cx) = (world.orders(), context("acme"));
    for index in 0..3 {
        orders.create(&cx, draft(), key(&format!("key-{index}"))).await.unwrap();
    }
    world.ids().number_space(1);
    let full = orders.create(&cx, draft(), key("first-of-one")).await;
    let full = match full {
        // Number 0 was still free.
        Ok(_) => orders.create(&cx, draft(), key("second-of-one")).await,
        taken => taken,
    };
    assert!(matches!(full, Err(Error::Contended)), "{full:?}");
    world.ids().number_space(1 << 40);
    assert!(!orders.create(&cx, draft(), key("second-of-one")).await.unwrap().replayed);
}

#[tokio::test]
async fn a_taken_reference_names_the_order_that_has_it() {
    let (orders, cx) = (World::new(1).orders(), context("acme"));
    let referring = || Draft { external_reference: Some("r-1".to_owned()), ..draft() };
    let first = orders.create(&cx, referring(), key("first")).await.unwrap().record.order.id;
    for told_before in [false, true] {
        let error = orders.create(&cx, referring(), key("second")).await.unwrap_err();
        let Error::Refused { refusal, replayed } = error else { panic!("{error:?}") };
        assert_eq!(refusal, Refusal::ExternalReferenceTaken { order: first });
        assert_eq!(replayed, told_before);
    }
}
