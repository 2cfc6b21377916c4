//! Tokens of an issuer: JWTs (RFC 7519) in the compact form, signed with a key of the issuer's.
//!
//! A token is read whole and by one strict rule before its signature is looked at: what is there
//! twice, what is padded, and what has to be understood and is not, is refused. Where keys are to be
//! found is never taken from the token (`jwk`, `jku`, `x5u`, `x5c` are passed over). The time is
//! passed in.
//!
//! Deliberately absent: encryption, other algorithms than those of [`Algorithm`], and the signatures
//! themselves, which are those of `ring`.

use std::{fmt, str::FromStr, time::Duration};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD as BASE64};
use jiff::Timestamp;
use mainstay_context::Principal;
use orders::domain::TenantId;
use serde::{Deserialize, Deserializer, de};
use serde_json::{Map, Value};

use super::scopes::{Scope, names};

/// The longest name of a subject, as OpenID Connect has it.
const LONGEST_SUBJECT: usize = 255;

/// How a token is signed. There is none for no signature, nor for a secret that is shared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Algorithm {
    /// RSASSA-PKCS1-v1_5 with SHA-256.
    Rs256,
    /// ECDSA over P-256 with SHA-256.
    Es256,
    /// EdDSA over Curve25519.
    EdDsa,
}

impl Algorithm {
    /// Every algorithm.
    pub const ALL: [Self; 3] = [Self::Rs256, Self::Es256, Self::EdDsa];

    /// Its name in tokens and keys.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Rs256 => "RS256",
            Self::Es256 => "ES256",
            Self::EdDsa => "EdDSA",
        }
    }
}

/// No algorithm of this name is taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the algorithm must be RS256, ES256 or EdDSA")]
pub struct InvalidAlgorithm;

impl FromStr for Algorithm {
    type Err = InvalidAlgorithm;

    fn from_str(name: &str) -> Result<Self, InvalidAlgorithm> {
        Self::ALL.into_iter().find(|one| one.as_str() == name).ok_or(InvalidAlgorithm)
    }
}

/// Whose tokens are taken, and what of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trust {
    /// Who makes them: their `iss`.
    pub issuer: String,
    /// Whom they must be made for: one of their `aud`.
    pub audience: String,
    /// How they may be signed.
    pub algorithms: Vec<Algorithm>,
    /// How far the issuer's clock may be from ours.
    pub leeway: Duration,
    /// The claim that names the tenant.
    pub tenant_claim: String,
}

/// Whether this has the form of a token: two dots.
pub(super) fn has_form(text: &str) -> bool {
    text.bytes().filter(|byte| *byte == b'.').count() == 2
}

/// A token that says the right things, and of which nobody knows yet whether the issuer said them.
pub(super) struct Unproven<'t> {
    pub(super) algorithm: Algorithm,
    /// The name of the key it is signed with.
    pub(super) key: Option<String>,
    /// What is signed.
    pub(super) message: &'t str,
    pub(super) signature: Vec<u8>,
    pub(super) principal: Principal,
    /// When it ends, in seconds since 1970.
    pub(super) ends: i64,
}

impl<'t> Unproven<'t> {
    /// Reads a token.
    ///
    /// # Errors
    /// What is wrong with it, as a sentence.
    pub(super) fn read(
        token: &'t str,
        trust: &Trust,
        now: Timestamp,
    ) -> Result<Self, &'static str> {
        let (message, signature) = token.rsplit_once('.').ok_or(BROKEN)?;
        let (header, claims) = message.split_once('.').ok_or(BROKEN)?;
        let (header, claims) = (object(header)?, object(claims)?);
        let (algorithm, key) = head(&header, trust)?;
        let ends = times(&claims, trust, now.as_second())?;
        if claims.get("iss").and_then(Value::as_str) != Some(trust.issuer.as_str()) {
            return Err("The token is of another issuer.");
        }
        if !is_for(claims.get("aud"), &trust.audience) {
            return Err("The token is made for another audience.");
        }
        let principal = principal(&claims, trust)?;
        let signature = BASE64.decode(signature).map_err(|_| BROKEN)?;
        Ok(Self { algorithm, key, message, signature, principal, ends })
    }
}

const BROKEN: &str = "The token is not a JWT that can be read.";

/// What the header says: how it is signed, and with which key.
fn head(
    header: &Map<String, Value>,
    trust: &Trust,
) -> Result<(Algorithm, Option<String>), &'static str> {
    let algorithm = header.get("alg").and_then(Value::as_str);
    let algorithm = algorithm.and_then(|name| name.parse::<Algorithm>().ok());
    let algorithm = algorithm.filter(|one| trust.algorithms.contains(one));
    let algorithm = algorithm.ok_or("The token is signed in a way that is not taken here.")?;
    // Nothing beyond the standard is understood here.
    if header.contains_key("crit") {
        return Err("The token asks for more than is understood here (`crit`).");
    }
    let kind = header.get("typ").map(|kind| kind.as_str().unwrap_or_default().to_ascii_lowercase());
    let plain = kind.as_deref().map(|kind| kind.strip_prefix("application/").unwrap_or(kind));
    if !matches!(plain, None | Some("jwt" | "at+jwt")) {
        return Err("The token is of another type (`typ`) than JWT or at+jwt.");
    }
    let key = match header.get("kid") {
        None => None,
        Some(Value::String(name)) => Some(name.clone()),
        Some(_) => return Err(BROKEN),
    };
    Ok((algorithm, key))
}

/// Refuses a token before and after its time; tells when it ends.
fn times(claims: &Map<String, Value>, trust: &Trust, now: i64) -> Result<i64, &'static str> {
    let leeway = i64::try_from(trust.leeway.as_secs()).unwrap_or(i64::MAX);
    let ends = claims.get("exp").and_then(seconds).ok_or("The token has no end (`exp`).")?;
    if now >= ends.saturating_add(leeway) {
        return Err("The token has expired.");
    }
    if let Some(begins) = claims.get("nbf") {
        let begins = seconds(begins).ok_or(BROKEN)?;
        if now.saturating_add(leeway) < begins {
            return Err("The token is not valid yet.");
        }
    }
    Ok(ends)
}

/// A time as tokens have it; a part of a second does not count.
fn seconds(value: &Value) -> Option<i64> {
    #[expect(clippy::cast_possible_truncation, reason = "what is beyond all time is cut off there")]
    let whole = |seconds: f64| seconds.floor() as i64;
    value.as_i64().or_else(|| value.as_f64().map(whole))
}

/// Whether an `aud`, which is one name or several, has this name.
fn is_for(aud: Option<&Value>, audience: &str) -> bool {
    match aud {
        Some(Value::String(one)) => one == audience,
        Some(Value::Array(all)) => all.iter().any(|one| one.as_str() == Some(audience)),
        Some(Value::Null | Value::Bool(_) | Value::Number(_) | Value::Object(_)) | None => false,
    }
}

/// Who a token is for, and what it opens.
fn principal(claims: &Map<String, Value>, trust: &Trust) -> Result<Principal, &'static str> {
    let text = |claim: &str| claims.get(claim).and_then(Value::as_str);
    let tenant = text(&trust.tenant_claim).filter(|name| name.parse::<TenantId>().is_ok());
    let tenant = tenant.ok_or("The token names no tenant.")?;
    let is_name = |name: &&str| {
        (1..=LONGEST_SUBJECT).contains(&name.len()) && !name.chars().any(char::is_control)
    };
    let subject = text("sub").filter(is_name).ok_or("The token names nobody (`sub`).")?;
    Ok(Principal::new(tenant, subject).with_scopes(names(scopes(claims)?)))
}

/// The scopes that are known here, of `scope` or else of `scp`; others are for somebody else.
fn scopes(claims: &Map<String, Value>) -> Result<Vec<Scope>, &'static str> {
    match claims.get("scope").or_else(|| claims.get("scp")) {
        None => Ok(Vec::new()),
        Some(Value::String(list)) => Ok(list.split(' ').filter_map(Scope::named).collect()),
        Some(Value::Array(all)) => {
            Ok(all.iter().filter_map(Value::as_str).filter_map(Scope::named).collect())
        }
        Some(Value::Null | Value::Bool(_) | Value::Number(_) | Value::Object(_)) => Err(BROKEN),
    }
}

/// The JSON object in a part of a token.
fn object(part: &str) -> Result<Map<String, Value>, &'static str> {
    let json = BASE64.decode(part).map_err(|_| BROKEN)?;
    let Ok(Strict(Value::Object(object))) = serde_json::from_slice(&json) else {
        return Err(BROKEN);
    };
    Ok(object)
}

/// JSON with no name twice in an object: of two values, two readers could take either.
///
/// What a [`Value`] reads by itself is less strict. It takes the last of two, and of an object with the
/// one name by which serde_json marks raw JSON, it reads the text anew and as deep again.
struct Strict(Value);

impl<'de> Deserialize<'de> for Strict {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        from.deserialize_any(Reader).map(Self)
    }
}

struct Reader;

impl<'de> de::Visitor<'de> for Reader {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON with no name twice in an object")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, is: bool) -> Result<Value, E> {
        Ok(is.into())
    }

    fn visit_i64<E>(self, number: i64) -> Result<Value, E> {
        Ok(number.into())
    }

    fn visit_u64<E>(self, number: u64) -> Result<Value, E> {
        Ok(number.into())
    }

    fn visit_f64<E>(self, number: f64) -> Result<Value, E> {
        Ok(number.into())
    }

    fn visit_str<E>(self, text: &str) -> Result<Value, E> {
        Ok(text.into())
    }

    fn visit_seq<A: de::SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let mut all = Vec::new();
        while let Some(Strict(item)) = items.next_element()? {
            all.push(item);
        }
        Ok(all.into())
    }

    fn visit_map<A: de::MapAccess<'de>>(self, mut members: A) -> Result<Value, A::Error> {
        let mut all = Map::new();
        while let Some((name, Strict(value))) = members.next_entry::<String, _>()? {
            if all.insert(name, value).is_some() {
                return Err(de::Error::custom("a name is there twice"));
            }
        }
        Ok(all.into())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn trust() -> Trust {
        Trust {
            issuer: "https://id.test".to_owned(),
            audience: "orderly".to_owned(),
            algorithms: Algorithm::ALL.into(),
            leeway: Duration::from_mins(1),
            tenant_claim: "tenant".to_owned(),
        }
    }

    fn claims() -> Value {
        json!({
            "iss": "https://id.test", "aud": "orderly", "sub": "ann", "tenant": "shop", "exp": 1_000,
        })
    }

    fn encoded(header: &Value, claims: &Value) -> String {
        let part = |value: &Value| BASE64.encode(value.to_string());
        format!("{}.{}.AA", part(header), part(claims))
    }

    /// What is told of a token with these fields, at this time.
    fn told(header: &Value, more: &Value, now: i64) -> Result<Principal, &'static str> {
        let mut claims = claims();
        claims.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        let token = encoded(header, &claims);
        let now = Timestamp::from_second(now).unwrap();
        Unproven::read(&token, &trust(), now).map(|token| token.principal)
    }

    #[test]
    fn a_token_has_its_time_and_a_leeway() {
        let header = json!({ "alg": "ES256" });
        let none = json!({});
        for now in [0, 999, 1_059] {
            assert!(told(&header, &none, now).is_ok(), "{now}");
        }
        assert_eq!(told(&header, &none, 1_060), Err("The token has expired."));
        let later = json!({ "nbf": 500.9 });
        assert_eq!(told(&header, &later, 439), Err("The token is not valid yet."));
        assert!(told(&header, &later, 440).is_ok());
        for exp in [json!(null), json!("1000"), json!([1000]), json!(true)] {
            let told = told(&header, &json!({ "exp": exp }), 0);
            assert_eq!(told, Err("The token has no end (`exp`)."), "{exp}");
        }
        assert!(told(&header, &json!({ "exp": 1e300 }), 1_000_000).is_ok());
        assert!(told(&header, &json!({ "nbf": "0" }), 0).is_err());
    }

    #[test]
    fn scopes_are_a_text_or_a_list_and_those_of_others_are_passed_over() {
        let header = json!({ "alg": "ES256" });
        let of = |more: Value| told(&header, &more, 0).map(|told| told.scopes.to_vec());
        assert_eq!(of(json!({})), Ok(vec![]));
        let both = Ok(vec!["events:read", "orders:read"]);
        assert_eq!(of(json!({ "scope": "orders:read events:read openid" })), both);
        assert_eq!(of(json!({ "scp": ["orders:read", "mail", "events:read", 7] })), both);
        let first = json!({ "scope": "orders:read", "scp": ["events:read"] });
        assert_eq!(of(first), Ok(vec!["orders:read"]));
        assert_eq!(of(json!({ "scope": 7 })), Err(BROKEN));
    }

    #[test]
    fn a_header_says_nothing_that_is_not_understood() {
        for (more, is_taken) in [
            (json!({}), true),
            (json!({ "typ": "JWT" }), true),
            (json!({ "typ": "application/at+jwt" }), true),
            (json!({ "typ": "dpop+jwt" }), false),
            (json!({ "typ": 7 }), false),
            (json!({ "crit": [] }), false),
            (json!({ "crit": ["exp"] }), false),
            (json!({ "kid": 7 }), false),
            (json!({ "jku": "https://rival.test/keys" }), true),
        ] {
            let mut header = json!({ "alg": "EdDSA" });
            header.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
            assert_eq!(told(&header, &json!({}), 0).is_ok(), is_taken, "{header}");
        }
        for alg in ["none", "None", "HS256", "HS512", "RS1", "es256", ""] {
            assert!(told(&json!({ "alg": alg }), &json!({}), 0).is_err(), "{alg}");
        }
    }

    #[test]
    fn whoever_a_token_is_for_has_a_name_and_a_tenant() {
        let header = json!({ "alg": "ES256" });
        assert_eq!(told(&header, &json!({}), 0).unwrap().to_string(), "shop/ann");
        for more in [
            json!({ "sub": "" }),
            json!({ "sub": null }),
            json!({ "sub": "a\nb" }),
            json!({ "sub": "x".repeat(256) }),
            json!({ "tenant": "" }),
            json!({ "tenant": "two words" }),
            json!({ "tenant": ["shop"] }),
            json!({ "aud": "another" }),
            json!({ "aud": ["another"] }),
            json!({ "aud": null }),
            json!({ "iss": "https://id.test/" }),
            json!({ "iss": ["https://id.test"] }),
        ] {
            assert!(told(&header, &more, 0).is_err(), "{more}");
        }
        assert!(told(&header, &json!({ "aud": ["another", "orderly"] }), 0).is_ok());
    }

    #[test]
    fn what_is_not_written_as_it_must_be_is_not_read() {
        let token = encoded(&json!({ "alg": "ES256" }), &claims());
        let at = Timestamp::from_second(0).unwrap();
        let is_read = |token: &str| Unproven::read(token, &trust(), at).is_ok();
        assert!(is_read(&token) && has_form(&token));
        for broken in [
            token.replacen('.', "=.", 1),
            format!("{token}="),
            format!("{token}AAA"),
            format!(" {token}"),
            token.replace(".AA", ".A+"),
            token.replace(".AA", ".AB"),
            token.replacen("ey", "", 1),
            "..".to_owned(),
            "a.b.c".to_owned(),
        ] {
            assert!(!is_read(&broken), "{broken}");
        }
        let twice = BASE64.encode(r#"{"alg":"ES256","alg":"none"}"#);
        let claims = token.split('.').nth(1).unwrap();
        assert!(!is_read(&format!("{twice}.{claims}.AA")));
        assert!(!has_form("id.secret") && !has_form("a.b.c.d.e"));
    }

    #[test]
    fn claims_are_strict_json() {
        let text = claims().to_string();
        let open = &text[..text.len() - 1];
        let is_read = |claims: &[u8]| {
            let header = BASE64.encode(r#"{"alg":"ES256"}"#);
            let token = format!("{header}.{}.AA", BASE64.encode(claims));
            Unproven::read(&token, &trust(), Timestamp::from_second(0).unwrap()).is_ok()
        };
        assert!(is_read(text.as_bytes()));
        let raw = r#"{"$serde_json::private::RawValue":"\"shop\""}"#;
        for good in [
            format!("{open},\"nbf\":-1.5,\"a\":[null,{{\"b\":true}}]}}"),
            format!("{open},\"iat\":18446744073709551615}}"),
            text.replace("1000", "1.8e19"),
            text.replace("1000", "18446744073709551615"),
        ] {
            assert!(is_read(good.as_bytes()), "{good}");
        }
        for wrong in [
            format!("{text} {{}}"),
            format!("{open},\"sub\":\"eve\"}}"),
            format!("{open},\"a\":[{{\"b\":1,\"b\":2}}]}}"),
            format!("{open},\"\\u0073ub\":\"eve\"}}"),
            format!("{open},\"a\":\"\\ud800\"}}"),
            format!("{open},\"a\":{}{}}}", "[".repeat(200), "]".repeat(200)),
            text.replace("1000", "1e400"),
            text.replace("1000", "-1e300"),
            text.replace("1000", "01000"),
            text.replace("1000", "NaN"),
            text.replace("\"shop\"", raw),
        ] {
            assert!(!is_read(wrong.as_bytes()), "{wrong}");
        }
        let mut latin = text.replace("ann", "ann?").into_bytes();
        let at = latin.iter().position(|byte| *byte == b'?').unwrap();
        latin[at] = 0xe9;
        assert!(!is_read(&latin), "it is no UTF-8");
    }
}
