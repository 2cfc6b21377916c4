//! What a newcomer sees when the service is up.

use std::net::SocketAddr;

use crate::{config::Roles, console::say};

/// Says where the service is, and what to try when it runs with a development key: all at once, so
/// that no log line comes between.
pub(crate) fn show(url: &str, admin: SocketAddr, token: Option<&str>, payments: bool) {
    let version = env!("CARGO_PKG_VERSION");
    let whereabouts = format!(
        "orderly {version} listening on {url}
  docs     {url}/docs
  status   http://{admin}/
  health   http://{admin}/readyz   metrics http://{admin}/metrics"
    );
    match token {
        Some(token) => say(&format!("{whereabouts}\n{}", to_try(url, token, payments))),
        None => say(&whereabouts),
    }
}

/// Says what a process does that serves no clients.
pub(crate) fn show_roles(roles: &Roles, admin: SocketAddr) {
    let version = env!("CARGO_PKG_VERSION");
    say(&format!(
        "orderly {version} works as {roles}
  status   http://{admin}/
  health   http://{admin}/readyz   metrics http://{admin}/metrics"
    ));
}

fn to_try(url: &str, token: &str, payments: bool) -> String {
    let auth = format!("-H 'Authorization: Bearer {token}'");
    let pay = if payments { paying(url, &auth) } else { String::new() };
    format!(
        "  key      {token}

Try, in another terminal:

  # place an order (run it twice: the key makes it one order)
  curl -sS {url}/v1/orders {auth} \\
    -H 'Idempotency-Key: my-first-order-01' -H 'Content-Type: application/json' \\
    -d '{ORDER}'

  # list the orders
  curl -sS {url}/v1/orders {auth}
{pay}
  # watch every change as it happens
  curl -sSN '{url}/v1/events' {auth} -H 'Accept: text/event-stream'

This key is for development on this machine only. Ctrl-C stops the service."
    )
}

/// The newest order is paid for, so that the line can be run as it is.
fn paying(url: &str, auth: &str) -> String {
    format!(
        "
  # pay for the newest one, and wait for the provider: it is CONFIRMED, its money AUTHORIZED
  ID=$(curl -sS '{url}/v1/orders?page_size=1' {auth} | sed 's/.*\"orders\":\\[{{\"id\":\"\\([^\"]*\\).*/\\1/')
  curl -sS {url}/v1/orders/$ID/pay {auth} \\
    -H \"Idempotency-Key: pay-$ID\" -H 'Prefer: wait=5' -H 'Content-Type: application/json' \\
    -d '{{\"instrument\":\"tok_ok\"}}'
"
    )
}

const ORDER: &str = r#"{"customer_id":"c-1","lines":[{"sku":"tea","name":"Green tea","quantity":2,"unit_price":{"amount_minor":"499","currency":"EUR"}}]}"#;
