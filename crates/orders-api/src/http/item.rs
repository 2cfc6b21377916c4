//! One order of a batch, with the key that makes one order of several tries.

use ::orders::{Orders, domain::IdempotencyKey, ports::Ports, usecase::Done};
use mainstay_context::Context;

use super::body;
use crate::{api::use_case, placing::draft, problem::Problem, wire::batch::BatchItem};

/// One order of a batch, as a line of `application/x-ndjson` states it.
#[derive(Debug)]
pub struct Item(BatchItem);

impl Item {
    /// Reads a line.
    ///
    /// # Errors
    /// A [`Problem`] with a JSON pointer to what cannot be read.
    pub fn read(line: &[u8]) -> Result<Self, Problem> {
        body::read(line).map(Self)
    }

    /// Places the order under its own key, or under `otherwise` when it brings none.
    ///
    /// # Errors
    /// A [`Problem`] whose pointers start at the item.
    pub async fn place<P: Ports>(
        self,
        orders: &Orders<P>,
        cx: &Context,
        otherwise: Option<IdempotencyKey>,
    ) -> Result<Done, Problem> {
        let BatchItem { idempotency_key, order } = self.0;
        let own = idempotency_key.map(|key| key.0);
        let key = own.or(otherwise).ok_or_else(Problem::line_key_missing)?;
        let draft = draft(order).map_err(|problem| problem.under("/order"))?;
        let placed = use_case("create", orders.create(cx, draft, key)).await;
        placed.map_err(|error| Problem::from(error).under("/order"))
    }
}
