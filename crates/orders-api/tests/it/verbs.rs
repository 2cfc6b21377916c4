use std::time::Duration;

use insta::assert_json_snapshot;
use orders_testkit::Fault;
use serde_json::json;

use crate::shop::{Shop, json_body, long, post};

#[tokio::test]
async fn an_order_is_confirmed_and_cancelled() {
    let shop = Shop::new();
    let id = shop.created("a").await;
    let confirmed = shop.verb(&id, "confirm", &[("if-match", "\"v1\"")]).await;
    assert_eq!((confirmed.status.as_u16(), confirmed.header("etag")), (200, "\"v2\""));
    let allowed = &confirmed.json()["allowed_transitions"];
    assert_eq!(
        *allowed,
        json!([
            "cancel",
            "fulfillments",
            "return",
            "pay",
            "payments",
            "capture",
            "refund",
            "notes"
        ])
    );
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
    for tag in ["\"1\"", "W/\"v1\"", "\"abc\", W/\"v1\"", "\"v2\", \"v3\""] {
        let answer = shop.verb(&id, "confirm", &[("if-match", tag)]).await;
        assert_eq!(answer.problem(412, "version-mismatch")["current_version"], 1, "{tag}");
    }
    for tag in ["v1", "\"v1", "\"v1\" \"v2\"", "*, \"v1\""] {
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
    assert_eq!(problem["allowed_transitions"], json!(["notes"]));
    assert_eq!(problem["detail"], "An order that is CANCELLED cannot be confirmed.");
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

#[tokio::test]
async fn a_list_of_versions_matches_by_any_member() {
    let shop = Shop::new();
    let id = shop.created("a").await;
    let list = [("if-match", "\"v7\", \"abc\", \"v1\"")];
    assert_eq!(shop.verb(&id, "confirm", &list).await.header("etag"), "\"v2\"");
    shop.verb(&id, "cancel", &list).await.problem(412, "version-mismatch");
    let lines = [("if-match", "\"v1\""), ("if-match", "\"v2\"")];
    assert_eq!(shop.verb(&id, "cancel", &lines).await.header("etag"), "\"v3\"");
}

#[tokio::test]
async fn a_retry_with_a_list_is_a_replay() {
    let shop = Shop::new();
    for (name, list) in [("a", "\"v1\", \"v5\""), ("b", "\"v1\", \"v2\""), ("c", "\"v2\", \"v1\"")]
    {
        let (id, key) = (shop.created(name).await, long(&format!("{name}-confirm")));
        let headers = [("if-match", list), ("idempotency-key", key.as_str())];
        assert_eq!(shop.verb(&id, "confirm", &headers).await.header("etag"), "\"v2\"", "{list}");
        let again = shop.verb(&id, "confirm", &headers).await;
        assert_eq!((again.status.as_u16(), again.header("idempotent-replayed")), (200, "true"));
    }
}

#[tokio::test]
async fn what_may_have_happened_is_tried_again_only_with_a_key() {
    let shop = Shop::new();
    let id = shop.created("a").await;
    let key = long("confirm");
    let with_key = &[("idempotency-key", key.as_str())][..];
    for (headers, status, retryable, after, advice) in
        [(&[][..], 500, false, "", "Read the order"), (with_key, 503, true, "1", "Idempotency-Key")]
    {
        for _ in 0..4 {
            shop.world.fail_next(Fault::RequestLost);
        }
        let answer = shop.verb(&id, "confirm", headers).await;
        let problem = answer.problem(status, "outcome-unknown");
        assert_eq!(problem["retryable"], retryable);
        assert!(problem["advice"].as_str().unwrap().contains(advice), "{problem}");
        assert_eq!(answer.header("retry-after"), after);
        shop.world.fail_next(Fault::Busy);
        let answer = shop.verb(&id, "confirm", headers).await;
        assert_eq!(answer.problem(503, "store-busy")["retryable"], true, "nothing was written");
    }
}

#[tokio::test(start_paused = true)]
async fn a_deadline_is_no_reason_to_try_again_without_a_key() {
    let shop = Shop::new();
    let id = shop.created("a").await;
    let key = long("confirm");
    for (headers, retryable) in [(&[][..], false), (&[("idempotency-key", key.as_str())], true)] {
        shop.world.fail_next(Fault::Slow(Duration::from_hours(1)));
        let problem = shop.verb(&id, "confirm", headers).await.problem(504, "deadline-exceeded");
        assert_eq!(problem["retryable"], retryable);
    }
}

#[tokio::test]
async fn what_is_allowed_is_how_an_address_ends() {
    let shop = Shop::new();
    let id = shop.created("a").await;
    let order = shop.get(&format!("/v1/orders/{id}")).await.json();
    let allowed = order["allowed_transitions"].as_array().unwrap().clone();
    assert_eq!(json!(allowed), json!(["confirm", "cancel", "pay", "payments", "notes"]));
    for verb in allowed {
        // Whatever it says of the order or the body, there is such an address.
        let answer = shop.verb(&id, verb.as_str().unwrap(), &[]).await;
        assert!(
            [200, 400, 409, 415].contains(&answer.status.as_u16()),
            "{verb}: {}",
            answer.text()
        );
    }
}
