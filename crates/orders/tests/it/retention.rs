use jiff::SignedDuration;
use orders::{
    Error,
    domain::Position,
    ports::{Forgotten, Page},
    usecase::Verb,
};
use orders_testkit::{
    World,
    builders::{context, draft, key, note, version},
};

#[tokio::test]
async fn keys_are_forgotten_after_a_week_and_events_after_ninety_days() {
    let world = World::new(1);
    let (orders, cx) = (world.orders(), context("acme"));
    let id = orders.create(&cx, draft(), key("a")).await.unwrap().record.order.id;
    let keyed = || Verb { key: Some(key("note")), ..note(id, "once a week") };
    orders.act(&cx, keyed()).await.unwrap();
    assert_eq!(orders.forget(&cx).await.unwrap(), Forgotten::default());

    world.clock().jump(SignedDuration::from_hours(7 * 24));
    // A request stamped a moment ago may still have to answer by it.
    assert_eq!(orders.forget(&cx).await.unwrap(), Forgotten::default());
    world.clock().jump(SignedDuration::from_hours(1));
    assert_eq!(orders.forget(&cx).await.unwrap(), Forgotten { events: 0, receipts: 1 });
    let again = orders.act(&cx, keyed()).await.unwrap();
    assert_eq!((again.replayed, again.record.order.version), (false, version(3)));

    world.clock().jump(SignedDuration::from_hours(85 * 24));
    assert_eq!(orders.forget(&cx).await.unwrap(), Forgotten { events: 2, receipts: 1 });
    let error = orders.feed(&cx, Page { after: Some(Position(0)), limit: 9 }).await.unwrap_err();
    let Error::CursorTooOld { oldest } = error else { panic!("{error:?}") };
    assert_eq!(oldest, Position(3));
    let error = orders.create(&cx, draft(), key("a")).await.unwrap_err();
    assert!(matches!(error, Error::KeyExpired { order } if order == id), "{error:?}");
}
