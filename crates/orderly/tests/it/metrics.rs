//! What is measured: the committed list, promtool's opinion, and the answers of a real Prometheus.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write as _,
    fs,
    io::Write as _,
    net::TcpListener,
    process::{Command, Stdio},
};

use gateway_sim::Sim;
use http_body_util::Full;
use hyper::Request;
use orders_testkit::generated;
use serde_json::Value;

use crate::{
    pay,
    support::{Client, Home, Line, Process, Service, get, until},
};

const DOCUMENT: &str = "docs/METRICS.md";
/// The metrics of PostgreSQL and Kafka, which not every service has.
#[cfg(any(feature = "postgres", feature = "kafka"))]
const BESIDE: &str = "docs/CLUSTER.md";
/// What follows it is made from the code.
const MADE: &str = "## Every metric\n\n";

/// The key of an issuer of tokens, that of RFC 8037, appendix A.2.
const ISSUER: &str = "{\"keys\":[{\"kty\":\"OKP\",\"crv\":\"Ed25519\",\
                      \"x\":\"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo\"}]}";

/// The same with everything that lets in and limits who asks, and a key.
async fn guarded(home: Home) -> (Home, String) {
    fs::write(home.path("jwks.json"), ISSUER).unwrap();
    let home = home
        .keyed()
        .set("auth.jwt.issuer=https://id.test")
        .set("auth.jwt.audience=orderly")
        .set("auth.jwt.jwks_file=jwks.json")
        .set("limits.principal.read.per_second=1000000");
    let key = home.new_key("acme", "till").await;
    (home, key)
}

/// A service that has done a bit of everything.
async fn used() -> (Service, Sim) {
    let (sim, home) = pay::shop().await;
    let secret = gateway_sim::webhooks::DEVELOPMENT_SECRET;
    fs::write(home.path("webhook-secret"), secret).unwrap();
    let home = home.set("gateway.webhook_secret_file=webhook-secret");
    let (home, key) = guarded(home).await;
    let service = home.serve().await;
    let client = service.client_with(&key);
    use_it(&client, 1).await;
    pay::one_order(&client, &sim).await;
    assert_eq!(client.get("/nowhere").await.status, 404);
    let spent = client.request("GET", "/v1/orders").header("x-request-timeout-ms", "0");
    assert_eq!(client.send(spent.body(Full::default()).unwrap()).await.status, 504);
    let unsigned = client.request("POST", "/webhooks/gateway").body(Full::default()).unwrap();
    assert_eq!(client.send(unsigned).await.status, 401);
    drop(client.watch(0).await);
    until("all of it is counted", async || {
        let metrics = service.metrics().await;
        metrics.contains("route=\"/v1/events\"").then_some(())
    })
    .await;
    (service, sim)
}

/// Places an order and reads it.
async fn use_it(client: &Client, number: usize) {
    let id = client.create(&format!("measured-{number:016}")).await.placed();
    assert_eq!(client.get(&format!("/v1/orders/{id}")).await.status, 200);
}

#[derive(Debug, Default)]
struct Metric {
    kind: String,
    help: String,
    labels: BTreeSet<String>,
}

/// Every metric of a scrape, by name.
fn metrics(text: &str) -> BTreeMap<String, Metric> {
    let mut all: BTreeMap<String, Metric> = BTreeMap::new();
    let mut last = String::new();
    for line in text.lines() {
        let words: Vec<&str> = line.splitn(4, ' ').collect();
        match words[..] {
            ["#", "HELP", name, help] => all.entry(name.into()).or_default().help = help.into(),
            ["#", "TYPE", name, kind] => {
                all.entry(name.into()).or_default().kind = kind.into();
                last = name.into();
            }
            _ => {
                assert!(line.starts_with(&last), "{line} is not of {last}");
                all.get_mut(&last).unwrap().labels.extend(labels(line));
            }
        }
    }
    all
}

/// The names of a sample's labels. Their values hold no commas.
fn labels(sample: &str) -> impl Iterator<Item = String> {
    let labels = sample.split_once('{').map_or("", |(_, labels)| labels).split(',');
    let names = labels.filter_map(|label| Some(label.split_once("=\"")?.0));
    names.filter(|name| *name != "le").map(str::to_owned)
}

fn unit(name: &str) -> &'static str {
    let units = [("_seconds", "seconds"), ("_bytes", "bytes"), ("_fds", "descriptors")];
    let name = name.trim_end_matches("_total");
    units.into_iter().find(|(end, _)| name.ends_with(end)).map_or("", |(_, unit)| unit)
}

fn table(metrics: &BTreeMap<String, Metric>) -> String {
    let mut table = "Made from the code; `make generate` writes it anew.\n\n\
         | name | type | labels | unit | meaning |\n|---|---|---|---|---|\n"
        .to_owned();
    for (name, Metric { kind, help, labels }) in metrics {
        let labels: Vec<String> = labels.iter().map(|label| format!("`{label}`")).collect();
        let labels = labels.join(", ");
        writeln!(table, "| `{name}` | {kind} | {labels} | {} | {help} |", unit(name)).unwrap();
    }
    table
}

fn document() -> String {
    fs::read_to_string(generated::path(DOCUMENT)).unwrap()
}

/// Every metric of a service with other parts than the usual is in one of the documents.
#[cfg(any(feature = "postgres", feature = "kafka"))]
pub(crate) async fn are_documented(service: &Service) {
    let beside = fs::read_to_string(generated::path(BESIDE)).unwrap();
    let beside = beside.replace("| `", "| `order_service_").replace("`, `", "`, `order_service_");
    let documents = document() + &beside;
    let metrics = metrics(&service.metrics().await);
    let missing: Vec<&String> =
        metrics.keys().filter(|name| !documents.contains(&format!("`{name}`"))).collect();
    assert!(missing.is_empty() && metrics.len() > 20, "not in {DOCUMENT} or {BESIDE}: {missing:?}");
}

#[tokio::test]
async fn every_metric_is_in_the_document() {
    let (service, _sim) = used().await;
    let metrics = metrics(&service.metrics().await);
    for (name, metric) in &metrics {
        assert!(!metric.help.is_empty() && !metric.kind.is_empty(), "{name}: {metric:?}");
    }
    let committed = document();
    let (written, _) = committed.split_once(MADE).expect("the part that people write");
    generated::is_committed(DOCUMENT, &format!("{written}{MADE}{}", table(&metrics)));
}

#[tokio::test]
async fn promtool_has_nothing_to_say() {
    let (service, _sim) = used().await;
    let text = service.metrics().await;
    let mut promtool = Command::new("promtool");
    promtool.args(["check", "metrics"]).stdin(Stdio::piped());
    promtool.stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut promtool = promtool.spawn().expect("promtool is needed; run: scripts/setup");
    promtool.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
    let checked = promtool.wait_with_output().unwrap();
    let said = [checked.stdout, checked.stderr].concat();
    assert!(checked.status.success() && said.is_empty(), "{}", String::from_utf8_lossy(&said));
}

/// The queries of the document.
fn queries() -> Vec<String> {
    let document = document();
    let blocks = document.split("```promql\n").skip(1);
    let queries: Vec<String> =
        blocks.map(|block| block.split_once("\n```").unwrap().0.to_owned()).collect();
    assert!(queries.len() >= 15, "{queries:?}");
    queries
}

fn percent_encoded(text: &str) -> String {
    text.bytes().fold(String::new(), |mut encoded, byte| {
        write!(encoded, "%{byte:02X}").unwrap();
        encoded
    })
}

/// Whether the answer to a query holds a number.
fn is_answered(answer: &Value) -> bool {
    let results = answer["data"]["result"].as_array().unwrap_or_else(|| panic!("{answer}"));
    let values = results.iter().map(|result| result["value"][1].as_str().unwrap());
    values.filter_map(|value| value.parse::<f64>().ok()).any(f64::is_finite)
}

#[tokio::test]
async fn a_real_prometheus_answers_the_documented_queries() {
    let (home, key) = guarded(Home::new()).await;
    let service = home.serve().await;
    let client = service.client_with(&key);
    let _feed = client.watch(0).await;
    let folder = tempfile::tempdir().unwrap();
    let settings = format!(
        "global: {{ scrape_interval: 1s }}\nscrape_configs:\n- job_name: orderly\n  \
         static_configs: [{{ targets: [\"{}\"] }}]\n",
        service.admin
    );
    fs::write(folder.path().join("prometheus.yml"), settings).unwrap();
    // Free a moment ago; whoever takes it meanwhile makes the test fail and not lie.
    let at = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let installed = Command::new("prometheus").arg("--version").output();
    installed.expect("prometheus is needed; run: scripts/setup");
    let mut prometheus = Command::new("prometheus");
    prometheus.current_dir(folder.path()).stdin(Stdio::null()).args([
        "--config.file=prometheus.yml",
        "--storage.tsdb.path=data",
        &format!("--web.listen-address={at}"),
    ]);
    // Killed when it is dropped.
    let mut prometheus = Process::start(prometheus);
    until("Prometheus is up", async || {
        assert!(!prometheus.has_ended(), "{}", prometheus.log());
        let mut line = Line::open(at).await.ok()?;
        let ready = Request::get("/-/ready").header("host", at.to_string());
        let ready = line.send(ready.body(Full::default()).unwrap()).await.ok()?;
        (ready.status == 200).then_some(())
    })
    .await;

    let mut number = 0;
    for query in queries() {
        let path = format!("/api/v1/query?query={}", percent_encoded(&query));
        until(&query, async || {
            number += 1;
            use_it(&client, number).await;
            let answer = get(at, &path).await;
            assert_eq!(answer.status, 200, "{query}: {}", answer.text());
            is_answered(&answer.json()).then_some(())
        })
        .await;
    }
    let targets = get(at, "/api/v1/targets").await.json();
    let target = &targets["data"]["activeTargets"][0];
    assert_eq!((&target["health"], &target["lastError"]), (&"up".into(), &"".into()), "{target}");
}
