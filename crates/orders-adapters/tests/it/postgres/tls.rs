//! Over TLS, with a password: which servers the store trusts, and that it works there as ever.

use std::{fs, sync::OnceLock, time::Duration};

use futures_util::future::join;
use mainstay::{metrics::Metrics, telemetry::error_chain};
use orders::ports::Ports as _;
use orders_adapters::postgres::{Config, Postgres};
use orders_testkit::{
    builders,
    servers::{self, Shutdown},
};
use tempfile::NamedTempFile;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpListener,
};

use super::{
    beside::{Session, sound, until},
    dropped::{behind_a_lock, gone, late, within},
    dropping::{narrow, narrow_process, serves},
};

/// A server that takes the store over TLS and with its password only.
fn server() -> &'static servers::Postgres {
    static SERVER: OnceLock<servers::Postgres> = OnceLock::new();
    SERVER.get_or_init(servers::Postgres::with_tls)
}

/// A new database of that server, for a store that requires TLS and has what it needs for it.
fn database(server: &servers::Postgres) -> Config {
    let url = server.database().replacen("orderly:orderly@", "orderly@", 1);
    let file = |name: &str| Some(server.directory().join(name));
    Config {
        ca_file: file("ca.pem"),
        password_file: file("password"),
        ..Config::at(format!("{url}?sslmode=require"))
    }
}

/// The same database for the superuser, who needs none of that.
fn beside(config: &Config) -> Config {
    let url = config.url.replacen("orderly@", "postgres@", 1);
    Config::at(url.replacen("sslmode=require", "sslmode=disable", 1))
}

/// Why no store can be opened, in all the words that are shown somewhere.
async fn refused(config: &Config) -> String {
    let refused = Postgres::open(config, &Metrics::new("test")).await.unwrap_err();
    format!("{}\n{refused:?}", error_chain(&refused))
}

/// How many connections the store has of which this holds.
async fn connections(watcher: &Session, which: &str) -> i64 {
    let sql = format!(
        "SELECT count(*) FROM pg_stat_activity JOIN pg_stat_ssl USING (pid)
         WHERE datname = current_database() AND usename = 'orderly' AND {which}"
    );
    watcher.number(&sql).await
}

#[tokio::test]
async fn every_connection_of_a_store_that_requires_tls_is_encrypted() {
    let config = narrow(database(server()));
    let orders = narrow_process(&config).await;
    let store = orders.ports().store();
    let lead = store.lead().await.unwrap();
    serves(&orders, "encrypted").await;
    let watcher = Session::open(&beside(&config)).await;
    // To read, to write, to look whether it is there, to be told of events, and to hold the lead.
    until(async || connections(&watcher, "ssl").await == 5).await;
    assert_eq!(connections(&watcher, "NOT ssl").await, 0);
    drop(lead);
    assert_eq!(sound(&config).await, 1);
    store.close().await;
}

#[tokio::test]
async fn a_certificate_that_another_authority_signed_is_refused_and_not_done_without() {
    let made = rcgen::generate_simple_self_signed(["127.0.0.1".to_owned()]).unwrap();
    let other = NamedTempFile::new().unwrap();
    fs::write(other.path(), made.cert.pem()).unwrap();
    let right = database(server());
    for mode in ["require", "prefer"] {
        let url = right.url.replacen("sslmode=require", &format!("sslmode={mode}"), 1);
        let ca_file = Some(other.path().to_owned());
        let told = refused(&Config { url, ca_file, ..right.clone() }).await;
        assert!(told.contains("invalid peer certificate: UnknownIssuer"), "{mode}: {told}");
    }
}

#[tokio::test]
async fn a_certificate_for_another_host_is_refused() {
    let right = database(server());
    let url = right.url.replacen("127.0.0.1", "db.example", 1);
    let told = refused(&Config { url: format!("{url}&hostaddr=127.0.0.1"), ..right }).await;
    assert!(told.contains("certificate not valid for name \"db.example\""), "{told}");
}

#[tokio::test]
async fn a_server_that_wants_tls_says_so_to_a_store_without_it() {
    let right = database(server());
    let url = right.url.replacen("sslmode=require", "sslmode=disable", 1);
    let told = refused(&Config { url, ..right }).await;
    assert!(told.contains("pg_hba.conf rejects connection"), "{told}");
    assert!(told.contains("no encryption"), "{told}");
}

#[tokio::test]
async fn nothing_is_said_to_a_server_that_has_no_tls() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let url = format!("postgres://orderly@{address}/orderly?sslmode=require");
    let server = async {
        let (mut client, _) = listener.accept().await.unwrap();
        let mut wish = [0; 8];
        client.read_exact(&mut wish).await.unwrap();
        client.write_all(b"N").await.unwrap();
        let mut said = Vec::new();
        client.read_to_end(&mut said).await.unwrap();
        said
    };
    let config = Config { url, ..database(self::server()) };
    let (told, said) = join(refused(&config), server).await;
    assert!(told.contains("server does not support TLS"), "{told}");
    assert_eq!(said, b"");
}

#[tokio::test]
async fn a_wrong_or_missing_password_is_told_and_not_shown() {
    let wrong = NamedTempFile::new().unwrap();
    fs::write(wrong.path(), "correct-horse").unwrap();
    let right = database(server());
    for (password_file, why) in [
        (Some(wrong.path().to_owned()), "password authentication failed for user \"orderly\""),
        (None, "password missing"),
    ] {
        let told = refused(&Config { password_file, ..right.clone() }).await;
        assert!(told.contains(why) && !told.contains("correct-horse"), "{told}");
    }
}

#[tokio::test]
async fn a_password_that_is_replaced_in_its_file_is_taken_up_without_a_restart() {
    let server = servers::Postgres::with_tls();
    let file = NamedTempFile::new().unwrap();
    fs::write(file.path(), "orderly\n").unwrap();
    let password_file = Some(file.path().to_owned());
    let config = Config { password_file, ..database(&server) };
    let orders = narrow_process(&config).await;
    let (store, cx) = (orders.ports().store(), builders::context("shop"));
    let create = async |name| orders.create(&cx, builders::draft(), builders::key(name)).await;
    create("before").await.unwrap();
    server.sql("ALTER ROLE orderly PASSWORD 'correct-horse'");
    // Connections that there are do not feel it.
    create("meanwhile").await.unwrap();
    server.sql(
        "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE usename = 'orderly'",
    );
    until(async || !store.is_up()).await;
    let trouble = store.trouble().unwrap();
    let why = "password authentication failed for user \"orderly\"; see postgres.password_file";
    assert!(trouble.contains(why), "{trouble}");
    fs::write(file.path(), "correct-horse\n").unwrap();
    until(async || create("after").await.is_ok()).await;
    drop(store.lead().await.unwrap());
    assert_eq!(sound(&config).await, 3);
    store.close().await;
}

#[tokio::test]
async fn a_dropped_read_is_cancelled_over_tls_and_the_next_one_is_served() {
    let config = narrow(database(server()));
    // Its own time limit is far away.
    behind_a_lock(&config, &beside(&config), within(Duration::from_hours(1)), gone).await;
}

#[tokio::test]
async fn a_read_past_its_deadline_ends_over_tls_and_the_next_one_is_served() {
    let config = narrow(database(server()));
    behind_a_lock(&config, &beside(&config), within(Duration::from_millis(300)), late).await;
}

#[tokio::test]
async fn a_store_over_tls_works_again_once_its_server_does() {
    let server = servers::Postgres::with_tls();
    let config = database(&server);
    let orders = narrow_process(&config).await;
    let (store, cx) = (orders.ports().store(), builders::context("shop"));
    let create = async |name| orders.create(&cx, builders::draft(), builders::key(name)).await;
    create("before").await.unwrap();
    let mut lead = store.lead().await.unwrap();
    server.restart(Shutdown::Immediate);
    lead.lost().await;
    until(async || create("after").await.is_ok()).await;
    drop(store.lead().await.unwrap());
    assert_eq!(sound(&config).await, 2);
    store.close().await;
}
