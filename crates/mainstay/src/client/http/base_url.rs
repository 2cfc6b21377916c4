use super::NotSent;
use bytes::Bytes;
use http::{
    HeaderValue, Method, Request, Uri,
    header::{CONNECTION, CONTENT_LENGTH, HOST, TRANSFER_ENCODING, UPGRADE},
    uri::{PathAndQuery, Scheme},
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::{fmt, str::FromStr};

/// The address of a service: `http` or `https`, a host, and a path below which its own begin.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(try_from = "String", into = "String")]
#[schemars(with = "String")]
pub struct BaseUrl {
    uri: Uri,
    host: HeaderValue,
}

/// A text is not the address of a service.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "expected an address such as https://payments.internal/v1, without user, query or fragment"
)]
pub struct InvalidBaseUrl;

impl BaseUrl {
    pub(in crate::client) fn is_tls(&self) -> bool {
        self.uri.scheme() == Some(&Scheme::HTTPS)
    }

    /// The host as a resolver and a certificate know it: an IPv6 address without its brackets.
    pub(in crate::client) fn host(&self) -> &str {
        self.uri.host().unwrap_or_default().trim_matches(['[', ']'])
    }

    pub(in crate::client) fn port(&self) -> u16 {
        self.uri.port_u16().unwrap_or(if self.is_tls() { 443 } else { 80 })
    }

    /// The request as it goes over a connection to this service.
    pub(super) fn request(&self, request: Request<Bytes>) -> Result<Request<Bytes>, NotSent> {
        let (mut parts, body) = request.into_parts();
        if parts.method == Method::CONNECT {
            return Err(NotSent::Invalid("a tunnel is no call"));
        }
        // What is a path to us must not be another host to somebody else.
        if parts.uri.authority().is_some() || !parts.uri.path().starts_with('/') {
            return Err(NotSent::Invalid("its address must be a path"));
        }
        let query = parts.uri.query().map(|query| format!("?{query}")).unwrap_or_default();
        let path = format!("{}{}{query}", self.path(), parts.uri.path());
        parts.uri = path.parse().map_err(|_| NotSent::Invalid("its path is too long"))?;
        // Where a message ends is for the connection to say.
        for framing in [CONNECTION, CONTENT_LENGTH, TRANSFER_ENCODING, UPGRADE] {
            parts.headers.remove(framing);
        }
        parts.headers.insert(HOST, self.host.clone());
        parts.version = http::Version::HTTP_11;
        Ok(Request::from_parts(parts, body))
    }

    /// The address of a path of this service, as HTTP/2 says it, whatever host `uri` names.
    pub(in crate::client) fn whole(&self, uri: &Uri) -> Result<Uri, NotSent> {
        let too_long = NotSent::Invalid("its path is too long");
        let mut parts = self.uri.clone().into_parts();
        let path = format!("{}{}", self.path(), uri.path());
        let Ok(path) = path.parse::<PathAndQuery>() else { return Err(too_long) };
        parts.path_and_query = Some(path);
        Uri::from_parts(parts).map_err(|_| too_long)
    }

    fn path(&self) -> &str {
        self.uri.path().trim_end_matches('/')
    }
}

impl Default for BaseUrl {
    fn default() -> Self {
        let uri = Uri::from_static("http://127.0.0.1:8080/");
        Self { uri, host: HeaderValue::from_static("127.0.0.1:8080") }
    }
}

impl FromStr for BaseUrl {
    type Err = InvalidBaseUrl;

    fn from_str(text: &str) -> Result<Self, InvalidBaseUrl> {
        let uri: Uri = text.parse().map_err(|_| InvalidBaseUrl)?;
        let authority = uri.authority().ok_or(InvalidBaseUrl)?;
        let known = uri.scheme() == Some(&Scheme::HTTP) || uri.scheme() == Some(&Scheme::HTTPS);
        // The parser drops a fragment in silence.
        let more = uri.query().is_some() || text.contains('#') || authority.as_str().contains('@');
        if !known || more || authority.host().is_empty() {
            return Err(InvalidBaseUrl);
        }
        let host = HeaderValue::from_str(authority.as_str()).map_err(|_| InvalidBaseUrl)?;
        Ok(Self { uri, host })
    }
}

impl TryFrom<String> for BaseUrl {
    type Error = InvalidBaseUrl;

    fn try_from(text: String) -> Result<Self, InvalidBaseUrl> {
        text.parse()
    }
}

impl From<BaseUrl> for String {
    fn from(url: BaseUrl) -> Self {
        url.to_string()
    }
}

impl fmt::Display for BaseUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.uri.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sent(base: &str, path: &str) -> Result<Request<Bytes>, NotSent> {
        let base: BaseUrl = base.parse().unwrap();
        base.request(Request::get(path).body(Bytes::new()).unwrap())
    }

    #[test]
    fn a_path_goes_behind_the_bases_own() {
        for (base, path, expected) in [
            ("http://a.test", "/b?c=d", "/b?c=d"),
            ("http://a.test/", "/", "/"),
            ("http://a.test/v1", "/b", "/v1/b"),
            ("https://a.test:8443/v1/", "/b/", "/v1/b/"),
            ("http://a.test/v1", "/..", "/v1/.."),
        ] {
            assert_eq!(sent(base, path).unwrap().uri(), expected, "{base} {path}");
        }
    }

    #[test]
    fn a_request_reaches_no_other_host() {
        for path in ["http://evil.test/", "http://a.test/", "*"] {
            assert!(matches!(sent("http://a.test", path), Err(NotSent::Invalid(_))), "{path}");
        }
        let request = sent("http://a.test", "//evil.test/").unwrap();
        assert_eq!(request.uri().path(), "//evil.test/");
        assert_eq!(request.headers()[HOST], "a.test");
    }

    #[test]
    fn a_call_goes_to_the_base_whatever_host_it_names() {
        for (base, uri, expected) in [
            ("http://a.test:81", "/a.B/C", "http://a.test:81/a.B/C"),
            ("https://a.test/v1/", "http://evil.test/a.B/C?d", "https://a.test/v1/a.B/C"),
        ] {
            let base: BaseUrl = base.parse().unwrap();
            assert_eq!(base.whole(&uri.parse().unwrap()).unwrap(), expected, "{uri}");
        }
    }

    #[test]
    fn the_connection_frames_the_message() {
        let request = Request::post("/").header(CONTENT_LENGTH, 7).header(HOST, "evil.test");
        let request = request.header(TRANSFER_ENCODING, "chunked").body(Bytes::new()).unwrap();
        let sent = BaseUrl::default().request(request).unwrap();
        assert_eq!(sent.headers().len(), 1);
        assert_eq!(sent.headers()[HOST], "127.0.0.1:8080");
    }

    #[test]
    fn the_host_and_the_port_are_those_of_the_address() {
        let parts = |text: &str| {
            let url: BaseUrl = text.parse().unwrap();
            (url.host().to_owned(), url.port(), url.is_tls())
        };
        assert_eq!(parts("http://a.test"), ("a.test".into(), 80, false));
        assert_eq!(parts("https://a.test"), ("a.test".into(), 443, true));
        assert_eq!(parts("http://[::1]:81/x"), ("::1".into(), 81, false));
    }

    #[test]
    fn other_texts_are_refused() {
        for text in [
            "",
            "/v1",
            "a.test",
            "ftp://a.test",
            "http://u:p@a.test",
            "http://a.test/?q",
            "http://a.test/#f",
            "http://",
        ] {
            assert_eq!(text.parse::<BaseUrl>(), Err(InvalidBaseUrl), "{text}");
        }
    }
}
