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
    proxy::{Fault, Proxy, Way},
    servers::{self, Postgres, Shutdown},
};
use tokio::{task::spawn_blocking, time::Instant};

use super::{
    beside::{sound, until},
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
    let target: tokio_postgres::Config = database.parse().unwrap();
    let address = format!("127.0.0.1:{}", target.get_ports()[0]);
    let proxy = Proxy::start(address.parse().unwrap(), 1);
    let url = database.replacen(&address, &proxy.address().to_string(), 1);
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
