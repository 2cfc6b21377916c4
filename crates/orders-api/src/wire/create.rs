//! An order as a client states it.

use std::{collections::BTreeMap, fmt};

use orders::{
    Error, Violation,
    domain::{self, Draft, DraftLine},
};
use serde::Deserialize;
use utoipa::{
    ToSchema,
    openapi::{Object, ObjectBuilder, Type},
};

use super::{
    examples,
    money::{Money, UnitPrice},
    payment,
    personal::Personal,
};

/// An order to place.
#[derive(Clone, Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(examples(examples::create))]
pub(crate) struct CreateOrder {
    /// Your id of the customer.
    #[schema(min_length = 1, max_length = 128, pattern = r"^[^\x00-\x1F\x7F-\x9F]+$")]
    pub(crate) customer_id: String,
    /// Your id of the order; unique among your orders.
    #[schema(min_length = 1, max_length = 128, pattern = r"^[^\x00-\x1F\x7F-\x9F]+$")]
    pub(crate) external_reference: Option<String>,
    /// What is ordered; all prices in one currency.
    #[schema(min_items = 1, max_items = 500)]
    pub(crate) lines: Vec<CreateLine>,
    /// Off the order as a whole, apportioned to the lines.
    pub(crate) discount: Option<Money>,
    /// What shipping costs.
    pub(crate) shipping: Option<Money>,
    /// What you compute the total to be; a mismatch is refused with both breakdowns.
    pub(crate) expected_total: Option<Money>,
    /// Your own fields.
    #[serde(default)]
    #[schema(schema_with = metadata)]
    pub(crate) metadata: BTreeMap<String, String>,
    /// The buyer's personal data.
    pub(crate) personal: Option<Personal>,
    /// What to pay with at once, as by `pay`; later when it is absent.
    pub(crate) payment: Option<PayWith>,
}

/// How an order is paid as it is placed.
#[derive(Clone, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct PayWith {
    /// The provider's token for a payment instrument; never a card number.
    #[schema(min_length = 1, max_length = 255, pattern = r"^[!-~]+$")]
    pub(crate) instrument: String,
}

/// A token opens a purse.
impl fmt::Debug for PayWith {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PayWith(..)")
    }
}

impl CreateOrder {
    /// Whether it is to be paid as it is placed.
    pub(crate) const fn is_paid(&self) -> bool {
        self.payment.is_some()
    }
}

/// One line of an order to place.
#[derive(Clone, Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct CreateLine {
    /// What is sold, in your catalogue.
    #[schema(min_length = 1, max_length = 64, pattern = r"^[^\x00-\x1F\x7F-\x9F]+$")]
    pub(crate) sku: String,
    /// Its name, as the buyer saw it.
    #[schema(min_length = 1, max_length = 200, pattern = r"^[^\x00-\x1F\x7F-\x9F]+$")]
    pub(crate) name: Option<String>,
    /// How many.
    #[schema(minimum = 1, maximum = 1_000_000)]
    pub(crate) quantity: i64,
    /// The price of one, before discounts.
    pub(crate) unit_price: UnitPrice,
    /// Off the line as a whole; at most unit price × quantity.
    pub(crate) discount: Option<Money>,
    /// The tax on it, as your tax engine computed it.
    pub(crate) tax: Option<Tax>,
}

/// The tax on a line.
#[derive(Clone, Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Tax {
    /// How much.
    pub(crate) amount: Money,
    /// Whether the unit price already holds it; if so it does not add to the total.
    #[serde(default)]
    #[schema(default = false)]
    pub(crate) inclusive: bool,
}

/// At most 50 entries, each a short name and a text.
pub(super) fn metadata() -> Object {
    let text = |pattern| ObjectBuilder::new().schema_type(Type::String).pattern(Some(pattern));
    let name = text("^[A-Za-z0-9._-]+$").min_length(Some(1)).max_length(Some(40));
    let value = text(r"^[^\x00-\x08\x0B-\x1F\x7F-\x9F]*$").max_length(Some(500));
    ObjectBuilder::new()
        .description(Some("Your own fields."))
        .max_properties(Some(domain::MAX_METADATA))
        .property_names(Some(name))
        .additional_properties(Some(value))
        .build()
}

/// The checks of the wire, then those of the draft, so that a client learns of all at once.
impl TryFrom<CreateOrder> for Draft {
    type Error = Vec<Violation>;

    fn try_from(wire: CreateOrder) -> Result<Self, Vec<Violation>> {
        let mut read = Read::default();
        let discount = read.money("/discount", wire.discount.as_ref());
        let shipping = read.money("/shipping", wire.shipping.as_ref());
        let expected_total = read.money("/expected_total", wire.expected_total.as_ref());
        let instrument = wire.payment.and_then(|with| {
            read.keep(payment::instrument("/payment/instrument", &with.instrument))
        });
        let lines = wire.lines.into_iter().enumerate();
        let draft = Self {
            customer_id: wire.customer_id,
            external_reference: wire.external_reference,
            lines: lines.map(|(at, line)| read.line(at, line)).collect(),
            discount,
            shipping,
            expected_total,
            metadata: wire.metadata,
            personal: wire.personal.map(Into::into),
            instrument,
        };
        if read.violations.is_empty() { Ok(draft) } else { Err(read.all(draft)) }
    }
}

#[derive(Default)]
struct Read {
    violations: Vec<Violation>,
}

impl Read {
    fn keep<T>(&mut self, read: Result<T, Vec<Violation>>) -> Option<T> {
        read.map_err(|violations| self.violations.extend(violations)).ok()
    }

    fn money(&mut self, pointer: &str, money: Option<&Money>) -> Option<domain::Money> {
        self.keep(money?.read(pointer))
    }

    fn line(&mut self, at: usize, line: CreateLine) -> DraftLine {
        let at = |field: &str| format!("/lines/{at}/{field}");
        let unit_price = self.keep(line.unit_price.read(&at("unit_price")));
        let discount = self.money(&at("discount"), line.discount.as_ref());
        let tax = line.tax.and_then(|tax| {
            let amount = self.money(&at("tax/amount"), Some(&tax.amount))?;
            Some(domain::Tax { amount, inclusive: tax.inclusive })
        });
        DraftLine {
            sku: line.sku,
            name: line.name,
            quantity: line.quantity,
            unit_price: unit_price.unwrap_or_else(stand_in),
            discount,
            tax,
        }
    }

    /// Adds what the draft's own check finds, but for what follows from the stand-ins.
    fn all(mut self, draft: Draft) -> Vec<Violation> {
        if let Err(Error::Invalid(more)) = draft.check() {
            let follows = ["discount-exceeds-price", "amount-overflow", "mixed-currencies"];
            self.violations.extend(more.into_iter().filter(|v| !follows.contains(&v.code)));
        }
        self.violations
    }
}

/// Stands where no price could be read, so that the rest of the draft can be checked all the same.
fn stand_in() -> domain::UnitPrice {
    #[expect(clippy::expect_used, reason = "a constant that the tests read")]
    let euro = "EUR".parse().expect("EUR is a currency");
    domain::UnitPrice::from_micros(0, euro)
}
