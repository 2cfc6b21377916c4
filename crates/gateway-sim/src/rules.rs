//! What a payment allows. No I/O, no clock, no faults.

use crate::operation::{Command, Currency, Decline, Kind, LARGEST, Money, Totals};

/// The sums of one payment, as its successful operations make them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Sums {
    pub(crate) currency: Currency,
    pub(crate) authorized: i64,
    pub(crate) captured: i64,
    pub(crate) voided: i64,
    pub(crate) refunded: i64,
}

impl Sums {
    /// The sums of a payment nothing succeeded for.
    pub(crate) const fn none(currency: Currency) -> Self {
        Self { currency, authorized: 0, captured: 0, voided: 0, refunded: 0 }
    }

    /// Whether an authorization succeeded.
    const fn is_known(&self) -> bool {
        self.authorized > 0
    }

    /// What is authorized and neither captured nor voided.
    const fn held(&self) -> i64 {
        self.authorized - self.captured - self.voided
    }

    /// How much `command` moves, unless the payment does not allow it.
    pub(crate) fn allow(&self, command: &Command) -> Result<i64, Decline> {
        let amount = command.amount.map_or(0, |amount| amount.minor);
        if command.kind != Kind::Authorization && !self.is_known() {
            return Err(Decline::UnknownPayment);
        }
        let other = |money: Money| money.currency != self.currency;
        if self.is_known() && command.amount.is_some_and(other) {
            return Err(Decline::CurrencyMismatch);
        }
        let (moved, most, otherwise) = match command.kind {
            Kind::Authorization | Kind::Capture | Kind::Void if self.voided > 0 => {
                return Err(Decline::AlreadyVoided);
            }
            Kind::Authorization => (amount, LARGEST - self.authorized, Decline::CardDeclined),
            Kind::Capture => (amount, self.held(), Decline::ExceedsAuthorized),
            Kind::Void if self.held() == 0 => return Err(Decline::NothingToVoid),
            Kind::Void => (self.held(), self.held(), Decline::NothingToVoid),
            Kind::Refund => (amount, self.captured - self.refunded, Decline::ExceedsCaptured),
        };
        if moved <= most { Ok(moved) } else { Err(otherwise) }
    }

    /// The sums after `kind` moved this much.
    #[must_use]
    pub(crate) const fn after(mut self, kind: Kind, moved: i64) -> Self {
        match kind {
            Kind::Authorization => self.authorized += moved,
            Kind::Capture => self.captured += moved,
            Kind::Void => self.voided += moved,
            Kind::Refund => self.refunded += moved,
        }
        self
    }

    /// As they are on the wire.
    pub(crate) const fn totals(&self) -> Totals {
        Totals {
            authorized: Money::new(self.authorized, self.currency),
            captured: Money::new(self.captured, self.currency),
            voided: Money::new(self.voided, self.currency),
            refunded: Money::new(self.refunded, self.currency),
        }
    }
}
