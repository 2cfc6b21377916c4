//! Every verdict, in the order of precedence: each row of a table lacks what decided the rows before it,
//! and says what was asked for it.

use std::{cell::RefCell, collections::BTreeMap};

use jiff::SignedDuration;
use mainstay_context::TraceContext;
use orders::{
    codec,
    domain::{Draft, Order, Stamp},
    ports::{Lease, NewEvent, Then, Write},
};
use orders_testkit::builders;
use uuid::Uuid;

use super::*;

const ORDER: OrderId = OrderId(Uuid::from_u128(1));
const OTHER: OrderId = OrderId(Uuid::from_u128(2));
const THIS: ChangeId = ChangeId(Uuid::from_u128(3));
const ANOTHER: ChangeId = ChangeId(Uuid::from_u128(4));
const TASK: TaskId = TaskId(Uuid::from_u128(5));
const EPOCH: u64 = 6;
const NOW: Timestamp = Timestamp::UNIX_EPOCH;
const FIRST: Version = Version::FIRST;
const ASKED: Fingerprint = Fingerprint([7; 32]);
const ACCEPTED: Decision = Decision::Accepted { version: FIRST };

/// What cannot be read.
#[derive(Debug, PartialEq, Eq)]
struct Damaged;

/// Facts, and what was asked for.
#[derive(Clone, Default)]
struct Known {
    made: Option<Keyed>,
    receipt: Option<(Keyed, Option<Decision>)>,
    order: Option<(Version, bool)>,
    history: BTreeMap<Version, ChangeId>,
    number: Option<OrderId>,
    reference: Option<OrderId>,
    epoch: Option<u64>,
    asked: RefCell<Vec<&'static str>>,
}

impl Known {
    fn note(&self, what: &'static str) {
        self.asked.borrow_mut().push(what);
    }
}

impl Facts for Known {
    type Error = Damaged;

    fn made(&self, _: &ReceiptKey) -> Result<Option<Keyed>, Damaged> {
        self.note("made");
        Ok(self.made)
    }

    fn receipt(
        &self,
        _: &ReceiptKey,
    ) -> Result<Option<(Keyed, Result<Decision, Damaged>)>, Damaged> {
        let kept = self.receipt.map(|(keyed, decision)| (keyed, decision.ok_or(Damaged)));
        self.note("receipt");
        Ok(kept)
    }

    fn order(&self, _: &TenantId, order: OrderId) -> Result<Option<(Version, bool)>, Damaged> {
        self.note("order");
        Ok(self.order.filter(|_| order == ORDER))
    }

    fn made_by(&self, order: OrderId, version: Version) -> Result<Option<ChangeId>, Damaged> {
        let made_by = self.history.get(&version).copied();
        self.note("made by");
        Ok(made_by.filter(|_| order == ORDER))
    }

    fn number(&self, _: &TenantId, _: OrderNumber) -> Result<Option<OrderId>, Damaged> {
        self.note("number");
        Ok(self.number)
    }

    fn reference(&self, _: &TenantId, _: &ExternalReference) -> Result<Option<OrderId>, Damaged> {
        self.note("reference");
        Ok(self.reference)
    }

    fn epoch(&self, task: TaskId) -> Result<Option<u64>, Damaged> {
        self.note("epoch");
        Ok(self.epoch.filter(|_| task == TASK))
    }
}

/// Another change of the same key, still remembered.
fn twin() -> Keyed {
    let expires_at = NOW + SignedDuration::from_micros(1);
    Keyed { order: OTHER, fingerprint: ASKED, expires_at, change: Some(ANOTHER) }
}

fn own(keyed: Keyed) -> Keyed {
    Keyed { change: Some(THIS), ..keyed }
}

fn expired(keyed: Keyed) -> Keyed {
    Keyed { expires_at: NOW, ..keyed }
}

fn reused(keyed: Keyed) -> Keyed {
    Keyed { fingerprint: Fingerprint([8; 32]), ..keyed }
}

fn receipt(operation: Operation) -> Receipt {
    let (tenant, key) = ("shop".parse().unwrap(), builders::key("key"));
    Receipt {
        key: ReceiptKey { tenant, operation, key },
        fingerprint: ASKED,
        order: ORDER,
        decision: ACCEPTED,
        expires_at: twin().expires_at,
    }
}

fn change(expects: Expects) -> Change {
    Change {
        id: THIS,
        tenant: "shop".parse().unwrap(),
        at: NOW,
        expects,
        write: None,
        receipt: None,
        lease: None,
        plans: Vec::new(),
    }
}

/// Places an order with an external reference, under a key.
fn create() -> Change {
    place(Some("reference"))
}

fn place(reference: Option<&str>) -> Change {
    let draft = Draft { external_reference: reference.map(str::to_owned), ..builders::draft() };
    let placement = draft.check().unwrap();
    let stamp = Stamp {
        change: THIS,
        at: NOW,
        actor: "test".into(),
        request_id: "test-request".parse().unwrap(),
        trace: TraceContext::default(),
    };
    let change = change(Expects::New);
    let number = OrderNumber::from_bits(9);
    let placed = Order::place(ORDER, number, change.tenant.clone(), &placement, &stamp);
    let data = codec::event_data(&placed.order, &placed.entry);
    let write = Write {
        order: placed.order,
        entry: placed.entry,
        event: NewEvent { kind: placed.event, data },
        note: None,
        personal: None,
    };
    Change { write: Some(Box::new(write)), receipt: Some(receipt(Operation::Create)), ..change }
}

/// Changes an order at its first version, under a key and a lease.
fn confirm() -> Change {
    let lease = Lease { task: TASK, epoch: EPOCH, then: Then::Finish };
    Change {
        receipt: Some(receipt(Operation::Confirm)),
        lease: Some(lease),
        ..change(Expects::Version(ORDER, FIRST))
    }
}

fn answers(answer: Answer) -> Verdict {
    Verdict::Answer(answer)
}

fn saw(decision: Decision) -> Verdict {
    answers(Answer::Seen { order: OTHER, decision })
}

fn assert_each(change: &Change, rows: &[(Known, Verdict, &[&str])]) {
    for (row, (known, expected, asked)) in rows.iter().enumerate() {
        assert_eq!(judge(known, change).as_ref(), Ok(expected), "row {row}");
        assert_eq!(known.asked.take(), *asked, "row {row}");
    }
}

#[test]
fn a_key_that_made_an_order_decides_before_all_else() {
    let known = Known {
        receipt: Some((twin(), None)),
        order: Some((FIRST, false)),
        number: Some(OTHER),
        reference: Some(OTHER),
        ..Known::default()
    };
    let made = |made| Known { made: Some(made), ..known.clone() };
    let rows: &[(Known, Verdict, &[&str])] = &[
        (made(own(expired(reused(twin())))), answers(Answer::Committed), &["made"]),
        (made(expired(reused(twin()))), answers(Answer::KeyExpired(OTHER)), &["made"]),
        (made(reused(twin())), answers(Answer::KeyReused), &["made"]),
        (made(twin()), saw(ACCEPTED), &["made"]),
    ];
    assert_each(&create(), rows);
}

#[test]
fn the_receipt_of_a_creates_key_decides_before_the_order() {
    let refused = Decision::Refused(Refusal::ExternalReferenceTaken { order: OTHER });
    let known = Known { order: Some((FIRST, false)), ..Known::default() };
    let kept = |keyed, decision| Known { receipt: Some((keyed, decision)), ..known.clone() };
    let asked: &[&str] = &["made", "receipt"];
    let conflict = answers(Answer::Conflict { current: FIRST });
    let rows: &[(Known, Verdict, &[&str])] = &[
        (kept(own(expired(reused(twin()))), None), answers(Answer::Committed), asked),
        (kept(expired(reused(twin())), None), conflict, &["made", "receipt", "order"]),
        (kept(reused(twin()), None), answers(Answer::KeyReused), asked),
        (kept(twin(), Some(refused)), saw(refused), asked),
    ];
    assert_each(&create(), rows);
}

#[test]
fn a_decision_that_cannot_be_read_is_told_where_it_would_be_the_answer() {
    let known = Known { receipt: Some((twin(), None)), ..Known::default() };
    for change in [create(), confirm()] {
        assert_eq!(judge(&known, &change), Err(Damaged));
    }
}

#[test]
fn a_new_order_is_written_when_its_id_its_number_and_its_reference_are_free() {
    let all: &[&str] = &["made", "receipt", "order", "number", "reference"];
    let decision = Decision::Refused(Refusal::ExternalReferenceTaken { order: OTHER });
    let refusal = Receipt { order: OTHER, decision, ..receipt(Operation::Create) };
    let taken = Answer::Taken(Unique::ExternalReference, OTHER);
    let reference = Known { reference: Some(OTHER), ..Known::default() };
    let number = Known { number: Some(OTHER), ..reference.clone() };
    let at = |is_own, made_by| Known {
        order: Some((FIRST.next(), is_own)),
        history: BTreeMap::from([(FIRST, made_by)]),
        ..number.clone()
    };
    let conflict = || answers(Answer::Conflict { current: FIRST.next() });
    let rows: &[(Known, Verdict, &[&str])] = &[
        (at(true, THIS), answers(Answer::Committed), &["made", "receipt", "order", "made by"]),
        (at(true, ANOTHER), conflict(), &["made", "receipt", "order", "made by"]),
        (at(false, THIS), conflict(), &["made", "receipt", "order"]),
        (number, answers(Answer::Taken(Unique::Number, OTHER)), &all[..4]),
        (reference.clone(), Verdict::Remember(taken.clone(), Box::new(refusal)), all),
        (Known::default(), Verdict::Write, all),
    ];
    assert_each(&create(), rows);

    let unkeyed = Change { receipt: None, ..create() };
    assert_each(&unkeyed, &[(reference.clone(), answers(taken), &all[2..])]);

    assert_each(&place(None), &[(reference, Verdict::Write, &all[..4])]);
}

#[test]
fn a_receipt_decides_before_the_version_but_not_whether_this_change_was_made() {
    let refused = Decision::Refused(Refusal::NotesFull);
    let kept = |keyed, decision| Known { receipt: Some((keyed, decision)), ..Known::default() };
    let made = |known| Known { history: BTreeMap::from([(FIRST.next(), THIS)]), ..known };
    let asked: &[&str] = &["receipt", "made by"];
    let rows: &[(Known, Verdict, &[&str])] = &[
        (kept(own(expired(reused(twin()))), None), answers(Answer::Committed), asked),
        (made(kept(reused(twin()), None)), answers(Answer::Committed), asked),
        (made(kept(twin(), Some(refused))), answers(Answer::Committed), asked),
        (kept(reused(twin()), None), answers(Answer::KeyReused), asked),
        (kept(twin(), Some(refused)), saw(refused), asked),
    ];
    assert_each(&confirm(), rows);
}

#[test]
fn an_order_is_changed_at_the_expected_version_under_a_lease_that_holds() {
    let known = Known {
        receipt: Some((expired(reused(twin())), None)),
        order: Some((FIRST, true)),
        epoch: Some(EPOCH),
        ..Known::default()
    };
    let lost = |known: &Known| Known { epoch: Some(EPOCH + 1), ..known.clone() };
    let moved = Known {
        order: Some((FIRST.next(), true)),
        history: BTreeMap::from([(FIRST.next(), ANOTHER)]),
        ..known.clone()
    };
    let made = Known { history: BTreeMap::from([(FIRST.next(), THIS)]), ..moved.clone() };
    let foreign = Known { order: Some((FIRST, false)), ..known.clone() };
    let missing = Known { order: None, ..known.clone() };
    let asked: &[&str] = &["receipt", "order", "made by", "epoch"];
    let conflict = |current| answers(Answer::Conflict { current });
    let rows: &[(Known, Verdict, &[&str])] = &[
        (lost(&known), answers(Answer::LeaseLost), &["receipt", "order", "epoch"]),
        (known, Verdict::Write, &["receipt", "order", "epoch"]),
        (lost(&made), answers(Answer::Committed), &asked[..3]),
        (lost(&moved), answers(Answer::LeaseLost), asked),
        (moved, conflict(FIRST.next()), asked),
        (lost(&missing), answers(Answer::LeaseLost), asked),
        (missing, conflict(FIRST), asked),
        (foreign, conflict(FIRST), asked),
    ];
    assert_each(&confirm(), rows);

    let bare = change(Expects::Version(ORDER, FIRST));
    let known = Known { order: Some((FIRST, true)), ..Known::default() };
    assert_each(&bare, &[(known, Verdict::Write, &["order"])]);
}

#[test]
fn a_task_is_changed_under_its_latest_lease_only() {
    let at = |epoch| Known { epoch, ..Known::default() };
    let rows: &[(Known, Verdict, &[&str])] = &[
        (at(Some(EPOCH)), Verdict::Write, &["epoch"]),
        (at(Some(EPOCH + 1)), answers(Answer::LeaseLost), &["epoch"]),
        (at(None), answers(Answer::LeaseLost), &["epoch"]),
    ];
    assert_each(&Change { lease: confirm().lease, ..change(Expects::Task) }, rows);
    assert_each(&change(Expects::Task), &[(Known::default(), Verdict::Write, &[])]);
}
