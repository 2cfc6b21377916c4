//! What the payments of an order come to, and the one state that is derived from them.

use super::money::Money;

/// One payment of an order, as sums over its ledger. An order may have several.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Payment {
    /// Held for us at the provider.
    pub authorized: Money,
    /// Taken; at most what was authorized.
    pub captured: Money,
    /// Given back; at most what was captured.
    pub refunded: Money,
    /// Let go without being taken.
    pub voided: Money,
}

/// Where the money of an order is; derived from its payments.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum PaymentState {
    /// No payment was asked for.
    None,
    /// Held, not taken.
    Authorized,
    /// Some of it taken.
    PartiallyCaptured,
    /// All of it taken.
    Captured,
    /// Some of what was taken given back.
    PartiallyRefunded,
    /// All that was taken given back.
    Refunded,
    /// Let go without being taken.
    Voided,
}

impl PaymentState {
    /// Every state.
    pub const ALL: [Self; 7] = [
        Self::None,
        Self::Authorized,
        Self::PartiallyCaptured,
        Self::Captured,
        Self::PartiallyRefunded,
        Self::Refunded,
        Self::Voided,
    ];

    /// Derives the state from the payments.
    pub fn of(payments: &[Payment]) -> Self {
        let sum = |part: fn(&Payment) -> Money| {
            payments.iter().map(|p| i128::from(part(p).minor)).sum::<i128>()
        };
        let captured = sum(|p| p.captured);
        let refunded = sum(|p| p.refunded);
        let held = sum(|p| p.authorized).saturating_sub(sum(|p| p.voided));
        match () {
            () if payments.is_empty() => Self::None,
            () if captured == 0 && held == 0 => Self::Voided,
            () if captured == 0 => Self::Authorized,
            () if refunded == captured => Self::Refunded,
            () if refunded > 0 => Self::PartiallyRefunded,
            () if captured < held => Self::PartiallyCaptured,
            () => Self::Captured,
        }
    }

    /// The name on the wire.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::None => "NONE",
            Self::Authorized => "AUTHORIZED",
            Self::PartiallyCaptured => "PARTIALLY_CAPTURED",
            Self::Captured => "CAPTURED",
            Self::PartiallyRefunded => "PARTIALLY_REFUNDED",
            Self::Refunded => "REFUNDED",
            Self::Voided => "VOIDED",
        }
    }

    /// The state of this wire name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|state| state.as_str() == name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_state_follows_the_sums_of_all_payments() {
        use PaymentState as S;
        let eur = |minor| Money::new(minor, "EUR".parse().unwrap());
        let payment = |authorized, captured, refunded, voided| Payment {
            authorized: eur(authorized),
            captured: eur(captured),
            refunded: eur(refunded),
            voided: eur(voided),
        };
        for (payments, state) in [
            (vec![], S::None),
            (vec![payment(10, 0, 0, 0)], S::Authorized),
            (vec![payment(10, 0, 0, 10)], S::Voided),
            (vec![payment(10, 4, 0, 0)], S::PartiallyCaptured),
            (vec![payment(10, 4, 0, 6)], S::Captured),
            (vec![payment(10, 10, 3, 0)], S::PartiallyRefunded),
            (vec![payment(10, 10, 10, 0)], S::Refunded),
            (vec![payment(10, 0, 0, 10), payment(10, 10, 0, 0)], S::Captured),
        ] {
            assert_eq!(PaymentState::of(&payments), state, "{payments:?}");
        }
    }
}
