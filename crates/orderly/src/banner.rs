//! What a newcomer sees when the service is up.

use std::net::SocketAddr;

use crate::console::say;

/// Says where the service is, and what to try when it runs with a development key.
pub(crate) fn show(url: &str, admin: SocketAddr, token: Option<&str>) {
    say(&format!("orderly {} listening on {url}", env!("CARGO_PKG_VERSION")));
    say(&format!("  docs     {url}/docs"));
    say(&format!("  status   http://{admin}/"));
    say(&format!("  health   http://{admin}/readyz   metrics http://{admin}/metrics"));
    let Some(token) = token else { return };
    let auth = format!("-H 'Authorization: Bearer {token}'");
    say(&format!(
        "  key      {token}

Try, in another terminal:

  # place an order (run it twice: the key makes it one order)
  curl -sS {url}/v1/orders {auth} \\
    -H 'Idempotency-Key: my-first-order-01' -H 'Content-Type: application/json' \\
    -d '{ORDER}'

  # list the orders
  curl -sS {url}/v1/orders {auth}

  # watch every change as it happens
  curl -sSN '{url}/v1/events' {auth} -H 'Accept: text/event-stream'

This key is for development on this machine only. Ctrl-C stops the service."
    ));
}

const ORDER: &str = r#"{"customer_id":"c-1","lines":[{"sku":"tea","name":"Green tea","quantity":2,"unit_price":{"amount_minor":"499","currency":"EUR"}}]}"#;
