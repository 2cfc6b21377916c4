//! Query parameters and path segments.

use std::convert::Infallible;

use ::orders::{domain::Position, ports::OrderRef};
use axum::extract::{FromRequestParts, Path, Query};
use http::request::Parts;
use jiff::Timestamp;
use serde::{Deserialize, de::DeserializeOwned};
use utoipa::IntoParams;

use super::{headers, words};
use crate::{
    change::Change,
    listing::{Listing, count},
    live,
    problem::Problem,
    wire::{self, order::reference},
};

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
            Problem::unreadable(name, words::of_query(detail))
        })
    }
}

/// The order that the path names, by id or by number; `None` when it can be the name of none.
pub(super) struct Target(pub(super) Option<OrderRef>);

impl<S: Send + Sync> FromRequestParts<S> for Target {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Infallible> {
        let path = Path::<String>::from_request_parts(parts, state).await;
        Ok(Self(path.ok().and_then(|Path(text)| reference(&text))))
    }
}

/// Nothing is wrong with it until it is judged, with the body beside it.
impl<S: Send + Sync> FromRequestParts<S> for Change {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Infallible> {
        let Target(order) = Target::from_request_parts(parts, state).await?;
        let key = headers::idempotency_key(&parts.headers);
        let if_match = headers::if_match(&parts.headers);
        Ok(Self { order, key, if_match })
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
    #[param(value_type = Option<u8>, minimum = 1, maximum = 100, default = 20)]
    page_size: Option<u64>,
    /// Where this page starts: `next_page_token` of the page before.
    #[param(pattern = r"^[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+$")]
    page_token: Option<String>,
}

impl From<ListParams> for Listing {
    fn from(params: ListParams) -> Self {
        Self {
            state: params.state,
            payment_state: params.payment_state,
            customer_id: params.customer_id,
            created_after: params.created_after.as_deref().map(time),
            external_reference: params.external_reference,
            page_size: params.page_size,
            page_token: params.page_token,
        }
    }
}

/// Which page of a history.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct HistoryParams {
    /// How many entries a page has at most.
    #[param(value_type = Option<u16>, minimum = 1, maximum = 1000, default = 100)]
    pub(super) page_size: Option<u64>,
    /// Where this page starts: `next_page_token` of the page before.
    #[param(pattern = "^[0-9]+$")]
    pub(super) page_token: Option<String>,
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
        self.after.map(live::after).transpose()
    }

    pub(super) fn limit(&self) -> Result<usize, Problem> {
        count("limit", self.limit, 100, 1000)
    }
}

fn time(text: &str) -> Result<Timestamp, String> {
    text.parse().map_err(|_| {
        let rule = "must be a time by RFC 3339, such as 2026-01-31T12:00:00Z";
        let plus = if text.contains(' ') { "; a + is written as %2B" } else { "" };
        format!("{rule}{plus}")
    })
}
