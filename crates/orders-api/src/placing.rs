//! An order to place, as both protocols ask for it: judged in one order, and placed.
//!
//! Of several faults the first of these is told: what cannot be read at all; the key; a key that is
//! not there; a payment by whoever may not pay; a gateway that is not there; the rules of the order.

use mainstay_context::Context;
use orders::{
    domain::{Draft, IdempotencyKey, Placement},
    ports::Ports,
    usecase::Done,
};

use crate::{
    api::{Api, use_case},
    auth::must_be_let_pay,
    problem::Problem,
    wire::create::CreateOrder,
};

/// An order to place, and what makes one order of several tries, as far as it can be read.
#[derive(Debug)]
pub(crate) struct Placing {
    pub(crate) order: CreateOrder,
    pub(crate) key: Result<Option<IdempotencyKey>, Problem>,
}

impl Placing {
    /// Checks and prices the order; nothing is stored, and no key is needed.
    pub(crate) fn check<P: Ports>(self, api: &Api<P>, cx: &Context) -> Result<Placement, Problem> {
        self.key?;
        must_be_let_pay(cx, self.order.is_paid())?;
        api.config.must_have_gateway(self.order.is_paid())?;
        Ok(api.orders.validate(cx, draft(self.order)?)?)
    }

    /// Places the order.
    pub(crate) async fn place<P: Ports>(self, api: &Api<P>, cx: &Context) -> Result<Done, Problem> {
        let key = self.key?.ok_or_else(Problem::key_missing)?;
        must_be_let_pay(cx, self.order.is_paid())?;
        api.config.must_have_gateway(self.order.is_paid())?;
        Ok(use_case("create", api.orders.create(cx, draft(self.order)?, key)).await?)
    }
}

/// The draft of an order, or everything that is wrong with it.
pub(crate) fn draft(order: CreateOrder) -> Result<Draft, Problem> {
    Draft::try_from(order).map_err(Problem::invalid)
}
