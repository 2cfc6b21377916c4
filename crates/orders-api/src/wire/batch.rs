//! Batches: many orders in one request, one answer each.

use mainstay_context::Context;
use orders::domain::{IdempotencyKey, TextError};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{create::CreateOrder, order::Order};
use crate::{
    batch::Answer,
    problem::{self, Problem},
};

/// Orders to place, each by itself.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Batch {
    /// The orders.
    #[schema(min_items = 1, max_items = 100)]
    pub(crate) orders: Vec<BatchItem>,
}

/// One order of a batch; also one line of `application/x-ndjson`.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct BatchItem {
    /// The key of this order; without one it is derived from the batch's and the item's place.
    #[schema(value_type = Option<String>, pattern = "^[!-~]{16,128}$")]
    pub(crate) idempotency_key: Option<Key>,
    /// The order.
    pub(crate) order: CreateOrder,
}

/// An idempotency key in a body.
#[derive(Debug, Deserialize)]
#[serde(try_from = "String")]
pub(crate) struct Key(pub(crate) IdempotencyKey);

impl TryFrom<String> for Key {
    type Error = TextError;

    fn try_from(text: String) -> Result<Self, TextError> {
        text.parse().map(Self)
    }
}

/// The answers to a batch, in its order.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct BatchAnswer {
    /// One per order.
    pub(crate) results: Vec<BatchResult>,
}

/// The answer to one order of a batch; also one line of `application/x-ndjson`.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct BatchResult {
    /// The place of the order in the batch, from 0. The line with which a batch ends too early is
    /// about no order and has none.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    index: Option<u64>,
    /// The status it would have been answered with alone.
    status: u16,
    /// Whether the decision was made in an earlier try.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    #[schema(required = false)]
    replayed: bool,
    /// The order, when it was placed.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    order: Option<Order>,
    /// What went wrong, when it was not.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    problem: Option<problem::Body>,
}

impl BatchResult {
    /// The line of a batch that ends too early.
    pub(crate) fn end(problem: &Problem, cx: &Context) -> Self {
        let (status, replayed) = (problem.answered().as_u16(), problem.is_replayed());
        let problem = Some(problem.body(cx));
        Self { index: None, status, replayed, order: None, problem }
    }
}

impl From<Answer> for BatchResult {
    fn from(Answer { cx, index, outcome }: Answer) -> Self {
        let index = Some(index);
        match outcome {
            Ok(done) => {
                let (status, order) = (201, Some(done.record.into()));
                Self { index, status, replayed: done.replayed, order, problem: None }
            }
            Err(problem) => Self { index, ..Self::end(&problem, &cx) },
        }
    }
}
