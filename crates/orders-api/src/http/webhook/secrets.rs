//! Signatures by the Standard Webhooks scheme.

use std::{fmt, str::FromStr};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use hmac::{Hmac, KeyInit as _, Mac as _};
use http::{HeaderMap, HeaderName};
use jiff::Timestamp;
use sha2::Sha256;

use crate::http::headers::single;

const ID: HeaderName = HeaderName::from_static("webhook-id");
const TIMESTAMP: HeaderName = HeaderName::from_static("webhook-timestamp");
const SIGNATURE: HeaderName = HeaderName::from_static("webhook-signature");

/// How far the sender's clock may be from ours, in seconds.
const TOLERANCE: u64 = 300;
/// How many secrets there may be: each costs every webhook a computation.
const MOST_SECRETS: usize = 8;
/// How many signatures of a webhook are looked at.
const MOST_SIGNATURES: usize = 16;

/// The secrets that webhooks may be signed with. There are several while one is replaced.
#[derive(Clone)]
pub struct Secrets(Vec<Hmac<Sha256>>);

/// Why secrets cannot be used. Shows nothing of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidSecrets {
    /// There is none.
    #[error("there is no secret in it: write the gateway's webhook secret into it, whsec_…")]
    None,
    /// There are too many.
    #[error("there are more than {MOST_SECRETS} secrets in it: take out those no longer in use")]
    TooMany,
    /// One is not in its form.
    #[error(
        "line {line} is not a secret: it must be whsec_ and 24 to 64 bytes as base64; \
         `openssl rand -base64 32` makes them"
    )]
    Form {
        /// Which line, from 1.
        line: usize,
    },
}

/// Reads a file of secrets, one a line. Empty lines may be there.
impl FromStr for Secrets {
    type Err = InvalidSecrets;

    fn from_str(text: &str) -> Result<Self, InvalidSecrets> {
        let lines = text.lines().map(str::trim).zip(1..);
        let lines = lines.filter(|(text, _)| !text.is_empty());
        let read = |(text, line)| secret(text).ok_or(InvalidSecrets::Form { line });
        let secrets = lines.map(read).collect::<Result<Vec<_>, _>>()?;
        match secrets.len() {
            0 => Err(InvalidSecrets::None),
            1..=MOST_SECRETS => Ok(Self(secrets)),
            _ => Err(InvalidSecrets::TooMany),
        }
    }
}

fn secret(text: &str) -> Option<Hmac<Sha256>> {
    let key = STANDARD.decode(text.strip_prefix("whsec_")?).ok()?;
    if (24..=64).contains(&key.len()) { Hmac::new_from_slice(&key).ok() } else { None }
}

impl Secrets {
    /// Whether one of the secrets made one of the signatures over this body. Each is compared in
    /// constant time.
    pub(super) fn verify(&self, signed: &Signed<'_>, body: &[u8]) -> Result<(), &'static str> {
        let signatures: Vec<Vec<u8>> = signed.signatures().collect();
        let holds = self.0.iter().any(|secret| {
            let start = format!("{}.{}.", signed.id, signed.timestamp);
            let made = secret.clone().chain_update(start).chain_update(body);
            signatures.iter().any(|signature| made.clone().verify_slice(signature).is_ok())
        });
        if holds {
            return Ok(());
        }
        Err("No signature in webhook-signature is one of the body as it came, by a secret that is \
             known here.")
    }
}

/// Shows nothing of the secrets.
impl fmt::Debug for Secrets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Secrets({})", self.0.len())
    }
}

/// What a webhook's headers say, as they came.
#[derive(Debug)]
pub(super) struct Signed<'h> {
    id: &'h str,
    timestamp: &'h str,
    signature: &'h str,
}

impl<'h> Signed<'h> {
    pub(super) fn read(headers: &'h HeaderMap) -> Result<Self, &'static str> {
        let missing = "A webhook has the headers webhook-id, webhook-timestamp and webhook-signature, each once.";
        let header = |name: HeaderName| single(headers, &name).ok().flatten().ok_or(missing);
        let (id, timestamp) = (header(ID)?, header(TIMESTAMP)?);
        Ok(Self { id, timestamp, signature: header(SIGNATURE)? })
    }

    /// Whether it was signed about now. One that was caught on its way is no good for long.
    pub(super) fn is_recent(&self, now: Timestamp) -> Result<(), &'static str> {
        let digits = self.timestamp.bytes().all(|byte| byte.is_ascii_digit());
        let seconds = self.timestamp.parse::<i64>().ok().filter(|_| digits);
        let seconds =
            seconds.ok_or("webhook-timestamp must be in seconds since the Unix epoch.")?;
        if seconds.abs_diff(now.as_second()) <= TOLERANCE {
            return Ok(());
        }
        Err(
            "webhook-timestamp is more than five minutes off: sign each try anew, and compare clocks.",
        )
    }

    /// Those of the version that is known here; others may stand beside them.
    fn signatures(&self) -> impl Iterator<Item = Vec<u8>> {
        let all = self.signature.split(' ').filter_map(|one| one.strip_prefix("v1,"));
        all.take(MOST_SIGNATURES).filter_map(|text| STANDARD.decode(text).ok())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // From the scheme's reference libraries.
    const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
    const OTHER: &str = "whsec_Z2F0ZXdheS1zaW0tZGV2ZWxvcG1lbnQtc2VjcmV0";
    const BODY: &[u8] = br#"{"test": 2432232314}"#;
    const RIGHT: &str = "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=";
    const AT: &str = "1614265330";

    fn signed<'h>(timestamp: &'h str, signature: &'h str) -> Signed<'h> {
        Signed { id: "msg_p5jXN8AQM9LWM0D4loKWxJek", timestamp, signature }
    }

    fn holds(secrets: &str, signature: &str) -> bool {
        let secrets: Secrets = secrets.parse().unwrap();
        secrets.verify(&signed(AT, signature), BODY).is_ok()
    }

    #[test]
    fn the_example_of_the_scheme_holds() {
        assert!(holds(SECRET, RIGHT));
    }

    #[test]
    fn any_of_several_secrets_may_have_made_any_of_several_signatures() {
        let wrong = "v1,K5oZfzN95Z9UVu1EsfQmfVNQhnkZ2pj9o9NDN/H/pI4=";
        let both = format!("\n{OTHER}\r\n  {SECRET}\n\n");
        for signature in [format!("{wrong} v1a,abc {RIGHT}"), format!("{RIGHT} {wrong}")] {
            assert!(holds(&both, &signature), "{signature}");
            assert!(!holds(OTHER, &signature), "{signature}");
        }
    }

    #[test]
    fn nothing_else_holds() {
        let longer = format!("{RIGHT} ").replace("= ", "A==");
        let short = "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ";
        for signature in [
            "",
            "v1,",
            &RIGHT[3..],
            &RIGHT.to_lowercase(),
            &RIGHT.replace("v1", "v2"),
            &longer,
            short,
            "v1,AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=",
        ] {
            assert!(!holds(SECRET, signature), "{signature}");
        }
        let secrets: Secrets = SECRET.parse().unwrap();
        assert!(secrets.verify(&signed(AT, RIGHT), b"{}").is_err());
        assert!(secrets.verify(&signed("1614265331", RIGHT), BODY).is_err());
        assert!(secrets.verify(&Signed { id: "msg", ..signed(AT, RIGHT) }, BODY).is_err());
    }

    #[test]
    fn a_timestamp_may_be_five_minutes_off() {
        let now = Timestamp::from_second(1_614_265_330).unwrap();
        for near in ["1614265330", "1614265030", "1614265630"] {
            assert_eq!(signed(near, RIGHT).is_recent(now), Ok(()), "{near}");
        }
        for far in ["1614265029", "1614265631", "0", "", "-1", "+1614265330", "1614265330.5", "now"]
        {
            assert!(signed(far, RIGHT).is_recent(now).is_err(), "{far}");
        }
        assert!(signed("99999999999999999999", RIGHT).is_recent(now).is_err());
    }

    #[test]
    fn a_header_is_there_once() {
        let all = [(ID, "m-1"), (TIMESTAMP, AT), (SIGNATURE, RIGHT)];
        let headers: HeaderMap =
            all.clone().into_iter().map(|(name, value)| (name, value.parse().unwrap())).collect();
        assert!(Signed::read(&headers).is_ok());
        for (name, value) in all {
            let mut without = headers.clone();
            without.remove(&name);
            assert!(Signed::read(&without).is_err(), "{name}");
            let mut twice = headers.clone();
            twice.append(name, value.parse().unwrap());
            assert!(Signed::read(&twice).is_err());
        }
    }

    #[test]
    fn a_file_of_secrets_that_cannot_be_used_says_why_and_shows_nothing() {
        let many = [SECRET; MOST_SECRETS + 1].join("\n");
        let broken = format!("{SECRET}\n\n{SECRET}!");
        for (text, why) in [
            ("", InvalidSecrets::None),
            (" \n", InvalidSecrets::None),
            (many.as_str(), InvalidSecrets::TooMany),
            (broken.as_str(), InvalidSecrets::Form { line: 3 }),
            ("whsec_c2hvcnQ=", InvalidSecrets::Form { line: 1 }),
            (&SECRET[6..], InvalidSecrets::Form { line: 1 }),
        ] {
            assert_eq!(text.parse::<Secrets>().map(drop), Err(why), "{text}");
            assert!(!why.to_string().contains(&SECRET[6..]));
        }
        assert_eq!(format!("{:?}", SECRET.parse::<Secrets>().unwrap()), "Secrets(1)");
    }
}
