//! Query parameters and path segments.

use std::str::FromStr;

use ::orders::{
    domain::{CustomerId, ExternalReference, OrderId, PaymentState, Position, State, TextError},
    ports::{Filter, OrderRef},
};
use axum::extract::{FromRequestParts, Path, Query};
use http::request::Parts;
use jiff::Timestamp;
use serde::{Deserialize, de::DeserializeOwned};
use utoipa::IntoParams;
use uuid::Uuid;

use super::{wire, words};
use crate::problem::{FieldError, Problem};

/// The query of a request, with no parameter that is not known.
pub(super) struct Params<T>(pub(super) T);

impl<S: Send + Sync, T: DeserializeOwned> FromRequestParts<S> for Params<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let query = Query::<T>::from_request_parts(parts, state).await;
        query.map(|Query(query)| Self(query)).map_err(|rejection| {
            // "failed to deserialize: <parameter>: <what is wrong>"
            let text = std::error::Error::source(&rejection)
                .map_or_else(|| rejection.body_text(), ToString::to_string);
            // A repeated one is named in the message only.
            let quoted = || text.split('`').nth(1).map(|name| (name, text.as_str()));
            let named = text.split_once(": ").or_else(quoted);
            let (name, detail) = named.unwrap_or(("query", &text));
            wrong(name, &words::of_query(detail))
        })
    }
}

/// The order that the path names, by id or by number.
pub(super) struct Target(pub(super) OrderRef);

impl<S: Send + Sync> FromRequestParts<S> for Target {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let path = Path::<String>::from_request_parts(parts, state).await;
        // What cannot be the name of an order is the name of none.
        path.ok()
            .and_then(|Path(text)| reference(&text))
            .map(Self)
            .ok_or_else(|| ::orders::Error::NotFound.into())
    }
}

/// The order that this text names; `None` when it can be the name of none.
pub(crate) fn reference(text: &str) -> Option<OrderRef> {
    let hyphenated = text.len() == 36;
    match Uuid::try_parse(text) {
        Ok(id) if hyphenated => Some(OrderRef::Id(OrderId(id))),
        _ => text.parse().ok().map(OrderRef::Number),
    }
}

/// What to do with a create.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct CreateParams {
    /// Check and price the order, and store nothing.
    #[serde(default)]
    #[param(default = false)]
    pub(super) validate_only: bool,
}

/// Which orders to list; every filter that is given must fit.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct ListParams {
    /// Only in this state.
    #[param(schema_with = wire::order::state)]
    pub(crate) state: Option<String>,
    /// Only in this payment state.
    #[param(schema_with = wire::order::payment_state)]
    pub(crate) payment_state: Option<String>,
    /// Only of this customer.
    #[param(min_length = 1, max_length = 128, pattern = r"^[^\x00-\x1F\x7F-\x9F]+$")]
    pub(crate) customer_id: Option<String>,
    /// Only placed after this time.
    #[param(format = DateTime)]
    pub(crate) created_after: Option<String>,
    /// Only the one with this reference.
    #[param(min_length = 1, max_length = 128, pattern = r"^[^\x00-\x1F\x7F-\x9F]+$")]
    pub(crate) external_reference: Option<String>,
    /// How many orders a page has at most.
    #[param(value_type = Option<u8>, minimum = 1, maximum = 100, default = 20)]
    pub(crate) page_size: Option<u64>,
    /// Where this page starts: `next_page_token` of the page before.
    #[param(pattern = r"^[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+$")]
    pub(crate) page_token: Option<String>,
}

impl ListParams {
    /// How many orders the page has.
    pub(super) fn page_size(&self) -> Result<usize, Problem> {
        count("page_size", self.page_size, 20, 100)
    }

    /// The orders it asks for.
    pub(super) fn filter(&self) -> Result<Filter, Problem> {
        Ok(Filter {
            state: read("state", self.state.as_deref(), |text| {
                named(text, State::ALL, State::as_str)
            })?,
            payment_state: read("payment_state", self.payment_state.as_deref(), |text| {
                named(text, PaymentState::ALL, PaymentState::as_str)
            })?,
            customer_id: read("customer_id", self.customer_id.as_deref(), said::<CustomerId>)?,
            created_after: read("created_after", self.created_after.as_deref(), time)?,
            external_reference: read(
                "external_reference",
                self.external_reference.as_deref(),
                said::<ExternalReference>,
            )?,
        })
    }
}

/// Which events to read.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct FeedParams {
    /// The last position already seen; from the oldest on when it is left out. One that the feed has
    /// not come to yet is waited for: after a store was put back from a copy, ask from the oldest.
    #[param(minimum = 0, maximum = 9_223_372_036_854_775_807_i64)]
    after: Option<u64>,
    /// How many events an answer has at most; a live feed has no end.
    #[param(value_type = Option<u16>, minimum = 1, maximum = 1000, default = 100)]
    limit: Option<u64>,
}

impl FeedParams {
    pub(super) fn after(&self) -> Result<Option<Position>, Problem> {
        let read =
            |after| position(after).ok_or_else(|| wrong("after", "must be a position of the feed"));
        self.after.map(read).transpose()
    }

    pub(super) fn limit(&self) -> Result<usize, Problem> {
        count("limit", self.limit, 100, 1000)
    }
}

fn read<T>(
    name: &str,
    text: Option<&str>,
    parse: impl Fn(&str) -> Result<T, String>,
) -> Result<Option<T>, Problem> {
    text.map(|text| parse(text).map_err(|rule| wrong(name, &rule))).transpose()
}

/// A text of the domain, or its rule.
fn said<T: FromStr<Err = TextError>>(text: &str) -> Result<T, String> {
    text.parse().map_err(|error: TextError| error.to_string())
}

/// The value of this name, or all names.
fn named<T: Copy>(text: &str, all: &[T], name: fn(T) -> &'static str) -> Result<T, String> {
    let found = all.iter().copied().find(|value| name(*value) == text);
    let names = || all.iter().map(|value| name(*value)).collect::<Vec<_>>().join(", ");
    found.ok_or_else(|| format!("must be one of {}", names()))
}

fn time(text: &str) -> Result<Timestamp, String> {
    text.parse().map_err(|_| {
        let rule = "must be a time by RFC 3339, such as 2026-01-31T12:00:00Z";
        let plus = if text.contains(' ') { "; a + is written as %2B" } else { "" };
        format!("{rule}{plus}")
    })
}

/// How many are asked for.
fn count(name: &str, asked: Option<u64>, default: u64, most: u64) -> Result<usize, Problem> {
    let asked = asked.unwrap_or(default);
    let count = usize::try_from(asked).ok().filter(|_| (1..=most).contains(&asked));
    count.ok_or_else(|| wrong(name, &format!("must be 1 to {most}")))
}

/// A position that a store can hold.
pub(super) fn position(number: u64) -> Option<Position> {
    (i64::try_from(number).is_ok()).then_some(Position(number))
}

fn wrong(name: &str, detail: &str) -> Problem {
    Problem::malformed(FieldError::parameter(name, detail))
}
