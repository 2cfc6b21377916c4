//! The binary against a service that is told to be slow or wrong.
#![expect(clippy::unwrap_used, reason = "tests fail by panicking")]

mod fake;

use fake::{Fake, Fault};
use serde_json::Value;
use std::{collections::HashSet, process::Stdio, time::Duration};
use tokio::{process::Command, time::timeout};

/// Far above the length of any run here.
const LIMIT: Duration = Duration::from_mins(1);

struct Outcome {
    status: Option<i32>,
    record: Value,
    table: String,
}

impl Outcome {
    fn errors(&self, kind: &str) -> u64 {
        self.record["errors"][kind]["count"].as_u64().unwrap_or(0)
    }

    fn count(&self, pointer: &str) -> u64 {
        self.record.pointer(pointer).and_then(Value::as_u64).unwrap()
    }
}

async fn load(fault: Fault, arguments: &str) -> Outcome {
    let fake = Fake::start(fault).await;
    let folder = tempfile::tempdir().unwrap();
    let json = folder.path().join("record.json");
    let run = Command::new(env!("CARGO_BIN_EXE_orders-load"))
        .args(arguments.split_whitespace())
        .args(["--url", &format!("http://{}", fake.address), "--commit", "none"])
        .arg("--json")
        .arg(&json)
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output();
    let output = timeout(LIMIT, run).await.unwrap().unwrap();
    let written = std::fs::read(&json).unwrap_or_else(|_| b"null".to_vec());
    Outcome {
        status: output.status.code(),
        record: serde_json::from_slice(&written).unwrap(),
        table: String::from_utf8(output.stdout).unwrap(),
    }
}

async fn closed(fault: Fault, more: &str) -> Outcome {
    let common = "closed --callers 4 --synthetic --warmup 100ms --duration 700ms";
    load(fault, &format!("{common} {more}")).await
}

/// While all four connections are stalled, a hundred arrivals come due.
#[tokio::test]
async fn a_stall_counts_for_every_request_that_had_to_wait() {
    let run = "open --rate 200 --arrivals uniform --in-flight 4 --synthetic";
    let outcome = load(Fault::Stall, &format!("{run} --warmup 200ms --duration 3s")).await;
    assert_eq!(outcome.status, Some(0), "{}", outcome.table);
    let latency = |quantile| outcome.count(&format!("/operations/create/latency_us/{quantile}"));
    let service =
        |quantile| outcome.count(&format!("/operations/create/service_time_us/{quantile}"));
    // 100 of 600 were due in the stall: the 6th slowest waited about 470 ms, the 60th about 200 ms.
    assert!(latency("p99") > 300_000, "{}", outcome.table);
    assert!(latency("p90") > 100_000, "{}", outcome.table);
    // Counted from sending, all but the four in flight would look fast.
    assert!(service("p90") < latency("p90") / 2, "{}", outcome.table);
    assert!(outcome.count("/starts/late_by_over_1ms") > 50, "{}", outcome.table);
}

#[tokio::test]
async fn arrivals_that_could_not_start_in_time_are_counted() {
    let run = "open --rate 200 --arrivals uniform --in-flight 2 --synthetic --max-lag 100ms";
    let outcome = load(Fault::Stall, &format!("{run} --warmup 200ms --duration 2s")).await;
    assert_eq!(outcome.status, Some(0), "{}", outcome.table);
    // 500 ms of stall, of which 100 ms may be waited: about 80 arrivals.
    let unsent = outcome.count("/unsent");
    assert!((20..=400).contains(&unsent), "{}", outcome.table);
    assert_eq!(outcome.count("/requests") + unsent, 400, "{}", outcome.table);
}

#[tokio::test]
async fn a_right_service_passes() {
    let pid = std::process::id();
    let mix = format!("--read-percent 20 --replay-percent 10 --pid {pid} --key secret-of-ours");
    let outcome = closed(Fault::None, &mix).await;
    assert_eq!(outcome.status, Some(0), "{}", outcome.table);
    assert_eq!(outcome.count("/failed"), 0);
    assert_eq!(outcome.count("/ok"), outcome.count("/requests"));
    for operation in ["create", "read", "replay"] {
        assert!(outcome.count(&format!("/operations/{operation}/ok")) > 0, "{operation}");
    }
    assert_eq!(outcome.count("/read_back/matched"), outcome.count("/read_back/sampled"));
    assert!(outcome.count("/server/rss_kib") > 0);
    assert!(!outcome.record.to_string().contains("secret-of-ours"));
}

#[tokio::test]
async fn a_wrong_total_fails_the_run() {
    let outcome = closed(Fault::WrongTotal, "").await;
    assert_eq!(outcome.status, Some(1), "{}", outcome.table);
    assert!(outcome.errors("total") > 0, "{}", outcome.table);
    assert_eq!(outcome.count("/failed"), outcome.errors("total"));
}

#[tokio::test]
async fn a_second_order_for_one_key_fails_the_run() {
    let outcome = closed(Fault::ForgetsKeys, "--replay-percent 10").await;
    assert_eq!(outcome.status, Some(1), "{}", outcome.table);
    assert!(outcome.errors("replay made another order") > 0, "{}", outcome.table);
}

#[tokio::test]
async fn a_lost_order_fails_the_run() {
    let outcome = closed(Fault::LosesOrders, "--sample 10").await;
    assert_eq!(outcome.status, Some(1), "{}", outcome.table);
    assert_eq!(outcome.errors("status 404"), 10, "{}", outcome.table);
    assert_eq!(outcome.count("/read_back/matched"), 0);
}

#[tokio::test]
async fn a_refusal_is_an_error_unless_allowed() {
    let strict = closed(Fault::Overloaded, "").await;
    assert_eq!(strict.status, Some(1), "{}", strict.table);
    assert!(strict.errors("status 503") > 0, "{}", strict.table);
    let allowed = closed(Fault::Overloaded, "--allow-overload").await;
    assert_eq!(allowed.status, Some(0), "{}", allowed.table);
    let refused = allowed.count("/refused");
    assert!(refused > 0, "{}", allowed.table);
    assert_eq!(allowed.count("/refusals/503 overloaded/count"), refused);
    assert!(allowed.count("/refusals/503 overloaded/time_us/p99") > 0);
}

#[tokio::test]
async fn what_comes_too_late_is_right_but_not_in_time() {
    let run = "open --rate 200 --arrivals uniform --in-flight 4 --synthetic --within 100ms";
    let outcome = load(Fault::Stall, &format!("{run} --warmup 200ms --duration 3s")).await;
    assert_eq!(outcome.status, Some(0), "{}", outcome.table);
    // Due in the first 400 of the 500 ms of stall, 80 come more than 100 ms later.
    let late = outcome.count("/ok") - outcome.count("/in_time");
    assert!((50..=500).contains(&late), "{}", outcome.table);
}

#[tokio::test]
async fn tenants_ask_by_their_weights_and_read_what_is_theirs() {
    let tenants = "--tenant hot:18:key-a --tenant other:1:key-b --tenant other:1:key-c";
    let outcome = closed(Fault::None, &format!("{tenants} --read-percent 20")).await;
    assert_eq!(outcome.status, Some(0), "{}", outcome.table);
    let (hot, other) =
        (outcome.count("/groups/hot/requests"), outcome.count("/groups/other/requests"));
    assert_eq!(hot + other, outcome.count("/requests"));
    assert!(other > 0 && hot > 4 * other, "{}", outcome.table);
    assert_eq!(outcome.count("/read_back/matched"), outcome.count("/read_back/sampled"));
    assert!(!outcome.record.to_string().contains("key-a"));
}

#[tokio::test]
async fn the_deadline_is_sent_with_every_request() {
    let told = closed(Fault::Hurried, "--deadline 950ms").await;
    assert_eq!(told.status, Some(0), "{}", told.table);
    let silent = closed(Fault::Hurried, "").await;
    assert!(silent.errors("status 400") > 0, "{}", silent.table);
}

#[tokio::test]
async fn every_acknowledged_order_is_written_down() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("acknowledged");
    let more = format!("--acknowledged {} --run-id of-this-test", file.display());
    let outcome = closed(Fault::None, &more).await;
    let text = std::fs::read_to_string(&file).unwrap();
    let lines: HashSet<&str> = text.lines().collect();
    // Those of the warm-up too.
    assert!(lines.len() as u64 >= outcome.count("/ok"), "{}", outcome.table);
    assert!(lines.iter().all(|line| line.starts_with("load-of-this-test-")), "{text}");
    assert!(lines.iter().any(|line| line.ends_with(" order-1")), "{text}");
}

#[tokio::test]
async fn a_closed_connection_is_opened_again_and_counted() {
    let outcome = closed(Fault::Closes, "").await;
    assert_eq!(outcome.status, Some(0), "{}", outcome.table);
    assert!(outcome.count("/reconnects") > 0, "{}", outcome.table);
}

#[tokio::test]
async fn baskets_without_an_expected_total_are_left_out() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("baskets.ndjson");
    let basket = |order: &str| format!("{{\"idempotency_key\":\"basket-1\",\"order\":{order}}}\n");
    let priced = r#"{"lines":[],"expected_total":{"amount_minor":"7","currency":"EUR"}}"#;
    std::fs::write(&file, basket(priced) + &basket(r#"{"lines":[]}"#)).unwrap();
    let run = format!("closed --callers 1 --duration 200ms --baskets {}", file.display());
    let outcome = load(Fault::None, &format!("{run} --warmup 0s")).await;
    assert_eq!(outcome.status, Some(0), "{}", outcome.table);
    assert_eq!(outcome.count("/baskets/count"), 1);
    assert_eq!(outcome.count("/baskets/skipped"), 1);
}

#[tokio::test]
async fn a_run_that_cannot_be_made_has_a_status_of_its_own() {
    let nowhere = load(Fault::None, "closed --baskets no-such-file").await;
    assert_eq!(nowhere.status, Some(2));
    assert_eq!(nowhere.record, Value::Null);
}
