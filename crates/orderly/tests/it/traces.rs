//! One trace, from the caller's header to the commit, under one id everywhere.

use std::collections::BTreeSet;

use serde_json::Value;
use tokio::{net::TcpListener, task::JoinSet};

use crate::support::{Answer, Client, Collector, Home, Service, Span, get_as, order, until};

const CALLER: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331";

/// Places an order as part of a trace of the caller's.
async fn place_in(client: &Client, traceparent: &str, key: &str) -> Answer {
    let mut request = client.placing(key, &order());
    request.headers_mut().insert("traceparent", traceparent.parse().unwrap());
    let answer = client.send(request).await;
    answer.placed();
    answer
}

/// The trace and span in the answer's header, and whether they are recorded.
fn told(answer: &Answer) -> (String, String, bool) {
    let header: Vec<_> = answer.header("traceparent").split('-').collect();
    let [_, trace, span, flags] = header[..] else { panic!("{header:?}") };
    (trace.to_owned(), span.to_owned(), flags == "01")
}

async fn access_line(service: &Service, answer: &Answer) -> Value {
    let id = answer.header("x-request-id");
    let is_access = |line: &Value| line["target"] == "http.access";
    until("the request is logged", async || service.logged(id).into_iter().find(is_access)).await
}

async fn spans(collector: &Collector, count: usize) -> Vec<Span> {
    until("the spans arrive", async || Some(collector.spans()).filter(|spans| spans.len() >= count))
        .await
}

#[tokio::test]
async fn one_order_is_one_trace_and_everything_tells_its_id() {
    let collector = Collector::start().await;
    let service = Home::new().set(&collector.setting()).serve().await;
    let answer = service.client().create("traced-0000000001").await;
    answer.placed();
    let spans = spans(&collector, 3).await;
    let find = |name: &str| spans.iter().find(|span| span.name == name).unwrap();
    let (request, use_case, commit) = (find("POST /v1/orders"), find("create"), find("commit"));
    assert_eq!(spans.len(), 3, "{spans:?}");

    let traces: BTreeSet<_> = spans.iter().map(|span| &span.trace_id).collect();
    assert_eq!(traces.len(), 1, "{spans:?}");
    assert_eq!(request.parent, "");
    assert_eq!(use_case.parent, request.id);
    assert_eq!(commit.parent, use_case.id);
    assert!(request.is_server && !request.failed);
    for (span, name, value) in [
        (request, "http.request.method", "POST"),
        (request, "http.route", "/v1/orders"),
        (request, "http.response.status_code", "201"),
        (request, "url.path", "/v1/orders"),
        (request, "request_id", answer.header("x-request-id")),
        (commit, "db.operation.batch.size", "1"),
    ] {
        assert_eq!(span.attributes.get(name).map(String::as_str), Some(value), "{span:?}");
    }
    assert!(commit.attributes["queue_wait_seconds"].parse::<f64>().unwrap() >= 0.0);

    let ids = (request.trace_id.clone(), request.id.clone(), true);
    assert_eq!(told(&answer), ids);
    let line = access_line(&service, &answer).await;
    assert_eq!((&line["trace_id"], &line["span_id"]), (&ids.0.into(), &ids.1.into()));
    let open = get_as(service.admin, "/metrics", "application/openmetrics-text").await.text();
    let exemplar = format!("# {{trace_id=\"{}\",span_id=\"{}\"}}", request.trace_id, request.id);
    assert!(
        open.lines().any(|line| line.contains("route=\"/v1/orders\"") && line.contains(&exemplar)),
        "{open}"
    );
    assert!(!service.metrics().await.contains("trace_id"));
    assert!(service.metric("order_service_trace_spans_exported_total ").await >= 3.0);
}

#[tokio::test]
async fn the_callers_trace_goes_on_here_if_it_is_recorded() {
    let collector = Collector::start().await;
    let service = Home::new().set(&collector.setting()).serve().await;
    let client = service.client();
    let unrecorded = place_in(&client, &format!("{CALLER}-00"), "unrecorded-000001").await;
    let recorded = place_in(&client, &format!("{CALLER}-01"), "recorded-0000001").await;
    let spans = spans(&collector, 3).await;
    assert_eq!(spans.len(), 3, "one request is recorded: {spans:?}");
    let request = spans.iter().find(|span| span.is_server).unwrap();
    assert_eq!(request.parent, "b7ad6b7169203331");
    assert_eq!(told(&recorded), (request.trace_id.clone(), request.id.clone(), true));
    let (trace, span, sampled) = told(&unrecorded);
    assert_eq!((trace.as_str(), sampled), ("0af7651916cd43dd8448eb211c80319c", false));
    assert_ne!(span, "b7ad6b7169203331");
    assert_eq!(trace, request.trace_id);
}

#[tokio::test]
async fn nothing_is_recorded_of_what_is_not_in_the_sample() {
    let collector = Collector::start().await;
    let home = Home::new().set(&collector.setting()).set("log.traces.sample_ratio=0");
    let service = home.serve().await;
    let unrecorded = service.client().create("unsampled-000001").await;
    let recorded = place_in(&service.client(), &format!("{CALLER}-01"), "sampled-00000001").await;
    assert!(!told(&unrecorded).2 && told(&recorded).2);
    let spans = spans(&collector, 3).await;
    assert!(spans.iter().all(|span| span.trace_id == told(&recorded).0), "{spans:?}");
}

#[tokio::test]
async fn the_last_spans_are_sent_at_the_end() {
    let collector = Collector::start().await;
    let service = Home::new().set(&collector.setting()).serve().await;
    service.client().create("the-last-0000001").await.placed();
    service.stop().await;
    assert_eq!(collector.spans().len(), 3);
}

#[tokio::test]
async fn a_collector_that_never_answers_does_not_hold_up_the_end() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let mut accepting = JoinSet::new();
    accepting.spawn(async move {
        let mut held = Vec::new();
        while let Ok(accepted) = listener.accept().await {
            held.push(accepted);
        }
    });
    let endpoint = format!("log.traces.endpoint=http://{address}/v1/traces");
    let service = Home::new().set(&endpoint).set("log.flush=100ms").serve().await;
    service.client().create("never-answered-01").await.placed();
    service.sigterm();
    let ran = service.end().await;
    assert_eq!(ran.code, Some(0), "{ran:?}");
    // It left while the collector was still being waited for.
    assert!(ran.err.contains("the last spans could not be sent in time"), "{}", ran.err);
}

#[tokio::test]
async fn a_collector_that_is_not_there_costs_its_spans_only() {
    let endpoint = "log.traces.endpoint=http://127.0.0.1:1/v1/traces";
    let service = Home::new().set(endpoint).serve().await;
    service.client().create("nobody-there-0001").await.placed();
    until("the spans are counted as lost", async || {
        (service.metric("order_service_trace_spans_failed_total ").await >= 3.0).then_some(())
    })
    .await;
    let lost = "spans are lost until the collector takes them";
    until("it is told", async || service.log().contains(lost).then_some(())).await;
    service.client().create("nobody-there-0002").await.placed();
}
