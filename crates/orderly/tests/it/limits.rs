//! How much may be asked of the real binary.

use http_body_util::Full;

use crate::support::{Home, get, until};

#[tokio::test]
async fn a_principal_that_asks_too_much_is_told_when_to_come_back() {
    let home = Home::new()
        .set("limits.principal.write.per_second=1")
        .set("limits.principal.write.burst=2");
    let service = home.serve().await;
    let client = service.client();
    let mut number = 0;
    let refused = until("one is refused", async || {
        number += 1;
        let answer = client.create(&format!("limited-{number:016}")).await;
        assert_eq!(answer.header("ratelimit-policy"), "\"write\";q=2;w=2");
        (answer.status != 201).then_some(answer)
    })
    .await;
    refused.refused(429, "rate-limited");
    assert_eq!(refused.header("retry-after"), "1");
    assert!(refused.header("ratelimit").starts_with("\"write\";r=0;t="));
    assert_eq!(client.get("/v1/orders").await.status, 200, "reads have no limit");
    until("there is room again", async || {
        let answer = client.create("limited-again-00000").await;
        (answer.status == 201 && answer.header("idempotent-replayed").is_empty()).then_some(())
    })
    .await;
    let limits = get(service.admin, "/status").await.json()["limits"].clone();
    assert_eq!((&limits["write"]["held"], &limits["shadow"]), (&1.into(), &false.into()));
    let told = ["per_second", "burst", "share"].map(|name| limits["write"][name].as_f64());
    assert_eq!(told, [Some(1.0), Some(2.0), Some(1.0)], "{limits}");
    assert!(limits["write"]["refused_last_minute"].as_u64() >= Some(1), "{limits}");
    assert!(limits["write"]["over"].is_u64(), "{limits}");
    let limited = "order_service_rate_limit_total{limit=\"write\",outcome=\"limited\"}";
    assert!(service.metric(limited).await >= 1.0);
    service.stop().await;
}

#[tokio::test]
async fn an_address_that_guesses_keys_is_turned_away_behind_a_proxy_too() {
    let home = Home::new().set("limits.address.per_second=1").set("limits.address.burst=1");
    let service = home.serve().await;
    let client = service.client();
    let from = async |address: &str, key: &str| {
        let request = client.request("GET", "/v1/orders").header("x-forwarded-for", address);
        let mut request = request.body(Full::default()).unwrap();
        request.headers_mut().insert("authorization", format!("Bearer {key}").parse().unwrap());
        client.send(request).await
    };
    from("203.0.113.1", "a.guess").await.refused(401, "unauthenticated");
    from("203.0.113.1", &client.key).await.refused(429, "rate-limited");
    assert_eq!(from("203.0.113.2", &client.key).await.status, 200);
    // Nobody is spoken for: it is the proxy's own, which is trusted.
    for _ in 0..3 {
        assert_eq!(client.get("/v1/orders").await.status, 200);
    }
    service.stop().await;
}

#[tokio::test]
async fn what_is_limited_for_some_must_make_sense() {
    let home = Home::new();
    let wrong = "[[limits.overrides]]\ntenant = \"\"\n[[limits.overrides]]\ntenant = \"\"\n\
                 [[limits.overrides]]\ntenant = \"shop\"\nwrite.burst = 5\n";
    std::fs::write(home.path("wrong.toml"), wrong).unwrap();
    let ran = home.run(&["config", "check", "--config", "wrong.toml"]).await;
    assert_ne!(ran.code, Some(0), "{ran:?}");
    for told in [
        "\"\" is not the name of a tenant",
        "\"\" has two for the same",
        "\"shop\": a burst without per_second limits nothing: set per_second as well",
    ] {
        assert!(ran.err.contains(told), "{told}: {ran:?}");
    }
}
