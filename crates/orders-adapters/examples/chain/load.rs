//! Requests at a steady rate, and how late their answers are; beside them a control loop that does
//! nothing but wait, so that what the machine delays is told from what the services delay.

use std::{
    collections::BTreeMap,
    process::ExitCode,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    time::Duration,
};

use axum::body::Body;
use http::Request;
use http_body_util::BodyExt as _;
use hyper_util::{client::legacy::Client, rt::TokioExecutor};
use serde_json::{Value, json};
use tokio::{
    task::JoinSet,
    time::{Instant, sleep_until, timeout},
};

use crate::{HttpClient, Options};

/// Far beyond any deadline: an answer that takes this long counts as none.
const PATIENCE: Duration = Duration::from_secs(10);
/// Time between two looks of the control loop.
const PULSE: Duration = Duration::from_millis(2);

pub(crate) async fn run(options: &Options) -> ExitCode {
    let client: HttpClient = Client::builder(TokioExecutor::new()).build_http();
    let target = options.text("target").unwrap().to_owned();
    let deadline = Duration::from_millis(options.number("deadline-ms", 300));
    let (count, rate) = (options.number("requests", 12_000), options.number("rate", 240));
    let reads = options.number("reads", 10);
    let over = Arc::new(AtomicBool::new(false));
    let control = JoinSet::from_iter([control(Arc::clone(&over))]);
    let start = Instant::now();
    let mut calls = JoinSet::new();
    for n in 0..count {
        sleep_until(start + Duration::from_micros(n * 1_000_000 / rate)).await;
        let path = if n % reads == 0 { "/read" } else { "/wait" };
        calls.spawn(call(client.clone(), format!("{target}{path}"), deadline));
    }
    let answers = calls.join_all().await;
    let seconds = start.elapsed().as_secs_f64();
    over.store(true, Relaxed);
    let waits = control.join_all().await.concat();

    let mut statuses = BTreeMap::<String, u64>::new();
    for (status, _) in &answers {
        *statuses.entry(status.clone()).or_default() += 1;
    }
    let late = answers.into_iter().map(|(_, late)| late).collect();
    let figures = json!({
        "requests": count,
        "reads": count.div_ceil(reads),
        "seconds": seconds,
        "statuses": statuses,
        "late_ms": spread(late),
        "control_ms": spread(waits),
    });
    println!("{figures}");
    ExitCode::SUCCESS
}

/// The status of one answer, and how many milliseconds after the deadline it was there; less than
/// none when it came before.
async fn call(client: HttpClient, target: String, deadline: Duration) -> (String, f64) {
    let request =
        Request::get(target).header("x-request-timeout-ms", deadline.as_millis().to_string());
    let request = request.body(Body::empty()).unwrap();
    let start = Instant::now();
    let answer = timeout(PATIENCE, async {
        let answer = client.request(request).await.ok()?;
        let status = answer.status();
        answer.into_body().collect().await.ok()?;
        Some(status)
    });
    let status = match answer.await {
        Ok(Some(status)) => status.as_u16().to_string(),
        Ok(None) => "broken".to_owned(),
        Err(_) => "none".to_owned(),
    };
    (status, millis(start.elapsed()) - millis(deadline))
}

/// How late a task of this runtime wakes that asks for nothing else.
async fn control(over: Arc<AtomicBool>) -> Vec<f64> {
    let mut waits = Vec::new();
    while !over.load(Relaxed) {
        let due = Instant::now() + PULSE;
        sleep_until(due).await;
        waits.push(millis(due.elapsed()));
    }
    waits
}

fn millis(time: Duration) -> f64 {
    time.as_secs_f64() * 1_000.0
}

fn spread(mut values: Vec<f64>) -> Value {
    values.sort_by(f64::total_cmp);
    let at = |per_mille: usize| values[(values.len() - 1) * per_mille / 1_000];
    json!({ "n": values.len(), "p50": at(500), "p99": at(990), "p999": at(999), "max": at(1_000) })
}
