//! Which orders to list, as both protocols ask for it: judged in one order, and read a page at a time.
//!
//! Of several faults the first of these is told: what cannot be read at all; the size of the page;
//! the filters, in the order of [`Filter`]; the token.

mod page_token;

use std::str::FromStr;

use jiff::Timestamp;
use mainstay_context::Context;
use orders::{
    domain::{CustomerId, ExternalReference, Order, PaymentState, State, TextError},
    ports::{Cursor, Filter, Page, Ports},
};

use self::page_token::Tokens;
use crate::{
    api::{Api, use_case},
    problem::Problem,
};

/// Which orders to list, and which page of them; not judged yet.
#[derive(Debug)]
pub(crate) struct Listing {
    /// Only in the state of this name.
    pub(crate) state: Option<String>,
    /// Only in the payment state of this name.
    pub(crate) payment_state: Option<String>,
    /// Only of this customer.
    pub(crate) customer_id: Option<String>,
    /// Only placed after this time, or what is wrong with it.
    pub(crate) created_after: Option<Result<Timestamp, String>>,
    /// Only the one with this reference.
    pub(crate) external_reference: Option<String>,
    /// How many orders the page has at most.
    pub(crate) page_size: Option<u64>,
    /// Where the page starts.
    pub(crate) page_token: Option<String>,
}

impl Listing {
    /// A page of orders, as many of those that are asked for as fit into the answer, and where the
    /// next page starts. At least one fits.
    pub(crate) async fn page<P: Ports>(
        self,
        api: &Api<P>,
        cx: &Context,
        fit: impl FnOnce(&[Order]) -> usize + Send,
    ) -> Result<(Vec<Order>, Option<String>), Problem> {
        let size = count("page_size", self.page_size, 20, 100)?;
        let filter = self.filter()?;
        let tenant = cx.principal().map_or("", |principal| &principal.tenant);
        let tokens = Tokens { secret: &api.config.page_secret, tenant, filter: &filter };
        let after = self.page_token.map(|token| tokens.read(&token)).transpose()?;
        // One more than asked for tells whether there is a next page.
        let page = Page { after, limit: size + 1 };
        let mut orders = use_case("list", api.orders.list(cx, &filter, page)).await?;
        let fitting = fit(&orders[..size.min(orders.len())]);
        let last = fitting.checked_sub(1).and_then(|at| orders.get(at));
        let last = last.filter(|_| orders.len() > fitting);
        let next_page_token =
            last.map(|order| tokens.write(Cursor { created_at: order.created_at, id: order.id }));
        orders.truncate(fitting);
        Ok((orders, next_page_token))
    }

    /// The orders it asks for.
    fn filter(&self) -> Result<Filter, Problem> {
        let created_after = self.created_after.clone().transpose();
        Ok(Filter {
            state: read("state", self.state.as_deref(), |text| {
                named(text, State::ALL, State::as_str)
            })?,
            payment_state: read("payment_state", self.payment_state.as_deref(), |text| {
                named(text, PaymentState::ALL, PaymentState::as_str)
            })?,
            customer_id: read("customer_id", self.customer_id.as_deref(), said::<CustomerId>)?,
            created_after: created_after
                .map_err(|rule| Problem::unreadable("created_after", rule))?,
            external_reference: read(
                "external_reference",
                self.external_reference.as_deref(),
                said::<ExternalReference>,
            )?,
        })
    }
}

/// How many are asked for.
pub(crate) fn count(
    name: &str,
    asked: Option<u64>,
    default: u64,
    most: u64,
) -> Result<usize, Problem> {
    let asked = asked.unwrap_or(default);
    let count = usize::try_from(asked).ok().filter(|_| (1..=most).contains(&asked));
    count.ok_or_else(|| Problem::unreadable(name, format!("must be 1 to {most}")))
}

fn read<T>(
    name: &str,
    text: Option<&str>,
    parse: impl Fn(&str) -> Result<T, String>,
) -> Result<Option<T>, Problem> {
    text.map(|text| parse(text).map_err(|rule| Problem::unreadable(name, rule))).transpose()
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
