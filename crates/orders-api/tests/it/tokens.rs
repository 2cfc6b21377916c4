//! Tokens of an issuer, over both protocols: good ones, hostile ones, and the issuer's keys.

pub(crate) mod issuer;
mod key_server;

use std::{
    fs,
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering::Relaxed},
    },
    time::Duration,
};

use axum::{Router, body::Body, http::Request, routing::get};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD as BASE64};
use futures_util::future::join_all;
use mainstay::{
    client::http::Config,
    metrics::{Format, Metrics},
};
use orders_api::auth::{Source, Tokens};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::{net::TcpListener, task::JoinSet, time::timeout};
use tonic::{Code, Status};

use self::{
    issuer::{Issuer, NOW, claims, claims_with, put, tokens},
    key_server::{Away, KeyServer, pass, still},
};
use crate::{
    grpc::rows::{call, framed, reason_of, send},
    shop::{Answer, OWN, Shop, json_body, long, order, order_with},
};

/// A shop that takes an issuer's tokens, whose keys are in a file.
struct Trusting {
    shop: Shop,
    issuer: Issuer,
    tokens: Arc<Tokens>,
    folder: TempDir,
    /// Looks for the keys until it is dropped.
    _fresh: JoinSet<()>,
}

impl Trusting {
    async fn new() -> Self {
        let (issuer, folder) = (Issuer::new(), TempDir::new().unwrap());
        put(&folder.path().join("jwks.json"), &issuer.keys());
        let trusting = Self::over(issuer, folder);
        known(&trusting.tokens).await;
        trusting
    }

    /// One whose issuer has put no keys there yet.
    fn without_keys() -> Self {
        Self::over(Issuer::new(), TempDir::new().unwrap())
    }

    fn over(issuer: Issuer, folder: TempDir) -> Self {
        let tokens = tokens();
        let fresh = keep_fresh(&tokens, Source::File(folder.path().join("jwks.json")));
        let shop = Shop::trusting(Arc::clone(&tokens));
        Self { shop, issuer, tokens, folder, _fresh: fresh }
    }

    fn file(&self) -> PathBuf {
        self.folder.path().join("jwks.json")
    }
}

/// Looks for the issuer's keys until it is dropped.
pub(crate) fn keep_fresh(tokens: &Arc<Tokens>, source: Source) -> JoinSet<()> {
    let (mut tasks, tokens) = (JoinSet::new(), Arc::clone(tokens));
    tasks.spawn(async move { match tokens.keep_fresh(&source, Duration::from_mins(5)).await {} });
    tasks
}

/// Waits until the issuer's keys were found.
pub(crate) async fn known(tokens: &Tokens) {
    let known = async {
        while tokens.status().keys != 3 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    timeout(Duration::from_mins(1), known).await.expect("the keys");
}

/// Lists orders over HTTP with these headers.
async fn http(shop: &Shop, headers: &[(&str, &str)]) -> Answer {
    let request = Request::get("/v1/orders");
    let request =
        headers.iter().fold(request, |request, (name, value)| request.header(*name, *value));
    shop.send(request.body(Body::empty()).unwrap()).await
}

/// The same over gRPC.
async fn grpc(shop: &Shop, headers: &[(&str, &str)]) -> Result<Vec<u8>, Status> {
    let request = call("ListOrders");
    let request =
        headers.iter().fold(request, |request, (name, value)| request.header(*name, *value));
    send(shop, request, framed(&[])).await
}

/// Whether a token lets in, over both protocols alike.
async fn lets_in(shop: &Shop, token: &str) -> bool {
    let bearer = format!("Bearer {token}");
    let headers = [("authorization", bearer.as_str())];
    let (http, grpc) = (http(shop, &headers).await, grpc(shop, &headers).await);
    assert_eq!(http.status.is_success(), grpc.is_ok(), "{}", http.text());
    http.status.is_success()
}

/// Asserts that whoever sends this is told 401 over HTTP and UNAUTHENTICATED over gRPC.
async fn is_refused(shop: &Shop, name: &str, headers: &[(&str, &str)]) {
    let answer = http(shop, headers).await;
    assert_eq!(answer.status, 401, "{name}: {}", answer.text());
    answer.problem(401, "unauthenticated");
    assert!(answer.header("www-authenticate").starts_with("Bearer"), "{name}");
    let status = grpc(shop, headers).await.expect_err(name);
    assert_eq!(status.code(), Code::Unauthenticated, "{name}");
    assert_eq!(reason_of(&status).0, "UNAUTHENTICATED", "{name}");
}

#[tokio::test(start_paused = true)]
async fn a_good_token_lets_in_whichever_way_it_is_signed() {
    let trusting = Trusting::new().await;
    for alg in ["RS256", "ES256", "EdDSA"] {
        assert!(lets_in(&trusting.shop, &trusting.issuer.token(alg)).await, "{alg}");
    }
    assert!(http(&trusting.shop, &[("authorization", OWN)]).await.status.is_success(), "keys stay");
}

/// Tokens that look good and are not, each by its name.
type Hostile = Vec<(&'static str, String)>;

/// Those whose header asks for what must not be.
fn by_their_header(issuer: &Issuer) -> Hostile {
    let header = |more: Value| {
        let mut header = json!({ "alg": "EdDSA", "kid": "ed" });
        header.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        issuer.signed(&header, &claims())
    };
    let twice = r#"{"alg":"none","alg":"EdDSA","kid":"ed"}"#;
    vec![
        ("no algorithm and a signature", header(json!({ "alg": "none" }))),
        ("an HMAC under the public key", issuer.confused()),
        ("a secret among the keys", header(json!({ "alg": "HS256", "kid": "oct" }))),
        ("the way of another key", header(json!({ "kid": "ec" }))),
        ("a key for encryption", header(json!({ "kid": "enc" }))),
        ("a key that nobody knows", header(json!({ "kid": "new" }))),
        ("a key that is a path", header(json!({ "kid": "../../jwks.json" }))),
        ("no key, of several", issuer.signed(&json!({ "alg": "EdDSA" }), &claims())),
        ("something to understand", header(json!({ "crit": ["exp"], "exp": 1 }))),
        ("nothing to understand", header(json!({ "crit": [] }))),
        ("another type", header(json!({ "typ": "logout+jwt" }))),
        ("an algorithm twice", issuer.signed_text(twice, &claims().to_string())),
    ]
}

/// Those that say what must not be.
fn by_their_claims(issuer: &Issuer) -> Hostile {
    let header = json!({ "alg": "EdDSA", "kid": "ed" });
    let says = |more: Value| issuer.signed(&header, &claims_with(&more));
    let text = claims().to_string();
    let twice = format!("{},\"sub\":\"eve\"}}", &text[..text.len() - 1]);
    vec![
        ("a claim twice", issuer.signed_text(&header.to_string(), &twice)),
        ("claims that are no object", issuer.signed_text(&header.to_string(), "[]")),
        ("another issuer", says(json!({ "iss": "https://id.test/" }))),
        ("no issuer", says(json!({ "iss": null }))),
        ("another audience", says(json!({ "aud": "another" }))),
        ("no audience", says(json!({ "aud": null }))),
        ("an end that is over", says(json!({ "exp": NOW - 60 }))),
        ("no end", says(json!({ "exp": null }))),
        ("an end that is no number", says(json!({ "exp": "never" }))),
        ("a beginning to come", says(json!({ "nbf": NOW + 61 }))),
        ("nobody", says(json!({ "sub": "" }))),
        ("no tenant", says(json!({ "tenant": null }))),
        ("a tenant that cannot be", says(json!({ "tenant": "shop/../rival" }))),
        ("more than there is room for", says(json!({ "pad": "x".repeat(8 * 1024) }))),
    ]
}

/// Those that are not written as they must be, or put together of others.
fn by_their_form(issuer: &Issuer) -> Hostile {
    let good = issuer.token("EdDSA");
    let (message, signature) = good.rsplit_once('.').unwrap();
    let (head, body) = message.split_once('.').unwrap();
    let header = json!({ "alg": "EdDSA", "kid": "ed" });
    let eve = issuer.signed(&header, &claims_with(&json!({ "sub": "eve" })));
    let (of_eve, _) = eve.rsplit_once('.').unwrap();
    let none = BASE64.encode(json!({ "alg": "none" }).to_string());
    let another = BASE64.encode(header.to_string());
    vec![
        ("no algorithm and no signature", format!("{none}.{body}.")),
        ("no signature", format!("{message}.")),
        ("no claims", format!("{head}..{signature}")),
        ("something after it", format!("{good}AAAA")),
        ("padding", format!("{good}==")),
        ("padding within", format!("{head}=.{body}.{signature}")),
        ("a part more", format!("{good}.{signature}")),
        ("the signature of another", format!("{of_eve}.{signature}")),
        ("the header of another", format!("{another}.{body}.{signature}")),
    ]
}

/// Those of somebody who has keys of their own.
fn by_a_stranger() -> Hostile {
    let stranger = Issuer::new();
    let signed = |more: Value| {
        let mut header = json!({ "alg": "ES256", "kid": "ec" });
        header.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        stranger.signed(&header, &claims())
    };
    let key = stranger.keys()["keys"][1].clone();
    vec![
        ("a stranger's signature", signed(json!({}))),
        ("a stranger's key within", signed(json!({ "jwk": key }))),
        ("where a stranger's keys are", signed(json!({ "jku": "https://rival.test" }))),
        ("where a stranger's certificate is", signed(json!({ "x5u": "https://rival.test" }))),
    ]
}

#[tokio::test(start_paused = true)]
async fn no_hostile_token_lets_in() {
    let trusting = Trusting::new().await;
    let issuer = &trusting.issuer;
    let (header, claims) = (by_their_header(issuer), by_their_claims(issuer));
    let hostile = [header, claims, by_their_form(issuer), by_a_stranger()].concat();
    assert!(hostile.len() >= 25, "{}", hostile.len());
    for (name, token) in &hostile {
        let bearer = format!("Bearer {token}");
        is_refused(&trusting.shop, name, &[("authorization", bearer.as_str())]).await;
    }
    let good = format!("Bearer {}", trusting.issuer.token("EdDSA"));
    let good = ("authorization", good.as_str());
    is_refused(&trusting.shop, "two tokens", &[good, good]).await;
    is_refused(&trusting.shop, "a token and a key", &[good, ("authorization", OWN)]).await;
    assert!(http(&trusting.shop, &[good]).await.status.is_success());
}

#[tokio::test(start_paused = true)]
async fn where_no_tokens_are_taken_a_good_one_is_refused() {
    let (shop, issuer) = (Shop::new(), Issuer::new());
    let bearer = format!("Bearer {}", issuer.token("EdDSA"));
    is_refused(&shop, "a token", &[("authorization", bearer.as_str())]).await;
}

#[tokio::test(start_paused = true)]
async fn a_token_opens_what_its_scopes_say_for_its_tenant() {
    let trusting = Trusting::new().await;
    let header = json!({ "alg": "EdDSA", "kid": "ed" });
    let token = |more: &Value| trusting.issuer.signed(&header, &claims_with(more));
    let create = async |token: &str, key: &str| {
        let request =
            Request::post("/v1/orders").header("authorization", format!("Bearer {token}"));
        let request = request.header("idempotency-key", long(key));
        trusting.shop.send(json_body(request, &order())).await
    };
    let id = create(&token(&json!({})), "a").await.json()["id"].as_str().unwrap().to_owned();
    // The key of the same tenant sees it, and its history says who placed it.
    let history = trusting.shop.get(&format!("/v1/orders/{id}/history")).await.json();
    assert_eq!(history["entries"][0]["actor"], "ann");
    let reader = token(&json!({ "scope": "orders:read" }));
    assert!(lets_in(&trusting.shop, &reader).await);
    let problem = create(&reader, "a").await.problem(403, "insufficient-scope");
    assert_eq!(problem["detail"], "CreateOrder needs the scope orders:write.");
    let nothing = token(&json!({ "scope": null }));
    create(&nothing, "b").await.problem(403, "insufficient-scope");
    let metrics = trusting.shop.metrics.render(Format::Text);
    for line in ["{kind=\"jwt\",outcome=\"ok\"}", "{kind=\"jwt\",outcome=\"denied\"} 2"] {
        assert!(metrics.contains(&format!("test_auth_total{line}")), "{line}: {metrics}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_token_that_was_let_in_ends_in_its_time() {
    let trusting = Trusting::new().await;
    trusting.shop.world.clock().run();
    let token = trusting.issuer.token("EdDSA");
    for _ in 0..3 {
        assert!(lets_in(&trusting.shop, &token).await);
    }
    tokio::time::sleep(Duration::from_mins(11)).await;
    assert!(!lets_in(&trusting.shop, &token).await);
}

#[tokio::test(start_paused = true)]
async fn known_keys_work_while_the_key_server_is_away_for_an_hour() {
    for away in [Away::Closed, Away::Failing, Away::Hanging] {
        let (issuer, mut server, tokens) = (Issuer::new(), KeyServer::new(), tokens());
        server.tell(&issuer.keys()).await;
        let source = Source::server(&server.url(), &Config::default(), &Metrics::new("keys"));
        let _fresh = keep_fresh(&tokens, source.unwrap());
        let shop = Shop::trusting(Arc::clone(&tokens));
        shop.world.clock().run();
        let later = claims_with(&json!({ "exp": NOW + 7_200 }));
        let token = |kid: &str| issuer.signed(&json!({ "alg": "EdDSA", "kid": kid }), &later);
        let (known, next) = (token("ed"), token("next"));
        assert!(still(lets_in(&shop, &known)).await, "{away:?}");

        server.leave(away).await;
        let asked = server.asked();
        for _ in 0..12 {
            // Longer than it is remembered that a signature held.
            pass(Duration::from_mins(5)).await;
            assert!(still(lets_in(&shop, &known)).await, "{away:?}");
            is_neither_good_nor_bad(&shop, &next).await;
        }
        // Until the last look for keys is over, and its rest.
        pass(Duration::from_secs(30)).await;
        let status = tokens.status();
        assert!(status.failures >= 12 && status.last_error.is_some(), "{away:?}: {status:?}");
        assert!(status.age.unwrap() >= Duration::from_hours(1), "{away:?}: {status:?}");
        let came = server.asked() - asked;
        assert_eq!(came >= 12, !matches!(away, Away::Closed), "{away:?}: {came}");

        let mut keys = issuer.keys();
        keys["keys"][2]["kid"] = json!("next");
        server.tell(&keys).await;
        assert!(still(lets_in(&shop, &next)).await, "at its first token: {away:?}");
        assert_eq!(tokens.status().last_error, None, "{away:?}");
    }
}

/// Asserts that a token is told to come again, over both protocols, before a request ends that is in
/// a little more of a hurry than others.
async fn is_neither_good_nor_bad(shop: &Shop, token: &str) {
    let bearer = format!("Bearer {token}");
    let headers = [("authorization", bearer.as_str()), ("x-request-timeout-ms", "1750")];
    let (http, grpc) = (http(shop, &headers), grpc(shop, &headers));
    let (answer, status, ()) = tokio::join!(http, grpc, pass(Duration::from_secs(2)));
    answer.problem(503, "token-keys-unavailable");
    assert_eq!(status.unwrap_err().code(), Code::Unavailable);
}

#[tokio::test(start_paused = true)]
async fn a_token_of_a_new_key_is_neither_good_nor_bad_while_the_key_server_is_away() {
    let trusting = Trusting::new().await;
    // Past its rest, and long before it looks by itself.
    tokio::time::sleep(Duration::from_secs(20)).await;
    fs::remove_file(trusting.file()).unwrap();
    let header = json!({ "alg": "EdDSA", "kid": "next" });
    let bearer = format!("Bearer {}", trusting.issuer.signed(&header, &claims()));
    let headers = [("authorization", bearer.as_str())];
    // At the second time it rests.
    for _ in 0..2 {
        http(&trusting.shop, &headers).await.problem(503, "token-keys-unavailable");
    }
    assert!(lets_in(&trusting.shop, &trusting.issuer.token("EdDSA")).await, "known ones stay good");
    let mut keys = trusting.issuer.keys();
    keys["keys"][2]["kid"] = json!("next");
    put(&trusting.file(), &keys);
    tokio::time::sleep(Duration::from_secs(11)).await;
    assert!(http(&trusting.shop, &headers).await.status.is_success());
}

#[tokio::test(start_paused = true)]
async fn a_new_key_is_known_at_its_first_token_and_an_old_one_ends_at_once() {
    let trusting = Trusting::new().await;
    let old = trusting.issuer.token("EdDSA");
    assert!(lets_in(&trusting.shop, &old).await);
    // Past its rest, and long before it looks by itself.
    tokio::time::sleep(Duration::from_secs(20)).await;
    let next = Issuer::new();
    let mut key = next.keys()["keys"][2].clone();
    key["kid"] = json!("next");
    put(&trusting.file(), &json!({ "keys": [key, next.rsa_key()] }));
    let token = next.signed(&json!({ "alg": "EdDSA", "kid": "next" }), &claims());
    assert!(lets_in(&trusting.shop, &token).await);
    assert!(
        !lets_in(&trusting.shop, &old).await,
        "what was remembered of the old key is forgotten"
    );
}

#[tokio::test(start_paused = true)]
async fn without_any_keys_yet_a_token_is_neither_good_nor_bad() {
    let trusting = Trusting::without_keys();
    let bearer = format!("Bearer {}", trusting.issuer.token("ES256"));
    let headers = [("authorization", bearer.as_str())];
    let answer = http(&trusting.shop, &headers).await;
    let problem = answer.problem(503, "token-keys-unavailable");
    assert_eq!((answer.header("retry-after"), &problem["retryable"]), ("1", &json!(true)));
    let status = grpc(&trusting.shop, &headers).await.unwrap_err();
    assert_eq!(status.code(), Code::Unavailable);
    // What could be good in no case is told so.
    is_refused(&trusting.shop, "no token", &[("authorization", "Bearer a.b.c")]).await;
    put(&trusting.file(), &trusting.issuer.keys());
    tokio::time::sleep(Duration::from_secs(11)).await;
    assert!(http(&trusting.shop, &headers).await.status.is_success());
}

#[tokio::test]
async fn strangers_do_not_make_it_ask_the_key_server_again() {
    let (issuer, asked) = (Issuer::new(), Arc::new(AtomicU32::new(0)));
    let (keys, counted) = (issuer.keys().to_string(), Arc::clone(&asked));
    let answer = move || {
        counted.fetch_add(1, Relaxed);
        std::future::ready(keys.clone())
    };
    let server = Router::new().route("/certs", get(answer));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/certs?v=1", listener.local_addr().unwrap());
    let mut tasks = JoinSet::new();
    tasks.spawn(async move { drop(axum::serve(listener, server).await) });
    let tokens = tokens();
    let source = Source::server(&url.parse().unwrap(), &Config::default(), &Metrics::new("keys"));
    let _fresh = keep_fresh(&tokens, source.unwrap());
    let shop = Shop::trusting(tokens);
    // It waits for the first look.
    assert!(lets_in(&shop, &issuer.token("RS256")).await);
    let unknown = |number: u32| {
        let header = json!({ "alg": "EdDSA", "kid": format!("unknown-{number}") });
        format!("Bearer {}", issuer.signed(&header, &claims()))
    };
    let shop = &shop;
    let knock = (0..50).map(unknown).map(|bearer| async move {
        http(shop, &[("authorization", bearer.as_str())]).await.status
    });
    for status in join_all(knock).await {
        assert_eq!(status, 401);
    }
    assert_eq!(asked.load(Relaxed), 1);
}

#[tokio::test]
async fn whoever_may_not_pay_places_no_order_that_is_paid() {
    let trusting = Trusting::new().await;
    let header = json!({ "alg": "EdDSA", "kid": "ed" });
    let claims = claims_with(&json!({ "scope": "orders:write" }));
    let bearer = format!("Bearer {}", trusting.issuer.signed(&header, &claims));
    let paid = order_with(&json!({ "payment": { "instrument": "tok_ok" } }));
    for path in ["/v1/orders", "/v1/orders?validate_only=true"] {
        let request = Request::post(path).header("authorization", &bearer);
        let request = request.header("idempotency-key", long("paid"));
        let answer = trusting.shop.send(json_body(request, &paid)).await;
        let problem = answer.problem(403, "insufficient-scope");
        assert_eq!(problem["detail"], "CreateOrder with a payment needs the scope payments:write.");
    }
}
