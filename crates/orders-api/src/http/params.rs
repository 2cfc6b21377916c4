//! Query parameters and path segments.

use ::orders::{
    domain::{CustomerId, ExternalReference, OrderId, PaymentState, Position, State},
    ports::{Filter, OrderRef},
};
use axum::extract::{FromRequestParts, Path, Query};
use http::request::Parts;
use jiff::Timestamp;
use serde::{Deserialize, de::DeserializeOwned};
use utoipa::IntoParams;
use uuid::Uuid;

use super::wire;
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
            Problem::malformed(FieldError::parameter(name, detail))
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

fn reference(text: &str) -> Option<OrderRef> {
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
pub(super) struct ListParams {
    /// Only in this state.
    #[param(schema_with = wire::order::state)]
    state: Option<String>,
    /// Only in this payment state.
    #[param(schema_with = wire::order::payment_state)]
    payment_state: Option<String>,
    /// Only of this customer.
    #[param(min_length = 1, max_length = 128, pattern = r"^[^\x00-\x1F\x7F-\x9F]+$")]
    customer_id: Option<String>,
    /// Only placed after this time.
    #[param(format = DateTime)]
    created_after: Option<String>,
    /// Only the one with this reference.
    #[param(min_length = 1, max_length = 128, pattern = r"^[^\x00-\x1F\x7F-\x9F]+$")]
    external_reference: Option<String>,
    /// How many orders a page has at most.
    #[param(minimum = 1, maximum = 100, default = 20)]
    page_size: Option<u8>,
    /// Where this page starts: `next_page_token` of the page before.
    #[param(pattern = r"^[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+$")]
    pub(super) page_token: Option<String>,
}

impl ListParams {
    /// How many orders the page has.
    pub(super) fn page_size(&self) -> Result<usize, Problem> {
        let size = self.page_size.unwrap_or(20);
        let fits = (1..=100).contains(&size);
        fits.then_some(size.into()).ok_or_else(|| wrong("page_size", "must be 1 to 100"))
    }

    /// The orders it asks for.
    pub(super) fn filter(&self) -> Result<Filter, Problem> {
        Ok(Filter {
            state: read("state", self.state.as_deref(), State::from_name)?,
            payment_state: read(
                "payment_state",
                self.payment_state.as_deref(),
                PaymentState::from_name,
            )?,
            customer_id: read("customer_id", self.customer_id.as_deref(), |text| {
                text.parse::<CustomerId>().ok()
            })?,
            created_after: read("created_after", self.created_after.as_deref(), |text| {
                text.parse::<Timestamp>().ok()
            })?,
            external_reference: read(
                "external_reference",
                self.external_reference.as_deref(),
                |text| text.parse::<ExternalReference>().ok(),
            )?,
        })
    }
}

/// Which events to read.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct FeedParams {
    /// The last position already seen; from the oldest on when it is left out.
    #[param(minimum = 0, maximum = 9_223_372_036_854_775_807_i64)]
    after: Option<u64>,
    /// How many events an answer has at most; a live feed has no end.
    #[param(minimum = 1, maximum = 1000, default = 100)]
    limit: Option<u16>,
}

impl FeedParams {
    pub(super) fn after(&self) -> Result<Option<Position>, Problem> {
        let read = |after| position(after).ok_or_else(|| wrong("after", "is not a position"));
        self.after.map(read).transpose()
    }

    pub(super) fn limit(&self) -> Result<usize, Problem> {
        let limit = self.limit.unwrap_or(100);
        let fits = (1..=1000).contains(&limit);
        fits.then_some(limit.into()).ok_or_else(|| wrong("limit", "must be 1 to 1000"))
    }
}

fn read<T>(
    name: &str,
    text: Option<&str>,
    parse: impl Fn(&str) -> Option<T>,
) -> Result<Option<T>, Problem> {
    let parse = |text| parse(text).ok_or_else(|| wrong(name, "is not a value it can have"));
    text.map(parse).transpose()
}

/// A position that a store can hold.
pub(super) fn position(number: u64) -> Option<Position> {
    (i64::try_from(number).is_ok()).then_some(Position(number))
}

fn wrong(name: &str, detail: &str) -> Problem {
    Problem::malformed(FieldError::parameter(name, detail))
}
