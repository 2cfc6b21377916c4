//! Facts about an order's money and goods, as far as a store keeps them.

use orders::{
    domain::{
        AttemptId, Claim, DeclineCode, Instrument, Money, Order, Outcome, PaymentId, Pieces,
        Quantity, Stamp,
    },
    ports::{Answer, OrderRef, Store as _},
};
use uuid::Uuid;

use super::{
    Factory, Subject, assert_sound,
    maker::{Maker, order_of},
    reads::full_draft,
    writes::commit,
};
use crate::builders;

/// Payments with every state of an attempt, and the counters of every line, come back as they were
/// written.
pub async fn money_and_goods_are_read_back_whole(factory: &impl Factory) {
    let (subject, mut make) = (factory.make().await, Maker::new());
    let placed = make.place("t", Some("create"), full_draft());
    commit(&subject, &placed).await;
    let mut order = order_of(&placed).clone();
    let token: Instrument = "tok_ok".parse().expect("a token");
    let no: DeclineCode = "card-declined".parse().expect("a code");
    let pieces = [Pieces { line: 1, quantity: Quantity::new(1).expect("a quantity") }];
    let attempt = |n: u128| AttemptId(Uuid::from_u128(n));
    let part = |n: u128| Claim { attempt: attempt(n), payment: None, amount: None, lines: &[] };
    let one = Money::new(1, order.goods.currency);
    let some = |n: u128| Claim { amount: Some(one), ..part(n) };
    let pay = |order: &Order, stamp: &Stamp, n: u128| {
        order
            .pay((PaymentId(Uuid::from_u128(1_000 + n)), attempt(n)), token.clone(), None, stamp)
            .ok()
    };
    let mut drawn = 100;
    for step in 0..9 {
        let stamp = make.stamp();
        let mut draw = || {
            drawn += 1;
            attempt(drawn)
        };
        let mut settle = |n, outcome| order.settle((attempt(n), outcome), &stamp, &mut draw);
        let applied = match step {
            0 => pay(&order, &stamp, 1),
            1 => settle(1, &Outcome::Declined(no.clone())).ok().flatten(),
            2 => pay(&order, &stamp, 2),
            3 => settle(2, &Outcome::Succeeded).ok().flatten(),
            4 => order.capture(some(3), &stamp).ok(),
            5 => settle(3, &Outcome::Succeeded).ok().flatten(),
            6 => order.fulfill(&pieces, None, &stamp, &mut draw).ok(),
            7 => settle(101, &Outcome::Succeeded).ok().flatten(),
            _ => order.refund(Claim { lines: &pieces, ..part(5) }, &stamp).ok(),
        };
        let applied = applied.unwrap_or_else(|| panic!("step {step} of {order:?}"));
        let change = make.applied(&order, applied, &stamp);
        assert_eq!(commit(&subject, &change).await, Answer::Committed);
        order = order_of(&change).clone();
        let cx = builders::context("t");
        let found = subject.store().order(&cx, &placed.tenant, OrderRef::Id(order.id)).await;
        assert_eq!(found.unwrap().expect("the order").order, order, "step {step}");
    }
    let refund = order.payments[1].attempts.last().expect("the refund");
    assert_eq!((refund.lines.len(), order.goods.lines[0].progress.fulfilled), (1, 1));
    assert_sound(&subject).await;
}
