//! Many changes of one order at once, and who comes after them.

use std::{sync::Arc, time::Duration};

use mainstay_context::Context;
use orders::{
    Error,
    domain::OrderId,
    ports::{Ports as _, Store as _},
    usecase::{Done, Verb},
};
use orders_adapters::postgres::{self, Config};
use orders_testkit::{
    World, builders,
    proxy::{Fault, Way},
    servers,
};
use tokio::{task::JoinSet, time::Instant};

use super::{
    beside::{Session, proxied, sound, until},
    process::{Process, process},
};

/// A process with one writer, and a session beside it.
struct Scene {
    orders: Process,
    config: Config,
    watcher: Session,
}

impl Scene {
    async fn open(lock_timeout: Duration) -> Self {
        let config = Config {
            writers: 1,
            lock_timeout,
            answer_timeout: Duration::from_mins(1),
            ..Config::at(servers::postgres().database())
        };
        postgres::migrate(&config).await.unwrap();
        let orders = process(&config, &World::new(1)).await;
        Self { orders, watcher: Session::open(&config).await, config }
    }

    async fn place(&self, name: &str) -> OrderId {
        let cx = builders::context("shop");
        let placed = self.orders.create(&cx, builders::draft(), builders::key(name)).await;
        placed.unwrap().record.order.id
    }

    /// Whoever holds an order until it is told to roll back.
    async fn hold(&self, order: OrderId) -> Session {
        let holder = Session::open(&self.config).await;
        holder.run(&format!("BEGIN; SELECT FROM orders WHERE id = '{order}' FOR UPDATE")).await;
        holder
    }

    /// Sends changes that are all in the queue before the writer takes any of them: it waits for
    /// another order meanwhile.
    async fn send(&self, changes: Vec<(Context, Verb)>) -> JoinSet<Result<Done, Error>> {
        let decoy = self.place("decoy").await;
        let holder = self.hold(decoy).await;
        let mut sent = self.act(vec![(builders::context("shop"), builders::note(decoy, "Hm"))]);
        self.waits_for_a_row().await;
        let count = changes.len();
        let answers = self.act(changes);
        until(async || self.queued() == count).await;
        holder.run("ROLLBACK").await;
        sent.join_next().await.unwrap().unwrap().unwrap();
        until(async || self.queued() < count).await;
        answers
    }

    fn act(&self, changes: Vec<(Context, Verb)>) -> JoinSet<Result<Done, Error>> {
        let mut tasks = JoinSet::new();
        for (cx, verb) in changes {
            let orders = Arc::clone(&self.orders);
            tasks.spawn(async move { orders.act(&cx, verb).await });
        }
        tasks
    }

    fn queued(&self) -> usize {
        self.orders.ports().store().queue_depth()
    }

    async fn waits_for_a_row(&self) {
        let waits = "SELECT count(*) FROM pg_stat_activity
            WHERE wait_event_type = 'Lock' AND datname = current_database()";
        until(async || self.watcher.number(waits).await == 1).await;
    }

    async fn version(&self, order: OrderId) -> i64 {
        let sql = format!("SELECT version FROM orders WHERE id = '{order}'");
        self.watcher.number(&sql).await
    }
}

#[tokio::test]
async fn a_crowd_at_one_order_does_not_hold_up_the_others() {
    const CROWD: usize = 40;
    let scene = Scene::open(Duration::from_secs(30)).await;
    let hot = scene.place("hot").await;
    let holder = scene.hold(hot).await;
    let notes = (0..CROWD).map(|_| (builders::context("shop"), builders::note(hot, "Again")));
    let crowd = scene.send(notes.collect()).await;
    scene.waits_for_a_row().await;

    let store = scene.orders.ports().store();
    let (before, queued) = (store.counters().batches, scene.queued());
    let orders = Arc::clone(&scene.orders);
    let mut other = JoinSet::new();
    other.spawn(async move {
        let key = builders::key("other");
        orders.create(&builders::context("other"), builders::draft(), key).await
    });
    until(async || scene.queued() > queued).await;
    holder.run("ROLLBACK").await;
    other.join_next().await.unwrap().unwrap().unwrap();
    // The batch that was under way, the one that the other order rode in, and what came since.
    let batches = store.counters().batches - before;
    assert!(batches < 10, "{batches} batches, one for each of the crowd");
    drop(crowd);
    store.close().await;
}

#[tokio::test]
async fn a_wait_is_expected_while_the_writer_is_held_up_and_none_once_it_is_not() {
    let scene = Scene::open(Duration::from_secs(30)).await;
    let hot = scene.place("hot").await;
    let expected = || scene.orders.ports().store().expected_wait(&"other".parse().unwrap());
    assert_eq!(expected(), Duration::ZERO);
    let holder = scene.hold(hot).await;
    let notes = (0..5).map(|_| (builders::context("shop"), builders::note(hot, "Again")));
    let crowd = scene.send(notes.collect()).await;
    scene.waits_for_a_row().await;
    // The longer it has taken, the longer it is expected to take.
    let first = expected();
    until(async || expected() > first + Duration::from_millis(50)).await;
    holder.run("ROLLBACK").await;
    crowd.join_all().await;
    assert_eq!(expected(), Duration::ZERO);
    scene.orders.ports().store().close().await;
}

#[tokio::test]
async fn what_was_never_sent_is_told_as_not_written() {
    let scene = Scene::open(Duration::from_secs(30)).await;
    let hot = scene.place("hot").await;
    let holder = scene.hold(hot).await;
    let deadline = (Instant::now() + Duration::from_secs(10)).into_std();
    let notes = (0..5).map(|_| {
        let cx = builders::context("shop").with_deadline(deadline);
        (cx, builders::note(hot, "In time"))
    });
    let crowd = scene.send(notes.collect()).await;
    let answers = crowd.join_all().await;
    let unknown = |answer: &&Result<_, _>| matches!(answer, Err(Error::OutcomeUnknown));
    let expired = |answer: &&Result<_, _>| matches!(answer, Err(Error::DeadlineExceeded));
    // The first was at the server, and is carried out there.
    assert_eq!(answers.iter().filter(unknown).count(), 1, "{answers:?}");
    assert_eq!(answers.iter().filter(expired).count(), 4, "{answers:?}");
    holder.run("ROLLBACK").await;
    scene.orders.ports().store().close().await;
    assert_eq!(scene.version(hot).await, 2);
}

#[tokio::test]
async fn what_is_over_is_not_tried_again() {
    let scene = Scene::open(Duration::from_secs(3)).await;
    let (held, late) = (scene.place("held").await, scene.place("late").await);
    let holder = scene.hold(held).await;
    let deadline = (Instant::now() + Duration::from_secs(2)).into_std();
    let answers = scene
        .send(vec![
            (builders::context("shop"), builders::confirm(held)),
            (builders::context("shop").with_deadline(deadline), builders::confirm(late)),
        ])
        .await
        .join_all()
        .await;
    assert!(answers.iter().all(Result::is_err), "{answers:?}");
    holder.run("ROLLBACK").await;
    scene.orders.ports().store().close().await;
    assert_eq!((scene.version(held).await, scene.version(late).await), (1, 1));
}

#[tokio::test]
async fn what_is_over_when_the_facts_are_known_is_not_sent() {
    let database = servers::postgres().database();
    let (proxy, url) = proxied(&database);
    let direct = Config::at(database);
    postgres::migrate(&direct).await.unwrap();
    // Nobody finds the database silent meanwhile.
    let config = Config {
        writers: 1,
        connect_timeout: Duration::from_mins(1),
        answer_timeout: Duration::from_mins(1),
        poll: Duration::from_hours(1),
        ..Config::at(url)
    };
    let orders = process(&config, &World::new(1)).await;
    let place = async |cx: Context, name: &str| {
        orders.create(&cx, builders::draft(), builders::key(name)).await
    };
    let cx = || builders::context("shop");
    // The second was decided on before: from then on facts are looked at before a batch is sent.
    for is_again in [false, true] {
        assert_eq!(place(cx(), "first").await.unwrap().replayed, is_again);
    }
    proxy.set(Fault::Pause { way: Way::ToServer });
    let deadline = (Instant::now() + Duration::from_secs(1)).into_std();
    let late = async {
        let answer = place(cx().with_deadline(deadline), "late").await;
        proxy.heal();
        answer
    };
    let (late, patient) = tokio::join!(late, place(cx(), "patient"));
    assert!(matches!(late, Err(Error::OutcomeUnknown)), "a writer had it: {late:?}");
    assert!(!patient.unwrap().replayed);
    orders.ports().store().close().await;
    assert_eq!(sound(&direct).await, 2);
}
