//! `orderly gateway check`: the simulator keeps the contract, and whoever breaks it is told in what.

use std::{
    collections::BTreeSet,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use axum::{
    Router,
    body::Bytes,
    extract::State,
    http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, Uri, header},
};
use gateway_sim::{Config, Sim};
use http_body_util::Full;
use serde_json::{Value, json};
use tokio::{net::TcpListener, task::JoinSet};

use crate::support::{Answer, Home, Line, Ran, text};

/// A simulator in a folder, with the file of its secret.
async fn simulator(change: impl FnOnce(&mut Config)) -> (Sim, Home) {
    let home = Home::new();
    let mut config = Config::default();
    config.http.listen = ([127, 0, 0, 1], 0).into();
    config.ledger.path = home.path("gateway.db");
    change(&mut config);
    std::fs::write(home.path("secret"), gateway_sim::DEVELOPMENT_SECRET).unwrap();
    (Sim::start(config).await.unwrap(), home)
}

/// Runs the check, and tells how it ended and what it says as JSON.
async fn check(home: &Home, at: SocketAddr, more: &[&str]) -> (Ran, Value) {
    let url = format!("http://{at}");
    let mut arguments = vec!["gateway", "check", &url, "--secret-file", "secret", "--json"];
    arguments.extend(more);
    let ran = home.run_alone(&arguments).await;
    let report = serde_json::from_str(&ran.out).unwrap_or_default();
    (ran, report)
}

/// The facts with this verdict.
fn facts(report: &Value, verdict: &str) -> BTreeSet<String> {
    let all = report["facts"].as_array().unwrap_or_else(|| panic!("no facts: {report}"));
    let with = all.iter().filter(|fact| fact["verdict"] == verdict);
    with.map(|fact| text(&fact["fact"])).collect()
}

/// A port that is free now.
async fn free_port() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap()
}

#[tokio::test]
async fn the_simulator_keeps_every_fact_of_the_contract_events_included() {
    let listen = free_port().await;
    let (sim, home) =
        simulator(|config| config.webhooks.url = Some(format!("http://{listen}/events"))).await;
    let secret = "whsec_Z2F0ZXdheS1zaW0tZGV2ZWxvcG1lbnQtc2VjcmV0";
    std::fs::write(home.path("webhook-secret"), secret).unwrap();
    let at = listen.to_string();
    let events = ["--webhook-listen", &at, "--webhook-secret-file", "webhook-secret"];
    let (ran, report) = check(&home, sim.address(), &events).await;
    assert_eq!(ran.code, Some(0), "{ran:?}");
    assert_eq!((&report["missing"], &report["unclear"]), (&json!(0), &json!(0)), "{report}");
    let ok = facts(&report, "ok");
    assert!(ok.contains("16 twins at the same time are one effect and one answer"), "{ok:?}");
    assert!(ok.contains("an event is signed by the Standard Webhooks scheme"), "{ok:?}");
    assert_eq!(report["ok"], ok.len());
    sim.stop().await;
}

#[tokio::test]
async fn events_that_another_secret_signed_are_told() {
    let listen = free_port().await;
    let (sim, home) =
        simulator(|config| config.webhooks.url = Some(format!("http://{listen}/events"))).await;
    std::fs::write(home.path("webhook-secret"), "whsec_b3RoZXJvdGhlcm90aGVyb3RoZXJvdGhlcg==")
        .unwrap();
    let at = listen.to_string();
    let events = ["--webhook-listen", &at, "--webhook-secret-file", "webhook-secret"];
    let (ran, report) = check(&home, sim.address(), &events).await;
    assert_eq!(ran.code, Some(1), "{ran:?}");
    let signed = "an event is signed by the Standard Webhooks scheme".to_owned();
    assert_eq!(facts(&report, "missing"), BTreeSet::from([signed]));
    sim.stop().await;
}

#[tokio::test]
async fn an_address_where_nobody_is_ends_with_2() {
    let (sim, home) = simulator(|_| {}).await;
    let (ran, _) = check(&home, free_port().await, &[]).await;
    assert_eq!(ran.code, Some(2), "{ran:?}");
    assert!(ran.err.contains("cannot reach http://127.0.0.1:"), "{}", ran.err);
    sim.stop().await;
}

#[tokio::test]
async fn a_restart_command_that_fails_leaves_its_fact_unclear() {
    let (sim, home) = simulator(|_| {}).await;
    let (ran, report) = check(&home, sim.address(), &["--restart-command", "exit 7"]).await;
    assert_eq!(ran.code, Some(1), "{ran:?}");
    let fact = "a key and its operation are there after a restart".to_owned();
    assert_eq!(facts(&report, "unclear"), BTreeSet::from([fact]));
    let (ran, _) = check(&home, sim.address(), &["--restart-command", "true"]).await;
    assert_eq!(ran.code, Some(0), "{ran:?}");
    sim.stop().await;
}

#[tokio::test]
async fn the_table_tells_what_was_sent_what_came_and_what_the_contract_says() {
    let (sim, home) = simulator(|_| {}).await;
    let broken = Proxy::before(&sim, &LOOKS_UP_ANYTHING).await;
    let url = format!("http://{}", broken.address);
    let ran = home.run_alone(&["gateway", "check", &url, "--secret-file", "secret"]).await;
    assert_eq!(ran.code, Some(1), "{ran:?}");
    let (_, told) = ran.out.split_once("MISSING  what never was is not found").unwrap();
    for part in [
        "sent      GET /v1/operations/",
        "came      200",
        "wanted    404",
        "contract  404 `not-found`",
    ] {
        assert!(told.contains(part), "{part} in {told}");
    }
    assert!(!ran.out.contains(gateway_sim::DEVELOPMENT_SECRET));
    sim.stop().await;
}

#[tokio::test]
async fn every_broken_implementation_is_caught_by_the_right_fact() {
    let (sim, home) = simulator(|_| {}).await;
    let mut wrong = Vec::new();
    for broken in BROKEN {
        let proxy = Proxy::before(&sim, broken).await;
        let (ran, report) = check(&home, proxy.address, &[]).await;
        let missing = facts(&report, "missing");
        let caught = broken.missing.iter().all(|&fact| missing.contains(fact));
        // What is not broken must not be blamed.
        let blamed = missing.contains("capabilities are told") || report["ok"].as_u64() < Some(20);
        if ran.code != Some(1) || !caught || blamed {
            wrong.push(format!("{}: {missing:#?}", broken.name));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    sim.stop().await;
}

/// A way to break the contract: what becomes of requests, and of answers.
struct Broken {
    name: &'static str,
    request: fn(&mut Asked),
    answer: fn(&Asked, &mut Told),
    /// Facts that are then missing, perhaps among others that follow from them.
    missing: &'static [&'static str],
}

/// A request on its way to the simulator.
struct Asked {
    method: Method,
    path: String,
    headers: HeaderMap,
    body: Bytes,
    /// What the caller sent, where something else goes on.
    original: Value,
}

impl Asked {
    fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_default()
    }
}

/// An answer on its way back.
struct Told {
    status: u16,
    content_type: String,
    replayed: bool,
    body: Value,
}

const fn as_it_is(_: &mut Asked) {}
const fn as_it_was(_: &Asked, _: &mut Told) {}

const LOOKS_UP_ANYTHING: Broken = Broken {
    name: "finds whatever is looked up",
    request: as_it_is,
    answer: |asked, told| {
        if let Some(reference) = asked.path.strip_prefix("/v1/operations/")
            && told.status == 404
        {
            let money = json!({ "amount_minor": "1000", "currency": "EUR" });
            told.status = 200;
            "application/json".clone_into(&mut told.content_type);
            told.body = json!({
                "reference": reference,
                "payment": "01936f5e-7c2a-7b3e-9a41-0c8f2d6e5b10",
                "kind": "authorization",
                "status": "succeeded",
                "amount": money,
                "gateway_id": "made-up",
                "idempotency_key": "made-up-made-up-1",
                "created_at": "2026-03-01T12:00:00Z",
                "totals": { "authorized": money, "captured": { "amount_minor": "0", "currency": "EUR" },
                    "voided": { "amount_minor": "0", "currency": "EUR" },
                    "refunded": { "amount_minor": "0", "currency": "EUR" } },
            });
        }
    },
    missing: &[
        "what never was is not found",
        "what was refused for its secret was not done",
        "what was refused was not done",
    ],
};

const BROKEN: &[Broken] = &[
    LOOKS_UP_ANYTHING,
    Broken {
        name: "lets everybody in",
        request: |asked| {
            let secret = format!("Bearer {}", gateway_sim::DEVELOPMENT_SECRET);
            let secret = HeaderValue::from_str(&secret).unwrap();
            asked.headers.insert(header::AUTHORIZATION, secret);
        },
        answer: as_it_was,
        missing: &[
            "a request without the secret is refused, on every address",
            "a request with a wrong secret is refused, on every address",
        ],
    },
    Broken {
        name: "answers with another amount",
        request: as_it_is,
        answer: |asked, told| {
            let amount = asked.json()["amount"]["amount_minor"].as_str().map(str::to_owned);
            if let (200, Some(amount)) = (told.status, amount) {
                told.body["amount"]["amount_minor"] = json!(format!("{amount}0"));
            }
        },
        missing: &["an answer fits its request"],
    },
    Broken {
        name: "accepts captures above what is held",
        request: as_it_is,
        answer: |_, told| {
            if told.body["decline_code"] == "exceeds-authorized" {
                told.body["status"] = json!("succeeded");
                told.body.as_object_mut().unwrap().remove("decline_code");
            }
        },
        missing: &[
            "a capture above what is held is declined, and changes nothing",
            "of captures at the same time, each of all there is, one succeeds",
        ],
    },
    Broken {
        name: "forgets keys",
        request: |asked| {
            static DRAWN: AtomicU64 = AtomicU64::new(0);
            let number = DRAWN.fetch_add(1, Ordering::Relaxed);
            let mut body = asked.json();
            if asked.method == Method::POST && body["reference"].is_string() {
                let key = asked.headers.get("idempotency-key").cloned();
                if let Some(key) = key.filter(|key| (16..=128).contains(&key.len())) {
                    let fresh = format!("fresh-key-{number:010}");
                    asked.original["key"] = json!(key.to_str().unwrap());
                    asked.headers.insert("idempotency-key", fresh.parse().unwrap());
                }
                asked.original["reference"] = body["reference"].clone();
                if text(&body["reference"]).len() == 36 && !text(&body["reference"]).contains('F') {
                    body["reference"] = json!(format!("00000000-0000-7000-8000-{number:012}"));
                    asked.body = body.to_string().into();
                }
            }
        },
        answer: |asked, told| {
            if told.status == 200 && asked.method == Method::POST {
                told.body["reference"] = asked.original["reference"].clone();
                told.body["idempotency_key"] = asked.original["key"].clone();
            }
        },
        missing: &[
            "the same request again is the same operation, and says so",
            "a key with another body is refused",
            "a reference under another key is refused",
            "16 twins at the same time are one effect and one answer",
        ],
    },
    Broken {
        name: "takes what it does not know",
        request: |asked| {
            let mut body = asked.json();
            if let Some(body) = body.as_object_mut() {
                let known = ["reference", "payment", "amount", "instrument"];
                body.retain(|name, _| known.contains(&name.as_str()));
                asked.body = json!(body).to_string().into();
            }
        },
        answer: as_it_was,
        missing: &["an unknown field is refused"],
    },
    Broken {
        name: "redirects refunds",
        request: as_it_is,
        answer: |asked, told| {
            if asked.path == "/v1/refunds" && told.status == 200 {
                told.status = 307;
            }
        },
        missing: &["nothing is redirected"],
    },
    Broken {
        name: "does not say that it replays",
        request: as_it_is,
        answer: |_, told| told.replayed = false,
        missing: &[
            "the same request again is the same operation, and says so",
            "16 twins at the same time are one effect and one answer",
        ],
    },
    Broken {
        name: "tells errors as text",
        request: as_it_is,
        answer: |_, told| {
            if told.status >= 400 {
                "text/plain".clone_into(&mut told.content_type);
            }
        },
        missing: &["success is application/json, and an error application/problem+json"],
    },
    Broken {
        name: "does not tell what a void let go of",
        request: as_it_is,
        answer: |asked, told| {
            if asked.path == "/v1/voids" && told.status == 200 {
                told.body["amount"]["amount_minor"] = json!("0");
            }
        },
        missing: &["a void lets go of all that is held, and tells how much"],
    },
];

/// An implementation that breaks the contract: the simulator, spoilt on the way. Dropping it ends it.
struct Proxy {
    address: SocketAddr,
    _server: JoinSet<()>,
}

impl Proxy {
    async fn before(sim: &Sim, broken: &'static Broken) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let state = Arc::new((sim.address(), broken));
        let app = Router::new().fallback(forward).with_state(state);
        let mut server = JoinSet::new();
        server.spawn(async move { axum::serve(listener, app).await.unwrap() });
        Self { address, _server: server }
    }
}

async fn forward(
    State(state): State<Arc<(SocketAddr, &'static Broken)>>,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
) -> Response<axum::body::Body> {
    let (sim, broken) = &*state;
    let path = uri.path().to_owned();
    let mut asked = Asked { method, path, headers, body, original: json!({}) };
    (broken.request)(&mut asked);
    asked.headers.remove(header::CONTENT_LENGTH);
    let mut request = Request::builder().method(&asked.method).uri(&asked.path);
    *request.headers_mut().unwrap() = asked.headers.clone();
    let request = request.body(Full::from(asked.body.clone())).unwrap();
    let answer: Answer = Line::open(*sim).await.unwrap().send(request).await.unwrap();
    let mut told = Told {
        status: answer.status,
        content_type: answer.header("content-type").to_owned(),
        replayed: answer.header("idempotent-replayed") == "true",
        body: answer.json(),
    };
    (broken.answer)(&asked, &mut told);
    let response = Response::builder()
        .status(StatusCode::from_u16(told.status).unwrap())
        .header(header::CONTENT_TYPE, told.content_type);
    let response =
        if told.replayed { response.header("idempotent-replayed", "true") } else { response };
    response.body(told.body.to_string().into()).unwrap()
}
