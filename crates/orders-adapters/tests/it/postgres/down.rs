//! A database that is away for a while.

use std::{sync::Arc, time::Duration};

use futures_util::future::join_all;
use orders::{
    Error,
    ports::{OrderRef, Ports as _},
};
use orders_adapters::postgres::{self, Config};
use orders_testkit::{
    World, builders,
    proxy::{Fault, Way},
    servers::{self, Postgres, Shutdown},
};
use tokio::{
    task::{JoinSet, spawn_blocking},
    time::{Instant, sleep},
};
use tokio_postgres::NoTls;

use super::{
    beside::{proxied, sound, until},
    process::process,
};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[expect(clippy::print_stdout, reason = "a check reads how long it took")]
async fn a_database_that_is_down_is_told_at_once_and_used_again_when_it_is_back() {
    let server = Arc::new(spawn_blocking(|| Postgres::private(&[])).await.unwrap());
    let made = Arc::clone(&server);
    let config = Config::at(spawn_blocking(move || made.database()).await.unwrap());
    postgres::migrate(&config).await.unwrap();
    let orders = process(&config, &World::new(1)).await;
    let (store, cx) = (orders.ports().store(), builders::context("shop"));
    let placed = orders.create(&cx, builders::draft(), builders::key("before")).await.unwrap();
    let id = OrderRef::Id(placed.record.order.id);

    let stopped = Arc::clone(&server);
    spawn_blocking(move || stopped.stop(Shutdown::Immediate)).await.unwrap();
    // Many at once, of which none waits for ever.
    let create = async |n| {
        let key = builders::key(&format!("while-down-{n}"));
        orders.create(&cx, builders::draft(), key).await
    };
    for answer in join_all((0..100).map(&create)).await {
        let known = matches!(answer, Err(Error::Unavailable(_) | Error::OutcomeUnknown));
        assert!(known, "{answer:?}");
    }
    until(async || !store.is_up()).await;
    assert_eq!(store.queue_depth(), 0);
    let mut slowest = Duration::ZERO;
    for n in 0..100 {
        let began = Instant::now();
        assert!(matches!(create(n).await, Err(Error::Unavailable(_))));
        assert!(matches!(orders.get(&cx, id).await, Err(Error::Unavailable(_))));
        slowest = slowest.max(began.elapsed());
    }
    println!("a change and a read were refused within {slowest:?} while it was down");

    let started = Arc::clone(&server);
    spawn_blocking(move || started.start()).await.unwrap();
    let back = Instant::now();
    until(async || create(0).await.is_ok()).await;
    println!("the first success came {:?} after it was back", back.elapsed());
    orders.get(&cx, id).await.unwrap();
    assert_eq!((store.queue_depth(), sound(&config).await), (0, 2));
    store.close().await;
}

#[tokio::test]
async fn a_database_that_is_silent_for_a_while_is_used_again_by_new_connections() {
    let database = servers::postgres().database();
    let (proxy, url) = proxied(&database);
    let config = Config {
        connect_timeout: Duration::from_secs(1),
        answer_timeout: Duration::from_secs(1),
        ..Config::at(url)
    };
    postgres::migrate(&Config::at(&*database)).await.unwrap();
    let orders = process(&config, &World::new(1)).await;
    let (store, cx) = (orders.ports().store(), builders::context("shop"));
    let create = async |name| orders.create(&cx, builders::draft(), builders::key(name)).await;
    create("before").await.unwrap();
    proxy.set(Fault::Blackhole { way: Way::ToClient });
    let unknown = create("silent").await;
    assert!(matches!(unknown, Err(Error::OutcomeUnknown)), "{unknown:?}");
    until(async || !store.is_up()).await;
    // What the old connections wait for is lost for good.
    proxy.heal();
    until(async || create("silent").await.is_ok()).await;
    assert_eq!(sound(&Config::at(&*database)).await, 2);
    store.close().await;
}

/// Takes every connection that there is room for, and each that becomes free.
async fn occupy(url: String) {
    let mut sessions = JoinSet::new();
    let mut clients = Vec::new();
    loop {
        match tokio_postgres::connect(&url, NoTls).await {
            Ok((client, connection)) => {
                clients.push(client);
                sessions.spawn(async move { drop(connection.await) });
            }
            Err(_) => sleep(Duration::from_millis(1)).await,
        }
    }
}

#[tokio::test]
async fn a_database_with_no_room_for_more_connections_is_not_taken_for_one_that_is_away() {
    let server = spawn_blocking(|| Postgres::private(&[("max_connections", "20")])).await.unwrap();
    // Nobody gives positions meanwhile: that takes a connection too.
    let config = Config { poll: Duration::from_hours(1), ..Config::at(server.database()) };
    postgres::migrate(&config).await.unwrap();
    let orders = process(&config, &World::new(1)).await;
    let (store, cx) = (orders.ports().store(), builders::context("shop"));
    let placed = orders.create(&cx, builders::draft(), builders::key("before")).await.unwrap();
    let id = OrderRef::Id(placed.record.order.id);
    until(async || store.head().0 == 1).await;
    orders.get(&cx, id).await.unwrap();
    let mut others = JoinSet::new();
    others.spawn(occupy(config.url.clone()));
    let full = "SELECT count(*) >= 18 FROM pg_stat_activity WHERE backend_type = 'client backend'";
    until(async || server.sql(full) == "t").await;

    // More than there are connections for.
    let answers = join_all((0..8).map(async |_| orders.get(&cx, id).await)).await;
    assert!(answers.iter().any(|answer| matches!(answer, Err(Error::Unavailable(_)))));
    for _ in 0..50 {
        orders.get(&cx, id).await.unwrap();
        sleep(Duration::from_millis(2)).await;
    }
    orders.create(&cx, builders::draft(), builders::key("after")).await.unwrap();
    assert!(store.is_up());
    others.abort_all();
    store.close().await;
}
