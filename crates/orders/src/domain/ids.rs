//! Ids, versions and positions.

use std::{fmt, num::NonZeroU64};

use uuid::Uuid;

macro_rules! id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(pub Uuid);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }
    };
}

id! {
    /// An order's id: a UUIDv7 of ours.
    OrderId
}
id! {
    /// A payment's id: a UUIDv7 of ours.
    PaymentId
}
id! {
    /// The id of one operation on a payment: a UUIDv7 of ours, the reference at the gateway.
    AttemptId
}
id! {
    /// A change's id, drawn before it is committed: what an unknown outcome is asked by. It is also
    /// the id of the change's event.
    ChangeId
}

/// How many changes an order has seen: contiguous from 1. Its ETag and its events' sequence.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Version(NonZeroU64);

impl Version {
    /// The version a new order starts with.
    pub const FIRST: Self = Self(NonZeroU64::MIN);

    /// The version of this number; `None` for 0.
    pub fn new(number: u64) -> Option<Self> {
        NonZeroU64::new(number).map(Self)
    }

    /// The version as a number.
    pub const fn get(self) -> u64 {
        self.0.get()
    }

    /// The one after. An order cannot reach 2⁶⁴ changes, so this saturates rather than fails.
    #[must_use]
    pub const fn next(self) -> Self {
        Self(self.0.saturating_add(1))
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A place in the feed of all events: contiguous from 1, across orders and tenants. 0 is before
/// the first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Position(pub u64);

impl Position {
    /// The one after.
    #[must_use]
    pub const fn next(self) -> Self {
        Self(self.0.saturating_add(1))
    }
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}
