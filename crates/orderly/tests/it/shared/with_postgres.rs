//! On a real PostgreSQL, a database for each test.

use gateway_sim::Fault;
use orders_testkit::servers::{self, Postgres};
use serde_json::{Value, json};

use super::refused;
use crate::{
    metrics,
    pay::{authorizations, pay, placed, reaches, shop},
    support::{Home, Process, Service, get, order, until},
};

/// The URL of an empty database of this server; its password is in the home.
fn database(home: &Home, server: &Postgres) -> String {
    let url = server.database();
    let (scheme, rest) = url.split_once("://").unwrap();
    let (user, at) = rest.split_once('@').unwrap();
    let (user, password) = user.split_once(':').unwrap();
    std::fs::write(home.path("postgres-password"), password).unwrap();
    format!("{scheme}://{user}@{at}")
}

/// A home whose store is the database there.
fn on_database(home: Home, url: &str) -> Home {
    home.set(&format!("postgres.url={url}")).set("postgres.password_file=postgres-password")
}

/// A home whose store is an empty database.
fn on_postgres(home: Home) -> Home {
    let url = database(&home, servers::postgres());
    on_database(home, &url)
}

/// The same with its tables made.
async fn migrated(home: Home) -> Home {
    let home = on_postgres(home);
    migrate(&home, "the tables are ready").await;
    home
}

async fn migrate(home: &Home, told: &str) {
    let ran = home.run(&["migrate"]).await;
    assert_eq!((ran.code, ran.out.lines().last()), (Some(0), Some(told)), "{ran:?}");
}

/// A process that serves no clients, once it works.
async fn work(home: &Home, roles: &str) -> Process {
    let arguments = ["serve", "--roles", roles, "--admin-listen", "127.0.0.1:0"];
    let mut process = Process::start(home.orderly(&arguments));
    let admin = until("the process says where it is", async || {
        assert!(!process.has_ended(), "it ended: {}", process.log());
        let banner = process.printed();
        let (_, rest) = banner.split_once("health   http://")?;
        Some(rest.split_once('/')?.0.parse().unwrap())
    })
    .await;
    until("it is ready", async || (get(admin, "/readyz").await.status == 200).then_some(())).await;
    process
}

async fn stop(process: Process) {
    process.signal("-TERM");
    let ran = process.end().await;
    assert_eq!(ran.code, Some(0), "{ran:?}");
}

#[tokio::test]
async fn an_order_that_is_paid_across_kill_9_is_there_once_and_charged_once() {
    let (sim, home) = shop().await;
    let home = migrated(home).await;
    let service = home.serve().await;
    let client = service.client();
    let id = placed(&client, "shared").await;
    sim.faults().next(Fault::AnswerLost, 1);
    pay(&client, &id, "shared", "tok_ok").await;
    service.kill9().await;
    let service = home.serve().await;
    let client = service.client();
    assert_eq!(reaches(&client, &id, "AUTHORIZED").await["state"], "CONFIRMED");
    let again = client.create("shared-place-0000000").await;
    assert_eq!((again.placed(), again.header("idempotent-replayed")), (id.clone(), "true"));
    assert_eq!(client.all_orders().await, [id]);
    assert_eq!(authorizations(&sim), [1]);
    metrics::are_documented(&service).await;
    service.stop().await;
    assert_eq!(home.sound().await["orders"], 1);
    assert!(!home.store().exists(), "the embedded store is not used");
    sim.stop().await;
}

#[tokio::test]
async fn what_one_process_takes_another_settles() {
    let (sim, home) = shop().await;
    let home = migrated(home).await;
    let service = home.clone().set("roles=api").serve().await;
    let client = service.client();
    let id = placed(&client, "roles").await;
    pay(&client, &id, "roles", "tok_ok").await;
    assert_eq!(authorizations(&sim), [0; 0], "there is no worker yet");
    let worker = work(&home, "worker,relay").await;
    assert!(worker.printed().contains(" works as relay,worker\n"), "{}", worker.printed());
    reaches(&client, &id, "AUTHORIZED").await;
    // The feed of the one process has what the other one did.
    let feed = client.get("/v1/events").await.json();
    let version = client.get(&format!("/v1/orders/{id}")).await.json()["version"].clone();
    assert_eq!(json!(feed["events"].as_array().unwrap().len()), version, "{feed}");
    assert_eq!(authorizations(&sim), [1]);
    stop(worker).await;
    service.stop().await;
    home.sound().await;
    sim.stop().await;
}

#[tokio::test]
async fn two_processes_that_do_everything_share_one_database() {
    let home = migrated(Home::new()).await;
    let (one, other) = (home.serve().await, home.serve().await);
    let id = placed(&one.client(), "both").await;
    let again = other.client().create("both-place-0000000").await;
    assert_eq!((again.placed(), again.header("idempotent-replayed")), (id.clone(), "true"));
    let confirmed = other.client().verb(&id, "confirm", "both-confirm-00000", &json!({})).await;
    assert_eq!(confirmed.status, 200, "{}", confirmed.text());
    let read = one.client().get(&format!("/v1/orders/{id}")).await.json();
    assert_eq!((&read["state"], &read["version"]), (&json!("CONFIRMED"), &json!(2)));
    one.stop().await;
    other.stop().await;
    assert_eq!(home.sound().await["orders"], 1);
}

#[tokio::test]
async fn two_processes_share_a_limit_and_one_that_is_left_has_all_of_it() {
    let home = migrated(Home::new().set("limits.principal.write.per_second=1000")).await;
    let (one, other) = (home.serve().await, home.serve().await);
    let share = async |service: &Service| {
        get(service.admin, "/status").await.json()["limits"]["write"]["share"].clone()
    };
    until("each has a half", async || {
        let shares = (share(&one).await, share(&other).await);
        (shares == (json!(0.5), json!(0.5))).then_some(())
    })
    .await;
    metrics::are_documented(&one).await;
    other.kill9().await;
    until("the one has all of it", async || (share(&one).await == json!(1.0)).then_some(())).await;
    one.stop().await;
}

#[tokio::test]
async fn an_order_is_taken_over_tls_with_a_password() {
    let server = Postgres::with_tls();
    let home = Home::new();
    let url = format!("{}?sslmode=require", database(&home, &server));
    let authority = server.directory().join("ca.pem");
    let home = on_database(home, &url).set(&format!("postgres.ca_file={}", authority.display()));
    migrate(&home, "the tables are ready").await;
    let service = home.serve().await;
    let id = placed(&service.client(), "encrypted").await;
    assert_eq!(service.client().all_orders().await, [id]);
    service.stop().await;
    assert_eq!(home.sound().await["orders"], 1);
    std::fs::write(home.path("postgres-password"), "correct-horse").unwrap();
    let ran = home.run(&["audit"]).await;
    refused(&ran, "password authentication failed for user \"orderly\"");
    assert!(!ran.err.contains("correct-horse"), "{}", ran.err);
}

#[tokio::test]
async fn a_database_without_tables_is_told_how_to_get_them() {
    let home = on_postgres(Home::new());
    std::fs::write(home.path("empty"), "").unwrap();
    std::fs::write(home.path("list.csv"), LIST).unwrap();
    let free = ["serve", "--listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0"];
    for command in [
        &free[..],
        &["audit"],
        &["reconcile", "list.csv"],
        &["import", "empty", "--tenant", "acme"],
    ] {
        refused(&home.run(command).await, "no tables of orderly; run `orderly migrate` first");
    }
    migrate(&home, "the tables are ready").await;
    migrate(&home, "there was nothing to do").await;
    home.serve().await.stop().await;
}

const CHECK: [&str; 7] =
    ["config", "check", "--listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0", "--connect"];

#[tokio::test]
async fn a_check_that_connects_tells_what_a_start_would() {
    let home = on_postgres(Home::new());
    let (without, _) = CHECK.split_at(6);
    let ran = home.run(without).await;
    assert_eq!(ran.code, Some(0), "nobody was asked: {ran:?}");
    let ran = home.run(&CHECK).await;
    refused(&ran, "postgres.url (flag postgres.url): cannot use the database ");
    refused(&ran, " as orderly (postgres.url): it has no tables of orderly; run `orderly migrate`");
    migrate(&home, "the tables are ready").await;
    let ran = home.run(&CHECK).await;
    assert_eq!(ran.code, Some(0), "{ran:?}");
}

#[cfg(feature = "kafka")]
#[tokio::test]
async fn every_server_that_cannot_be_used_is_told_at_once() {
    let home = Home::new()
        .set("postgres.url=postgres://orderly@127.0.0.1:1/orderly")
        .set("kafka.brokers=[\"127.0.0.1:1\"]")
        .set("kafka.request_timeout=1s");
    let ran = home.run(&CHECK).await;
    let place = "127.0.0.1:1/orderly as orderly (postgres.url)";
    refused(&ran, &format!("postgres.url (flag postgres.url): cannot use the database {place}: "));
    refused(&ran, "kafka.brokers (flag kafka.brokers): no broker can be used: ");
}

#[tokio::test]
async fn a_setting_that_could_lose_orders_is_on_the_status_page_while_it_lasts() {
    let server = Postgres::private(&[]);
    let home = Home::new();
    let url = database(&home, &server);
    let home = on_database(home, &url);
    migrate(&home, "the tables are ready").await;
    let service = home.serve().await;
    let client = service.client();
    placed(&client, "before").await;
    let store = async || get(service.admin, "/status").await.json()["store"].clone();
    server.set("fsync", "off");
    let told = until("it is told", async || {
        let store = store().await;
        (store["is_up"] == false).then(|| store["last_error"].to_string())
    })
    .await;
    assert!(told.contains("it has fsync = off, and acknowledged orders could be lost"), "{told}");
    assert_eq!(client.create("refused-place-0000000").await.status, 503);
    server.set("fsync", "on");
    until("it is used again", async || (store().await["is_up"] == true).then_some(())).await;
    assert_eq!(store().await["last_error"], Value::Null);
    placed(&client, "after").await;
    service.stop().await;
}

/// A settlement list with nothing in it.
const LIST: &str = "reference,payment,operation,amount_minor,currency,at\n";

#[tokio::test]
async fn a_database_that_is_not_there_is_told() {
    let home = Home::new().set("postgres.url=postgres://orderly@127.0.0.1:1/orderly");
    for command in [&["audit"][..], &["migrate"]] {
        let ran = home.run(command).await;
        refused(&ran, "cannot use the database 127.0.0.1:1/orderly as orderly (postgres.url)\n");
        refused(&ran, "because: Connection refused (os error 111); see the host and the port");
    }
}

#[tokio::test]
async fn what_is_imported_is_audited_and_served() {
    let home = migrated(Home::new()).await;
    let line = |number: u32| {
        let key = format!("line-{number:016}");
        json!({ "idempotency_key": key, "order": order() }).to_string()
    };
    let lines = [line(1), line(2), line(1)].join("\n");
    std::fs::write(home.path("orders.ndjson"), lines).unwrap();
    let empty = home.run(&["audit"]).await;
    assert!(empty.out.contains("\nempty: "), "{empty:?}");
    let service = home.serve().await;
    // Beside the running service, which the embedded store would not allow.
    let ran = home.run(&["import", "orders.ndjson", "--tenant", "dev"]).await;
    assert_eq!(ran.code, Some(0), "{ran:?}");
    assert!(ran.out.contains("2 accepted, 1 replayed (accepted before)"), "{ran:?}");
    assert!(ran.out.starts_with("store postgres://"), "{ran:?}");
    let report = home.sound().await;
    assert_eq!((&report["orders"], &report["events"]), (&json!(2), &json!(2)));
    service.stop().await;
}

#[tokio::test]
async fn a_provider_s_list_is_compared_with_the_shared_store() {
    let (sim, home) = shop().await;
    let home = migrated(home).await;
    let service = home.serve().await;
    let client = service.client();
    let id = placed(&client, "listed").await;
    pay(&client, &id, "listed", "tok_ok").await;
    reaches(&client, &id, "AUTHORIZED").await;
    let list = get(sim.address(), "/ledger.csv").await;
    for (text, code, matched) in [(&*list.text(), 0, 1), (LIST, 1, 0)] {
        std::fs::write(home.path("list.csv"), text).unwrap();
        let ran = home.run(&["reconcile", "list.csv", "--json"]).await;
        assert_eq!(ran.code, Some(code), "{ran:?}");
        let report: Value = serde_json::from_str(&ran.out).unwrap();
        assert_eq!(report["matched"], matched, "{report}");
    }
    service.stop().await;
    sim.stop().await;
}

#[tokio::test]
async fn a_grown_embedded_store_is_moved_and_not_served_from_any_more() {
    let file = Home::new();
    let service = file.serve().await;
    let id = placed(&service.client(), "moved").await;
    let confirmed = service.client().verb(&id, "confirm", "moved-confirm-0000", &json!({})).await;
    assert_eq!(confirmed.status, 200, "{}", confirmed.text());
    service.stop().await;

    let url = database(&file, servers::postgres());
    let shared = on_database(file.clone(), &url);
    let from = format!("sqlite://{}", file.store().display());
    let arguments = ["move", "--from", &from, "--to", &url];
    let without_tables = shared.run(&arguments).await;
    assert_ne!(without_tables.code, Some(0), "{without_tables:?}");
    let told = "no tables of orderly; run `orderly migrate` first";
    assert!(without_tables.err.contains(told), "{without_tables:?}");
    // Nothing was taken over, so the file still serves.
    file.serve().await.stop().await;

    migrate(&shared, "the tables are ready").await;
    let moved = shared.run(&arguments).await;
    assert_eq!(moved.code, Some(0), "{moved:?}");
    assert!(moved.out.contains("taken over: 1 order, 2 history rows, 2 events, "), "{moved:?}");
    let free = ["serve", "--listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0"];
    for command in [&free[..], &["config", "check"]] {
        let told = format!("was taken over by {url}: serve from there, with postgres.url");
        refused(&file.run(command).await, &told);
    }
    let service = shared.serve().await;
    let again = service.client().create("moved-place-0000000").await;
    assert_eq!((again.placed(), again.header("idempotent-replayed")), (id.clone(), "true"));
    let order = service.client().get(&format!("/v1/orders/{id}")).await.json();
    assert_eq!((&order["state"], &order["version"]), (&json!("CONFIRMED"), &json!(2)));
    service.stop().await;
    assert_eq!(shared.sound().await["orders"], 1);

    let twice = shared.run(&arguments).await;
    assert!(twice.err.contains("only an empty one can be filled"), "{twice:?}");
    std::fs::remove_file(file.path("orderly.db-moved")).unwrap();
    file.serve().await.stop().await;
}
