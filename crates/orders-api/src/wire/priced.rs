//! What an order costs, as clients see it.

use orders::domain::{self, LineAmounts, Placement};
use serde::Serialize;
use utoipa::ToSchema;

use super::money::{Money, UnitPrice};

/// What an order costs, line by line and in total.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Priced {
    /// ISO 4217.
    currency: String,
    /// What is sold.
    lines: Vec<Line>,
    /// The sums.
    totals: Totals,
}

/// A checked order that was not stored.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct PricedOrder {
    /// Your id of the customer.
    customer_id: String,
    /// Your id of the order.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    external_reference: Option<String>,
    #[serde(flatten)]
    priced: Priced,
}

/// One line of an order.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Line {
    /// Its place, from 1.
    #[serde(rename = "line_no")]
    number: usize,
    /// What is sold.
    sku: String,
    /// Its name.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    name: Option<String>,
    /// How many.
    quantity: u32,
    /// The price of one.
    unit_price: UnitPrice,
    /// Unit price × quantity, rounded once, half to even.
    gross: Money,
    /// Off the line as a whole.
    discount: Money,
    /// This line's share of the order's discount.
    discount_share: Money,
    /// The tax on it.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    tax: Option<LineTax>,
    /// What this line adds to the total.
    total: Money,
    /// Pieces handed over to the buyer.
    fulfilled: u32,
    /// Pieces called off by themselves; cancelling the order as a whole leaves this as it is.
    cancelled: u32,
    /// Pieces that came back.
    returned: u32,
}

/// The tax on a line.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct LineTax {
    /// How much.
    amount: Money,
    /// Whether the unit price already holds it.
    inclusive: bool,
}

/// The amounts of an order.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Totals {
    /// Σ gross of the lines.
    subtotal: Money,
    /// Σ discounts of the lines.
    line_discount: Money,
    /// The order's discount.
    order_discount: Money,
    /// Σ tax that adds to the total.
    exclusive_tax: Money,
    /// Σ tax that the prices already hold; for information.
    inclusive_tax: Money,
    /// Shipping.
    shipping: Money,
    /// Subtotal − discounts + exclusive tax + shipping.
    total: Money,
}

impl From<Placement> for PricedOrder {
    fn from(placement: Placement) -> Self {
        Self {
            customer_id: placement.customer_id().to_string(),
            external_reference: placement.external_reference().map(ToString::to_string),
            priced: Priced::of(placement.goods(), placement.pricing()),
        }
    }
}

impl Priced {
    pub(super) fn of(goods: &domain::Goods, pricing: &domain::Pricing) -> Self {
        let lines = goods.lines.iter().zip(&pricing.lines).enumerate();
        Self {
            currency: goods.currency.to_string(),
            lines: lines.map(|(at, (line, amounts))| Line::of(at + 1, line, amounts)).collect(),
            totals: (&pricing.totals).into(),
        }
    }
}

impl Line {
    fn of(number: usize, line: &domain::Line, amounts: &LineAmounts) -> Self {
        Self {
            number,
            sku: line.sku.to_string(),
            name: line.name.clone(),
            quantity: line.quantity.get(),
            unit_price: line.unit_price.into(),
            gross: amounts.gross.into(),
            discount: line.discount.into(),
            discount_share: amounts.discount_share.into(),
            tax: line
                .tax
                .map(|tax| LineTax { amount: tax.amount.into(), inclusive: tax.inclusive }),
            total: amounts.total.into(),
            fulfilled: line.progress.fulfilled,
            cancelled: line.progress.cancelled,
            returned: line.progress.returned,
        }
    }
}

impl From<&domain::Totals> for Totals {
    fn from(totals: &domain::Totals) -> Self {
        Self {
            subtotal: totals.subtotal.into(),
            line_discount: totals.line_discount.into(),
            order_discount: totals.order_discount.into(),
            exclusive_tax: totals.exclusive_tax.into(),
            inclusive_tax: totals.inclusive_tax.into(),
            shipping: totals.shipping.into(),
            total: totals.total.into(),
        }
    }
}
