//! `orderly import`: every line is told of, and a line is taken once however often it is imported.

use std::{
    fs::{self, File},
    io::Write as _,
};

use serde_json::{Value, json};

use crate::support::{Home, Process, Ran, order, until};

/// Two orders, a blank line, a line without goods, one that breaks off, one without a key, one
/// without a price, and a twin of the first.
fn lines() -> String {
    let line = |number: u32, order: &Value| {
        json!({ "idempotency_key": format!("line-{number:016}"), "order": order }).to_string()
    };
    let mut none = order();
    none["lines"][0]["quantity"] = json!(0);
    let mut priceless = order();
    priceless["lines"][0]["unit_price"]["amount_minor"] = json!("-");
    [
        line(1, &order()),
        line(2, &order()),
        String::new(),
        line(4, &none),
        "{\"idempotency_key\": \"line-0000000000000005\", \"order\":".to_owned(),
        json!({ "order": order() }).to_string(),
        line(7, &priceless),
        line(1, &order()),
    ]
    .join("\n")
}

/// Runs an import of [`lines`] that is expected to go through, and reads its report.
async fn import(home: &Home, more: &[&str]) -> Value {
    fs::write(home.path("orders.ndjson"), lines()).unwrap();
    let arguments = ["import", "orders.ndjson", "--tenant", "acme", "--report", "report.json"];
    report(home, &home.run(&[&arguments, more].concat()).await)
}

fn report(home: &Home, ran: &Ran) -> Value {
    assert!(matches!(ran.code, Some(0 | 3)), "{ran:?}");
    let report: Value =
        serde_json::from_str(&fs::read_to_string(home.path("report.json")).unwrap()).unwrap();
    // The status says whether any line was refused.
    assert_eq!(ran.code == Some(3), report["refused"] != 0, "{ran:?}");
    report
}

/// What a report counts: lines, accepted, replayed, refused.
fn counts(report: &Value) -> [u64; 4] {
    ["lines", "accepted", "replayed", "refused"].map(|name| report[name].as_u64().unwrap())
}

#[tokio::test]
async fn the_report_tells_what_became_of_every_line() {
    let home = Home::new();
    let report = import(&home, &[]).await;
    assert_eq!(counts(&report), [7, 2, 1, 4]);
    assert!(report["seconds"].as_f64() > Some(0.0));
    let refusals = report["refusals"].as_array().unwrap();
    let told = |at: usize, name: &str| refusals[at][name].clone();
    for (at, (line, code, pointer, rule)) in [
        (4, "invalid", "/order/lines/0/quantity", "quantity"),
        (5, "malformed", "/order", "syntax"),
        (6, "idempotency-key-missing", "", ""),
        (7, "invalid", "/order/lines/0/unit_price/amount_minor", "amount"),
    ]
    .into_iter()
    .enumerate()
    {
        assert_eq!((told(at, "line"), told(at, "code")), (json!(line), json!(code)));
        let errors = told(at, "errors");
        assert_eq!(errors.as_array().unwrap().len(), usize::from(!rule.is_empty()), "{errors}");
        if let Some(error) = errors.get(0) {
            assert_eq!((&error["pointer"], &error["code"]), (&json!(pointer), &json!(rule)));
            assert!(error["detail"].is_string());
        }
    }
    assert_eq!(told(0, "idempotency_key"), "line-0000000000000004");
    assert_eq!(told(2, "idempotency_key"), Value::Null);
    assert_eq!(home.sound().await["orders"], 2);
}

#[tokio::test]
async fn a_second_import_replays_all_that_was_taken() {
    let home = Home::new();
    import(&home, &[]).await;
    assert_eq!(counts(&import(&home, &[]).await), [7, 0, 3, 4]);
    assert_eq!(home.sound().await["orders"], 2);
}

#[tokio::test]
async fn an_import_can_go_on_where_another_stopped() {
    let home = Home::new();
    let report = import(&home, &["--skip", "1"]).await;
    assert_eq!(counts(&report), [6, 2, 0, 4], "the twin of the first line is not one now");
    assert_eq!(report["refusals"][0]["line"], 4, "lines are counted from the file's first");
    assert_eq!(counts(&import(&home, &["--skip", "8"]).await), [0; 4]);
    assert_eq!(counts(&import(&home, &[]).await), [7, 0, 3, 4]);
}

#[tokio::test]
async fn lines_are_read_from_standard_input() {
    let home = Home::new();
    fs::write(home.path("orders.ndjson"), lines()).unwrap();
    let mut command = home.orderly(&["import", "-", "--tenant", "acme", "--report", "report.json"]);
    command.stdin(File::open(home.path("orders.ndjson")).unwrap());
    let ran = Process::start(command).end().await;
    assert_eq!(counts(&report(&home, &ran)), [7, 2, 1, 4]);
    assert!(ran.out.contains("2 orders placed, 1 were there already, 4 refused"), "{}", ran.out);
    assert_eq!(home.sound().await["orders"], 2);
}

#[tokio::test]
async fn a_pipe_that_is_slow_holds_up_no_line_that_came() {
    let home = Home::new();
    let mut command = home.orderly(&["import", "-", "--tenant", "acme"]);
    let (reader, mut writer) = std::io::pipe().unwrap();
    command.stdin(reader);
    let process = Process::start(command);
    let first = json!({ "idempotency_key": "line-0000000000000001", "order": order() });
    writeln!(writer, "{first}").unwrap();
    until("the first line is placed", async || {
        let ran = home.run(&["audit"]).await;
        ran.out.contains("1 orders").then_some(())
    })
    .await;
    drop(writer);
    assert_eq!(process.end().await.code, Some(0));
}

#[tokio::test]
async fn what_was_imported_is_served_and_its_keys_are_known() {
    let home = Home::with_keys();
    let (acme, rival) = (home.new_key("acme", "till").await, home.new_key("rival", "till").await);
    import(&home, &["--principal", "night-shift"]).await;
    let service = home.serve().await;
    let client = service.client_with(&acme);
    let orders = client.all_orders().await;
    assert_eq!(orders.len(), 2);
    let again = client.create("line-0000000000000001").await;
    assert_eq!(again.header("idempotent-replayed"), "true");
    assert!(orders.contains(&again.placed()));
    let history = client.get(&format!("/v1/orders/{}/history", orders[0])).await.json();
    assert_eq!(history["entries"][0]["actor"], "night-shift");
    assert_eq!(service.client_with(&rival).all_orders().await, [""; 0]);
}

#[tokio::test]
async fn one_store_has_one_process_that_writes() {
    let home = Home::new();
    let service = home.serve().await;
    fs::write(home.path("orders.ndjson"), lines()).unwrap();
    let second = ["serve", "--listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0"];
    for arguments in [&second[..], &["import", "orders.ndjson", "--tenant", "acme"]] {
        let ran = home.run(arguments).await;
        assert_eq!((ran.code, ran.out.as_str()), (Some(1), ""), "{ran:?}");
        assert!(ran.err.contains("in use"), "{}", ran.err);
    }
    service.client().create("still-served-0001").await.placed();
    assert_eq!(home.sound().await["orders"], 1, "an audit works beside a service");
}

#[tokio::test]
async fn a_file_that_cannot_be_read_makes_no_store() {
    let home = Home::new();
    let ran = home.run(&["import", "not-there.ndjson", "--tenant", "acme"]).await;
    assert_eq!(ran.code, Some(1));
    assert!(ran.err.contains("not-there.ndjson"), "{}", ran.err);
    let ran = home.run(&["import", "not-there.ndjson", "--tenant", "not a tenant"]).await;
    assert_eq!(ran.code, Some(1));
    assert!(ran.err.contains("--tenant"), "{}", ran.err);
    assert!(!home.store().exists());
}
