use orders::{
    Error, Refusal,
    domain::{Command, OrderId, State},
    ports::{OrderRef, Page},
    usecase::Verb,
};
use orders_testkit::{
    World,
    builders::{cancel, confirm, context, draft, key, note, version},
};

async fn placed(world: &World) -> OrderId {
    let done = world.orders().create(&context("acme"), draft(), key("placed")).await.unwrap();
    done.record.order.id
}

#[tokio::test]
async fn each_verb_makes_one_version_one_history_row_and_one_event() {
    let world = World::new(1);
    let (orders, cx, id) = (world.orders(), context("acme"), placed(&world).await);
    orders.act(&cx, confirm(id)).await.unwrap();
    orders.act(&cx, note(id, "Ring twice")).await.unwrap();
    let done = orders.act(&cx, cancel(id, "changed my mind")).await.unwrap();
    assert_eq!(done.record.order.state, State::Cancelled);
    assert_eq!(done.record.notes.len(), 1);
    let page = Page { after: None, limit: 100 };
    let history = orders.history(&cx, OrderRef::Id(id), page).await.unwrap();
    let told: Vec<_> = history.iter().map(|entry| (entry.version.get(), entry.command)).collect();
    let commands = [Command::Place, Command::Confirm, Command::AddNote, Command::Cancel];
    assert_eq!(told, (1..).zip(commands).collect::<Vec<_>>());
    assert_eq!(history[3].reason.as_ref().unwrap().as_str(), "changed my mind");
}

#[tokio::test]
async fn a_cancelled_order_stays_cancelled() {
    let world = World::new(1);
    let (orders, cx, id) = (world.orders(), context("acme"), placed(&world).await);
    orders.act(&cx, cancel(id, "why not")).await.unwrap();
    let error = orders.act(&cx, confirm(id)).await.unwrap_err();
    let Error::Refused { refusal, replayed: false } = error else { panic!("{error:?}") };
    let illegal = Refusal::IllegalTransition { state: State::Cancelled, command: Command::Confirm };
    assert_eq!(refusal, illegal);
}

#[tokio::test]
async fn a_hundred_notes_are_enough() {
    let world = World::new(1);
    let (orders, cx, id) = (world.orders(), context("acme"), placed(&world).await);
    for _ in 0..100 {
        orders.act(&cx, note(id, "again")).await.unwrap();
    }
    let error = orders.act(&cx, note(id, "again")).await.unwrap_err();
    assert!(matches!(error, Error::Refused { refusal: Refusal::NotesFull, .. }), "{error:?}");
}

#[tokio::test]
async fn a_stale_version_is_told_the_current_one() {
    let world = World::new(1);
    let (orders, cx, id) = (world.orders(), context("acme"), placed(&world).await);
    orders.act(&cx, note(id, "first")).await.unwrap();
    let stale = Verb { if_match: Some(version(1)), ..confirm(id) };
    let error = orders.act(&cx, stale).await.unwrap_err();
    let Error::VersionMismatch { current } = error else { panic!("{error:?}") };
    assert_eq!(current, version(2));
    let fresh = Verb { if_match: Some(current), ..confirm(id) };
    assert_eq!(orders.act(&cx, fresh).await.unwrap().record.order.version, version(3));
}

#[tokio::test]
async fn another_tenants_order_is_not_found() {
    let world = World::new(1);
    let (orders, id) = (world.orders(), placed(&world).await);
    for verb in [confirm(id), cancel(id, "mine"), note(id, "mine")] {
        let error = orders.act(&context("rival"), verb).await.unwrap_err();
        assert!(matches!(error, Error::NotFound), "{error:?}");
    }
    let untouched = orders.get(&context("acme"), OrderRef::Id(id)).await.unwrap();
    assert_eq!(untouched.order.version, version(1));
}
