//! Signatures by the Standard Webhooks scheme.

use std::{fmt, str::FromStr};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use hmac::{Hmac, KeyInit as _, Mac as _};
use http::{Request, Uri, header};
use http_body_util::Full;
use jiff::Timestamp;
use sha2::Sha256;

/// A key that events are signed with.
#[derive(Clone)]
pub struct Key(Hmac<Sha256>);

/// A secret is not in its form.
#[derive(Debug, thiserror::Error)]
#[error("it must be whsec_ and 24 to 64 bytes as base64; `openssl rand -base64 32` makes them")]
pub struct InvalidSecret;

impl FromStr for Key {
    type Err = InvalidSecret;

    fn from_str(secret: &str) -> Result<Self, InvalidSecret> {
        let encoded = secret.strip_prefix("whsec_").ok_or(InvalidSecret)?;
        let bytes = STANDARD.decode(encoded).map_err(|_| InvalidSecret)?;
        if !(24..=64).contains(&bytes.len()) {
            return Err(InvalidSecret);
        }
        Hmac::new_from_slice(&bytes).map(Self).map_err(|_| InvalidSecret)
    }
}

impl Key {
    /// The value of `webhook-signature`.
    pub fn sign(&self, id: &str, seconds: i64, body: &str) -> String {
        let mac = self.0.clone().chain_update(format!("{id}.{seconds}.{body}"));
        format!("v1,{}", STANDARD.encode(mac.finalize().into_bytes()))
    }

    /// The delivery of this event at this time.
    pub(super) fn post(
        &self,
        target: &Uri,
        id: &str,
        body: String,
        now: Timestamp,
    ) -> Result<Request<Full<bytes::Bytes>>, http::Error> {
        let path = target.path_and_query().map_or("/", |path| path.as_str());
        let host = target.authority().map_or("", |authority| authority.as_str());
        let seconds = now.as_second();
        let signature = self.sign(id, seconds, &body);
        Request::post(path)
            .header(header::HOST, host)
            .header(header::CONTENT_TYPE, "application/json")
            .header(header::USER_AGENT, concat!("gateway-sim/", env!("CARGO_PKG_VERSION")))
            .header("webhook-id", id)
            .header("webhook-timestamp", seconds)
            .header("webhook-signature", signature)
            .body(Full::from(body))
    }
}

/// Shows nothing of the key.
impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Key(..)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_example_of_the_scheme_has_its_signature() {
        // From the scheme's reference libraries.
        let key: Key = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw".parse().unwrap();
        let body = r#"{"test": 2432232314}"#;
        let signed = key.sign("msg_p5jXN8AQM9LWM0D4loKWxJek", 1_614_265_330, body);
        assert_eq!(signed, "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=");
    }

    #[test]
    fn a_secret_in_another_form_is_refused() {
        for wrong in ["", "whsec_", "whsec_c2hvcnQ=", "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "whsec_!"]
        {
            assert!(wrong.parse::<Key>().is_err(), "{wrong}");
        }
        assert!(super::super::DEVELOPMENT_SECRET.parse::<Key>().is_ok());
    }
}
