//! Whether a change is written, and what it answers if not: decided here for every store.
//!
//! Pure, over what a store knows. A fact is asked for only where the answer turns on it, so a store may
//! look each up as it is asked.

use jiff::Timestamp;
use orders::{
    Refusal,
    domain::{ChangeId, ExternalReference, OrderId, OrderNumber, TenantId, Version},
    ports::{
        Answer, Change, Decision, Expects, Fingerprint, Operation, Receipt, ReceiptKey, TaskId,
        Unique,
    },
};

/// What a store knows of what a change touches.
pub(crate) trait Facts: Sized {
    /// Why a fact cannot be told.
    type Error;

    /// The order that a create's key made.
    fn made(&self, key: &ReceiptKey) -> Told<Self, Keyed>;

    /// The receipt of a key, also when it has expired; its decision may be needed or not.
    fn receipt(&self, key: &ReceiptKey) -> Told<Self, (Keyed, Result<Decision, Self::Error>)>;

    /// The version an order is at, and whether it is this tenant's.
    fn order(&self, tenant: &TenantId, order: OrderId) -> Told<Self, (Version, bool)>;

    /// The change that made this version of an order.
    fn made_by(&self, order: OrderId, version: Version) -> Told<Self, ChangeId>;

    /// The order of this number.
    fn number(&self, tenant: &TenantId, number: OrderNumber) -> Told<Self, OrderId>;

    /// The order of this external reference.
    fn reference(&self, tenant: &TenantId, reference: &ExternalReference) -> Told<Self, OrderId>;

    /// The number of a task's latest lease.
    fn epoch(&self, task: TaskId) -> Told<Self, u64>;
}

/// A fact, if there is one.
type Told<F, T> = Result<Option<T>, <F as Facts>::Error>;

/// What a key stands for, but for the decision.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Keyed {
    pub(crate) order: OrderId,
    pub(crate) fingerprint: Fingerprint,
    pub(crate) expires_at: Timestamp,
    /// The change that was decided under it; `None` for a refusal that the store itself decided.
    pub(crate) change: Option<ChangeId>,
}

/// What is to be done with a change.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// It is not to be written.
    Answer(Answer),
    /// It is not to be written, and that is to be remembered.
    Remember(Answer, Box<Receipt>),
    /// Nothing speaks against it.
    Write,
}

/// What is to be done with a change, by the facts of this instant.
pub(crate) fn judge<F: Facts>(facts: &F, change: &Change) -> Result<Verdict, F::Error> {
    if let Some(receipt) = &change.receipt
        && let Some(answer) = seen(facts, change, receipt)?
    {
        // The key may have been given to another change since this one was committed.
        let is_made = match change.expects {
            // A create's key is never given away, and a task's change has none.
            Expects::New | Expects::Task => false,
            Expects::Version(order, expected) => is_made(facts, change, order, expected.next())?,
        };
        return Ok(Verdict::Answer(if is_made { Answer::Committed } else { answer }));
    }
    match change.expects {
        Expects::New => taken(facts, change),
        Expects::Version(order, expected) => moved(facts, change, order, expected),
        Expects::Task => Ok(lost(facts, change)?.map_or(Verdict::Write, Verdict::Answer)),
    }
}

/// Whether this change, or another with its key, was decided before.
fn seen<F: Facts>(
    facts: &F,
    change: &Change,
    receipt: &Receipt,
) -> Result<Option<Answer>, F::Error> {
    let is_this = |keyed: Keyed| keyed.change == Some(change.id);
    let is_over = |keyed: Keyed| change.at >= keyed.expires_at;
    let is_other = |keyed: Keyed| keyed.fingerprint != receipt.fingerprint;
    if receipt.key.operation == Operation::Create
        && let Some(made) = facts.made(&receipt.key)?
    {
        let decision = Decision::Accepted { version: Version::FIRST };
        return Ok(Some(match () {
            () if is_this(made) => Answer::Committed,
            () if is_over(made) => Answer::KeyExpired(made.order),
            () if is_other(made) => Answer::KeyReused,
            () => Answer::Seen { order: made.order, decision },
        }));
    }
    let Some((kept, decision)) = facts.receipt(&receipt.key)? else { return Ok(None) };
    Ok(match () {
        () if is_this(kept) => Some(Answer::Committed),
        () if is_over(kept) => None,
        () if is_other(kept) => Some(Answer::KeyReused),
        () => Some(Answer::Seen { order: kept.order, decision: decision? }),
    })
}

/// Whether a new order's id or unique values are another's.
fn taken<F: Facts>(facts: &F, change: &Change) -> Result<Verdict, F::Error> {
    let Some(write) = &change.write else { return Ok(Verdict::Write) };
    let (tenant, order) = (&change.tenant, &write.order);
    if let Some((current, is_own)) = facts.order(tenant, order.id)? {
        let is_made = is_own && is_made(facts, change, order.id, Version::FIRST)?;
        let answer = if is_made { Answer::Committed } else { Answer::Conflict { current } };
        return Ok(Verdict::Answer(answer));
    }
    if let Some(other) = facts.number(tenant, order.number)? {
        return Ok(Verdict::Answer(Answer::Taken(Unique::Number, other)));
    }
    let Some(reference) = &order.external_reference else { return Ok(Verdict::Write) };
    let Some(other) = facts.reference(tenant, reference)? else { return Ok(Verdict::Write) };
    let answer = Answer::Taken(Unique::ExternalReference, other);
    Ok(match &change.receipt {
        None => Verdict::Answer(answer),
        Some(receipt) => {
            let decision = Decision::Refused(Refusal::ExternalReferenceTaken { order: other });
            let receipt = Receipt { order: other, decision, ..receipt.clone() };
            Verdict::Remember(answer, Box::new(receipt))
        }
    })
}

/// Whether the order is not at the expected version.
fn moved<F: Facts>(
    facts: &F,
    change: &Change,
    order: OrderId,
    expected: Version,
) -> Result<Verdict, F::Error> {
    let current = facts.order(&change.tenant, order)?;
    let current = current.filter(|(_, is_own)| *is_own).map(|(version, _)| version);
    if current == Some(expected) {
        return Ok(lost(facts, change)?.map_or(Verdict::Write, Verdict::Answer));
    }
    // Somebody changed it; it may have been this very change, sent before.
    if is_made(facts, change, order, expected.next())? {
        return Ok(Verdict::Answer(Answer::Committed));
    }
    // A lease that is lost is told first: whoever reads the order anew would be too late again.
    let conflict = Answer::Conflict { current: current.unwrap_or(Version::FIRST) };
    Ok(Verdict::Answer(lost(facts, change)?.unwrap_or(conflict)))
}

/// Whether this very change made this version of the order.
fn is_made<F: Facts>(
    facts: &F,
    change: &Change,
    order: OrderId,
    version: Version,
) -> Result<bool, F::Error> {
    Ok(facts.made_by(order, version)? == Some(change.id))
}

/// The answer to a change whose lease is not the task's, if that is so.
fn lost<F: Facts>(facts: &F, change: &Change) -> Result<Option<Answer>, F::Error> {
    let Some(lease) = change.lease else { return Ok(None) };
    Ok((facts.epoch(lease.task)? != Some(lease.epoch)).then_some(Answer::LeaseLost))
}

#[cfg(test)]
mod tests;
