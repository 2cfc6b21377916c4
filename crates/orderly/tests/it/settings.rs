//! The configuration: checked as a whole before anything starts, and shown with where it is from.

use std::fs;

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
async fn nobody_else_can_reach_a_service_without_keys() {
    let home = Home::new();
    for command in [&["serve"][..], &["config", "check"]] {
        let ran = home.run(&[command, &["--listen", "0.0.0.0:0"]].concat()).await;
        refused(&ran, &["http.listen", "auth.keys_file is not set", "orderly key new"]);
    }
    assert!(!home.store().exists());
}

#[tokio::test]
async fn a_service_with_keys_may_be_reached() {
    let home = Home::with_keys();
    let check = &["config", "check", "--listen", "0.0.0.0:0"];
    refused(&home.run(check).await, &["pepper"]);
    home.new_key("acme", "till").await;
    let ran = home.run(check).await;
    assert_eq!(ran.code, Some(0), "{ran:?}");
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
        "http.listen (flag http.listen): ",
        "store.queue (flag store.queue): ",
        "retention.keys (environment ORDERLY__RETENTION__KEYS): ",
    ];
    refused(&ran, &reasons);
}

#[tokio::test]
async fn every_rule_that_is_broken_is_told_at_once() {
    let home = Home::new()
        .set("store.durable=false")
        .set("auth.pepper_file=pepper")
        .set("http.default_deadline=1m")
        .set("store.batch=0")
        .set("retention.every=0s");
    let everywhere = ["--listen", "0.0.0.0:0", "--admin-listen", "0.0.0.0:0"];
    let reasons = [
        "auth.keys_file is not set",
        "store.durable is false",
        "admin.listen",
        "belong together",
        "http.default_deadline is longer",
        "store.batch",
        "retention.every",
    ];
    for command in [&["serve"][..], &["config", "check"]] {
        refused(&home.run(&[command, &everywhere].concat()).await, &reasons);
    }
}

#[tokio::test]
async fn unknown_keys_are_refused_wherever_they_stand() {
    let home = Home::new();
    fs::write(home.path("orderly.toml"), "surprise = 1\n").unwrap();
    let ran = home.run(&["serve", "--config", "orderly.toml"]).await;
    refused(&ran, &["surprise (file orderly.toml): unknown field"]);
    let ran = home.run(&["serve", "--set", "http.surprise=1"]).await;
    refused(&ran, &["http.surprise (flag http.surprise): unknown field"]);
    let mut command = home.orderly(&["serve"]);
    command.env("ORDERLY__STORE__SURPRISE", "1");
    let ran = Process::start(command).end().await;
    refused(&ran, &["store.surprise (environment ORDERLY__STORE__SURPRISE): unknown field"]);
}

#[tokio::test]
async fn what_would_not_start_is_not_usable() {
    let home = Home::new().set("log.level=orders=loud");
    for command in [&["serve"][..], &["config", "check"]] {
        refused(&home.run(command).await, &["log level"]);
    }
}

#[tokio::test]
async fn the_configuration_is_shown_with_where_it_is_from() {
    let home = Home::new();
    let file = "[http]\nbody_limit = 1000\nlargest_deadline = \"20s\"\n[store]\nqueue = 7\n";
    fs::write(home.path("orderly.toml"), file).unwrap();
    let arguments = ["config", "print", "--config", "orderly.toml", "--set", "store.queue=9"];
    let mut command = home.orderly(&arguments);
    command.env("ORDERLY__HTTP__LARGEST_DEADLINE", "1m30s").env("ORDERLY_PORT", "tcp://10.0.0.1");
    let ran = Process::start(command).end().await;
    assert_eq!(ran.code, Some(0), "{ran:?}");
    for line in [
        "body_limit = 1000  # file orderly.toml",
        "largest_deadline = \"1m30s\"  # environment ORDERLY__HTTP__LARGEST_DEADLINE",
        "default_deadline = \"2s\"  # default",
        "queue = 9  # flag store.queue",
    ] {
        assert!(ran.out.lines().any(|shown| shown == line), "not shown: {line}\n{}", ran.out);
    }
}

#[tokio::test]
async fn what_is_shown_can_be_used() {
    let home = Home::new().set("lifecycle.drain=90s").set("store.readers=3");
    let shown = home.run(&["config", "print"]).await.out;
    let other = Home::new();
    fs::write(other.path("orderly.toml"), &shown).unwrap();
    let mut command = other.orderly(&["config", "print", "--config", "orderly.toml"]);
    command.arg("--set").arg(format!("store.path={}", home.store().display()));
    let again = Process::start(command).end().await;
    assert_eq!(values(&again.out), values(&shown));
}

/// Without where they are from.
fn values(shown: &str) -> Vec<&str> {
    shown.lines().map(|line| line.split("  # ").next().unwrap()).collect()
}

#[tokio::test]
async fn no_secret_is_shown() {
    let (own, dev) = (Home::with_keys(), Home::new());
    let key = own.new_key("acme", "till").await;
    let pepper = fs::read_to_string(own.path("pepper")).unwrap();
    drop(dev.serve().await);
    let development = fs::read_to_string(dev.path("dev-key")).unwrap();
    for home in [own, dev] {
        let shown = home.run(&["config", "print"]).await;
        assert_eq!(shown.code, Some(0), "{shown:?}");
        for secret in [key.split_once('.').unwrap().1, pepper.trim(), development.trim()] {
            assert!(!shown.out.contains(secret), "{}", shown.out);
        }
    }
}
