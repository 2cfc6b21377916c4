//! Reading requests: the key, and JSON that is an object with nothing unknown in it.

use std::error::Error;

use axum::{
    body::Body,
    extract::{FromRequest, FromRequestParts, Request},
};
use http::{HeaderMap, header, request::Parts};
use http_body_util::{BodyExt as _, LengthLimitError, Limited};
use serde::{Deserialize, de::DeserializeOwned};
use serde_json::Value;

use super::problem::{Code, Problem};
use crate::operation::{Command, Id, Kind, Money};

/// The largest body that is read, in bytes.
const LARGEST: usize = 16 << 10;

const KEY: &str = "idempotency-key";

/// The caller's key of this operation.
pub(super) struct Key(pub(super) String);

impl<S: Sync> FromRequestParts<S> for Key {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self, Problem> {
        let mut values = parts.headers.get_all(KEY).iter();
        let value = match (values.next(), values.next()) {
            (Some(value), None) => value.as_bytes(),
            (None, _) => {
                let detail = "The request needs an Idempotency-Key.";
                return Err(Problem::new(Code::KeyMissing, detail));
            }
            (Some(_), Some(_)) => return Err(malformed_key()),
        };
        if !(16..=128).contains(&value.len()) || !value.iter().all(u8::is_ascii_graphic) {
            return Err(malformed_key());
        }
        Ok(Self(String::from_utf8_lossy(value).into_owned()))
    }
}

fn malformed_key() -> Problem {
    Problem::malformed("Idempotency-Key must be one value of 16 to 128 visible ASCII characters.")
}

/// A JSON body of this shape.
pub(super) struct Json<T>(pub(super) T);

impl<S: Sync, T: DeserializeOwned> FromRequest<S> for Json<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, _state: &S) -> Result<Self, Problem> {
        if !is_json(request.headers()) {
            let detail = "The body must be of the Content-Type application/json.";
            return Err(Problem::new(Code::UnsupportedMediaType, detail));
        }
        read(&collect(request.into_body()).await?).map(Self)
    }
}

fn is_json(headers: &HeaderMap) -> bool {
    let value = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
    let essence = value.and_then(|value| value.split(';').next());
    essence.is_some_and(|essence| essence.trim().eq_ignore_ascii_case("application/json"))
}

async fn collect(body: Body) -> Result<bytes::Bytes, Problem> {
    match Limited::new(body, LARGEST).collect().await {
        Ok(body) => Ok(body.to_bytes()),
        Err(error) if error.is::<LengthLimitError>() => {
            let detail = format!("The body may have at most {LARGEST} bytes.");
            Err(Problem::new(Code::PayloadTooLarge, detail))
        }
        Err(error) => Err(broke_off(&*error)),
    }
}

fn broke_off(error: &(dyn Error + Send + Sync)) -> Problem {
    tracing::debug!(%error, "a body broke off");
    Problem::malformed("The body broke off.")
}

fn read<T: DeserializeOwned>(json: &[u8]) -> Result<T, Problem> {
    let wrong =
        |error: serde_json::Error| Problem::malformed(format!("The body is wrong: {error}."));
    let body = serde_json::from_slice(json).map_err(wrong)?;
    // Serde reads an array too where an object with these fields is asked for.
    let shown: Value = serde_json::from_slice(json).map_err(wrong)?;
    if !shown.is_object() || shown.get("amount").is_some_and(Value::is_array) {
        return Err(Problem::malformed("The body, and an amount in it, must be objects."));
    }
    Ok(body)
}

/// The body of an authorization.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Authorization {
    reference: Id,
    payment: Id,
    amount: Money,
    instrument: String,
}

/// The body of a capture or a refund.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Amounted {
    reference: Id,
    payment: Id,
    amount: Money,
}

/// The body of a void.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Void {
    reference: Id,
    payment: Id,
}

impl Authorization {
    pub(super) fn command(self) -> Result<Command, Problem> {
        let Self { reference, payment, amount, instrument } = self;
        let visible = instrument.bytes().all(|byte| byte.is_ascii_graphic());
        if instrument.is_empty() || instrument.len() > 255 || !visible {
            let detail = "The instrument must be 1 to 255 visible ASCII characters.";
            return Err(Problem::malformed(detail));
        }
        let amount = Some(above_zero(amount)?);
        let (kind, instrument) = (Kind::Authorization, Some(instrument));
        Ok(Command { kind, reference, payment, amount, instrument })
    }
}

impl Amounted {
    pub(super) fn command(self, kind: Kind) -> Result<Command, Problem> {
        let Self { reference, payment, amount } = self;
        let amount = Some(above_zero(amount)?);
        Ok(Command { kind, reference, payment, amount, instrument: None })
    }
}

impl Void {
    pub(super) fn command(self) -> Command {
        let Self { reference, payment } = self;
        Command { kind: Kind::Void, reference, payment, amount: None, instrument: None }
    }
}

fn above_zero(amount: Money) -> Result<Money, Problem> {
    let some = amount.minor > 0;
    some.then_some(amount).ok_or_else(|| Problem::malformed("The amount must be above 0."))
}
