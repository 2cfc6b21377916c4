//! `orderly import`: every line is told of, and a line is taken once however often it is imported.

use std::{
    fs::{self, File},
    io::Write as _,
};

use serde_json::{Value, json};

use crate::support::{Home, Process, Ran, order, text, until};

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
    let arguments = ["import", "orders.ndjson", "--create", "--tenant", "acme"];
    let arguments = [&arguments[..], &["--report", "report.json"]].concat();
    report(home, &home.run(&[&arguments[..], more].concat()).await)
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
    assert_eq!((counts(&report), &report["blank"]), ([8, 2, 1, 4], &json!(1)));
    assert!(report["seconds"].as_f64() > Some(0.0));
    let refusals = report["refusals"].as_array().unwrap();
    let told = |at: usize, name: &str| refusals[at][name].clone();
    for (at, (line, code, pointer, rule)) in [
        (4, "invalid", "/order/lines/0/quantity", "quantity"),
        (5, "malformed", "/order", "syntax"),
        (6, "idempotency-key-missing", "/idempotency_key", "shape"),
        (7, "invalid", "/order/lines/0/unit_price/amount_minor", "amount"),
    ]
    .into_iter()
    .enumerate()
    {
        assert_eq!((told(at, "line"), told(at, "code")), (json!(line), json!(code)));
        let errors = told(at, "errors");
        assert_eq!(errors.as_array().unwrap().len(), 1, "{errors}");
        let error = &errors[0];
        assert_eq!((&error["pointer"], &error["code"]), (&json!(pointer), &json!(rule)));
        assert!(error["detail"].is_string());
    }
    assert_eq!(told(0, "idempotency_key"), "line-0000000000000004");
    assert_eq!(told(2, "idempotency_key"), Value::Null);
    assert_eq!(home.sound().await["orders"], 2);
}

#[tokio::test]
async fn a_second_import_replays_all_that_was_taken() {
    let home = Home::new();
    import(&home, &[]).await;
    assert_eq!(counts(&import(&home, &[]).await), [8, 0, 3, 4]);
    assert_eq!(home.sound().await["orders"], 2);
}

#[tokio::test]
async fn an_import_can_go_on_where_another_stopped() {
    let home = Home::new();
    let report = import(&home, &["--skip", "1"]).await;
    assert_eq!(counts(&report), [7, 2, 0, 4], "the twin of the first line is not one now");
    assert_eq!(report["refusals"][0]["line"], 4, "lines are counted from the file's first");
    assert_eq!(counts(&import(&home, &["--skip", "8"]).await), [0; 4]);
    assert_eq!(counts(&import(&home, &[]).await), [8, 0, 3, 4]);
    let ran = home.run(&["import", "orders.ndjson", "--tenant", "acme", "--skip", "9"]).await;
    assert_eq!(ran.code, Some(1), "{ran:?}");
    assert!(ran.err.contains("orders.ndjson has 8 lines: --skip 9 passes over more"), "{ran:?}");
}

#[tokio::test]
async fn an_import_says_where_it_goes_and_makes_no_store_unasked() {
    let home = Home::new();
    fs::write(home.path("orders.ndjson"), lines()).unwrap();
    let plain = ["import", "orders.ndjson", "--tenant", "acme"];
    let ran = home.run(&plain).await;
    let store = home.store().display();
    assert_eq!((ran.code, ran.out.as_str()), (Some(1), ""), "{ran:?}");
    assert!(ran.err.contains(&format!("there is no store {store}; ")), "{}", ran.err);
    assert!(ran.err.contains("--config FILE") && ran.err.contains("--create"), "{}", ran.err);
    assert!(!home.store().exists());
    for arguments in [&[&plain[..], &["--create"]].concat()[..], &plain] {
        let ran = home.run(arguments).await;
        assert_eq!(ran.code, Some(3), "{ran:?}");
        assert_eq!(ran.out.lines().next(), Some(&*format!("store {store}")), "{}", ran.out);
    }
}

#[tokio::test]
async fn refusals_read_the_same_on_the_terminal_and_in_the_report() {
    let home = Home::new();
    fs::write(home.path("orders.ndjson"), lines()).unwrap();
    let arguments = ["import", "orders.ndjson", "--create", "--tenant", "acme"];
    let ran = home.run(&[&arguments[..], &["--report", "report.json"]].concat()).await;
    for refusal in report(&home, &ran)["refusals"].as_array().unwrap() {
        let head = format!("  line {}: {}\n    ", refusal["line"], text(&refusal["code"]));
        let errors = refusal["errors"].as_array().unwrap();
        let said = match errors.first() {
            Some(error) => format!("{}: {}", text(&error["pointer"]), text(&error["detail"])),
            None => text(&refusal["detail"]),
        };
        assert!(ran.out.contains(&format!("{head}{said}\n")), "{head}{said}\n{}", ran.out);
    }
    // Where in the file is told by the number of the line, and a line of an import has no lines.
    assert!(!ran.out.contains("line 1"), "{}", ran.out);
}

#[tokio::test]
async fn a_tenant_that_no_key_opens_is_warned_of() {
    let home = Home::with_keys();
    home.new_key("acme", "till").await;
    fs::write(home.path("orders.ndjson"), "").unwrap();
    let told = async |tenant: &str| {
        let ran = home.run(&["import", "orders.ndjson", "--create", "--tenant", tenant]).await;
        assert_eq!(ran.code, Some(0), "{ran:?}");
        ran.err
    };
    assert!(!told("acme").await.contains("warning"));
    let warning =
        "warning: no key opens the orders of tenant amce; the tenants that have keys: acme";
    assert!(told("amce").await.contains(warning));
}

#[tokio::test]
async fn a_report_that_cannot_be_written_is_named() {
    let home = Home::new();
    fs::write(home.path("orders.ndjson"), lines()).unwrap();
    let arguments = ["import", "orders.ndjson", "--create", "--tenant", "acme"];
    let ran = home.run(&[&arguments[..], &["--report", "no/report.json"]].concat()).await;
    assert_eq!(ran.code, Some(1), "{ran:?}");
    assert!(ran.err.contains("cannot write the report /"), "{}", ran.err);
    assert!(ran.err.contains("no/report.json: No such file"), "{}", ran.err);
}

#[tokio::test]
async fn lines_are_read_from_standard_input() {
    let home = Home::new();
    fs::write(home.path("orders.ndjson"), lines()).unwrap();
    let arguments = ["import", "-", "--create", "--tenant", "acme", "--report", "report.json"];
    let mut command = home.orderly(&arguments);
    command.stdin(File::open(home.path("orders.ndjson")).unwrap());
    let ran = Process::start(command).end().await;
    assert_eq!(counts(&report(&home, &ran)), [8, 2, 1, 4]);
    let told = "2 accepted, 1 replayed (accepted before), 4 refused, 1 blank";
    assert!(ran.out.contains(told), "{}", ran.out);
    assert_eq!(home.sound().await["orders"], 2);
}

#[tokio::test]
async fn a_pipe_that_is_slow_holds_up_no_line_that_came() {
    let home = Home::new();
    let mut command = home.orderly(&["import", "-", "--create", "--tenant", "acme"]);
    let (reader, mut writer) = std::io::pipe().unwrap();
    command.stdin(reader);
    let process = Process::start(command);
    let first = json!({ "idempotency_key": "line-0000000000000001", "order": order() });
    writeln!(writer, "{first}").unwrap();
    until("the first line is placed", async || {
        let ran = home.run(&["audit"]).await;
        ran.out.contains("1 order,").then_some(())
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
        let hint =
            "in use by another process; stop that one, or name another file with --store FILE";
        assert!(ran.err.contains(hint), "{}", ran.err);
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
