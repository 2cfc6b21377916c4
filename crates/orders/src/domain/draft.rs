//! What a client asks to be ordered, before and after it has been checked.

use std::collections::BTreeMap;

use super::{
    currency::Currency,
    line::{Line, Progress, Quantity, Tax},
    money::{Money, UnitPrice},
    personal::{Address, Personal},
    pricing::{Goods, Pricing, Totals, Unpriceable},
    text::{self, CustomerId, ExternalReference, Instrument, Set, Sku},
};
use crate::{Error, Violation};

/// An order as a client states it; nothing is checked yet but the shape.
#[derive(Clone, Debug, Default)]
pub struct Draft {
    /// The tenant's id of the customer.
    pub customer_id: String,
    /// The tenant's id of the order.
    pub external_reference: Option<String>,
    /// What is ordered.
    pub lines: Vec<DraftLine>,
    /// Off the order as a whole.
    pub discount: Option<Money>,
    /// What shipping costs.
    pub shipping: Option<Money>,
    /// What the client computed the total to be; a mismatch is refused.
    pub expected_total: Option<Money>,
    /// The tenant's own fields.
    pub metadata: BTreeMap<String, String>,
    /// The buyer's personal data.
    pub personal: Option<Personal>,
    /// What to pay with at once; later, by a verb, when it is `None`.
    pub instrument: Option<Instrument>,
}

/// One line as a client states it.
#[derive(Clone, Debug)]
pub struct DraftLine {
    /// What is sold.
    pub sku: String,
    /// Its name.
    pub name: Option<String>,
    /// How many.
    pub quantity: i64,
    /// The price of one.
    pub unit_price: UnitPrice,
    /// Off the line as a whole.
    pub discount: Option<Money>,
    /// The tax on it.
    pub tax: Option<Tax>,
}

/// A checked draft: it can be placed as it is.
#[derive(Clone, Debug)]
pub struct Placement {
    pub(crate) customer_id: CustomerId,
    pub(crate) external_reference: Option<ExternalReference>,
    pub(crate) goods: Goods,
    pub(crate) pricing: Pricing,
    pub(crate) metadata: BTreeMap<String, String>,
    pub(crate) personal: Option<Personal>,
    pub(crate) instrument: Option<Instrument>,
}

/// The most lines an order may have.
pub const MAX_LINES: usize = 500;
/// The most metadata entries an order may have.
pub const MAX_METADATA: usize = 50;

impl Draft {
    /// Checks the draft and prices it, reporting everything that is wrong at once. What is beyond a
    /// limit on how many there may be is not looked at, and the order's own discount and sums are
    /// computed only when every line is sound.
    ///
    /// # Errors
    /// [`Error::Invalid`] with every violation; [`Error::TotalMismatch`] when all is well but the
    /// total is not the expected one.
    pub fn check(self) -> Result<Placement, Error> {
        let mut check = Check::default();
        let currency = self.lines.first().map(|line| line.unit_price.currency());
        check.currency = currency;
        let customer_id = check.text::<CustomerId>("/customer_id", &self.customer_id);
        let external_reference = self
            .external_reference
            .as_deref()
            .and_then(|text| check.text::<ExternalReference>("/external_reference", text));
        if self.lines.is_empty() || self.lines.len() > MAX_LINES {
            check.fail("/lines", "count", format!("must have 1 to {MAX_LINES} lines"));
        }
        let lines: Vec<Line> = self
            .lines
            .into_iter()
            .take(MAX_LINES)
            .enumerate()
            .filter_map(|(at, line)| check.line(at, line))
            .collect();
        let discount = check.amount("/discount", self.discount);
        let shipping = check.amount("/shipping", self.shipping);
        check.metadata(&self.metadata);
        if let Some(personal) = &self.personal {
            check.personal(personal);
        }
        let (Some(customer_id), Some(currency), true) =
            (customer_id, currency, check.violations.is_empty())
        else {
            return Err(Error::Invalid(check.violations));
        };
        let money = |minor| Money::new(minor, currency);
        let goods = Goods { currency, lines, discount: money(discount), shipping: money(shipping) };
        let pricing = price(&goods)?;
        agree(self.expected_total, &pricing.totals)?;
        Ok(Placement {
            customer_id,
            external_reference,
            goods,
            pricing,
            metadata: self.metadata,
            // Stating nothing is the same as not stating it.
            personal: self.personal.filter(|personal| *personal != Personal::default()),
            instrument: self.instrument,
        })
    }
}

impl Placement {
    /// What is sold.
    pub fn goods(&self) -> &Goods {
        &self.goods
    }

    /// What it costs.
    pub fn pricing(&self) -> &Pricing {
        &self.pricing
    }

    /// The tenant's id of the customer.
    pub fn customer_id(&self) -> &CustomerId {
        &self.customer_id
    }

    /// The tenant's id of the order.
    pub fn external_reference(&self) -> Option<&ExternalReference> {
        self.external_reference.as_ref()
    }
}

const DISCOUNT_EXCEEDS_PRICE: &str = "discount-exceeds-price";
const LINE_DISCOUNT: &str = "is larger than unit price × quantity";

fn price(goods: &Goods) -> Result<Pricing, Error> {
    Pricing::of(goods).map_err(|reason| {
        let (pointer, code, detail) = match reason {
            Unpriceable::LineDiscount(at) => {
                (format!("/lines/{at}/discount"), DISCOUNT_EXCEEDS_PRICE, LINE_DISCOUNT)
            }
            Unpriceable::OrderDiscount => (
                "/discount".to_owned(),
                DISCOUNT_EXCEEDS_PRICE,
                "is larger than what the lines come to",
            ),
            Unpriceable::Overflow => {
                ("/lines".to_owned(), "amount-overflow", "come to more than an amount can hold")
            }
        };
        Error::Invalid(vec![Violation { pointer, code, detail: detail.to_owned() }])
    })
}

fn agree(expected: Option<Money>, computed: &Totals) -> Result<(), Error> {
    match expected {
        Some(expected) if expected != computed.total => {
            Err(Error::TotalMismatch { expected, computed: Box::new(*computed) })
        }
        _ => Ok(()),
    }
}

/// Collects violations, so that a client learns of all of them at once.
#[derive(Debug, Default)]
struct Check {
    currency: Option<Currency>,
    violations: Vec<Violation>,
}

impl Check {
    fn fail(&mut self, pointer: impl Into<String>, code: &'static str, detail: impl Into<String>) {
        self.violations.push(Violation { pointer: pointer.into(), code, detail: detail.into() });
    }

    fn text<T: std::str::FromStr<Err = text::TextError>>(
        &mut self,
        pointer: &str,
        text: &str,
    ) -> Option<T> {
        text.parse()
            .map_err(|error: text::TextError| self.fail(pointer, "text", error.to_string()))
            .ok()
    }

    fn plain(&mut self, pointer: &str, text: &str, max: usize) {
        if let Err(error) = text::check(text, 1, max, Set::Line) {
            self.fail(pointer, "text", error.to_string());
        }
    }

    /// An amount in the order's currency, not negative; absent is 0.
    fn amount(&mut self, pointer: &str, money: Option<Money>) -> i64 {
        let Some(money) = money else { return 0 };
        self.same_currency(pointer, money.currency);
        if money.minor < 0 {
            self.fail(format!("{pointer}/amount_minor"), "negative", "must not be negative");
        }
        money.minor
    }

    fn same_currency(&mut self, pointer: &str, currency: Currency) {
        if let Some(expected) = self.currency.filter(|expected| *expected != currency) {
            self.fail(
                format!("{pointer}/currency"),
                "mixed-currencies",
                format!("must be {expected}, as on the first line: an order has one currency"),
            );
        }
    }

    fn line(&mut self, at: usize, line: DraftLine) -> Option<Line> {
        let at = |field: &str| format!("/lines/{at}/{field}");
        let sku = self.text::<Sku>(&at("sku"), &line.sku);
        if let Some(name) = &line.name {
            self.plain(&at("name"), name, 200);
        }
        let quantity = Quantity::new(line.quantity);
        if quantity.is_none() {
            let range = format!("must be 1 to {}", Quantity::MAX);
            self.fail(at("quantity"), "quantity", range);
        }
        self.same_currency(&at("unit_price"), line.unit_price.currency());
        if line.unit_price.micros() < 0 {
            self.fail(at("unit_price/amount_minor"), "negative", "must not be negative");
        }
        let discount = self.amount(&at("discount"), line.discount);
        if let Some(tax) = line.tax {
            self.amount(&at("tax/amount"), Some(tax.amount));
        }
        let line = Line {
            sku: sku?,
            name: line.name,
            quantity: quantity?,
            unit_price: line.unit_price,
            discount: Money::new(discount, line.unit_price.currency()),
            tax: line.tax.filter(|tax| tax.amount.minor != 0),
            progress: Progress::default(),
        };
        if line.gross().is_some_and(|gross| gross.minor < discount) {
            self.fail(at("discount"), DISCOUNT_EXCEEDS_PRICE, LINE_DISCOUNT);
        }
        Some(line)
    }

    fn metadata(&mut self, metadata: &BTreeMap<String, String>) {
        if metadata.len() > MAX_METADATA {
            self.fail("/metadata", "count", format!("must have at most {MAX_METADATA} entries"));
        }
        for (key, value) in metadata.iter().take(MAX_METADATA) {
            let pointer = format!("/metadata/{}", key.replace('~', "~0").replace('/', "~1"));
            if let Err(error) = text::check(key, 1, 40, Set::Name) {
                self.fail(&pointer, "metadata-key", format!("the key {error}"));
            }
            if let Err(error) = text::check(value, 0, 500, Set::Text) {
                self.fail(&pointer, "text", error.to_string());
            }
        }
    }

    fn personal(&mut self, personal: &Personal) {
        for (field, value, max) in [
            ("name", &personal.name, 200),
            ("email", &personal.email, 254),
            ("phone", &personal.phone, 40),
        ] {
            if let Some(value) = value {
                self.plain(&format!("/personal/{field}"), value, max);
            }
        }
        if personal.email.as_ref().is_some_and(|email| !email.contains('@')) {
            self.fail("/personal/email", "email", "must hold an @");
        }
        for (field, address) in [
            ("shipping_address", &personal.shipping_address),
            ("billing_address", &personal.billing_address),
        ] {
            if let Some(address) = address {
                self.address(&format!("/personal/{field}"), address);
            }
        }
    }

    fn address(&mut self, at: &str, address: &Address) {
        let required = [("line1", &address.line1), ("city", &address.city)];
        let optional = [
            ("recipient", &address.recipient),
            ("line2", &address.line2),
            ("region", &address.region),
            ("postal_code", &address.postal_code),
        ];
        let given = optional.into_iter().filter_map(|(field, v)| v.as_ref().map(|v| (field, v)));
        for (field, value) in required.into_iter().chain(given) {
            self.plain(&format!("{at}/{field}"), value, 200);
        }
        let country = &address.country;
        if country.len() != 2 || !country.bytes().all(|b| b.is_ascii_uppercase()) {
            let detail = "must be an ISO 3166-1 alpha-2 code: two capital letters";
            self.fail(format!("{at}/country"), "country", detail);
        }
    }
}
