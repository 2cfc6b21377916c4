//! Fingerprints: SHA-256 over a canonical, versioned encoding of a command.
//!
//! Absent and default fields do not appear, so that adding a defaulted field later changes no
//! fingerprint. Field order is fixed by the structs below and maps are sorted, so that the same
//! command has the same bytes whatever protocol it came by.

use std::{
    collections::BTreeMap,
    fmt::Write as _,
    io::{self, Write},
};

use serde::Serialize;
use sha2::{Digest, Sha256};

use crate::{
    domain::{
        Address, AttemptId, ExternalReference, IdempotencyKey, Instrument, Money, OrderId,
        PaymentId, Personal, Pieces, Placement, TextError,
    },
    ports::{Fingerprint, Operation},
};

#[derive(Serialize)]
struct Create<'a> {
    customer_id: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    external_reference: Option<&'a str>,
    currency: &'a str,
    lines: Vec<CreateLine<'a>>,
    #[serde(skip_serializing_if = "is_zero")]
    discount: i64,
    #[serde(skip_serializing_if = "is_zero")]
    shipping: i64,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    metadata: &'a BTreeMap<String, String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    personal: Option<CreatePersonal<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    instrument: Option<&'a str>,
}

#[derive(Serialize)]
struct CreateLine<'a> {
    sku: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<&'a str>,
    quantity: u32,
    unit_price_micros: i64,
    #[serde(skip_serializing_if = "is_zero")]
    discount: i64,
    #[serde(skip_serializing_if = "is_zero")]
    tax: i64,
    #[serde(skip_serializing_if = "is_false")]
    tax_inclusive: bool,
}

#[derive(Serialize)]
struct CreatePersonal<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    email: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    phone: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    shipping_address: Option<CreateAddress<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    billing_address: Option<CreateAddress<'a>>,
}

#[derive(Serialize)]
struct CreateAddress<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    recipient: Option<&'a str>,
    line1: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    line2: Option<&'a str>,
    city: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    region: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    postal_code: Option<&'a str>,
    country: &'a str,
}

#[derive(Serialize)]
struct Verb<'a> {
    order: IdText,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    text: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    payment: Option<IdText>,
    #[serde(skip_serializing_if = "Option::is_none")]
    instrument: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    amount: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    currency: Option<&'a str>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    lines: Vec<VerbLine>,
    #[serde(skip_serializing_if = "Option::is_none")]
    attempt: Option<IdText>,
    #[serde(skip_serializing_if = "Option::is_none")]
    resolution: Option<&'a str>,
}

#[derive(Serialize)]
struct VerbLine {
    line: u32,
    quantity: u32,
}

/// What a verb says beside its target; what it does not say is absent.
#[derive(Clone, Copy, Debug, Default)]
pub struct VerbFields<'a> {
    /// Why.
    pub reason: Option<&'a str>,
    /// The text of a note.
    pub text: Option<&'a str>,
    /// Which payment.
    pub payment: Option<PaymentId>,
    /// What to pay with.
    pub instrument: Option<&'a str>,
    /// How much.
    pub amount: Option<Money>,
    /// Which pieces.
    pub lines: &'a [Pieces],
    /// Which attempt on a payment.
    pub attempt: Option<AttemptId>,
    /// What became of it.
    pub resolution: Option<&'a str>,
}

#[derive(Serialize)]
#[serde(transparent)]
struct IdText(uuid::Uuid);

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes fields by reference")]
fn is_zero(amount: &i64) -> bool {
    *amount == 0
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes fields by reference")]
fn is_false(flag: &bool) -> bool {
    !flag
}

/// The fingerprint of a create.
pub fn create_fingerprint(placement: &Placement) -> Fingerprint {
    let goods = &placement.goods;
    let lines = goods.lines.iter().map(|line| CreateLine {
        sku: line.sku.as_str(),
        name: line.name.as_deref(),
        quantity: line.quantity.get(),
        unit_price_micros: line.unit_price.micros(),
        discount: line.discount.minor,
        tax: line.tax.map_or(0, |tax| tax.amount.minor),
        tax_inclusive: line.tax.is_some_and(|tax| tax.inclusive),
    });
    hash(
        Operation::Create,
        &Create {
            customer_id: placement.customer_id.as_str(),
            external_reference: placement
                .external_reference
                .as_ref()
                .map(ExternalReference::as_str),
            currency: goods.currency.code(),
            lines: lines.collect(),
            discount: goods.discount.minor,
            shipping: goods.shipping.minor,
            metadata: &placement.metadata,
            personal: placement.personal.as_ref().map(personal),
            instrument: placement.instrument.as_ref().map(Instrument::as_str),
        },
    )
}

/// The fingerprint of a verb on an order. The operation is part of it, and so is the target.
pub fn verb_fingerprint(
    operation: Operation,
    order: OrderId,
    fields: VerbFields<'_>,
) -> Fingerprint {
    let VerbFields { reason, text, payment, instrument, amount, lines, attempt, resolution } =
        fields;
    let line = |p: &Pieces| VerbLine { line: p.line, quantity: p.quantity.get() };
    hash(
        operation,
        &Verb {
            order: IdText(order.0),
            reason,
            text,
            payment: payment.map(|payment| IdText(payment.0)),
            instrument,
            amount: amount.map(|amount| amount.minor),
            currency: amount.as_ref().map(|amount| amount.currency.code()),
            lines: lines.iter().map(line).collect(),
            attempt: attempt.map(|attempt| IdText(attempt.0)),
            resolution,
        },
    )
}

/// The key of a batch's item that brings none of its own: derived from the batch's key and the
/// item's place, so that the same batch sent again replays.
///
/// # Errors
/// Never in practice: 64 hex digits are a valid key.
pub fn batch_item_key(batch: &IdempotencyKey, index: u64) -> Result<IdempotencyKey, TextError> {
    let digest = Sha256::digest(format!("orders.batch-item.v1\n{batch}\n{index}"));
    let hex = digest.iter().fold(String::new(), |mut hex, byte| {
        let _ = write!(hex, "{byte:02x}");
        hex
    });
    hex.parse()
}

fn personal(personal: &Personal) -> CreatePersonal<'_> {
    CreatePersonal {
        name: personal.name.as_deref(),
        email: personal.email.as_deref(),
        phone: personal.phone.as_deref(),
        shipping_address: personal.shipping_address.as_ref().map(address),
        billing_address: personal.billing_address.as_ref().map(address),
    }
}

fn address(address: &Address) -> CreateAddress<'_> {
    CreateAddress {
        recipient: address.recipient.as_deref(),
        line1: &address.line1,
        line2: address.line2.as_deref(),
        city: &address.city,
        region: address.region.as_deref(),
        postal_code: address.postal_code.as_deref(),
        country: &address.country,
    }
}

fn hash(operation: Operation, command: &impl Serialize) -> Fingerprint {
    let mut sink = Sink(Sha256::new_with_prefix(format!("orders.{}.v1\n", operation.as_str())));
    // Writing plain structs into a hash cannot fail.
    drop(serde_json::to_writer(&mut sink, command));
    Fingerprint(sink.0.finalize().into())
}

struct Sink(Sha256);

impl Write for Sink {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.update(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::{Draft, DraftLine, Quantity, Tax, UnitPrice};

    fn draft() -> Draft {
        let eur = "EUR".parse().unwrap();
        Draft {
            customer_id: "c-1".to_owned(),
            lines: vec![DraftLine {
                sku: "tea".to_owned(),
                name: None,
                quantity: 2,
                unit_price: UnitPrice::parse("199.5", eur).unwrap(),
                discount: None,
                tax: None,
            }],
            ..Draft::default()
        }
    }

    fn hex(draft: Draft) -> String {
        let Fingerprint(digest) = create_fingerprint(&draft.check().unwrap());
        let (high, low) = digest.split_at(16);
        let half = |bytes: &[u8]| u128::from_be_bytes(bytes.try_into().unwrap());
        format!("{:032x}{:032x}", half(high), half(low))
    }

    #[test]
    fn fingerprints_do_not_change_between_versions() {
        // sha256 of: orders.create.v1 ⏎
        // {"customer_id":"c-1","currency":"EUR","lines":[{"sku":"tea","quantity":2,"unit_price_micros":199500000}]}
        let known = "4bbeb581299d45a8ba580b9068d3f44885597cf8eb79c4ef00e1d4b23b4153f8";
        assert_eq!(hex(draft()), known);
    }

    #[test]
    fn stated_defaults_are_the_same_as_absent_fields() {
        let zero = Money::zero("EUR".parse().unwrap());
        let mut stated = draft();
        stated.discount = Some(zero);
        stated.shipping = Some(zero);
        stated.lines[0].discount = Some(zero);
        stated.lines[0].tax = Some(Tax { amount: zero, inclusive: true });
        stated.personal = Some(Personal::default());
        stated.expected_total = Some(Money::new(399, zero.currency));
        assert_eq!(hex(stated), hex(draft()));
    }

    #[test]
    fn another_command_has_another_fingerprint() {
        let mut other = draft();
        other.lines[0].quantity = 3;
        assert_ne!(hex(other), hex(draft()));
        let order = OrderId(uuid::Uuid::from_u128(1));
        let of = |operation, reason| {
            verb_fingerprint(operation, order, VerbFields { reason, ..VerbFields::default() })
        };
        assert_ne!(of(Operation::Confirm, None), of(Operation::Cancel, None));
        assert_ne!(of(Operation::Cancel, None), of(Operation::Cancel, Some("why")));
    }

    #[test]
    fn the_encoding_of_verbs_does_not_change_between_versions() {
        let id = |n| uuid::Uuid::from_u128(n);
        let eur = "EUR".parse().unwrap();
        let lines = [Pieces { line: 2, quantity: Quantity::new(3).unwrap() }];
        let pay = VerbFields {
            instrument: Some("tok_ok"),
            amount: Some(Money::new(399, eur)),
            ..VerbFields::default()
        };
        let refund =
            VerbFields { payment: Some(PaymentId(id(9))), lines: &lines, ..VerbFields::default() };
        let resolve = VerbFields {
            attempt: Some(AttemptId(id(8))),
            resolution: Some("declined"),
            reason: Some("seen"),
            ..VerbFields::default()
        };
        let (order, of) = (OrderId(id(1)), "00000000-0000-0000-0000-00000000000");
        for (operation, fields, text) in [
            (Operation::Confirm, VerbFields::default(), format!(r#"{{"order":"{of}1"}}"#)),
            (
                Operation::Pay,
                pay,
                format!(
                    r#"{{"order":"{of}1","instrument":"tok_ok","amount":399,"currency":"EUR"}}"#
                ),
            ),
            (
                Operation::Refund,
                refund,
                format!(
                    r#"{{"order":"{of}1","payment":"{of}9","lines":[{{"line":2,"quantity":3}}]}}"#
                ),
            ),
            (
                Operation::Resolve,
                resolve,
                format!(
                    r#"{{"order":"{of}1","reason":"seen","attempt":"{of}8","resolution":"declined"}}"#
                ),
            ),
        ] {
            let encoded = format!("orders.{operation}.v1\n{text}");
            let known = Fingerprint(Sha256::digest(encoded).into());
            assert_eq!(verb_fingerprint(operation, order, fields), known, "{text}");
        }
    }

    #[test]
    fn items_of_a_batch_have_keys_of_their_own() {
        let batch: IdempotencyKey = "batch-key-0000001".parse().unwrap();
        let key = |index| batch_item_key(&batch, index).unwrap();
        assert_eq!(key(1), key(1));
        assert_ne!(key(1), key(2));
    }
}
