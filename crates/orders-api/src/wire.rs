//! What goes over the wire: types of their own, so that nothing of the domain can be set or shown
//! by accident. The step to and from the domain stands beside each type.
//!
//! They are the JSON of the HTTP API. What calls of gRPC ask becomes one of them before it is read, so
//! that both protocols find the same fault with it.

pub(crate) mod batch;
pub(crate) mod create;
pub(crate) mod event;
mod examples;
pub(crate) mod history;
pub(crate) mod money;
pub(crate) mod order;
pub(crate) mod payment;
pub(crate) mod personal;
pub(crate) mod priced;
pub(crate) mod verb;

use std::str::FromStr;

use orders::{Violation, domain::TextError};
use serde::{Deserialize, Deserializer};
use utoipa::openapi::{Object, ObjectBuilder, Type};

/// Reads a bounded text of the domain, or says what is wrong with it.
pub(crate) fn text<T: FromStr<Err = TextError>>(pointer: &str, text: &str) -> Result<T, Violation> {
    text.parse().map_err(|error: TextError| Violation {
        pointer: pointer.to_owned(),
        code: "text",
        detail: error.to_string(),
    })
}

/// Reads a field that may be absent, and that `null` is no value for: it would be taken for "all".
pub(crate) fn given<'de, T: Deserialize<'de>, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<T>, D::Error> {
    T::deserialize(deserializer).map(Some)
}

/// The schema of a text that holds one of these names.
pub(crate) fn one_of(names: impl IntoIterator<Item = &'static str>) -> Object {
    ObjectBuilder::new().schema_type(Type::String).enum_values(Some(names)).build()
}
