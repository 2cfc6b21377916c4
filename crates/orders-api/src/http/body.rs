//! Reading JSON bodies, with a pointer to what is wrong.

use ::orders::ports::Ports;
use axum::{
    body::Body,
    extract::{FromRequest, Request},
};
use bytes::Bytes;
use http::{HeaderMap, header};
use serde::de::DeserializeOwned;
use serde_path_to_error::{Path, Segment};

use super::{strict::Strict, words};
use crate::{
    api::Api,
    body::{self, too_large},
    problem::{Code, FieldError, Problem},
};

/// A JSON body of this shape.
pub(super) struct Json<T>(pub(super) T);

impl<P: Ports, T: DeserializeOwned> FromRequest<Api<P>> for Json<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, api: &Api<P>) -> Result<Self, Problem> {
        if !is_json(request.headers()) {
            return Err(unsupported("application/json"));
        }
        let bytes = collect(request.into_body(), api.config.body_limit).await?;
        read(&bytes).map(Self)
    }
}

/// A JSON body of this shape, or the default when there is none.
pub(super) struct OptionalJson<T>(pub(super) T);

impl<P: Ports, T: DeserializeOwned + Default> FromRequest<Api<P>> for OptionalJson<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, api: &Api<P>) -> Result<Self, Problem> {
        let is_json = is_json(request.headers());
        let bytes = collect(request.into_body(), api.config.body_limit).await?;
        match (bytes.is_empty(), is_json) {
            (true, _) => Ok(Self(T::default())),
            // `null` says as little as nothing does.
            (false, true) => read(&bytes).map(|body: Option<T>| Self(body.unwrap_or_default())),
            (false, false) => Err(unsupported("application/json")),
        }
    }
}

/// Whether the body says it is `application/json`.
pub(super) fn is_json(headers: &HeaderMap) -> bool {
    is_type(headers, "application/json")
}

/// Whether the body says it is of this type.
pub(super) fn is_type(headers: &HeaderMap, name: &str) -> bool {
    let value = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
    let essence = value.and_then(|value| value.split(';').next());
    essence.is_some_and(|essence| essence.trim().eq_ignore_ascii_case(name))
}

/// The problem of a body of another type.
pub(super) fn unsupported(wanted: &str) -> Problem {
    let detail = format!("The body must be of the Content-Type {wanted}.");
    Problem::new(Code::UnsupportedMediaType, detail)
}

/// The whole body, unless it is larger than `limit`.
pub(super) async fn collect(body: Body, limit: usize) -> Result<Bytes, Problem> {
    body::collect(body, limit).await?.ok_or_else(|| too_large("The body", limit))
}

/// Reads JSON of this shape, all of it.
pub(super) fn read<T: DeserializeOwned>(json: &[u8]) -> Result<T, Problem> {
    let mut reader = serde_json::Deserializer::from_slice(json);
    let value = serde_path_to_error::deserialize(Strict(&mut reader)).map_err(|error| {
        let pointer = pointer(error.path());
        wrong(&pointer, error.inner())
    })?;
    reader.end().map_err(|error| wrong("", &error))?;
    Ok(value)
}

fn wrong(pointer: &str, error: &serde_json::Error) -> Problem {
    let code = if error.is_data() { "shape" } else { "syntax" };
    Problem::malformed(FieldError::at(pointer, code, words::of_json(error, pointer)))
}

/// The path as a JSON pointer (RFC 6901).
fn pointer(path: &Path) -> String {
    let segment = |segment: &Segment| match segment {
        Segment::Seq { index } => Some(format!("/{index}")),
        Segment::Map { key } | Segment::Enum { variant: key } => {
            Some(format!("/{}", key.replace('~', "~0").replace('/', "~1")))
        }
        Segment::Unknown => None,
    };
    path.iter().filter_map(segment).collect()
}
