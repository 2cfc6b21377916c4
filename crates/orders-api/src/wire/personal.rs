//! Personal data of the buyer, as it comes in and goes out.

use std::fmt;

use orders::domain;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// Names, addresses and email of the buyer. Kept apart and erasable; no event carries any of it.
#[derive(Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Personal {
    /// The buyer's name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(min_length = 1, max_length = 200, pattern = r"^[^\x00-\x1F\x7F-\x9F]+$")]
    pub(crate) name: Option<String>,
    /// Where to write to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(max_length = 254, pattern = r"^[^\x00-\x1F\x7F-\x9F]*@[^\x00-\x1F\x7F-\x9F]*$")]
    pub(crate) email: Option<String>,
    /// Where to call.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(min_length = 1, max_length = 40, pattern = r"^[^\x00-\x1F\x7F-\x9F]+$")]
    pub(crate) phone: Option<String>,
    /// Where the goods go.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) shipping_address: Option<Address>,
    /// Where the invoice goes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) billing_address: Option<Address>,
}

/// A postal address.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Address {
    /// Recipient, if not the buyer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(min_length = 1, max_length = 200, pattern = r"^[^\x00-\x1F\x7F-\x9F]+$")]
    pub(crate) recipient: Option<String>,
    /// Street and number, or what stands for it.
    #[schema(min_length = 1, max_length = 200, pattern = r"^[^\x00-\x1F\x7F-\x9F]+$")]
    pub(crate) line1: String,
    /// Anything more: floor, care of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(min_length = 1, max_length = 200, pattern = r"^[^\x00-\x1F\x7F-\x9F]+$")]
    pub(crate) line2: Option<String>,
    /// Town.
    #[schema(min_length = 1, max_length = 200, pattern = r"^[^\x00-\x1F\x7F-\x9F]+$")]
    pub(crate) city: String,
    /// State, province or canton.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(min_length = 1, max_length = 200, pattern = r"^[^\x00-\x1F\x7F-\x9F]+$")]
    pub(crate) region: Option<String>,
    /// Postal code.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(min_length = 1, max_length = 200, pattern = r"^[^\x00-\x1F\x7F-\x9F]+$")]
    pub(crate) postal_code: Option<String>,
    /// ISO 3166-1 alpha-2 country code.
    #[schema(pattern = "^[A-Z]{2}$")]
    pub(crate) country: String,
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

impl From<Personal> for domain::Personal {
    fn from(wire: Personal) -> Self {
        let Personal { name, email, phone, shipping_address, billing_address } = wire;
        Self {
            name,
            email,
            phone,
            shipping_address: shipping_address.map(Into::into),
            billing_address: billing_address.map(Into::into),
        }
    }
}

impl From<domain::Personal> for Personal {
    fn from(personal: domain::Personal) -> Self {
        let domain::Personal { name, email, phone, shipping_address, billing_address } = personal;
        Self {
            name,
            email,
            phone,
            shipping_address: shipping_address.map(Into::into),
            billing_address: billing_address.map(Into::into),
        }
    }
}

impl From<Address> for domain::Address {
    fn from(wire: Address) -> Self {
        let Address { recipient, line1, line2, city, region, postal_code, country } = wire;
        Self { recipient, line1, line2, city, region, postal_code, country }
    }
}

impl From<domain::Address> for Address {
    fn from(address: domain::Address) -> Self {
        let domain::Address { recipient, line1, line2, city, region, postal_code, country } =
            address;
        Self { recipient, line1, line2, city, region, postal_code, country }
    }
}
