//! The configuration is shown with where it is from, and explained.

use std::fs;

use orders_testkit::generated::is_committed;
use serde_json::json;

use super::refused;
use crate::support::{Home, Process, get};

#[tokio::test]
async fn operators_see_what_the_service_does() {
    let home = Home::new().set("store.queue=4095");
    let service = home.serve().await;
    service.client().create("status-000000000001").await.placed();
    let status = get(service.admin, "/status").await.json();
    assert_eq!((&status["service"], &status["phase"]), (&json!("order_service"), &json!("ready")));
    assert_eq!(status["build"]["version"], env!("CARGO_PKG_VERSION"));
    assert_eq!(
        (&status["store"]["changes"], &status["store"]["queue_depth"]),
        (&json!(1), &json!(0))
    );
    let connections = &status["connections"];
    assert!(connections["open"].as_u64() <= connections["most"].as_u64(), "{connections}");
    assert!(connections["open"].is_u64() && connections["most"] != 0, "{connections}");
    let tasks = json!({ "pool": 1, "retention": 1, "scheduling probe": 1, "store": 1 });
    assert_eq!(status["tasks"], tasks);
    let admission = &status["admission"];
    assert_eq!((&admission["in_service"], &admission["queued"]), (&json!(0), &json!(0)));
    assert_eq!(admission["most_in_service"], 1_024);
    assert_eq!(admission["behind"], "not");
    let pool = &status["pools"]["compute"];
    assert!(pool["threads"].as_u64() > Some(0), "{pool}");
    assert_eq!((&pool["running"], &pool["queued"]), (&json!(0), &json!(0)));
    let config = status["config"].as_str().unwrap();
    assert!(config.contains("queue = 4095  # flag store.queue"), "{config}");
    let page = get(service.admin, "/").await.text();
    assert!(page.contains("queue = 4095  # flag store.queue") && page.contains("wal_bytes"));
    service.stop().await;
}

#[tokio::test]
async fn the_reference_of_all_keys_is_true_and_committed() {
    let made = Home::new().run(&["config", "print", "--defaults"]).await;
    assert_eq!(made.code, Some(0), "{made:?}");
    is_committed("docs/orderly.toml", &made.out);

    let lines: Vec<_> = made.out.lines().collect();
    let is_key = |line: &str| line.split_once(" = ").is_some_and(|(key, _)| !key.contains(' '));
    let keys: Vec<_> = (0..lines.len()).filter(|&at| is_key(lines[at])).collect();
    assert!(keys.len() > 20, "{}", made.out);
    assert!(lines.contains(&"#tls.reload_every = \"10s\""), "{}", made.out);
    for at in keys {
        assert!(lines[at - 1].starts_with("# "), "{} has no description", lines[at]);
    }
}

#[tokio::test]
async fn the_reference_is_a_file_with_the_defaults() {
    let home = Home::new();
    let reference = home.run(&["config", "print", "--defaults"]).await.out;
    fs::write(home.path("as-is.toml"), &reference).unwrap();
    let as_is = home.run(&["config", "print", "--config", "as-is.toml"]).await.out;
    assert_eq!(values(&as_is), values(&home.run(&["config", "print"]).await.out));

    // Keys without a default have an example instead, `#key = value`.
    let bare = |line: &str| match line.strip_prefix('#') {
        Some(key) if !key.is_empty() && !key.starts_with(' ') => key.to_owned(),
        Some(_) | None => line.to_owned(),
    };
    let all = reference.lines().map(bare).collect::<Vec<_>>().join("\n");
    assert_ne!(all, reference.trim_end());
    fs::write(home.path("all.toml"), &all).unwrap();
    let shown = home.run(&["config", "print", "--config", "all.toml"]).await;
    assert!(shown.out.contains("keys_file = \"keys.toml\"  # file all.toml"), "{shown:?}");
}

#[tokio::test]
async fn a_key_is_explained() {
    let home = Home::new().set("http.body_limit=1000");
    let explained = home.run(&["config", "explain", "http.body_limit"]).await.out;
    for told in ["The largest body, in bytes", "262144", "1000", "flag http.body_limit"] {
        assert!(explained.contains(told), "{told}: {explained}");
    }
    let section = home.run(&["config", "explain", "http"]).await.out;
    assert!(section.contains("http.listen = \"127.0.0.1:8080\"  # default"), "{section}");
    let address = home.run(&["config", "explain", "admin.listen"]).await.out;
    assert!(address.contains("accepts  IP:PORT such as 127.0.0.1:8080; names are"), "{address}");
    let tls = home.run(&["config", "explain", "http.tls.reload_every"]).await.out;
    assert!(tls.contains("default  \"10s\"\nvalue    not set\n"), "{tls}");
    let unknown = home.run(&["config", "explain", "http.lisen"]).await;
    refused(&unknown, &["there is no key http.lisen; did you mean http.listen"]);
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
        "# auth.keys_file is not set",
        "# http.tls.cert_file is not set",
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
