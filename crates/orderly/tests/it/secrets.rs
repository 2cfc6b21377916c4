//! What nobody may find where it does not belong: a canary planted in every input is looked for in
//! every line, span, metric and error.

use http_body_util::Full;
use hyper::{Request, body::Bytes};
use serde_json::{Value, json};

use crate::support::{Answer, Client, Collector, Home, Line, get_as, text, until, with_json};

const CANARY: &str = "Canary7G4QX";

/// An order with the canary in everything that is text.
fn order() -> Value {
    let address = json!({
        "recipient": CANARY, "line1": CANARY, "line2": CANARY, "city": CANARY, "region": CANARY,
        "postal_code": CANARY, "country": "DE",
    });
    json!({
        "customer_id": CANARY,
        "external_reference": CANARY,
        "metadata": { "note": CANARY },
        "personal": {
            "name": CANARY,
            "email": format!("{CANARY}@example.org"),
            "phone": CANARY,
            "shipping_address": address,
        },
        "lines": [{
            "sku": CANARY,
            "name": CANARY,
            "quantity": 1,
            "unit_price": { "amount_minor": "100", "currency": "EUR" },
        }],
    })
}

/// An order whose `at` is `value`.
fn with(at: &str, value: Value) -> Value {
    let mut order = order();
    *order.pointer_mut(at).unwrap() = value;
    order
}

/// The request with the canary in headers that mean something, and in one that does not.
fn planted(mut request: Request<Full<Bytes>>) -> Request<Full<Bytes>> {
    let headers = request.headers_mut();
    for name in ["x-unknown", "cookie", "user-agent", "referer", "accept-language", "baggage"] {
        headers.insert(name, CANARY.parse().unwrap());
    }
    headers.insert("traceparent", format!("00-{CANARY}-{CANARY}-01").parse().unwrap());
    headers.insert("x-envoy-attempt-count", CANARY.parse().unwrap());
    headers.insert("tracestate", format!("vendor={CANARY}").parse().unwrap());
    request
}

async fn ask(client: &Client, request: Request<Full<Bytes>>) -> Answer {
    client.send(planted(request)).await
}

/// Requests that go well: what they answer is the caller's own.
async fn succeed(client: &Client) {
    let key = format!("{CANARY}-good-key");
    let placed = ask(client, client.placing(&key, &order())).await;
    let id = placed.placed();
    let note = json!({ "text": CANARY });
    let noted = with_json(client.request("POST", &format!("/v1/orders/{id}/notes")), &note);
    assert_eq!(ask(client, noted).await.status, 200);
    let cancelled = with_json(
        client.request("POST", &format!("/v1/orders/{id}/cancel")),
        &json!({ "reason": CANARY }),
    );
    assert_eq!(ask(client, cancelled).await.status, 200);
    let query = format!("/v1/orders?customer_id={CANARY}&page_size=1");
    let listed = client.request("GET", &query).body(Full::default()).unwrap();
    assert_eq!(ask(client, listed).await.status, 200);
}

/// Requests without a body that fail.
fn wrong_reads(client: &Client) -> Vec<Request<Full<Bytes>>> {
    let get = |path: &str| client.request("GET", path);
    let queries = [
        format!("/v1/orders?page_size={CANARY}"),
        format!("/v1/orders?page_token={CANARY}"),
        format!("/v1/orders?state={CANARY}"),
        format!("/v1/orders?created_from={CANARY}"),
        format!("/v1/events?after={CANARY}"),
        format!("/v1/orders/00000000-0000-0000-0000-000000000000?token={CANARY}"),
        format!("/nowhere?token={CANARY}"),
    ];
    let headers = [
        ("authorization", format!("Bearer {CANARY}.{CANARY}")),
        ("authorization", format!("Basic {CANARY}")),
        ("x-request-timeout-ms", CANARY.to_owned()),
        ("x-request-id", format!("{CANARY} is none")),
        ("last-event-id", CANARY.to_owned()),
    ];
    let mut requests: Vec<_> =
        queries.iter().map(|query| get(query).body(Full::default()).unwrap()).collect();
    for (name, value) in headers {
        // Wrong in any case, so that a header that is overlooked is one too.
        let mut request = get("/v1/events?after=none").body(Full::default()).unwrap();
        request.headers_mut().insert("accept", "text/event-stream".parse().unwrap());
        request.headers_mut().insert(name, value.parse().unwrap());
        requests.push(request);
    }
    requests.push(client.request(CANARY, "/v1/orders").body(Full::default()).unwrap());
    requests
}

/// Orders that are refused.
fn wrong_orders(client: &Client) -> Vec<Request<Full<Bytes>>> {
    let key = format!("{CANARY}-another");
    let wrong = [
        ("/customer_id", json!(format!("{CANARY}\u{7}"))),
        ("/lines", json!(CANARY)),
        ("/lines/0/quantity", json!(CANARY)),
        ("/lines/0/quantity", json!([CANARY])),
        ("/lines/0/unit_price/amount_minor", json!(CANARY)),
        ("/lines/0/unit_price/currency", json!(CANARY)),
        ("/metadata", json!({ "note": { "deep": CANARY } })),
        ("/metadata", json!({ "note": format!("{CANARY}\u{0}") })),
        ("/personal/email", json!(CANARY)),
        ("/personal/phone", json!([CANARY])),
        ("/personal/shipping_address", json!(CANARY)),
        ("/personal/shipping_address/country", json!(CANARY)),
    ];
    let mut requests: Vec<_> =
        wrong.into_iter().map(|(at, value)| client.placing(&key, &with(at, value))).collect();
    let broken = Full::from(format!("{{\"customer_id\": \"{CANARY}\" {CANARY}"));
    requests.push(client.placing(&key, &json!({})).map(|_| broken));
    requests.push(client.placing(CANARY, &order()));
    // The external reference is taken, and the key was used for something else.
    requests.push(client.placing(&key, &order()));
    let used = format!("{CANARY}-good-key");
    requests.push(client.placing(&used, &with("/customer_id", json!("other"))));
    requests
}

/// What the wrong requests are answered.
async fn fail(client: &Client) -> Vec<Answer> {
    let mut answers = Vec::new();
    for request in [wrong_reads(client), wrong_orders(client)].concat() {
        let what = format!("{request:?}");
        let answer = ask(client, request).await;
        assert!(answer.status >= 400, "{what}: {answer:?}");
        answers.push(answer);
    }
    answers
}

#[tokio::test]
async fn nothing_of_what_callers_send_is_found_where_it_does_not_belong() {
    let collector = Collector::start().await;
    let own = ["mainstay", "orderly", "orders", "orders_adapters", "orders_api", "http"];
    let level: Vec<String> = own.iter().map(|target| format!("{target}=trace")).collect();
    let home =
        Home::new().set(&collector.setting()).set(&format!("log.level=info,{}", level.join(",")));
    let service = home.serve().await;
    let client = service.client();
    succeed(&client).await;
    let refused = fail(&client).await;
    let by_path = client.get(&format!("/v1/orders/{CANARY}?token={CANARY}")).await;
    assert_eq!(by_path.status, 404);

    for answer in &refused {
        assert!(!told(answer).contains(CANARY), "{answer:?}");
    }
    let open = get_as(service.admin, "/metrics", "application/openmetrics-text").await.text();
    assert!(open.contains("# EOF") && !open.contains(CANARY), "{open}");
    let id = by_path.header("x-request-id").to_owned();
    until("the spans arrive", async || collector.all().contains(&id).then_some(())).await;
    let key = text(&client.key.clone().into());
    service.sigterm();
    let ran = service.end().await;

    // Of a path everything is told but the query: it names what the request is about.
    let path = format!("/v1/orders/{CANARY}");
    let log = ran.err.replace(&format!("\"path\":\"{path}\""), "");
    let spans = collector.all().replace(&format!("\"{path}\""), "");
    assert!(log.lines().count() > refused.len() && spans.contains("POST /v1/orders"));
    for (where_, what) in [("log", log), ("spans", spans)] {
        let found: Vec<&str> = what.lines().filter(|line| line.contains(CANARY)).collect();
        assert!(found.is_empty(), "in the {where_}: {found:#?}");
        assert!(
            !what.contains(key.split_once('.').unwrap().1),
            "the key's secret is in the {where_}"
        );
    }
}

/// An answer's headers and body.
fn told(answer: &Answer) -> String {
    format!("{:?} {}", answer.headers, answer.text())
}

#[tokio::test]
async fn a_request_that_is_no_http_is_not_repeated() {
    let service = Home::new().serve().await;
    drop(Line::open(service.api).await.unwrap());
    let mut stream = tokio::net::TcpStream::connect(service.api).await.unwrap();
    let nonsense = format!("GET /\u{1} {CANARY}\r\n{CANARY}\r\n\r\n");
    tokio::io::AsyncWriteExt::write_all(&mut stream, nonsense.as_bytes()).await.unwrap();
    let mut answer = String::new();
    tokio::io::AsyncReadExt::read_to_string(&mut stream, &mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 400 ") && !answer.contains(CANARY), "{answer}");
    service.sigterm();
    let ran = service.end().await;
    assert!(!ran.err.contains(CANARY), "{}", ran.err);
}
