//! Whom a rate limit per address counts: a row of its own, since it is no matter of
//! `mainstay-resilience` but of `mainstay`.

use crate::suite::row::{Row, Verdict};
use http::{HeaderMap, HeaderValue, Request};
use mainstay::{http::ClientAddr, server::Network};
use std::{future::ready, net::IpAddr};
use tower_governor::key_extractor::{KeyExtractor as _, SmartIpKeyExtractor};

/// Tells whom to count of what came through the proxy at [`PROXY`], which is trusted.
pub(crate) trait Address: 'static {
    fn counted(headers: HeaderMap) -> Option<IpAddr>;
}

const PROXY: &str = "10.0.0.1";

pub(crate) fn rows<A: Address>() -> Vec<Row> {
    let fact = "who writes X-Forwarded-For is not believed";
    vec![Row::new("address", fact, || ready(a_client_is_not_believed::<A>()))]
}

/// A proxy adds its client's address to what that has sent.
fn through_the_proxy(sent: &str, client: &str) -> Option<HeaderMap> {
    let line = HeaderValue::from_str(&format!("{sent}, {client}")).ok()?;
    let mut headers = HeaderMap::new();
    headers.insert("x-forwarded-for", line);
    Some(headers)
}

fn a_client_is_not_believed<A: Address>() -> Verdict {
    let mut counted = Vec::new();
    for number in 0..100 {
        let headers = through_the_proxy(&format!("198.51.100.{number}"), "203.0.113.9");
        let Some(address) = headers.and_then(A::counted) else { return Verdict::Absent };
        counted.push(address);
    }
    counted.dedup();
    let other = through_the_proxy("198.51.100.0", "203.0.113.10").and_then(A::counted);
    if other.is_some_and(|other| counted.contains(&other)) {
        return Verdict::Fails("two clients of one proxy count as one".to_owned());
    }
    Verdict::of(counted.len() == 1, format!("one client counts as {}", counted.len()))
}

/// [`ClientAddr`], which walks trusted proxies from the right.
pub(crate) struct Ours;

impl Address for Ours {
    fn counted(headers: HeaderMap) -> Option<IpAddr> {
        let trusted: Network = PROXY.parse().ok()?;
        ClientAddr::of(PROXY.parse().ok()?, &headers, &[trusted]).counted()
    }
}

/// What `tower_governor` has for services behind proxies.
pub(crate) struct Smart;

impl Address for Smart {
    fn counted(headers: HeaderMap) -> Option<IpAddr> {
        let mut request = Request::new(());
        *request.headers_mut() = headers;
        SmartIpKeyExtractor.extract(&request).ok()
    }
}
