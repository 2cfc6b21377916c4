//! Who carries the feed out of a database.

use futures_util::future::join;
use mainstay::metrics::Metrics;
use orders_adapters::postgres::{self, Config, Lead, OpenError, Postgres};
use orders_testkit::{
    proxy::{Fault, Way},
    servers,
};

use super::{
    beside::{Session, in_the_way, proxied},
    fixture::Fixture,
};

async fn store(config: &Config) -> Postgres {
    Postgres::open(config, &Metrics::new("test")).await.unwrap()
}

/// Those who have the lead of this database.
const HELD: &str = "FROM pg_locks WHERE locktype = 'advisory' AND granted
    AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
    AND (classid::int8 << 32) + objid::int8 = 6072110951139";

#[tokio::test]
async fn one_process_leads_and_another_takes_over_when_its_session_ends() {
    let config = Config::at(servers::postgres().database());
    postgres::migrate(&config).await.unwrap();
    let (one, other) = (store(&config).await, store(&config).await);
    let mut first = one.lead().await.unwrap();
    let beside = Session::open(&config).await;
    assert_eq!(beside.number(&format!("SELECT count(*) {HELD}")).await, 1);
    let ended = async {
        beside.run(&format!("SELECT pg_terminate_backend(pid) {HELD}")).await;
        first.lost().await;
    };
    let (second, ()) = join(other.lead(), ended).await;
    drop(second.unwrap());
    join(one.close(), other.close()).await;
}

#[tokio::test]
async fn a_lead_on_a_connection_that_says_nothing_any_more_is_lost() {
    let database = servers::postgres().database();
    let (proxy, url) = proxied(&database);
    let config = Config::at(url);
    postgres::migrate(&config).await.unwrap();
    let store = store(&config).await;
    let mut lead = store.lead().await.unwrap();
    proxy.set(Fault::Blackhole { way: Way::ToClient });
    lead.lost().await;
    let why = in_the_way(store.lead().await);
    assert!(matches!(why, OpenError::Unreachable { .. }), "{why:?}");
    store.close().await;
}

#[tokio::test]
async fn nobody_leads_through_a_pooler_that_lends_the_connection_to_others() {
    let behind = Fixture::behind_a_pooler();
    postgres::migrate(&behind).await.unwrap();
    let pooled = Config { direct_url: None, ..behind.clone() };
    let store = store(&pooled).await;
    for why in [in_the_way(store.lead().await), in_the_way(Lead::probe(&pooled).await)] {
        assert!(matches!(why, OpenError::Pooled), "{why:?}");
    }
    Lead::probe(&behind).await.unwrap();
    store.close().await;
    // Nothing is left behind that would keep others from it.
    let store = self::store(&behind).await;
    drop(store.lead().await.unwrap());
    store.close().await;
}
