//! A server that goes away under load and comes back, or another in its place.

use std::{sync::Arc, time::Duration};

use orders::ports::Ports as _;
use orders_adapters::postgres::{self, Config};
use orders_testkit::{
    World,
    proxy::{Fault, Proxy, Way},
    servers::{Postgres, Shutdown},
};
use tokio::{task::spawn_blocking, time::Instant};

use super::{
    beside::{sound, until},
    load::{Load, all_there},
    process::process,
};

const WRITERS: usize = 8;

async fn start(settings: &'static [(&str, &str)]) -> Arc<Postgres> {
    Arc::new(spawn_blocking(|| Postgres::private(settings)).await.unwrap())
}

/// Does what blocks to a server.
async fn to<T: Send + 'static>(
    server: &Arc<Postgres>,
    what: impl FnOnce(&Postgres) -> T + Send + 'static,
) -> T {
    let server = Arc::clone(server);
    spawn_blocking(move || what(&server)).await.unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_acknowledged_is_there_once_after_restarts_under_load() {
    let server = start(&[]).await;
    let config = Config::at(to(&server, Postgres::database).await);
    postgres::migrate(&config).await.unwrap();
    let orders = process(&config, &World::new(1)).await;
    let load = Load::start(&orders, WRITERS);
    for how in [Shutdown::Fast, Shutdown::Immediate, Shutdown::Immediate] {
        load.more(100).await;
        to(&server, move |server| server.restart(how)).await;
    }
    load.more(100).await;
    let acknowledged = load.stop().await;
    all_there(&orders, &acknowledged).await;
    assert_eq!(sound(&config).await, acknowledged.len() as u64);
    orders.ports().store().close().await;
}

/// A primary, and the standby that it waits for.
async fn pair() -> [Arc<Postgres>; 2] {
    let primary = start(&[]).await;
    let standby = Arc::new(to(&primary, Postgres::standby).await);
    to(&primary, |primary| primary.set("synchronous_standby_names", "*")).await;
    let state = "SELECT count(*) FROM pg_stat_replication WHERE sync_state = 'sync'";
    until(async || to(&primary, |primary| primary.sql(state)).await == "1").await;
    [primary, standby]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[expect(clippy::print_stdout, reason = "a check reads how long it took")]
async fn what_was_acknowledged_is_there_once_after_a_standby_took_over() {
    let [primary, standby] = pair().await;
    let database = to(&primary, Postgres::database).await;
    let one = format!("127.0.0.1:{}", primary.port());
    let both = format!("{one},127.0.0.1:{}", standby.port());
    let config = Config::at(database.replacen(&one, &both, 1));
    postgres::migrate(&config).await.unwrap();
    let orders = process(&config, &World::new(1)).await;
    let load = Load::start(&orders, WRITERS);
    load.more(200).await;
    to(&primary, |primary| primary.stop(Shutdown::Immediate)).await;
    let stopped = Instant::now();
    to(&standby, Postgres::promote).await;
    let promoted = Instant::now();
    load.more(1).await;
    println!(
        "the first success came {:?} after the promotion, {:?} after the stop",
        promoted.elapsed(),
        stopped.elapsed()
    );
    load.more(100).await;
    let acknowledged = load.stop().await;
    all_there(&orders, &acknowledged).await;
    assert_eq!(sound(&config).await, acknowledged.len() as u64);
    orders.ports().store().close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[expect(clippy::print_stdout, reason = "a check reads how long it took")]
async fn what_was_acknowledged_is_there_once_after_a_primary_fell_silent_and_a_standby_took_over() {
    let [primary, standby] = pair().await;
    let database = to(&primary, Postgres::database).await;
    let one = format!("127.0.0.1:{}", primary.port());
    let proxy = Proxy::start(one.parse().unwrap(), 1);
    let both = format!("{},127.0.0.1:{}", proxy.address(), standby.port());
    // Long, so that nobody gets over it by waiting for an answer that does not come.
    let answer_timeout = Duration::from_hours(1);
    let config = Config { answer_timeout, ..Config::at(database.replacen(&one, &both, 1)) };
    postgres::migrate(&config).await.unwrap();
    let orders = process(&config, &World::new(1)).await;
    let store = orders.ports().store();
    let mut first = store.lead().await.unwrap();
    let load = Load::start(&orders, WRITERS);
    load.more(200).await;
    // It takes connections, and says nothing on those that there are and on new ones.
    proxy.set(Fault::Pause { way: Way::ToServer });
    let silent = Instant::now();
    to(&standby, Postgres::promote).await;
    load.more(1).await;
    println!("the first success came {:?} after the primary fell silent", silent.elapsed());
    load.more(100).await;
    first.lost().await;
    drop(store.lead().await.unwrap());
    let acknowledged = load.stop().await;
    all_there(&orders, &acknowledged).await;
    assert_eq!(sound(&config).await, acknowledged.len() as u64);
    store.close().await;
}
