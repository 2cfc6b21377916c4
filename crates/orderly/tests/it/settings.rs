//! The configuration: checked as a whole before anything starts, and shown with where it is from.

mod exposed;
mod shown;

use std::{fs, net::TcpListener};

use crate::support::{Home, Process, Ran};

/// A run that was refused before anything started, for these reasons.
#[track_caller]
fn refused(ran: &Ran, reasons: &[&str]) {
    assert_eq!((ran.code, ran.out.as_str()), (Some(1), ""), "{ran:?}");
    for reason in reasons {
        assert!(ran.err.contains(reason), "not told: {reason}\n{}", ran.err);
    }
}

#[tokio::test]
async fn every_wrong_value_is_told_at_once_with_its_layer() {
    let home = Home::new();
    fs::write(home.path("orderly.toml"), "[lifecycle]\ndrain = 5\n[http]\nbody = 1\n").unwrap();
    let arguments = ["config", "check", "--config", "orderly.toml", "--listen", "nowhere"];
    let mut command = home.orderly(&arguments);
    command.args(["--set", "store.queue=lots"]).env("ORDERLY__RETENTION__KEYS", "for ever");
    let ran = Process::start(command).end().await;
    let reasons = [
        "lifecycle.drain (file orderly.toml): ",
        "http.body (file orderly.toml): ",
        "http.listen (flag http.listen): must be IP:PORT such as 127.0.0.1:8080; names are not",
        "store.queue (flag store.queue): must be a whole number, 0 or more, not text",
        "retention.keys (environment ORDERLY__RETENTION__KEYS): ",
    ];
    refused(&ran, &reasons);
}

#[tokio::test]
async fn every_rule_that_is_broken_is_told_at_once() {
    let home = Home::new()
        .set("store.durable=false")
        .set("auth.pepper_file=pepper")
        .set("http.default_deadline=1h")
        .set("http.largest_deadline=10m")
        .set("store.batch=0")
        .set("store.wal_limit=1000")
        .set("log.level=loud")
        .set("log.traces.sample_ratio=2")
        .set("retention.keys=1s")
        .set("retention.events=0s")
        .set("retention.every=0s");
    let everywhere = ["--listen", "0.0.0.0:0", "--admin-listen", "0.0.0.0:0"];
    let reasons = [
        "auth.keys_file is not set",
        "store.durable is false",
        "admin.listen",
        "auth.pepper_file (flag auth.pepper_file): it belongs together with",
        "http.default_deadline (flag http.default_deadline): it is longer",
        "http.largest_deadline (flag http.largest_deadline): it must be below 10min",
        "store.batch (flag store.batch): ",
        "store.wal_limit (flag store.wal_limit): it must be at least 1048576",
        "log.level (flag log.level): \"loud\" is not a log level: it must be",
        "log.traces.sample_ratio (flag log.traces.sample_ratio): ",
        "retention.keys (flag retention.keys): it is shorter than http.largest_deadline",
        "retention.events (flag retention.events): it must not be 0",
        "retention.every (flag retention.every): ",
    ];
    for command in [&["serve"][..], &["config", "check"]] {
        refused(&home.run(&[command, &everywhere].concat()).await, &reasons);
    }
}

#[tokio::test]
async fn values_rules_and_files_are_told_in_one_go() {
    let home = Home::new()
        .set("auth.keys_file=no-keys")
        .set("auth.pepper_file=no-pepper")
        .set("admin.token_file=no-token")
        .set("log.level=orders=loud")
        .set("store.batch=0")
        .set("server.idle_timeout=soon");
    let [no_keys, no_pepper] = ["no-keys", "no-pepper"].map(|name| whole(&home, name));
    let make = "orderly key new --set lifecycle.lame_duck=0s --set auth.keys_file=no-keys";
    let reasons = [
        "server.idle_timeout (flag server.idle_timeout): expected a duration",
        "store.batch (flag store.batch): it must be from 1 to 65536",
        "log.level (flag log.level): \"orders=loud\" is not a log level: it must be",
        &format!("auth.keys_file (flag auth.keys_file): there is no file {no_keys}; `{make}"),
        &format!("auth.pepper_file (flag auth.pepper_file): there is no file {no_pepper}; `{make}"),
        "admin.token_file (flag admin.token_file): cannot read no-token; `(umask 077; openssl",
    ];
    for command in [&["serve"][..], &["config", "check"]] {
        let ran = home.run(command).await;
        refused(&ran, &reasons);
        assert_eq!(ran.err.lines().count(), 1 + reasons.len(), "nothing twice: {}", ran.err);
    }
}

/// A file of the folder as messages name it.
fn whole(home: &Home, name: &str) -> String {
    home.path(name).display().to_string()
}

#[tokio::test]
async fn counts_have_bounds_at_both_ends() {
    for (key, most) in [
        ("store.readers", 64),
        ("store.queue", 1_000_000),
        ("store.read_queue", 1_000_000),
        ("store.batch", 65_536),
        ("http.body_limit", 64 << 20),
        ("admission.in_service", 1_000_000),
        ("admission.queue", 1_000_000),
        ("admission.queue_per_tenant", 1_000_000),
    ] {
        for count in [0, most + 1] {
            let ran = Home::new().set(&format!("{key}={count}")).run(&["config", "check"]).await;
            refused(&ran, &[&format!("{key} (flag {key}): it must be from 1 to {most}")]);
        }
        let free = ["--listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0"];
        let home = Home::new().set(&format!("{key}={most}"));
        let ran = home.run(&[&["config", "check"][..], &free].concat()).await;
        assert_eq!(ran.code, Some(0), "{ran:?}");
    }
}

#[tokio::test]
async fn a_burst_without_a_rate_is_refused() {
    for key in ["address", "principal.read", "principal.write", "principal.watch"] {
        let key = format!("limits.{key}.burst");
        let ran = Home::new().set(&format!("{key}=5")).run(&["config", "check"]).await;
        refused(&ran, &[&format!("{key} (flag {key}): a burst without per_second limits nothing")]);
    }
}

#[tokio::test]
async fn what_is_taken_is_not_usable() {
    let home = Home::new();
    let service = home.serve().await;
    let api = service.api.to_string();
    let taken = ["config", "check", "--listen", &api, "--admin-listen", "127.0.0.1:0"];
    let store = format!("store.path (flag store.path): {} is in use", home.store().display());
    refused(&home.run(&taken).await, &[&format!("cannot listen on {api}: "), &store]);
    let ran = home.run(&[&taken[..], &["--while-running"]].concat()).await;
    assert_eq!(ran.code, Some(0), "{ran:?}");
    service.stop().await;
    let ran = home.run(&taken).await;
    assert_eq!(ran.code, Some(0), "{ran:?}");
}

#[tokio::test]
async fn one_address_is_not_enough_for_both_listeners() {
    let home = Home::new();
    let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
    let same = ["--listen", &free, "--admin-listen", &free];
    for command in [&["serve"][..], &["config", "check"]] {
        let ran = home.run(&[command, &same].concat()).await;
        refused(&ran, &["admin.listen (flag admin.listen): it is the same as http.listen"]);
        assert_eq!(ran.err.lines().count(), 2, "nothing twice: {}", ran.err);
    }
}

#[tokio::test]
async fn a_store_needs_a_place() {
    let home = Home::new();
    let ports = ["--listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0"];
    for command in [&["serve"][..], &["config", "check"]] {
        let astray = home.clone().with_store("no/such/orderly.db");
        let told = format!("cannot make {}: the folder above it", whole(&home, "no/such"));
        refused(&astray.run(&[command, &ports].concat()).await, &["store.path", &told]);
        assert!(!home.path("no").exists());
        let folder = home.clone().with_store(".");
        refused(&folder.run(&[command, &ports].concat()).await, &["is a folder; name a file in"]);
    }
    let beside = home.clone().with_store("data/orderly.db");
    beside.serve().await.stop().await;
    assert!(beside.store().exists(), "one folder is made");
}

#[tokio::test]
async fn unknown_keys_are_refused_wherever_they_stand() {
    let home = Home::new();
    fs::write(home.path("orderly.toml"), "surprise = 1\n").unwrap();
    let ran = home.run(&["serve", "--config", "orderly.toml"]).await;
    let told = "there is no such key; here there are ";
    refused(&ran, &[&format!("surprise (file orderly.toml): {told}")]);
    let ran = home.run(&["serve", "--set", "http.surprise=1"]).await;
    refused(&ran, &[&format!("http.surprise (flag http.surprise): {told}listen, ")]);
    let mut command = home.orderly(&["serve"]);
    command.env("ORDERLY__STORE__SURPRISE", "1");
    let ran = Process::start(command).end().await;
    let variable = "environment ORDERLY__STORE__SURPRISE";
    refused(&ran, &[&format!("store.surprise ({variable}): {told}path, ")]);
}

#[tokio::test]
async fn what_would_not_start_is_not_usable() {
    let home = Home::new().set("log.level=orders=loud");
    for command in [&["serve"][..], &["config", "check"]] {
        refused(&home.run(command).await, &["log level"]);
    }
}

#[cfg(feature = "kafka")]
#[tokio::test]
async fn settings_of_kafka_that_contradict_others_are_refused() {
    let home = Home::new()
        .set("kafka.partitions=1")
        .set("retention.unpublished=true")
        .set("lifecycle.drain=4s");
    let reasons = [
        "retention.unpublished (flag retention.unpublished): kafka is set: ",
        "kafka.inbound.drain_timeout (default): it must be below lifecycle.drain: ",
    ];
    refused(&home.run(&["config", "check"]).await, &reasons);
}
