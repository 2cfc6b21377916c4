//! API keys: `orderly key new` makes what opens the API, and nothing else opens it.

use std::{fs, os::unix::fs::PermissionsExt as _, process::Command};

use futures_util::future::join_all;
use hyper::header;

use crate::support::{Client, Home, Process, Service, get, until};

/// A request that carries this instead of a key.
async fn knock(client: &Client, authorization: &str) -> u16 {
    let mut request = client.request("GET", "/v1/orders").body(<_>::default()).unwrap();
    request.headers_mut().insert(header::AUTHORIZATION, authorization.parse().unwrap());
    client.send(request).await.status
}

#[tokio::test]
async fn a_new_key_opens_the_api_and_nothing_else_does() {
    let home = Home::with_keys();
    let (key, other) = (home.new_key("acme", "till").await, home.new_key("acme", "till").await);
    let client = home.serve().await;
    let client = client.client_with(&key);
    assert_eq!(knock(&client, &format!("Bearer {key}")).await, 200);
    assert_eq!(knock(&client, &format!("Bearer {other}")).await, 200, "two keys at a time");

    let (id, secret) = key.split_once('.').unwrap();
    let (other_id, _) = other.split_once('.').unwrap();
    for nothing in [
        String::new(),
        "Bearer".to_owned(),
        format!("Bearer {id}"),
        format!("Bearer {id}."),
        format!("Bearer .{secret}"),
        format!("Bearer {secret}"),
        format!("Bearer {other_id}.{secret}"),
        format!("Bearer {id}.{}", secret.to_uppercase()),
        format!("Bearer {id}.{}", &secret[1..]),
        format!("Bearer {key}{key}"),
        format!("Basic {key}"),
        key.clone(),
    ] {
        assert_eq!(knock(&client, &nothing).await, 401, "{nothing:?}");
    }
}

#[tokio::test]
async fn keys_that_are_made_at_once_all_open_the_api() {
    let home = Home::with_keys();
    // The first of them makes the pepper as well.
    let made = join_all((0..8).map(|_| home.new_key("acme", "till"))).await;
    let service = home.serve().await;
    for key in made {
        assert_eq!(status(&service, &key).await, 200);
    }
}

#[tokio::test]
async fn every_operation_asks_for_a_key() {
    let home = Home::with_keys();
    home.new_key("acme", "till").await;
    let service = home.serve().await;
    let stranger = service.client_with("no.key");
    for (method, path) in [
        ("POST", "/v1/orders"),
        ("POST", "/v1/orders?validate_only=true"),
        ("POST", "/v1/orders/batch"),
        ("GET", "/v1/orders"),
        ("GET", "/v1/orders/x"),
        ("GET", "/v1/orders/x/history"),
        ("POST", "/v1/orders/x/confirm"),
        ("POST", "/v1/orders/x/cancel"),
        ("POST", "/v1/orders/x/notes"),
        ("GET", "/v1/events"),
    ] {
        let request = stranger.request(method, path).body(<_>::default()).unwrap();
        let answer = stranger.send(request).await;
        answer.refused(401, "unauthenticated");
        assert!(answer.header("www-authenticate").starts_with("Bearer"), "{method} {path}");
    }
}

#[tokio::test]
async fn a_key_opens_its_own_tenant_only() {
    let home = Home::with_keys();
    let (acme, rival) = (home.new_key("acme", "till").await, home.new_key("rival", "till").await);
    let service = home.serve().await;
    let (acme, rival) = (service.client_with(&acme), service.client_with(&rival));
    let id = acme.create("my-own-order-0001").await.placed();
    assert_eq!(acme.get(&format!("/v1/orders/{id}")).await.status, 200);
    rival.get(&format!("/v1/orders/{id}")).await.refused(404, "not-found");
    assert_eq!(rival.all_orders().await, [""; 0]);
    assert_eq!(rival.get("/v1/events").await.json()["events"], serde_json::json!([]));
}

#[tokio::test]
async fn the_development_key_does_not_open_a_service_with_keys() {
    let home = Home::with_keys();
    home.new_key("dev", "till").await;
    let development = "dev.0123456789abcdef";
    fs::write(home.path("dev-key"), development).unwrap();
    let service = home.serve().await;
    assert!(!service.banner().contains("dev"), "{}", service.banner());
    service.client_with(development).get("/v1/orders").await.refused(401, "unauthenticated");
}

#[tokio::test]
async fn what_is_kept_of_a_key_opens_nothing() {
    let home = Home::with_keys();
    let key = home.new_key("acme", "till").await;
    let secret = key.split_once('.').unwrap().1;
    let pepper = fs::read_to_string(home.path("pepper")).unwrap();
    let kept = fs::read_to_string(home.path("keys.toml")).unwrap();
    assert!(!kept.contains(secret) && !kept.contains(pepper.trim()), "{kept}");
    let service = home.serve().await;
    let hash = kept.split('"').find(|text| text.len() == 64).unwrap();
    let id = key.split_once('.').unwrap().0;
    assert_eq!(service.client_with(&format!("{id}.{hash}")).get("/v1/orders").await.status, 401);
    assert_eq!(service.client_with(&key).get("/v1/orders").await.status, 200);
    for text in [service.log(), service.banner()] {
        assert!(!text.contains(secret) && !text.contains(pepper.trim()), "{text}");
    }
}

#[tokio::test]
async fn only_the_owner_can_read_secrets() {
    let (own, dev) = (Home::with_keys(), Home::new());
    own.new_key("acme", "till").await;
    drop(dev.serve().await);
    for secret in [own.path("pepper"), dev.path("dev-key")] {
        let mode = fs::metadata(&secret).unwrap().permissions().mode();
        assert_eq!(mode & 0o077, 0, "{}: {mode:o}", secret.display());
    }
}

#[tokio::test]
async fn a_key_that_the_service_would_refuse_is_not_made() {
    let home = Home::with_keys();
    let key = home.new_key("acme", "till").await;
    for (tenant, principal) in [("not a tenant", "till"), ("", "till"), ("acme", "")] {
        let ran = home.run(&["key", "new", "--tenant", tenant, "--principal", principal]).await;
        assert_eq!((ran.code, ran.out.as_str()), (Some(1), ""), "{ran:?}");
    }
    assert_eq!(home.serve().await.client_with(&key).get("/v1/orders").await.status, 200);
}

#[tokio::test]
async fn a_tenant_is_refused_by_the_same_rule_wherever_it_is_named() {
    let home = Home::with_keys();
    fs::write(home.path("orders.ndjson"), "").unwrap();
    let rule = "--tenant may hold only letters, digits, '.', '_' and '-'";
    let key = ["key", "new", "--tenant", "not a tenant", "--principal", "till"];
    for arguments in [&key[..], &["import", "orders.ndjson", "--tenant", "not a tenant"]] {
        let ran = home.run(arguments).await;
        assert!(ran.code == Some(1) && ran.err.contains(rule), "{ran:?}");
    }
    assert!(!home.path("pepper").exists(), "nothing was made");
}

#[tokio::test]
async fn a_lost_pepper_has_one_advice() {
    let home = Home::with_keys();
    home.new_key("acme", "till").await;
    fs::remove_file(home.path("pepper")).unwrap();
    let key = ["key", "new", "--tenant", "acme", "--principal", "till"];
    for arguments in [&key[..], &["config", "check", "--while-running"], &["serve"]] {
        let ran = home.run(arguments).await;
        assert_eq!(ran.code, Some(1), "{ran:?}");
        for told in ["Put the pepper back, or remove the key file", "orderly key new --set"] {
            assert_eq!(ran.err.matches(told).count(), 1, "{told}: {}", ran.err);
        }
    }
    assert!(!home.path("pepper").exists());
}

#[tokio::test]
async fn a_hint_can_be_followed_as_it_stands() {
    let home = Home::new();
    let settings = "[auth]\nkeys_file = \"keys.toml\"\npepper_file = \"pepper\"\n";
    fs::write(home.path("my shop.toml"), settings).unwrap();
    let check = ["config", "check", "--while-running", "--config", "my shop.toml"];
    let ran = home.run(&check).await;
    assert_eq!(ran.code, Some(1), "{ran:?}");
    let hint = ran.err.split('`').nth(1).unwrap().strip_prefix("orderly ").unwrap();
    let mut shell = Command::new("sh");
    shell.current_dir(home.path(".")).env("ORDERLY", env!("CARGO_BIN_EXE_orderly"));
    shell.args(["-c", &format!("\"$ORDERLY\" {hint}")]);
    let made = Process::start(shell).end().await;
    assert_eq!(made.code, Some(0), "{made:?}");
    assert_eq!(home.run(&check).await.code, Some(0));
}

#[tokio::test]
async fn a_key_needs_a_place_to_be_kept() {
    let home = Home::new();
    let ran = home.run(&["key", "new", "--tenant", "acme", "--principal", "till"]).await;
    assert_eq!(ran.code, Some(1));
    assert!(ran.err.contains("auth.keys_file") && ran.err.contains("auth.pepper_file"), "{ran:?}");
}

/// What this key opens the list of orders with.
async fn status(service: &Service, key: &str) -> u16 {
    service.client_with(key).get("/v1/orders").await.status
}

/// Puts another key file in its place, whole.
fn put(home: &Home, text: &str) {
    fs::write(home.path("next.toml"), text).unwrap();
    fs::rename(home.path("next.toml"), home.path("keys.toml")).unwrap();
}

/// Waits until the service logs this.
async fn logs(service: &Service, text: &str) {
    until(text, async || service.log().contains(text).then_some(())).await;
}

#[tokio::test]
async fn a_running_service_follows_its_key_file() {
    let home = Home::with_keys().set("auth.reload_every=10ms");
    let first = home.new_key("acme", "till").await;
    let service = home.serve().await;
    let second = home.new_key("acme", "till").await;
    until("the new key opens", async || (status(&service, &second).await == 200).then_some(()))
        .await;

    let good = fs::read_to_string(home.path("keys.toml")).unwrap();
    put(&home, "[[key]]\nid = 7\n");
    let told = async || get(service.admin, "/status").await.json()["auth"].clone();
    until("the wrong file is told", async || {
        told().await["last_error"].as_str().is_some_and(|error| error.contains("key")).then_some(())
    })
    .await;
    logs(&service, "key file refused; the keys of before stay").await;
    assert_eq!((status(&service, &first).await, status(&service, &second).await), (200, 200));

    // As an editor leaves it for a moment.
    put(&home, "");
    logs(&service, "the key file is empty").await;
    assert_eq!(status(&service, &first).await, 200);

    let last = good.rfind("[[key]]").unwrap();
    put(&home, &good[last..]);
    until("the old key opens nothing", async || {
        (status(&service, &first).await == 401).then_some(())
    })
    .await;
    assert_eq!(status(&service, &second).await, 200);
    let told = told().await;
    assert_eq!((&told["keys"], &told["last_error"]), (&1.into(), &serde_json::Value::Null));
}

#[tokio::test]
async fn a_key_opens_what_its_scopes_say() {
    let home = Home::with_keys();
    let new = ["key", "new", "--tenant", "acme", "--principal", "report", "--scopes"];
    let ran = home.run(&[&new[..], &["orders:read,events:read"]].concat()).await;
    assert_eq!(ran.code, Some(0), "{ran:?}");
    let service = home.serve().await;
    let client = service.client_with(ran.out.trim());
    assert_eq!(client.get("/v1/orders").await.status, 200);
    client.create("a-key-of-its-own-1").await.refused(403, "insufficient-scope");
    logs(&service, "denied for want of a scope").await;
    logs(&service, "\"scope\":\"orders:write\"").await;
    let ran = home.run(&[&new[..], &["orders:all"]].concat()).await;
    assert_eq!(ran.code, Some(2), "{ran:?}");
    assert!(ran.err.contains("orders:read, orders:write"), "{ran:?}");
}
