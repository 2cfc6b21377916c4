//! Money at each step: what the store and the clients hold to be so, against the provider's ledger.

use orders::{
    domain::{
        Attempt, AttemptState, Order, OrderId, Outcome, Payment, PaymentOperation as Operation,
        State, TenantId,
    },
    ports::{Clock as _, Gateway as _},
};

use super::process::Stage;
use crate::World;

/// Holds an order as it is stored now against what really happened.
pub(super) fn step(stage: &Stage, tenant: &TenantId, id: OrderId) {
    let Some(order) = stage.world.stored(tenant, id) else { return };
    for what in unlike(stage, &order) {
        stage.book().violation(format!("{id}: {what}"));
    }
}

/// Holds what a client is told of an order's money against what really happened: it may be old, but
/// no outcome in it may be guessed.
pub(super) fn told(stage: &Stage, order: &Order) {
    let ours = order.payments.iter().filter(|payment| payment.is_ours());
    for attempt in ours.flat_map(|payment| &payment.attempts) {
        if let Err(what) = outcome(&stage.world, attempt) {
            stage.book().violation(format!("{}: a client is told: {what}", order.id));
        }
    }
}

/// Everything about an order's money that cannot be.
pub(super) fn unlike(stage: &Stage, order: &Order) -> Vec<String> {
    let mut wrong = Vec::new();
    let unresolved = |attempt: &&Attempt| {
        attempt.operation == Operation::Authorize && attempt.state.is_unresolved()
    };
    for payment in &order.payments {
        if !payment.is_sound() {
            wrong.push("the attempts of a payment cannot all be true".to_owned());
        }
        let Payment { attempts, .. } = payment;
        let ours = attempts.iter().filter(|_| payment.is_ours());
        wrong.extend(ours.filter_map(|attempt| one(stage, payment, attempt).err()));
        if payment.is_ours() && !payment.is_unresolved() {
            wrong.extend(sums(&stage.world, payment));
        }
    }
    let attempts = order.payments.iter().flat_map(|payment| &payment.attempts);
    if attempts.filter(unresolved).count() > 1 {
        wrong.push("two authorizations at once".to_owned());
    }
    wrong.extend(complete(order));
    if matches!(order.state, State::Cancelled | State::Expired) {
        wrong.extend(order.payments.iter().filter_map(|payment| left(&stage.world, payment)));
    }
    wrong
}

/// An order of which everything is handed over and paid is complete, and then holds nothing.
fn complete(order: &Order) -> Option<String> {
    let lines = &order.goods.lines;
    let delivered = lines.iter().all(|line| line.open() == 0)
        && lines.iter().any(|line| line.progress.fulfilled > 0);
    let settled = !order.payments.iter().any(Payment::is_unresolved);
    let taken: i64 = order.payments.iter().map(Payment::captured).sum();
    let paid = taken >= order.payable().minor;
    if order.state == State::Confirmed && delivered && settled && paid {
        return Some("everything is handed over and paid, and it is not complete".to_owned());
    }
    if order.state == State::Completed && !delivered {
        return Some("it is complete, and not everything was handed over".to_owned());
    }
    let held: i64 = order.payments.iter().map(Payment::held).sum();
    let holds = order.state == State::Completed && settled && held > 0;
    holds.then(|| format!("it is complete, and holds {held}"))
}

/// One attempt: happened at most once, as it was meant, and as it is told.
fn one(stage: &Stage, payment: &Payment, attempt: &Attempt) -> Result<(), String> {
    let Attempt { id, operation, amount, state, .. } = attempt;
    let world = &stage.world;
    let effects = world.charges_of(*id);
    if effects.len() > 1 {
        return Err(format!("its {operation} happened {} times", effects.len()));
    }
    if let Some(effect) = effects.first()
        && (effect.payment, effect.operation, effect.minor)
            != (payment.id, *operation, amount.minor)
    {
        return Err(format!("its {operation} of {amount} happened as {effect:?}"));
    }
    outcome(world, attempt)?;
    let calls = world.calls(*id);
    if calls.unmarked {
        return Err(format!("its {operation} was sent, and nobody knew that it may be"));
    }
    if calls.sent > calls.absent + 1 {
        return Err(format!(
            "its {operation} was sent again, and nobody had asked what became of it"
        ));
    }
    if calls.too_late && !stage.book().turned_back {
        return Err(format!("its {operation} was sent again after its key's time"));
    }
    match state {
        AttemptState::Open | AttemptState::Unknown if world.owes((*id).into()).is_none() => {
            Err(format!("its {operation} has no outcome, and nobody is at it"))
        }
        AttemptState::Parked if !may_be_parked(stage, attempt) => {
            Err(format!("its {operation} is parked for no reason"))
        }
        AttemptState::Open
        | AttemptState::Unknown
        | AttemptState::Parked
        | AttemptState::Succeeded
        | AttemptState::Declined(_) => Ok(()),
    }
}

/// An outcome that is told is what the provider did.
fn outcome(world: &World, attempt: &Attempt) -> Result<(), String> {
    let operation = attempt.operation;
    match (&attempt.state, world.decided(attempt.id)) {
        (AttemptState::Succeeded, Some(Outcome::Succeeded))
        | (AttemptState::Declined(_), Some(Outcome::Declined(_)))
        | (AttemptState::Open | AttemptState::Unknown | AttemptState::Parked, _) => Ok(()),
        // What was surely never sent when its order was called off is not sent any more.
        (AttemptState::Declined(code), None)
            if code.as_str() == "order-cancelled" && world.calls(attempt.id).sent == 0 =>
        {
            Ok(())
        }
        (AttemptState::Succeeded | AttemptState::Declined(_), decided) => {
            Err(format!("its {operation} is {:?}, the provider says {decided:?}", attempt.state))
        }
    }
}

/// A compensation that the provider refuses, and what cannot be found out in its key's time.
fn may_be_parked(stage: &Stage, attempt: &Attempt) -> bool {
    let gives_back = matches!(attempt.operation, Operation::Void | Operation::Refund);
    if gives_back && matches!(stage.world.decided(attempt.id), Some(Outcome::Declined(_))) {
        return true;
    }
    let book = stage.book();
    let latest = book.furthest.max(stage.world.clock().now());
    let sent = book.leases.get(&attempt.id.into()).and_then(|(_, sent)| *sent);
    book.turned_back
        || sent.is_some_and(|sent| latest.duration_since(sent) >= stage.world.key_window())
}

/// What a payment comes to, once everything is known of it.
fn sums(world: &World, payment: &Payment) -> Option<String> {
    let ours = [payment.authorized(), payment.captured(), payment.voided(), payment.refunded()];
    let theirs = [Operation::Authorize, Operation::Capture, Operation::Void, Operation::Refund]
        .map(|operation| world.charged(payment.id, operation));
    (ours != theirs).then(|| format!("a payment comes to {ours:?}, at the provider to {theirs:?}"))
}

/// What an order that is called off still holds or keeps.
fn left(world: &World, payment: &Payment) -> Option<String> {
    let sum = |operation| world.charged(payment.id, operation);
    let held = sum(Operation::Authorize) - sum(Operation::Capture) - sum(Operation::Void);
    let kept = sum(Operation::Capture) - sum(Operation::Refund);
    let (held, kept) =
        if payment.is_ours() { (held, kept) } else { (payment.held(), payment.kept()) };
    let out = held != 0 || kept != 0 || payment.is_unresolved();
    out.then(|| format!("called off, and a payment holds {held} and keeps {kept}"))
}
