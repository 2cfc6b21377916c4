//! The configuration: checked as a whole before anything starts, and shown with where it is from.

use std::{fs, net::TcpListener, os::unix::fs::PermissionsExt as _};

use orders_testkit::generated::is_committed;
use serde_json::json;

use crate::support::{Home, Process, Ran, get};

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
        let hint = "Set auth.keys_file and auth.pepper_file and make a key with `orderly key new \
                    --set lifecycle.lame_duck=0s --tenant T --principal P`";
        refused(&ran, &["http.listen", "auth.keys_file is not set", hint]);
    }
    assert!(!home.store().exists());
}

#[tokio::test]
async fn a_service_with_keys_may_be_reached() {
    let home = Home::with_keys();
    let check = &["config", "check", "--listen", "0.0.0.0:0", "--admin-listen", "127.0.0.1:0"];
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
async fn a_secret_that_others_can_read_is_warned_of() {
    let home = Home::with_keys();
    home.new_key("acme", "till").await;
    let ports = ["--listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0"];
    let check = [&["config", "check"][..], &ports].concat();
    let ran = home.run(&check).await;
    assert!(ran.code == Some(0) && !ran.out.contains("warning"), "{ran:?}");
    fs::set_permissions(home.path("pepper"), fs::Permissions::from_mode(0o640)).unwrap();
    let warning =
        format!("auth.pepper_file: others than its owner can read {}", whole(&home, "pepper"));
    assert!(home.run(&check).await.out.contains(&format!("warning: {warning}")));
    let service = home.serve().await;
    assert!(service.log().contains(&warning), "{}", service.log());
    service.stop().await;
}

#[tokio::test]
async fn a_peer_that_nobody_can_be_is_warned_of() {
    let home = Home::with_keys();
    home.new_key("acme", "till").await;
    let keys = fs::read_to_string(home.path("keys.toml")).unwrap();
    let peer = "spiffe_id = \"spiffe://shop.test/till\"\ntenant = \"acme\"\nprincipal = \"till\"";
    fs::write(home.path("keys.toml"), format!("{keys}\n[[peer]]\n{peer}\n")).unwrap();
    let check = &["config", "check", "--listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0"];
    let ran = home.run(check).await;
    assert_eq!(ran.code, Some(0), "{ran:?}");
    assert!(ran.out.contains("warning: auth.keys_file: it has a [[peer]]"), "{}", ran.out);
}

#[tokio::test]
async fn an_admin_listener_that_others_reach_asks_for_its_token() {
    let home = Home::new();
    let everywhere = ["config", "check", "--listen", "127.0.0.1:0", "--admin-listen", "0.0.0.0:0"];
    let ran = home.run(&everywhere).await;
    refused(&ran, &["admin.listen (flag admin.listen): it is reachable", "openssl rand -hex 32"]);

    let home = home.set("admin.token_file=token");
    fs::write(home.path("token"), "guess-me\n").unwrap();
    refused(&home.run(&everywhere).await, &["admin.token_file", "32 visible ASCII characters"]);
    fs::write(home.path("token"), "0123456789abcdef0123456789abcdef\n").unwrap();
    let ran = home.run(&everywhere).await;
    assert_eq!(ran.code, Some(0), "{ran:?}");
    assert!(ran.out.contains("warning: admin.listen"), "{}", ran.out);

    let service = home.serve().await;
    assert_eq!(get(service.admin, "/status").await.status, 401);
    assert!(service.reasons().await.is_empty(), "probes are for everybody");
    service.stop().await;
}

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

#[tokio::test]
async fn tokens_that_could_be_forged_are_refused() {
    let home = Home::new()
        .set("auth.jwt.issuer=https://id.test")
        .set("auth.jwt.jwks_url=http://id.test/keys")
        .set("auth.jwt.algorithms=[\"HS256\"]")
        .set("auth.jwt.leeway=1h");
    let reasons = [
        "auth.jwt.audience (default): it must not be empty",
        "auth.jwt.jwks_url (flag auth.jwt.jwks_url): it leads to other machines without TLS",
        "auth.jwt.algorithms (flag auth.jwt.algorithms): \"HS256\" is not taken: ",
        "auth.jwt.leeway (flag auth.jwt.leeway): it must be at most 5min",
    ];
    for command in [&["serve"][..], &["config", "check"]] {
        refused(&home.run(command).await, &reasons);
    }
}

#[tokio::test]
async fn a_service_that_takes_tokens_starts_without_the_keys_of_their_issuer() {
    let home = Home::with_keys()
        .set("auth.jwt.issuer=https://id.test")
        .set("auth.jwt.audience=orderly")
        .set("auth.jwt.jwks_url=http://127.0.0.1:1/keys");
    let key = home.new_key("acme", "till").await;
    let service = home.serve().await;
    assert_eq!(service.client_with(&key).get("/v1/orders").await.status, 200);
    let status = get(service.admin, "/status").await.json();
    assert_eq!(status["auth"]["tokens"]["keys"], 0, "{status}");
    // Of the client that gets them, since they are on a server.
    assert!(status["auth"]["tokens"]["client"]["breaker"].is_string(), "{status}");
}

/// Settings under which something leaves for other machines as plain text, though nobody said so.
const UNSAID: [(&str, &str); 6] = [
    ("postgres.url", "postgres://orderly@db-1/orderly"),
    ("postgres.url", "postgres://orderly@127.0.0.1,db-2/orderly?sslmode=prefer"),
    ("postgres.url", "postgres://orderly@127.0.0.1/orderly?host=db-1"),
    ("postgres.direct_url", "postgres://orderly@10.0.0.1:5432/orderly"),
    ("kafka.brokers", "[\"kafka-1:9092\"]"),
    ("kafka.brokers", "[\"127.0.0.1:9092\", \"10.0.0.2:9092\"]"),
];

#[tokio::test]
async fn plain_text_to_other_machines_is_refused_where_nobody_asked_for_it() {
    for (key, value) in UNSAID {
        let home = Home::new()
            .set("postgres.url=postgres://orderly@127.0.0.1/orderly")
            .set(&format!("{key}={value}"));
        let reason = match key {
            "kafka.brokers" => "kafka.security (default): it must be said how brokers on other",
            _ => "it leads to other machines, and TLS is used only if the server offers it",
        };
        for command in [&["serve"][..], &["config", "check"], &["audit"]] {
            refused(&home.run(command).await, &[reason]);
        }
    }
}

#[cfg(all(feature = "postgres", feature = "kafka"))]
#[tokio::test]
async fn plain_text_to_other_machines_that_was_asked_for_is_warned_of() {
    let home = Home::new()
        .set("postgres.url=postgres://orderly@db-1/orderly?sslmode=disable")
        .set("postgres.direct_url=postgres://orderly@db-1/orderly?sslmode=require")
        .set("kafka.brokers=[\"kafka-1:9092\"]")
        .set("kafka.security=plaintext");
    let check = ["config", "check", "--listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0"];
    let ran = home.run(&check).await;
    assert_eq!(ran.code, Some(0), "{ran:?}");
    for key in ["postgres.url", "kafka.brokers"] {
        let warning = format!("warning: {key} leads to other machines without TLS: ");
        assert!(ran.out.contains(&warning), "{}", ran.out);
    }
    assert!(!ran.out.contains("warning: postgres.direct_url"), "{}", ran.out);
    let safe = home
        .set("postgres.url=postgres://orderly@db-1/orderly?sslmode=require")
        .set("kafka.security=tls");
    let ran = safe.run(&check).await;
    assert!(ran.code == Some(0) && !ran.out.contains("without TLS"), "{ran:?}");
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
