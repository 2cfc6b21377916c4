//! Which fields the messages of the contract have, and whether a message that came has no others.
//!
//! prost passes over a field that it does not know, as protobuf has it. Over HTTP such a field is
//! refused: a condition that nobody reads is worse than none. So the bytes are walked before they are
//! decoded, by the numbers alone; what a field holds is for prost to read.

/// A field of a message: its number, its name, whether it is repeated, and which message it holds.
type Field = (u64, &'static str, bool, Option<usize>);

/// The fields of every message of the contract.
const SHAPES: &[&[Field]] = include!(concat!(env!("OUT_DIR"), "/shapes.rs"));

/// How often one field of a message may be there: more than any call takes, and so few that a message of
/// many empty ones takes no more memory than another.
pub(super) const MOST: usize = 1_000;

/// A message of the contract, by its place among all of them.
#[derive(Clone, Copy, Debug)]
pub(super) struct Shape(pub(super) usize);

/// Why a message is not decoded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Misshapen {
    /// It holds a field that its kind of message does not have: the names that lead there, and its
    /// number.
    Unknown(String),
    /// It holds more than [`MOST`] of a field: the names that lead there.
    Many(String),
    /// It is not written as messages are.
    Broken,
}

impl Shape {
    /// Looks for fields that are not known, or there too often, in the messages within it too. They nest
    /// no deeper than the contract does, which has no message that holds its own kind.
    pub(super) fn check(self, message: &[u8]) -> Result<(), Misshapen> {
        let fields = SHAPES.get(self.0).copied().unwrap_or_default();
        let mut counted = vec![0_usize; fields.len()];
        let mut rest = message;
        while !rest.is_empty() {
            let (number, held) = next(&mut rest).ok_or(Misshapen::Broken)?;
            let mut found = fields.iter().zip(&mut counted);
            let ((_, name, repeated, shape), count) = found
                .find(|(field, _)| field.0 == number)
                .ok_or_else(|| Misshapen::Unknown(number.to_string()))?;
            let at = repeated.then_some(*count);
            if at.is_some_and(|at| at >= MOST) {
                return Err(Misshapen::Many((*name).to_owned()));
            }
            *count += 1;
            let Some((shape, held)) = shape.zip(held) else { continue };
            Self(shape).check(held).map_err(|found| found.within(name, at))?;
        }
        Ok(())
    }
}

impl Misshapen {
    /// The same, seen from the message that holds it in this field.
    fn within(self, name: &str, at: Option<usize>) -> Self {
        let path = |path| match at {
            Some(at) => format!("{name}[{at}].{path}"),
            None => format!("{name}.{path}"),
        };
        match self {
            Self::Unknown(within) => Self::Unknown(path(within)),
            Self::Many(within) => Self::Many(path(within)),
            Self::Broken => Self::Broken,
        }
    }
}

/// The number of the next field, and what it holds if its length stands before it; `None` when it is
/// not a whole field. Groups are in no message of the contract.
fn next<'m>(rest: &mut &'m [u8]) -> Option<(u64, Option<&'m [u8]>)> {
    let key = varint(rest)?;
    let (length, is_held) = match key & 7 {
        0 => (varint(rest).map(|_| 0)?, false),
        1 => (8, false),
        2 => (usize::try_from(varint(rest)?).ok()?, true),
        5 => (4, false),
        _ => return None,
    };
    let (value, after) = rest.split_at_checked(length)?;
    *rest = after;
    Some((key >> 3, is_held.then_some(value)))
}

/// A number of up to ten bytes, seven bits in each, the lowest first.
fn varint(rest: &mut &[u8]) -> Option<u64> {
    let mut value = 0;
    for at in 0..10 {
        let (byte, after) = rest.split_first()?;
        *rest = after;
        value |= u64::from(byte & 0x7f) << (7 * at);
        if byte & 0x80 == 0 {
            return Some(value);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use prost::Message as _;

    use super::*;
    use crate::grpc::{CALLS, pb};

    /// The message of a create.
    fn create() -> Shape {
        let call = CALLS.iter().find(|(path, _)| path.ends_with("/CreateOrder"));
        Shape(call.expect("the call").1)
    }

    #[test]
    fn a_field_is_not_there_more_often_than_any_call_takes() {
        let of = |lines| {
            let order = pb::NewOrder {
                lines: vec![pb::NewLine::default(); lines],
                ..pb::NewOrder::default()
            };
            let message =
                pb::CreateOrderRequest { order: Some(order), ..pb::CreateOrderRequest::default() };
            create().check(&message.encode_to_vec())
        };
        assert_eq!(of(MOST), Ok(()));
        assert_eq!(of(MOST + 1), Err(Misshapen::Many("order.lines".to_owned())));
    }

    /// A field that holds these bytes.
    fn held(number: u8, value: &[u8]) -> Vec<u8> {
        let length = u8::try_from(value.len()).ok().filter(|length| *length < 0x80);
        [&[number << 3 | 2, length.expect("a short value")][..], value].concat()
    }

    fn unknown(path: &str) -> Result<(), Misshapen> {
        Err(Misshapen::Unknown(path.to_owned()))
    }

    #[test]
    fn every_field_of_the_contract_is_known() {
        let line = pb::NewLine {
            sku: "tea".to_owned(),
            name: Some(String::new()),
            quantity: u32::MAX,
            unit_price: Some(pb::UnitPrice::default()),
            discount: Some(pb::Money { minor: -1, currency: "EUR".to_owned() }),
            tax: Some(pb::Tax { amount: Some(pb::Money::default()), inclusive: true }),
        };
        let order = pb::NewOrder {
            lines: vec![line.clone(), line],
            metadata: [("a".to_owned(), "b".to_owned())].into(),
            personal: Some(pb::Personal {
                shipping_address: Some(pb::Address::default()),
                ..pb::Personal::default()
            }),
            payment: Some(pb::PayWith::default()),
            ..pb::NewOrder::default()
        };
        let asked = pb::CreateOrderRequest {
            order: Some(order),
            idempotency_key: "k".repeat(300),
            validate_only: true,
            wait_seconds: u32::MAX,
        };
        assert_eq!(create().check(&asked.encode_to_vec()), Ok(()));
        assert_eq!(create().check(&[]), Ok(()));
        // What is left out by default may be said, and said again.
        assert_eq!(create().check(&[0x18, 0, 0x18, 1, 0x12, 0]), Ok(()));
    }

    #[test]
    fn a_field_that_is_not_known_is_told_with_its_place() {
        let line = |field: &[u8]| held(1, &held(3, field));
        let two = [held(3, &held(1, b"tea")), held(3, &[0x78, 0])].concat();
        for (message, path) in [
            (vec![0x78, 0], "15"),
            (vec![0xf8, 0xff, 0xff, 0xff, 0x0f, 0], "536870911"),
            (held(1, &[0x50, 0]), "order.10"),
            (line(&held(7, b"")), "order.lines[0].7"),
            (held(1, &two), "order.lines[1].15"),
            (line(&held(5, &held(3, b"x"))), "order.lines[0].discount.3"),
            (held(1, &held(7, &held(3, b"x"))), "order.metadata[0].3"),
        ] {
            assert_eq!(create().check(&message), unknown(path));
        }
    }

    #[test]
    fn what_is_no_message_is_not_looked_into() {
        for message in [
            &[0x80][..],
            &[0x12],
            &[0x12, 2, 0],
            &[0x0b, 0x0c],
            &[0x0e],
            &[0x0f],
            &[0x19, 0, 0],
            &[0x1d, 0],
            &[0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 1],
            &[0x12, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1],
        ] {
            assert_eq!(create().check(message), Err(Misshapen::Broken), "{message:x?}");
        }
    }
}
