//! What others could reach, read or forge is refused, or warned of where somebody asked for it.

use std::{fs, os::unix::fs::PermissionsExt as _};

use super::{refused, whole};
use crate::support::{Home, get};

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
