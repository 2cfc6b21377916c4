use orders::{
    Error,
    ports::{NotWritten, OrderRef, Page},
    usecase::Verb,
};
use orders_testkit::{
    Fault, World,
    builders::{confirm, context, draft, key, note, version},
};

async fn events(world: &World) -> usize {
    let page = Page { after: None, limit: 100 };
    world.orders().feed(&context("acme"), page).await.unwrap().events.len()
}

#[tokio::test]
async fn a_lost_answer_is_asked_for_and_nothing_is_done_twice() {
    let world = World::new(1);
    let (orders, cx) = (world.orders(), context("acme"));
    world.fail_next(Fault::ReplyLost);
    let done = orders.create(&cx, draft(), key("a")).await.unwrap();
    assert!(!done.replayed, "it was this request that made it");
    let id = done.record.order.id;
    world.fail_next(Fault::ReplyLost);
    world.fail_next(Fault::RequestLost);
    let noted = orders.act(&cx, note(id, "once")).await.unwrap();
    assert_eq!(noted.record.order.version, version(2));
    assert_eq!(events(&world).await, 2);
}

#[tokio::test]
async fn an_outcome_that_stays_unknown_is_never_guessed() {
    let world = World::new(1);
    let (orders, cx) = (world.orders(), context("acme"));
    world.fail_next(Fault::ReplyLost);
    for _ in 0..3 {
        // Each of these surely wrote nothing; the first one did.
        world.fail_next(Fault::Unavailable);
    }
    let error = orders.create(&cx, draft(), key("a")).await.unwrap_err();
    assert!(matches!(error, Error::OutcomeUnknown), "{error:?}");
    let retry = orders.create(&cx, draft(), key("a")).await.unwrap();
    assert!(retry.replayed);
    assert_eq!(events(&world).await, 1);
}

#[tokio::test]
async fn what_was_not_written_is_told_as_such_and_leaves_nothing() {
    let world = World::new(1);
    let (orders, cx) = (world.orders(), context("acme"));
    for (fault, reason) in [(Fault::Busy, NotWritten::Busy), (Fault::Full, NotWritten::Full)] {
        world.fail_next(fault);
        let error = orders.create(&cx, draft(), key("a")).await.unwrap_err();
        assert!(matches!(error, Error::NotWritten(told) if told == reason), "{error:?}");
    }
    world.fail_next(Fault::Unavailable);
    let error = orders.create(&cx, draft(), key("a")).await.unwrap_err();
    assert!(matches!(error, Error::Unavailable(_)), "{error:?}");
    assert_eq!(events(&world).await, 0);
    assert!(!orders.create(&cx, draft(), key("a")).await.unwrap().replayed);
}

#[tokio::test(start_paused = true)]
async fn a_change_that_lands_after_its_connection_was_lost_is_done_once() {
    let world = World::new(1);
    let (orders, cx) = (world.orders(), context("acme"));
    let id = orders.create(&cx, draft(), key("a")).await.unwrap().record.order.id;
    let late = std::time::Duration::from_millis(50);
    world.fail_next(Fault::Late(late));
    let keyed = || Verb { key: Some(key("confirm")), ..confirm(id) };
    let done = orders.act(&cx, keyed()).await.unwrap();
    assert_eq!(done.record.order.version, version(2));
    tokio::time::sleep(late * 2).await;
    assert_eq!(events(&world).await, 2);
    assert!(orders.act(&cx, keyed()).await.unwrap().replayed);
}

#[tokio::test]
async fn a_read_outage_is_told_and_passes() {
    let world = World::new(1);
    let (orders, cx) = (world.orders(), context("acme"));
    let id = orders.create(&cx, draft(), key("a")).await.unwrap().record.order.id;
    world.fail_next(Fault::ReadUnavailable);
    let error = orders.get(&cx, OrderRef::Id(id)).await.unwrap_err();
    assert!(matches!(error, Error::Unavailable(_)), "{error:?}");
    world.fail_next(Fault::ReadBusy);
    let error = orders.get(&cx, OrderRef::Id(id)).await.unwrap_err();
    assert!(matches!(error, Error::NotWritten(NotWritten::Busy)), "{error:?}");
    orders.get(&cx, OrderRef::Id(id)).await.unwrap();
}
