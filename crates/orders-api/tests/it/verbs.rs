use insta::assert_json_snapshot;
use serde_json::json;

use crate::shop::{Shop, json_body, long, post};

#[tokio::test]
async fn an_order_is_confirmed_and_cancelled() {
    let shop = Shop::new();
    let id = shop.created("a").await;
    let confirmed = shop.verb(&id, "confirm", &[("if-match", "\"v1\"")]).await;
    assert_eq!((confirmed.status.as_u16(), confirmed.header("etag")), (200, "\"v2\""));
    assert_eq!(confirmed.json()["allowed_transitions"], json!(["cancel", "add-note"]));
    let request = post(&format!("/v1/orders/{id}/cancel"));
    let cancelled = shop.send(json_body(request, &json!({ "reason": "changed their mind" }))).await;
    assert_eq!((cancelled.status.as_u16(), cancelled.header("etag")), (200, "\"v3\""));
    assert_json_snapshot!("cancelled", cancelled.redacted());
}

#[tokio::test]
async fn a_note_is_shown_with_the_order() {
    let shop = Shop::new();
    let id = shop.created("a").await;
    let request = post(&format!("/v1/orders/{id}/notes"));
    let answer = shop.send(json_body(request, &json!({ "text": "ring twice\nthen wait" }))).await;
    assert_eq!(answer.status, 200);
    assert_json_snapshot!("noted", answer.json()["notes"]);
    let request = post(&format!("/v1/orders/{id}/notes"));
    let problem =
        shop.send(json_body(request, &json!({ "text": "" }))).await.problem(422, "invalid");
    assert_eq!(problem["errors"][0]["pointer"], "/text");
}

#[tokio::test]
async fn another_version_is_a_failed_precondition() {
    let shop = Shop::new();
    let id = shop.created("a").await;
    let problem = shop.verb(&id, "confirm", &[("if-match", "\"v2\"")]).await;
    assert_eq!(problem.problem(412, "version-mismatch")["current_version"], 1);
    for tag in ["v1", "\"1\"", "W/\"v1\"", "\"v1\", \"v2\""] {
        let answer = shop.verb(&id, "confirm", &[("if-match", tag)]).await;
        assert_eq!(answer.problem(400, "malformed")["errors"][0]["parameter"], "If-Match");
    }
    assert_eq!(shop.verb(&id, "confirm", &[("if-match", "*")]).await.status, 200);
}

#[tokio::test]
async fn the_key_is_looked_at_before_the_version() {
    let shop = Shop::new();
    let id = shop.created("a").await;
    let key = long("confirm");
    let headers = [("if-match", "\"v1\""), ("idempotency-key", key.as_str())];
    assert_eq!(shop.verb(&id, "confirm", &headers).await.header("idempotent-replayed"), "");
    let again = shop.verb(&id, "confirm", &headers).await;
    assert_eq!((again.status.as_u16(), again.header("idempotent-replayed")), (200, "true"));
}

#[tokio::test]
async fn a_refusal_is_replayed_as_it_was() {
    let shop = Shop::new();
    let id = shop.created("a").await;
    shop.verb(&id, "cancel", &[]).await;
    let key = long("confirm");
    let headers = [("idempotency-key", key.as_str())];
    let first = shop.verb(&id, "confirm", &headers).await;
    let problem = first.problem(409, "illegal-transition");
    assert_eq!(problem["allowed_transitions"], json!(["add-note"]));
    assert_eq!(first.header("idempotent-replayed"), "");
    let second = shop.verb(&id, "confirm", &headers).await;
    second.problem(409, "illegal-transition");
    assert_eq!(second.header("idempotent-replayed"), "true");
}

#[tokio::test]
async fn a_verb_takes_no_unknown_field() {
    let shop = Shop::new();
    let id = shop.created("a").await;
    for verb in ["confirm", "cancel", "notes"] {
        let request = post(&format!("/v1/orders/{id}/{verb}"));
        let body = json!({ "force": true });
        let problem = shop.send(json_body(request, &body)).await.problem(400, "malformed");
        assert_eq!(problem["errors"][0]["pointer"], "/force", "{verb}");
    }
    let request = post(&format!("/v1/orders/{id}/cancel"));
    shop.send(json_body(request, &json!([]))).await.problem(400, "malformed");
    let request = post(&format!("/v1/orders/{id}/cancel")).body("reason=x".into()).unwrap();
    shop.send(request).await.problem(415, "unsupported-media-type");
}
