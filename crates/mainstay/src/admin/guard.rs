//! Who may ask: whoever sends the token, as a tool (`Bearer`) or as a browser (the password of
//! `Basic`, with any name); or without one a caller on this machine that is not a
//! page of another site in its browser.

use crate::config::Secret;
use axum::{
    extract::{Request, State},
    middleware::Next,
    response::{AppendHeaders, IntoResponse, Response},
};
use base64::{Engine, prelude::BASE64_STANDARD};
use constant_time_eq::constant_time_eq;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header, uri::Authority};
use std::net::IpAddr;

/// A browser asks its user for the token because of the second.
const CHALLENGES: [(HeaderName, &str); 2] = [
    (header::WWW_AUTHENTICATE, "Bearer"),
    (header::WWW_AUTHENTICATE, "Basic realm=\"admin; the password is the token\""),
];

/// The token to ask for, if any.
pub(super) type Token = Option<Secret<String>>;

/// Lets through what [`refusal`] does not refuse.
pub(super) async fn guard(State(token): State<Token>, request: Request, next: Next) -> Response {
    match refusal(&token, &request) {
        None => next.run(request).await,
        Some((StatusCode::UNAUTHORIZED, why)) => {
            (StatusCode::UNAUTHORIZED, AppendHeaders(CHALLENGES), why).into_response()
        }
        Some(refused) => refused.into_response(),
    }
}

fn refusal(token: &Token, request: &Request) -> Option<(StatusCode, &'static str)> {
    let host = host(request);
    match token {
        Some(token) if !bears(request.headers(), token) => {
            let why = "send the token of the admin listener as Authorization: Bearer TOKEN\n";
            return Some((StatusCode::UNAUTHORIZED, why));
        }
        // A name may be another site's that was made to point here (DNS rebinding); then a browser
        // takes this for that site. An address cannot be.
        None if !host.as_ref().is_some_and(is_this_machine) => {
            let why = "ask by address or as localhost, not by another name\n";
            return Some((StatusCode::MISDIRECTED_REQUEST, why));
        }
        Some(_) | None => {}
    }
    let changes = !request.method().is_safe();
    if changes && is_cross_site(request.headers(), host.as_ref()) {
        return Some((StatusCode::FORBIDDEN, "a page of another site must not change this\n"));
    }
    None
}

fn bears(headers: &HeaderMap, token: &Secret<String>) -> bool {
    let given = headers.get(header::AUTHORIZATION).map(HeaderValue::as_bytes);
    let given = given.and_then(|value| match value.strip_prefix(b"Bearer ") {
        Some(token) => Some(token.to_vec()),
        None => password(value.strip_prefix(b"Basic ")?),
    });
    given.is_some_and(|given| constant_time_eq(&given, token.expose().as_bytes()))
}

/// The password of Basic credentials: what follows the first colon.
fn password(credentials: &[u8]) -> Option<Vec<u8>> {
    let decoded = BASE64_STANDARD.decode(credentials).ok()?;
    let colon = decoded.iter().position(|&byte| byte == b':')?;
    Some(decoded[colon + 1..].to_vec())
}

/// Whom the request is for.
fn host(request: &Request) -> Option<Authority> {
    let told = || request.headers().get(header::HOST)?.to_str().ok()?.parse().ok();
    request.uri().authority().cloned().or_else(told)
}

fn is_this_machine(host: &Authority) -> bool {
    let name = host.host().trim_start_matches('[').trim_end_matches(']');
    name.eq_ignore_ascii_case("localhost") || name.parse::<IpAddr>().is_ok()
}

/// Whether a browser says that the request comes from a page of another site: by `Sec-Fetch-Site`,
/// or where a browser does not send that, by `Origin`. Without both it is no browser's.
fn is_cross_site(headers: &HeaderMap, host: Option<&Authority>) -> bool {
    if let Some(site) = headers.get("sec-fetch-site") {
        return site != "same-origin" && site != "none";
    }
    headers.get(header::ORIGIN).is_some_and(|origin| {
        let origin = origin.to_str().ok().and_then(|origin| origin.split_once("://"));
        origin.map(|(_, at)| at) != host.map(Authority::as_str)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::body::Body;

    /// The status of the refusal, if it is refused.
    fn refused(token: Option<&str>, method: &str, headers: &[(&str, &str)]) -> Option<u16> {
        let mut request = Request::builder().method(method).uri("/log-level");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let token = token.map(|token| Secret::new(token.to_owned()));
        refusal(&token, &request.body(Body::empty()).unwrap()).map(|(status, _)| status.as_u16())
    }

    #[test]
    fn a_name_of_another_site_is_refused() {
        for host in ["127.0.0.1:9090", "localhost:9090", "LOCALHOST", "[::1]:9090", "10.0.0.7"] {
            assert_eq!(refused(None, "GET", &[("host", host)]), None, "{host}");
        }
        for host in ["evil.example:9090", "localhost.evil.example", "127.0.0.1.evil.example", ""] {
            assert_eq!(refused(None, "GET", &[("host", host)]), Some(421), "{host}");
        }
        assert_eq!(refused(None, "GET", &[]), Some(421));
    }

    #[test]
    fn a_page_of_another_site_changes_nothing() {
        let at = ("host", "127.0.0.1:9090");
        for (header, value, expected) in [
            ("sec-fetch-site", "same-origin", None),
            ("sec-fetch-site", "none", None),
            ("sec-fetch-site", "same-site", Some(403)),
            ("sec-fetch-site", "cross-site", Some(403)),
            ("origin", "http://127.0.0.1:9090", None),
            ("origin", "http://127.0.0.1:8000", Some(403)),
            ("origin", "https://evil.example", Some(403)),
            ("origin", "null", Some(403)),
            ("accept", "*/*", None),
        ] {
            for method in ["PUT", "POST"] {
                let refused = refused(None, method, &[at, (header, value)]);
                assert_eq!(refused, expected, "{method} {header}: {value}");
            }
            assert_eq!(refused(None, "GET", &[at, (header, value)]), None, "reading is no change");
        }
    }

    #[test]
    fn only_the_bearer_of_the_token_is_let_in() {
        let token = Some("0123456789abcdef0123456789abcdef");
        let host = ("host", "orders.internal:9090");
        let right = ("authorization", "Bearer 0123456789abcdef0123456789abcdef");
        assert_eq!(refused(token, "GET", &[host, right]), None);
        assert_eq!(
            refused(token, "PUT", &[host, right, ("sec-fetch-site", "cross-site")]),
            Some(403)
        );
        let by_browser = |password: &str| {
            let credentials = BASE64_STANDARD.encode(format!("anybody:{password}"));
            format!("Basic {credentials}")
        };
        let named = by_browser("0123456789abcdef0123456789abcdef");
        assert_eq!(refused(token, "GET", &[host, ("authorization", &named)]), None);
        let guess = by_browser("0123456789abcdef0123456789abcdeF");
        let bare = BASE64_STANDARD.encode("0123456789abcdef0123456789abcdef");
        let bare = format!("Basic {bare}");
        let bearers = ["Bearer 0123456789abcdef0123456789abcdeF", "Bearer ", "Basic eDp5", ""];
        for wrong in [&*guess, &bare, "Basic :"].into_iter().chain(bearers) {
            assert_eq!(
                refused(token, "GET", &[host, ("authorization", wrong)]),
                Some(401),
                "{wrong}"
            );
        }
        assert_eq!(refused(token, "GET", &[host]), Some(401));
    }
}
