//! One line of an order: what is sold, and how far it got.

use std::num::NonZeroU32;

use super::{
    money::{Money, UnitPrice},
    text::Sku,
};

/// Pieces of one line: 1 to 1,000,000.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Quantity(NonZeroU32);

impl Quantity {
    /// The most pieces a line may have.
    pub const MAX: u32 = 1_000_000;

    /// A quantity of `pieces`; `None` outside 1 to [`Quantity::MAX`].
    pub fn new(pieces: i64) -> Option<Self> {
        let pieces = u32::try_from(pieces).ok().filter(|pieces| *pieces <= Self::MAX)?;
        NonZeroU32::new(pieces).map(Self)
    }

    /// The number of pieces.
    pub const fn get(self) -> u32 {
        self.0.get()
    }
}

/// The tax on a line, as the tenant's tax engine computed it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tax {
    /// How much.
    pub amount: Money,
    /// Whether the unit price already holds it; if so it does not add to the total.
    pub inclusive: bool,
}

/// How many pieces of a line went where. `fulfilled + cancelled ≤ ordered`, `returned ≤ fulfilled`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    /// Handed over to the buyer.
    pub fulfilled: u32,
    /// Will not be handed over.
    pub cancelled: u32,
    /// Came back after being handed over.
    pub returned: u32,
}

/// One line of an order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    /// What is sold.
    pub sku: Sku,
    /// Its name, as the buyer saw it.
    pub name: Option<String>,
    /// How many.
    pub quantity: Quantity,
    /// The price of one, before discounts.
    pub unit_price: UnitPrice,
    /// Off the line as a whole; at most its gross.
    pub discount: Money,
    /// The tax on it.
    pub tax: Option<Tax>,
    /// How far it got.
    pub progress: Progress,
}

impl Line {
    /// Unit price × quantity, rounded once; `None` when that does not fit.
    pub fn gross(&self) -> Option<Money> {
        self.unit_price.times(self.quantity.get())
    }

    /// How many pieces are neither handed over nor called off.
    pub fn open(&self) -> u32 {
        let Progress { fulfilled, cancelled, .. } = self.progress;
        self.quantity.get().saturating_sub(fulfilled.saturating_add(cancelled))
    }

    /// Whether the counters can be true.
    pub fn is_sound(&self) -> bool {
        let Progress { fulfilled, cancelled, returned } = self.progress;
        let settled = fulfilled.checked_add(cancelled);
        settled.is_some_and(|settled| settled <= self.quantity.get()) && returned <= fulfilled
    }
}

/// How far the goods of an order got; derived from the lines' counters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FulfillmentState {
    /// Nothing handed over yet.
    Unfulfilled,
    /// Some pieces are still to be handed over.
    PartiallyFulfilled,
    /// Every piece was handed over or cancelled.
    Fulfilled,
    /// Some pieces came back.
    PartiallyReturned,
    /// All that was handed over came back.
    Returned,
}

impl FulfillmentState {
    /// Derives the state from the lines.
    pub fn of(lines: &[Line]) -> Self {
        let sum = |count: fn(&Line) -> u32| lines.iter().map(|l| u64::from(count(l))).sum::<u64>();
        let fulfilled = sum(|l| l.progress.fulfilled);
        let returned = sum(|l| l.progress.returned);
        let open = sum(Line::open);
        match () {
            () if fulfilled == 0 => Self::Unfulfilled,
            () if returned == fulfilled && open == 0 => Self::Returned,
            () if returned > 0 => Self::PartiallyReturned,
            () if open > 0 => Self::PartiallyFulfilled,
            () => Self::Fulfilled,
        }
    }

    /// The name on the wire.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Unfulfilled => "UNFULFILLED",
            Self::PartiallyFulfilled => "PARTIALLY_FULFILLED",
            Self::Fulfilled => "FULFILLED",
            Self::PartiallyReturned => "PARTIALLY_RETURNED",
            Self::Returned => "RETURNED",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(quantity: i64, fulfilled: u32, cancelled: u32, returned: u32) -> Line {
        let eur = "EUR".parse().unwrap();
        Line {
            sku: "sku".parse().unwrap(),
            name: None,
            quantity: Quantity::new(quantity).unwrap(),
            unit_price: UnitPrice::from_micros(0, eur),
            discount: Money::zero(eur),
            tax: None,
            progress: Progress { fulfilled, cancelled, returned },
        }
    }

    #[test]
    fn fulfillment_follows_the_counters() {
        use FulfillmentState as S;
        for (lines, state) in [
            (vec![line(2, 0, 0, 0)], S::Unfulfilled),
            (vec![line(2, 0, 2, 0)], S::Unfulfilled),
            (vec![line(2, 1, 0, 0)], S::PartiallyFulfilled),
            (vec![line(2, 1, 1, 0)], S::Fulfilled),
            (vec![line(2, 2, 0, 0), line(1, 0, 0, 0)], S::PartiallyFulfilled),
            (vec![line(2, 2, 0, 1)], S::PartiallyReturned),
            (vec![line(2, 2, 0, 2)], S::Returned),
            (vec![line(2, 1, 0, 1)], S::PartiallyReturned),
        ] {
            assert_eq!(FulfillmentState::of(&lines), state, "{lines:?}");
        }
    }

    #[test]
    fn counters_that_cannot_be_true_are_unsound() {
        assert!(line(2, 1, 1, 1).is_sound());
        assert!(!line(2, 2, 1, 0).is_sound());
        assert!(!line(2, 1, 0, 2).is_sound());
        assert!(!line(2, u32::MAX, 1, 0).is_sound());
    }

    #[test]
    fn quantities_are_1_to_a_million() {
        assert_eq!(Quantity::new(0), None);
        assert_eq!(Quantity::new(-1), None);
        assert_eq!(Quantity::new(1_000_001), None);
        assert_eq!(Quantity::new(1_000_000).map(Quantity::get), Some(1_000_000));
    }
}
