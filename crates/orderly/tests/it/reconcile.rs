//! `orderly reconcile`: a provider's list against a real store, beside the running service.

use std::path::Path;

use gateway_sim::{Fault, Sim, faults::Target};
use serde_json::{Value, json};

use crate::{
    pay::{pay, placed, reaches, shop},
    support::{Client, Home, get, text},
};

/// What the simulator exports, written to a file of the home.
async fn export(sim: &Sim, home: &Home, name: &str) -> String {
    let list = get(sim.address(), "/ledger.csv").await;
    assert_eq!(list.status, 200);
    std::fs::write(home.path(name), &list.body).unwrap();
    list.text()
}

async fn reconcile(home: &Home, file: &str, more: &[&str]) -> (Option<i32>, Value) {
    let path = home.path(file);
    let mut arguments = vec!["reconcile", path.to_str().unwrap(), "--json"];
    arguments.extend(more);
    let ran = home.run(&arguments).await;
    let report = serde_json::from_str(&ran.out).unwrap_or_else(|_| panic!("{ran:?}"));
    (ran.code, report)
}

fn kinds(report: &Value) -> Vec<String> {
    report["breaks"].as_array().unwrap().iter().map(|one| text(&one["kind"])).collect()
}

async fn captured(client: &Client, key: &str) -> String {
    let id = placed(client, key).await;
    pay(client, &id, key, "tok_ok").await;
    reaches(client, &id, "AUTHORIZED").await;
    let capture = client.verb(&id, "capture", &format!("{key}-capture-000000"), &json!({})).await;
    assert_eq!(capture.status, 202, "{}", capture.text());
    reaches(client, &id, "CAPTURED").await;
    id
}

#[tokio::test]
async fn the_list_of_an_honest_provider_matches_beside_the_running_service() {
    let (sim, home) = shop().await;
    let service = home.serve().await;
    let client = service.client();
    captured(&client, "one").await;
    sim.faults().next(Fault::AnswerLost, 1);
    captured(&client, "two").await;
    let called_off = placed(&client, "three").await;
    pay(&client, &called_off, "three", "tok_ok").await;
    reaches(&client, &called_off, "AUTHORIZED").await;
    let cancel = client.verb(&called_off, "cancel", "three-cancel-00000", &json!({})).await;
    assert!(cancel.status < 300, "{}", cancel.text());
    reaches(&client, &called_off, "VOIDED").await;
    let declined = placed(&client, "four").await;
    pay(&client, &declined, "four", "tok_decline").await;
    reaches(&client, &declined, "DECLINED").await;

    export(&sim, &home, "list.csv").await;
    let (code, report) = reconcile(&home, "list.csv", &[]).await;
    assert_eq!((code, kinds(&report)), (Some(0), vec![]), "{report}");
    assert_eq!((&report["matched"], &report["orders"]), (&json!(6), &json!(4)));
    for sums in report["sums"].as_array().unwrap() {
        assert_eq!(sums["there"], sums["ours"], "{report}");
    }
    let ran = home.run(&["reconcile", home.path("list.csv").to_str().unwrap()]).await;
    assert!(ran.out.contains("matched: the list and the store say the same"), "{ran:?}");
    service.stop().await;
    sim.stop().await;
}

#[tokio::test]
async fn what_a_provider_leaves_out_adds_or_changes_is_told_with_its_order() {
    let (sim, home) = shop().await;
    let service = home.serve().await;
    let client = service.client();
    let id = captured(&client, "one").await;
    let list = export(&sim, &home, "list.csv").await;
    let lines: Vec<&str> = list.lines().collect();
    let number = text(&client.get(&format!("/v1/orders/{id}")).await.json()["number"]);
    let write = |name: &str, lines: &[&str]| {
        std::fs::write(home.path(name), lines.join("\n")).unwrap();
    };
    let changed = lines[2].replace(",998,", ",997,");
    assert_ne!(changed, lines[2], "{list}");
    for (name, lines, kind) in [
        ("short.csv", &[lines[0], lines[1]][..], "not-there"),
        ("other.csv", &[lines[0], lines[1], &changed], "differs"),
        ("twice.csv", &[lines[0], lines[1], lines[2], lines[2]], "listed-twice"),
    ] {
        write(name, lines);
        let (code, report) = reconcile(&home, name, &[]).await;
        assert_eq!((code, kinds(&report)), (Some(1), vec![kind.to_owned()]), "{report}");
        assert_eq!(report["breaks"][0]["order"]["id"], id);
        assert_eq!(report["breaks"][0]["order"]["number"], number);
        assert!(report["breaks"][0]["advice"].as_str().is_some_and(|advice| !advice.is_empty()));
    }
    // A list of yesterday has nothing of it, and that is right.
    write("yesterday.csv", &[lines[0]]);
    let (code, report) = reconcile(&home, "yesterday.csv", &["--to", "2026-01-01T00:00:00Z"]).await;
    assert_eq!((code, kinds(&report)), (Some(0), vec![]), "{report}");
    service.stop().await;
    sim.stop().await;
}

#[tokio::test]
async fn what_settled_there_and_is_in_doubt_here_is_told() {
    let (sim, home) = shop().await;
    let service = home.serve().await;
    let client = service.client();
    let id = placed(&client, "doubt").await;
    // Every answer is lost, and so is that of every look-up.
    sim.faults().next_of(Target::Authorization, Fault::AnswerLost, 1_000);
    sim.faults().next_of(Target::Lookup, Fault::AnswerLost, 1_000);
    pay(&client, &id, "doubt", "tok_ok").await;
    reaches(&client, &id, "UNKNOWN").await;
    export(&sim, &home, "list.csv").await;
    let (code, report) = reconcile(&home, "list.csv", &[]).await;
    assert_eq!((code, kinds(&report)), (Some(1), vec!["unresolved".to_owned()]), "{report}");
    assert_eq!(report["breaks"][0]["ours"]["state"], "UNKNOWN");
    sim.faults().clear();
    reaches(&client, &id, "AUTHORIZED").await;
    let (code, report) = reconcile(&home, "list.csv", &[]).await;
    assert_eq!((code, kinds(&report)), (Some(0), vec![]), "{report}");
    service.stop().await;
    sim.stop().await;
}

#[tokio::test]
async fn what_cannot_be_read_ends_with_2_and_says_where() {
    let (sim, home) = shop().await;
    home.serve().await.stop().await;
    let write = |name: &str, text: &str| std::fs::write(home.path(name), text).unwrap();
    write("columns.csv", "reference,payment\n");
    write("lines.csv", "reference,payment,operation,amount_minor,currency,at\na,b,c,d,e,f\n");
    for (file, says) in [
        ("columns.csv", "no column operation, amount_minor, currency, at"),
        ("lines.csv", "line 2: "),
        ("absent.csv", "cannot read "),
    ] {
        let ran = home.run(&["reconcile", home.path(file).to_str().unwrap()]).await;
        assert_eq!(ran.code, Some(2), "{ran:?}");
        assert!(ran.err.contains(says), "{says} in {}", ran.err);
    }
    write("empty.csv", "reference,payment,operation,amount_minor,currency,at\n");
    let nowhere = home.clone().with_store("nowhere.db");
    let ran = nowhere.run(&["reconcile", home.path("empty.csv").to_str().unwrap()]).await;
    assert_eq!(ran.code, Some(2), "{ran:?}");
    assert!(!Path::new(nowhere.store()).exists(), "a look makes no store");
    sim.stop().await;
}
