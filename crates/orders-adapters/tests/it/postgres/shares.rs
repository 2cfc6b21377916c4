//! A rate limit that several processes share.

use std::time::Duration;

use futures_util::future::join;
use mainstay::metrics::Metrics;
use orders::ports::CommitError;
use orders_adapters::postgres::{self, Config, Postgres};
use orders_testkit::{
    builders,
    proxy::{Fault, Way},
    servers,
};

use super::beside::{Session, proxied, until};

/// Long enough that no test outlives a lease by being slow.
const LONG: Duration = Duration::from_mins(10);
const WHOLE: u32 = 1_000_000;

async fn store(config: &Config) -> Postgres {
    Postgres::open(config, &Metrics::new("test")).await.unwrap()
}

/// Two stores on one new database.
async fn two() -> (Postgres, Postgres, Session) {
    let config = Config::at(servers::postgres().database());
    postgres::migrate(&config).await.unwrap();
    (store(&config).await, store(&config).await, Session::open(&config).await)
}

/// What this process gets of the limit `write`, where so much was asked.
async fn leased(
    store: &Postgres,
    process: &str,
    asked: u64,
    lasts: Duration,
) -> Result<u32, CommitError> {
    let cx = builders::context("shop");
    let shares = store.lease_shares(&cx, process, &[("write", asked)], lasts).await?;
    assert_eq!((shares.len(), shares[0].0.as_str()), (1, "write"));
    Ok(shares[0].1)
}

const SUM: &str = "SELECT coalesce(sum(share), 0)::int8 FROM limit_shares WHERE until > now()";

#[tokio::test]
async fn two_processes_share_a_limit_by_what_is_asked_of_them_and_never_have_more_than_it() {
    let (one, other, beside) = two().await;
    let most = i64::from(WHOLE);
    assert_eq!(leased(&one, "one", 100, LONG).await.unwrap(), WHOLE);
    assert_eq!(leased(&other, "other", 100, LONG).await.unwrap(), 0, "there is nothing left");
    // The one gives back what is the other's; then the other can have it.
    for (mine, theirs, first, second) in [
        (100, 100, 500_000, 500_000),
        (300, 100, 500_000, 275_000),
        (300, 100, 725_000, 275_000),
        (0, 0, 50_000, 500_000),
        (0, 0, 500_000, 500_000),
        (0, 50, 500_000, 500_000),
        (0, 50, 50_000, 950_000),
    ] {
        assert_eq!(leased(&one, "one", mine, LONG).await.unwrap(), first, "{mine} {theirs}");
        assert!(beside.number(SUM).await <= most);
        assert_eq!(leased(&other, "other", theirs, LONG).await.unwrap(), second, "{mine} {theirs}");
        assert!(beside.number(SUM).await <= most);
    }
    join(one.close(), other.close()).await;
}

#[tokio::test]
async fn leases_at_the_same_time_are_never_more_than_the_limit() {
    let (one, other, beside) = two().await;
    for round in 0..50 {
        let asked = (round * 37 % 11, round * 17 % 13);
        let (mine, theirs) =
            join(leased(&one, "one", asked.0, LONG), leased(&other, "other", asked.1, LONG)).await;
        assert!(mine.is_ok() && theirs.is_ok());
        assert!(beside.number(SUM).await <= i64::from(WHOLE), "round {round}");
    }
    join(one.close(), other.close()).await;
}

#[tokio::test]
async fn what_a_process_had_that_is_gone_is_the_others_once_its_lease_is_over() {
    let (one, other, beside) = two().await;
    let short = Duration::from_millis(300);
    assert_eq!(leased(&one, "one", 100, short).await.unwrap(), WHOLE);
    one.close().await;
    until(async || leased(&other, "other", 100, LONG).await.unwrap() == WHOLE).await;
    assert_eq!(beside.number("SELECT count(*) FROM limit_shares").await, 1, "it is forgotten");
    other.close().await;
}

#[tokio::test]
async fn a_database_that_is_away_fails_a_lease_and_takes_none_away() {
    let database = servers::postgres().database();
    let (proxy, url) = proxied(&database);
    let direct = Config::at(&*database);
    postgres::migrate(&direct).await.unwrap();
    let config = Config {
        connect_timeout: Duration::from_secs(1),
        answer_timeout: Duration::from_secs(1),
        ..Config::at(url)
    };
    let (one, other) = (store(&config).await, store(&direct).await);
    assert_eq!(leased(&one, "one", 100, LONG).await.unwrap(), WHOLE);
    proxy.set(Fault::Blackhole { way: Way::ToClient });
    until(async || leased(&one, "one", 100, LONG).await.is_err()).await;
    assert_eq!(leased(&other, "other", 100, LONG).await.unwrap(), 0, "it is the one's still");
    proxy.heal();
    until(async || leased(&one, "one", 100, LONG).await.is_ok_and(|share| share == 500_000)).await;
    join(one.close(), other.close()).await;
}
