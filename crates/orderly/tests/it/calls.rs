//! The commands that call a service which asks its clients for certificates.

use std::fs;

use serde_json::Value;

use crate::{
    peers::placing,
    support::{Guarded, Home, Process, Service, until},
};

/// A service that nobody reaches without a certificate, and that has one order of the tenant `shop`.
struct Closed {
    guarded: Guarded,
    url: String,
    _service: Service,
}

impl Closed {
    async fn start() -> Self {
        let guarded = Guarded::new().await;
        guarded.let_in(&[("warehouse", &["orders:read", "orders:write", "events:read"])]);
        let shown = guarded.certificate("warehouse");
        let folder = guarded.home.path("warehouse");
        fs::create_dir(&folder).unwrap();
        shown.write(&folder);
        let service = guarded.home.serve().await;
        let mut line = guarded.visitor(service.api, Some(&shown)).line().await.unwrap();
        line.send(placing("an-order-to-be-told-0")).await.unwrap().placed();
        let url = format!("https://localhost:{}", service.api.port());
        Self { guarded, url, _service: service }
    }

    /// The arguments of a command that calls it, with or without a certificate.
    fn call<'a>(&'a self, command: &[&'a str], shows: bool) -> Vec<&'a str> {
        let own = ["--cert-file", "warehouse/cert.pem", "--cert-key-file", "warehouse/key.pem"];
        let own = if shows { &own[..] } else { &[] };
        [command, &["--url", self.url.as_str(), "--ca-file", "servers-ca.pem"], own].concat()
    }
}

#[tokio::test]
async fn health_is_told_to_whom_the_service_lets_in() {
    let service = Closed::start().await;
    let ran = service.guarded.home.run_alone(&service.call(&["health"], true)).await;
    assert_eq!((ran.code, ran.out.as_str()), (Some(0), "serving\n"), "{ran:?}");
    let ran = service.guarded.home.run_alone(&service.call(&["health"], false)).await;
    assert_eq!((ran.code, ran.out.as_str()), (Some(1), ""), "{ran:?}");
}

#[tokio::test]
async fn events_are_told_to_whom_the_certificate_names() {
    let service = Closed::start().await;
    let watch = service.call(&["events", "watch"], true);
    let watching = Process::start(service.guarded.home.alone(&watch));
    let line = until("the event is printed", async || {
        serde_json::from_str::<Value>(watching.printed().lines().next()?).ok()
    });
    assert_eq!(line.await["tenantid"], "shop");
}

#[tokio::test]
async fn a_certificate_is_shown_with_its_key_and_over_tls_only() {
    let home = Home::new();
    let url = ["--url", "http://127.0.0.1:1"];
    let pair = ["--cert-file", "client.pem", "--cert-key-file", "client-key.pem"];
    for command in [&["health"][..], &["events", "watch"]] {
        let ran = home.run_alone(&[command, &url, &pair].concat()).await;
        assert_eq!(ran.code, Some(1), "{ran:?}");
        assert!(ran.err.contains("--url is not https"), "{ran:?}");
        let ran = home.run_alone(&[command, &url, &pair[..2]].concat()).await;
        assert_eq!(ran.code, Some(2), "{ran:?}");
        assert!(ran.err.contains("--cert-key-file"), "{ran:?}");
    }
    let ran = home.run_alone(&["events", "watch"]).await;
    assert_eq!(ran.code, Some(2), "{ran:?}");
    assert!(ran.err.contains("--key-file"), "nobody is named: {ran:?}");
}
