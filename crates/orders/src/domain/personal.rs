//! Personal data of the buyer: one erasable record per order, apart from the ledger.

use std::fmt;

/// Names, addresses and email of the buyer.
///
/// No event, history row, receipt or log carries any of it, and it does not show when debugged.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Personal {
    /// The buyer's name.
    pub name: Option<String>,
    /// Where to write to.
    pub email: Option<String>,
    /// Where to call.
    pub phone: Option<String>,
    /// Where the goods go.
    pub shipping_address: Option<Address>,
    /// Where the invoice goes.
    pub billing_address: Option<Address>,
}

/// A postal address.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Address {
    /// Recipient, if not the buyer.
    pub recipient: Option<String>,
    /// Street and number, or what stands for it.
    pub line1: String,
    /// Anything more: floor, care of.
    pub line2: Option<String>,
    /// Town.
    pub city: String,
    /// State, province or canton.
    pub region: Option<String>,
    /// Postal code.
    pub postal_code: Option<String>,
    /// ISO 3166-1 alpha-2 country code.
    pub country: String,
}

impl fmt::Debug for Personal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Personal(..)")
    }
}

impl fmt::Debug for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Address(..)")
    }
}
