//! The random steps of the state machine: small numbers that are read as indices, so that any
//! sequence makes sense and shrinks well.

use proptest::prelude::*;

/// One step.
#[derive(Clone, Copy, Debug)]
pub(super) enum Op {
    /// Place an order.
    Create { tenant: u8, key: u8, customer: u8, reference: u8, number: u8 },
    /// A verb on one of the orders there are, as it stood some versions ago.
    Verb { order: u8, verb: u8, key: u8, behind: u8 },
    /// Commit one of the changes committed so far again.
    Again { change: u8 },
    /// Let time pass, or turn it back a little.
    Jump { tens: i8 },
    /// Forget what is this old.
    Forget { tens: u8 },
    /// Read an order by id and by number, as its tenant and as the other.
    Order { order: u8 },
    /// Read a history page by page.
    History { order: u8, limit: u8 },
    /// List page by page.
    List { tenant: u8, filter: u8, limit: u8 },
    /// Read the feed from somewhere.
    Feed { scope: u8, after: u8, limit: u8 },
    /// Look at a receipt.
    Receipt { tenant: u8, operation: u8, key: u8 },
}

pub(super) fn sequence() -> impl Strategy<Value = Vec<Op>> {
    let small = || 0_u8..4;
    let create = (0_u8..2, 0_u8..6, 0_u8..2, 0_u8..6, 0_u8..40);
    let op = prop_oneof![
        6 => create.prop_map(|(tenant, key, customer, reference, number)| {
            Op::Create { tenant, key, customer, reference, number }
        }),
        9 => (any::<u8>(), 0_u8..5, 0_u8..6, 0_u8..6).prop_map(|(order, verb, key, behind)| {
            Op::Verb { order, verb, key, behind }
        }),
        4 => any::<u8>().prop_map(|change| Op::Again { change }),
        2 => (-5_i8..20).prop_map(|tens| Op::Jump { tens }),
        1 => (0_u8..60).prop_map(|tens| Op::Forget { tens }),
        2 => any::<u8>().prop_map(|order| Op::Order { order }),
        1 => (any::<u8>(), 1_u8..4).prop_map(|(order, limit)| Op::History { order, limit }),
        1 => (0_u8..2, 0_u8..5, 1_u8..9).prop_map(|(tenant, filter, limit)| {
            Op::List { tenant, filter, limit }
        }),
        2 => (0_u8..3, any::<u8>(), 1_u8..9).prop_map(|(scope, after, limit)| {
            Op::Feed { scope, after, limit }
        }),
        1 => (0_u8..2, small(), 0_u8..6).prop_map(|(tenant, operation, key)| {
            Op::Receipt { tenant, operation, key }
        }),
    ];
    prop::collection::vec(op, 1..80)
}
