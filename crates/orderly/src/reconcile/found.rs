//! What a comparison finds, and what a person can do about it.

use std::collections::BTreeMap;

use jiff::Timestamp;
use orders::domain::{
    Attempt, AttemptState, Currency, Money, Order, OrderId, OrderNumber, PaymentOperation, State,
    TenantId,
};
use uuid::Uuid;

use super::list::Line;

/// The most breaks that are kept: a list of somebody else's must not take all memory.
pub(super) const KEPT: usize = 10_000;

/// What does not agree.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Break {
    pub(super) kind: Kind,
    /// The order it is about, if it is of one of ours.
    pub(super) order: Option<Whose>,
    pub(super) payment: Uuid,
    /// The operation; absent where it is about the payment as a whole.
    pub(super) reference: Option<Uuid>,
    /// What the list says.
    pub(super) there: Option<Line>,
    /// What we say.
    pub(super) ours: Option<Ours>,
    /// What is the matter, in words.
    pub(super) what: String,
}

/// In which way it does not agree.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Kind {
    /// At the provider, and not with us.
    OnlyThere,
    /// With us, and not at the provider.
    OnlyOurs,
    /// At both, and not the same.
    Differs,
    /// More than once in the list.
    ListedTwice,
    /// Settled there, and we do not know it yet.
    Unresolved,
    /// Settled there, and declined with us.
    Declined,
    /// Money is out at the provider under an order that is called off.
    CalledOff,
}

impl Kind {
    /// Its name in JSON and in the table.
    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::OnlyThere => "not-with-us",
            Self::OnlyOurs => "not-there",
            Self::Differs => "differs",
            Self::ListedTwice => "listed-twice",
            Self::Unresolved => "unresolved",
            Self::Declined => "declined",
            Self::CalledOff => "called-off",
        }
    }

    /// What a person can do about it.
    pub(super) const fn advice(self) -> &'static str {
        match self {
            Self::OnlyThere => {
                "ask the provider who asked for it: money moved that no order here accounts for"
            }
            Self::OnlyOurs => {
                "look the reference up at the provider; if it did not happen there, the order \
                 counts money that is not there"
            }
            Self::Differs => "look the reference up at the provider, and compare the two records",
            Self::ListedTwice => {
                "ask the provider whether the line or the money is doubled; refund what was taken twice"
            }
            Self::Unresolved => {
                "it happened: while it is OPEN or UNKNOWN the service finds that out by itself; \
                 PARKED, it waits for a person, and this line is the answer"
            }
            Self::Declined => "ask the provider: it told us no, and settled it all the same",
            Self::CalledOff => "void what is held or refund what was taken, at the provider",
        }
    }
}

/// An order, as people find it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Whose {
    pub(super) id: OrderId,
    pub(super) number: OrderNumber,
    pub(super) tenant: TenantId,
    pub(super) state: State,
}

impl From<&Order> for Whose {
    fn from(order: &Order) -> Self {
        Self {
            id: order.id,
            number: order.number,
            tenant: order.tenant.clone(),
            state: order.state,
        }
    }
}

/// What we say of an operation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Ours {
    pub(super) operation: PaymentOperation,
    pub(super) amount: Money,
    pub(super) state: &'static str,
    /// When it was asked for, as its id tells.
    pub(super) asked: Option<Timestamp>,
}

impl From<&Attempt> for Ours {
    fn from(attempt: &Attempt) -> Self {
        Self {
            operation: attempt.operation,
            amount: attempt.amount,
            state: match attempt.state {
                AttemptState::Open => "OPEN",
                AttemptState::Unknown => "UNKNOWN",
                AttemptState::Parked => "PARKED",
                AttemptState::Succeeded => "SUCCEEDED",
                AttemptState::Declined(_) => "DECLINED",
            },
            asked: asked(attempt.id.0),
        }
    }
}

/// The time in a UUIDv7.
fn asked(id: Uuid) -> Option<Timestamp> {
    let (seconds, nanos) = id.get_timestamp()?.to_unix();
    Timestamp::new(seconds.try_into().ok()?, nanos.try_into().ok()?).ok()
}

/// How many operations of a kind there are, and what they come to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Sum {
    pub(super) count: u64,
    /// In minor units; wide enough for any number of amounts.
    pub(super) minor: i128,
}

impl Sum {
    pub(super) fn add(&mut self, minor: i64) {
        self.count += 1;
        self.minor += i128::from(minor);
    }
}

/// The same at the provider and with us.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Sums {
    pub(super) there: Sum,
    pub(super) ours: Sum,
}

/// What a comparison found.
#[derive(Debug, Default)]
pub(super) struct Report {
    /// Lines of the list.
    pub(super) lines: usize,
    /// Orders that went by.
    pub(super) orders: u64,
    /// Operations that agree.
    pub(super) matched: u64,
    /// Ours from just before the end of the period that the next list may have.
    pub(super) at_the_edge: u64,
    pub(super) sums: BTreeMap<(Currency, PaymentOperation), Sums>,
    /// How much does not agree.
    pub(super) found: u64,
    /// The first of that, up to [`KEPT`].
    pub(super) breaks: Vec<Break>,
}

impl Report {
    /// Counts it, and keeps it while there are few.
    pub(super) fn find(&mut self, found: Break) {
        self.found += 1;
        if self.breaks.len() < KEPT {
            self.breaks.push(found);
        }
    }

    /// Puts what was found in an order to be read: kind by kind, and in each as the list has it.
    pub(super) fn sort(&mut self) {
        let line = |one: &Break| one.there.map_or(u64::MAX, |line| line.number);
        self.breaks.sort_by_key(|one| (one.kind, line(one)));
    }
}
