//! Verbs: commands on an order that exists.

use std::sync::Arc;

use mainstay_context::Context;

use super::{Asked, Done, MAX_ROUNDS, Orders, expects, receipt_key, refused};
use crate::{
    Error, Refusal,
    codec::{self, VerbFields},
    domain::{
        Applied, AttemptId, Claim, Command, IdempotencyKey, Instrument, Money, Note, NoteText,
        Order, OrderId, PaymentId, Pieces, Reason, Record, Resolution, Stamp, Version,
    },
    ports::{
        Answer, Change, Clock as _, Decision, Fingerprint, Ids as _, NewEvent, Operation, OrderRef,
        Ports, ReceiptKey, Store as _, Write,
    },
};

/// A command on an order that exists, with the client's conditions.
#[derive(Clone, Debug)]
pub struct Verb {
    /// Which order.
    pub order: OrderRef,
    /// What to do.
    pub action: Action,
    /// Makes one request of several tries.
    pub key: Option<IdempotencyKey>,
    /// Only if the order is still at this version.
    pub if_match: Option<Version>,
}

/// What a client can do to an order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Confirm it: it will be fulfilled.
    Confirm {
        /// Why.
        reason: Option<Reason>,
    },
    /// Call it off, or pieces of it.
    Cancel {
        /// Which pieces; all of the order when there are none.
        lines: Vec<Pieces>,
        /// Why.
        reason: Option<Reason>,
    },
    /// Note that pieces were handed over.
    Fulfill {
        /// Which pieces; all that are open when there are none.
        lines: Vec<Pieces>,
        /// How, such as a parcel's number.
        reason: Option<Reason>,
    },
    /// Note that pieces came back.
    Return {
        /// Which pieces; all that were handed over when there are none.
        lines: Vec<Pieces>,
        /// Why.
        reason: Option<Reason>,
    },
    /// Add a remark.
    AddNote {
        /// What it says.
        text: NoteText,
    },
    /// Hold money for it.
    Pay {
        /// With what.
        instrument: Instrument,
        /// How much; all that is due when it is `None`.
        amount: Option<Money>,
    },
    /// Note money that was taken elsewhere.
    RecordPayment {
        /// How much.
        amount: Money,
        /// How, and what shows it.
        reason: Option<Reason>,
    },
    /// Take what is held.
    Capture(Part),
    /// Give back what was taken.
    Refund(Part),
    /// Say what became of an attempt that is parked.
    Resolve {
        /// Which attempt.
        attempt: AttemptId,
        /// What became of it.
        resolution: Resolution,
        /// How that is known.
        reason: Reason,
    },
}

/// A part of the money of an order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Part {
    /// Of which payment; the first that has enough left when it is `None`.
    pub payment: Option<PaymentId>,
    /// How much; what the lines come to, or else all that is left of it, when it is `None`.
    pub amount: Option<Money>,
    /// For which pieces a refund is.
    pub lines: Vec<Pieces>,
}

impl Part {
    fn claim(&self, attempt: AttemptId) -> Claim<'_> {
        let Self { payment, amount, lines } = self;
        Claim { attempt, payment: *payment, amount: *amount, lines }
    }
}

impl Action {
    const fn operation(&self) -> Operation {
        match self {
            Self::Confirm { .. } => Operation::Confirm,
            Self::Cancel { .. } => Operation::Cancel,
            Self::Fulfill { .. } => Operation::Fulfill,
            Self::Return { .. } => Operation::Return,
            Self::Resolve { .. } => Operation::Resolve,
            Self::AddNote { .. } => Operation::AddNote,
            Self::Pay { .. } => Operation::Pay,
            Self::RecordPayment { .. } => Operation::RecordPayment,
            Self::Capture(_) => Operation::Capture,
            Self::Refund(_) => Operation::Refund,
        }
    }

    const fn note(&self) -> Option<&NoteText> {
        if let Self::AddNote { text } = self { Some(text) } else { None }
    }

    fn fingerprint(&self, order: OrderId) -> Fingerprint {
        let mut fields = VerbFields::default();
        match self {
            Self::Confirm { reason } => fields.reason = reason.as_ref().map(Reason::as_str),
            Self::Cancel { lines, reason }
            | Self::Fulfill { lines, reason }
            | Self::Return { lines, reason } => {
                fields.lines = lines;
                fields.reason = reason.as_ref().map(Reason::as_str);
            }
            Self::Resolve { attempt, resolution, reason } => {
                fields.attempt = Some(*attempt);
                fields.resolution = Some(resolution.as_str());
                fields.reason = Some(reason.as_str());
            }
            Self::AddNote { text } => fields.text = Some(text.as_str()),
            Self::Pay { instrument, amount } => {
                fields.instrument = Some(instrument.as_str());
                fields.amount = *amount;
            }
            Self::RecordPayment { amount, reason } => {
                fields.amount = Some(*amount);
                fields.reason = reason.as_ref().map(Reason::as_str);
            }
            Self::Capture(Part { payment, amount, lines })
            | Self::Refund(Part { payment, amount, lines }) => {
                fields.payment = *payment;
                fields.amount = *amount;
                fields.lines = lines;
            }
        }
        codec::verb_fingerprint(self.operation(), order, fields)
    }
}

/// What the rules made of a verb, ready to commit.
struct Decided {
    change: Change,
    outcome: Result<Record, Refusal>,
}

impl<P: Ports> Orders<P> {
    /// Carries out a verb: one more version, or a definite no.
    ///
    /// # Errors
    /// [`Error::NotFound`], [`Error::Refused`], [`Error::VersionMismatch`] when `if_match` is given
    /// and does not fit, [`Error::KeyReused`], and those of the store.
    pub async fn act(&self, cx: &Context, verb: Verb) -> Result<Done, Error> {
        let caller = Self::caller(cx)?;
        let operation = verb.action.operation();
        let key = verb.key.map(|key| receipt_key(&caller.tenant, operation, key));
        for _ in 0..MAX_ROUNDS {
            let record = self.load(cx, &caller.tenant, verb.order).await?;
            let current = record.order.version;
            let fingerprint = verb.action.fingerprint(record.order.id);
            if verb.if_match.is_some_and(|expected| expected != current) {
                return self.replay_or_mismatch(cx, key.as_ref(), fingerprint, current).await;
            }
            let decided = {
                let stamp = self.stamp(cx, Arc::clone(&caller.actor));
                self.decide(record, &verb.action, key.as_ref(), &stamp)
            };
            if let (Err(refusal), None) = (&decided.outcome, &key) {
                return Err(refused(*refusal));
            }
            match self.commit(cx, decided.change).await? {
                Answer::Committed => {
                    let record = decided.outcome.map_err(refused)?;
                    return Ok(Done { record, replayed: false });
                }
                Answer::Seen { order, decision } => {
                    return self.replay(cx, &caller.tenant, order, decision).await;
                }
                Answer::KeyReused => return Err(Error::KeyReused),
                Answer::KeyExpired(order) => return Err(Error::KeyExpired { order }),
                Answer::Conflict { current } if verb.if_match.is_some() => {
                    return Err(Error::VersionMismatch { current });
                }
                // Somebody else was quicker: decide anew on what is there now.
                Answer::Conflict { .. } | Answer::Taken(..) | Answer::LeaseLost => {}
            }
        }
        Err(Error::Contended)
    }

    /// The key is looked at before `If-Match`: a retry after a lost reply is a replay, not a 412.
    async fn replay_or_mismatch(
        &self,
        cx: &Context,
        key: Option<&ReceiptKey>,
        fingerprint: Fingerprint,
        current: Version,
    ) -> Result<Done, Error> {
        let mismatch = Error::VersionMismatch { current };
        let Some(key) = key else { return Err(mismatch) };
        let now = self.ports.clock().now();
        match self.ports.store().receipt(cx, key, now).await? {
            None => Err(mismatch),
            Some(receipt) if receipt.fingerprint != fingerprint => Err(Error::KeyReused),
            Some(receipt) => self.replay(cx, &key.tenant, receipt.order, receipt.decision).await,
        }
    }

    fn rule(&self, order: &Order, action: &Action, stamp: &Stamp) -> Result<Applied, Refusal> {
        let uuid = || self.ports.ids().uuid(stamp.at);
        let mut draw = || AttemptId(uuid());
        match action {
            Action::Confirm { reason } => order.confirm(reason.clone(), stamp),
            Action::Cancel { lines, reason } if lines.is_empty() => {
                order.cancel(reason.clone(), stamp, &mut draw)
            }
            Action::Cancel { lines, reason } => {
                order.cancel_lines(lines, reason.clone(), stamp, &mut draw)
            }
            Action::Fulfill { lines, reason } => {
                order.fulfill(lines, reason.clone(), stamp, &mut draw)
            }
            Action::Return { lines, reason } => order.take_back(lines, reason.clone(), stamp),
            Action::Resolve { attempt, resolution, reason } => {
                order.resolve((*attempt, *resolution), reason.clone(), stamp, &mut draw)
            }
            Action::AddNote { .. } => order.apply(Command::AddNote, None, stamp),
            Action::Pay { instrument, amount } => {
                order.pay((PaymentId(uuid()), draw()), instrument.clone(), *amount, stamp)
            }
            Action::RecordPayment { amount, reason } => {
                let ids = (PaymentId(uuid()), draw(), draw());
                order.record_payment(ids, (*amount, reason.clone()), stamp, &mut draw)
            }
            Action::Capture(part) => order.capture(part.claim(draw()), stamp),
            Action::Refund(part) => order.refund(part.claim(draw()), stamp),
        }
    }

    fn decide(
        &self,
        record: Record,
        action: &Action,
        key: Option<&ReceiptKey>,
        stamp: &Stamp,
    ) -> Decided {
        let order = &record.order;
        let (id, tenant) = (order.id, order.tenant.clone());
        let expects = expects(order);
        let applied = self.rule(order, action, stamp);
        let planned = match &applied {
            Ok(applied) => self.plans(order, applied, stamp.at),
            Err(_) => Vec::new(),
        };
        let decision = match &applied {
            Ok(applied) => Decision::Accepted { version: applied.order.version },
            Err(refusal) => Decision::Refused(*refusal),
        };
        let receipt = key.map(|key| {
            let asked = Asked { key, fingerprint: action.fingerprint(id) };
            self.receipt(asked, id, decision, stamp.at)
        });
        let (write, outcome) = match applied {
            Ok(applied) => {
                let write = writing(applied, action.note(), stamp);
                let record = after(record, &write);
                (Some(Box::new(write)), Ok(record))
            }
            Err(refusal) => (None, Err(refusal)),
        };
        let lease = None;
        let change = Change {
            id: stamp.change,
            tenant,
            at: stamp.at,
            expects,
            write,
            receipt,
            lease,
            plans: planned,
        };
        Decided { change, outcome }
    }
}

pub(super) fn writing(applied: Applied, note: Option<&NoteText>, stamp: &Stamp) -> Write {
    let Applied { order, entry, event, owes: _ } = applied;
    let note = note.map(|text| Note {
        version: entry.version,
        at: stamp.at,
        author: Arc::clone(&stamp.actor),
        text: text.clone(),
    });
    let event = NewEvent { kind: event, data: codec::event_data(&order, &entry) };
    Write { order, entry, event, note, personal: None }
}

fn after(record: Record, write: &Write) -> Record {
    let mut notes = record.notes;
    notes.extend(write.note.clone());
    Record { order: write.order.clone(), personal: record.personal, notes }
}
