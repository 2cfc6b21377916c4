//! Facts about the one write.

use std::sync::Arc;

use orders::{
    domain::{Draft, Version},
    ports::{Answer, Change, Decision, OrderRef, Page, Scope, Store as _, Unique},
};
use tokio::task::JoinSet;

use super::{
    Factory, Subject, assert_sound,
    maker::{self, CANCEL, CONFIRM, Maker, note, order_of},
};
use crate::builders;

/// Commits a change that must have an answer.
pub(super) async fn commit(subject: &impl Subject, change: &Change) -> Answer {
    let cx = builders::context(change.tenant.as_str());
    subject.store().commit(&cx, change.clone()).await.expect("the store answers")
}

/// Commits changes at the same time.
pub(super) async fn at_once<S: Subject>(subject: &Arc<S>, changes: Vec<Change>) -> Vec<Answer> {
    let mut tasks = JoinSet::new();
    for change in changes {
        let subject = Arc::clone(subject);
        let cx = builders::context(change.tenant.as_str());
        tasks.spawn(async move { subject.store().commit(&cx, change).await });
    }
    let answers = tasks.join_all().await;
    answers.into_iter().map(|answer| answer.expect("the store answers")).collect()
}

pub(super) async fn count_events(subject: &impl Subject) -> usize {
    let cx = builders::context("t");
    let page = Page { after: None, limit: 1_000 };
    subject.store().events(&cx, &Scope::All, page).await.expect("a page").events.len()
}

/// A commit writes order, history, event, note and receipt; a change that is not committed writes
/// none of them.
pub async fn a_commit_is_all_or_nothing(factory: &impl Factory) {
    let (subject, mut make) = (factory.make().await, Maker::new());
    let placed = make.create("t", "create");
    assert_eq!(commit(&subject, &placed).await, Answer::Committed);
    let noted = make.act(order_of(&placed), note("kept"), Some("note"));
    let stale = make.act(order_of(&placed), note("lost"), Some("stale"));
    assert_eq!(commit(&subject, &noted).await, Answer::Committed);
    let current = Version::FIRST.next();
    assert_eq!(commit(&subject, &stale).await, Answer::Conflict { current });

    let cx = builders::context("t");
    let store = subject.store();
    let order = OrderRef::Id(order_of(&placed).id);
    let record = store.order(&cx, &placed.tenant, order).await.unwrap().expect("the order");
    assert_eq!(record.order, *order_of(&noted));
    assert_eq!(record.notes.len(), 1);
    let history = store.history(&cx, &placed.tenant, record.order.id, all()).await.unwrap();
    assert_eq!(history.len(), 2);
    assert_eq!(count_events(&subject).await, 2);
    let receipt = stale.receipt.expect("a receipt").key;
    assert_eq!(store.receipt(&cx, &receipt, make.at).await.unwrap(), None);
    let receipt = noted.receipt.expect("a receipt");
    assert_eq!(store.receipt(&cx, &receipt.key, make.at).await.unwrap(), Some(receipt));
    assert_sound(&subject).await;
}

pub(super) const fn all<C>() -> Page<C> {
    Page { after: None, limit: 1_000 }
}

/// Of many who change the same version at once, one is committed and the others are told.
pub async fn one_writer_wins(factory: &impl Factory) {
    let (subject, mut make) = (Arc::new(factory.make().await), Maker::new());
    let placed = make.create("t", "create");
    commit(&*subject, &placed).await;
    let rivals = (0..16).map(|_| make.act(order_of(&placed), note("me"), None)).collect();
    let answers = at_once(&subject, rivals).await;
    let won = answers.iter().filter(|answer| **answer == Answer::Committed).count();
    assert_eq!(won, 1, "{answers:?}");
    let current = Version::FIRST.next();
    let told = answers.iter().filter(|answer| **answer == Answer::Conflict { current }).count();
    assert_eq!(told, 15, "{answers:?}");
    assert_sound(&*subject).await;
}

/// Of many creates with one key at once, one makes the order and the others learn of it.
pub async fn concurrent_twins_make_one_order(factory: &impl Factory) {
    let (subject, mut make) = (Arc::new(factory.make().await), Maker::new());
    let twins: Vec<Change> = (0..16).map(|_| make.create("t", "same")).collect();
    let answers = at_once(&subject, twins.clone()).await;
    assert_eq!(answers.iter().filter(|a| **a == Answer::Committed).count(), 1, "{answers:?}");
    let orders = subject
        .store()
        .list(&builders::context("t"), &twins[0].tenant, &orders::ports::Filter::default(), all())
        .await
        .unwrap();
    assert_eq!(orders.len(), 1);
    let decision = Decision::Accepted { version: Version::FIRST };
    let seen = Answer::Seen { order: orders[0].id, decision };
    assert_eq!(answers.iter().filter(|a| **a == seen).count(), 15, "{answers:?}");
    assert_sound(&*subject).await;
}

/// The same key again answers with the first decision; with another command it is reused.
pub async fn a_duplicate_key_returns_the_first_decision(factory: &impl Factory) {
    let (subject, mut make) = (factory.make().await, Maker::new());
    let first = make.create("t", "key");
    commit(&subject, &first).await;
    let order = order_of(&first).id;
    let again = make.create("t", "key");
    let decision = Decision::Accepted { version: Version::FIRST };
    assert_eq!(commit(&subject, &again).await, Answer::Seen { order, decision });
    let other = Draft { customer_id: "c-2".to_owned(), ..builders::draft() };
    let other = make.place("t", Some("key"), other);
    assert_eq!(commit(&subject, &other).await, Answer::KeyReused);

    let confirm = make.act(order_of(&first), CONFIRM, Some("verb"));
    assert_eq!(commit(&subject, &confirm).await, Answer::Committed);
    // A retry decides anew from what it read; only its key tells that it was decided already.
    let retry = make.act(order_of(&confirm), CONFIRM, Some("verb"));
    let decision = Decision::Accepted { version: Version::FIRST.next() };
    assert_eq!(commit(&subject, &retry).await, Answer::Seen { order, decision });
    let stale = make.act(order_of(&first), CONFIRM, Some("verb"));
    assert_eq!(commit(&subject, &stale).await, Answer::Seen { order, decision });
    assert_eq!(count_events(&subject).await, 2);
    assert_sound(&subject).await;
}

/// Another tenant's key, or the same key of another operation, is another key.
pub async fn a_key_belongs_to_its_tenant_and_operation(factory: &impl Factory) {
    let (subject, mut make) = (factory.make().await, Maker::new());
    let ours = make.create("t", "key");
    let theirs = make.create("u", "key");
    assert_eq!(commit(&subject, &ours).await, Answer::Committed);
    assert_eq!(commit(&subject, &theirs).await, Answer::Committed);
    let confirm = make.act(order_of(&ours), CONFIRM, Some("key"));
    assert_eq!(commit(&subject, &confirm).await, Answer::Committed);
    let cancel = make.act(order_of(&confirm), CANCEL, Some("key"));
    assert_eq!(commit(&subject, &cancel).await, Answer::Committed);
    assert_sound(&subject).await;
}

/// A change committed again answers as the first time and writes nothing, with or without a key,
/// whatever happened in between.
pub async fn a_change_committed_again_is_committed_once(factory: &impl Factory) {
    let (subject, mut make) = (Arc::new(factory.make().await), Maker::new());
    let placed = make.create("t", "create");
    let noted = make.act(order_of(&placed), note("first"), None);
    let later = make.act(order_of(&noted), CONFIRM, Some("confirm"));
    for change in [&placed, &noted, &later, &placed, &noted, &later] {
        assert_eq!(commit(&*subject, change).await, Answer::Committed);
    }
    assert_eq!(count_events(&*subject).await, 3);
    let same = make.create("t", "at-once");
    let answers = at_once(&subject, vec![same; 8]).await;
    assert!(answers.iter().all(|answer| *answer == Answer::Committed), "{answers:?}");
    assert_eq!(count_events(&*subject).await, 4);
    assert_sound(&*subject).await;
}

/// A refused verb writes only its receipt, and answers with it from then on.
pub async fn a_refusal_is_remembered(factory: &impl Factory) {
    let (subject, mut make) = (factory.make().await, Maker::new());
    let placed = make.create("t", "create");
    let cancelled = make.act(order_of(&placed), CANCEL, None);
    let refused = make.act(order_of(&cancelled), CONFIRM, Some("verb"));
    assert!(refused.write.is_none());
    for change in [&placed, &cancelled, &refused] {
        assert_eq!(commit(&subject, change).await, Answer::Committed);
    }
    let again = make.act(order_of(&cancelled), CONFIRM, Some("verb"));
    let receipt = refused.receipt.expect("a receipt");
    let seen = Answer::Seen { order: receipt.order, decision: receipt.decision };
    assert_eq!(commit(&subject, &again).await, seen);
    assert_eq!(count_events(&subject).await, 2);
    let behind = make.act(order_of(&placed), CANCEL, Some("another"));
    let current = Version::FIRST.next();
    assert_eq!(commit(&subject, &behind).await, Answer::Conflict { current });
    assert_sound(&subject).await;
}

/// A taken external reference is refused with the order that has it; the key remembers.
pub async fn a_taken_reference_is_remembered(factory: &impl Factory) {
    let (subject, mut make) = (factory.make().await, Maker::new());
    let draft = || Draft { external_reference: Some("r-1".to_owned()), ..builders::draft() };
    let first = make.place("t", Some("first"), draft());
    commit(&subject, &first).await;
    let order = order_of(&first).id;
    let second = make.place("t", Some("second"), draft());
    let taken = Answer::Taken(Unique::ExternalReference, order);
    assert_eq!(commit(&subject, &second).await, taken);
    let decision = Decision::Refused(orders::Refusal::ExternalReferenceTaken { order });
    let seen = Answer::Seen { order, decision };
    assert_eq!(commit(&subject, &second).await, seen, "the same change again");
    let retry = make.place("t", Some("second"), draft());
    assert_eq!(commit(&subject, &retry).await, seen, "the same key again");
    let free = make.place("t", Some("second"), builders::draft());
    assert_eq!(commit(&subject, &free).await, Answer::KeyReused);
    let theirs = make.place("u", Some("second"), draft());
    assert_eq!(commit(&subject, &theirs).await, Answer::Committed, "another tenant's reference");
    assert_sound(&subject).await;
}

/// A taken number is refused and nothing is remembered: the caller draws another.
pub async fn a_taken_number_is_not_remembered(factory: &impl Factory) {
    let (subject, mut make) = (factory.make().await, Maker::new());
    let first = make.numbered("t", Some("first"), builders::draft(), 5);
    commit(&subject, &first).await;
    let second = make.numbered("t", Some("second"), builders::draft(), 5);
    let taken = Answer::Taken(Unique::Number, order_of(&first).id);
    assert_eq!(commit(&subject, &second).await, taken);
    let again = make.numbered("t", Some("second"), builders::draft(), 6);
    assert_eq!(commit(&subject, &again).await, Answer::Committed);
    let theirs = make.numbered("u", Some("second"), builders::draft(), 5);
    assert_eq!(commit(&subject, &theirs).await, Answer::Committed);
    assert_sound(&subject).await;
}

/// A conflict leaves the key free.
pub async fn a_conflict_is_not_remembered(factory: &impl Factory) {
    let (subject, mut make) = (factory.make().await, Maker::new());
    let placed = make.create("t", "create");
    let noted = make.act(order_of(&placed), note("quicker"), None);
    let stale = make.act(order_of(&placed), CONFIRM, Some("verb"));
    commit(&subject, &placed).await;
    commit(&subject, &noted).await;
    let current = Version::FIRST.next();
    assert_eq!(commit(&subject, &stale).await, Answer::Conflict { current });
    let anew = make.act(order_of(&noted), CONFIRM, Some("verb"));
    assert_eq!(commit(&subject, &anew).await, Answer::Committed);
    assert_sound(&subject).await;
}

/// Past its time a create's key still stands for its order, whatever the command, and never makes
/// a second one.
pub async fn an_expired_key_falls_back_to_its_order(factory: &impl Factory) {
    let (subject, mut make) = (factory.make().await, Maker::new());
    let first = make.create("t", "key");
    commit(&subject, &first).await;
    let order = order_of(&first).id;
    make.advance(3_599);
    let decision = Decision::Accepted { version: Version::FIRST };
    let late = make.create("t", "key");
    assert_eq!(commit(&subject, &late).await, Answer::Seen { order, decision });
    make.advance(1);
    let expired = make.create("t", "key");
    assert_eq!(commit(&subject, &expired).await, Answer::KeyExpired(order));
    let other = Draft { customer_id: "c-2".to_owned(), ..builders::draft() };
    let other = make.place("t", Some("key"), other);
    assert_eq!(commit(&subject, &other).await, Answer::KeyExpired(order));
    assert_eq!(commit(&subject, &first).await, Answer::Committed, "the change itself");
    assert_sound(&subject).await;
}

/// Past its time a verb's key is free again.
pub async fn an_expired_verb_key_is_free(factory: &impl Factory) {
    let (subject, mut make) = (factory.make().await, Maker::new());
    let placed = make.create("t", "create");
    let noted = make.act(order_of(&placed), note("one"), Some("verb"));
    commit(&subject, &placed).await;
    commit(&subject, &noted).await;
    make.advance(3_600);
    let key = maker::receipt_key(&placed.tenant, orders::ports::Operation::AddNote, "verb");
    let cx = builders::context("t");
    assert_eq!(subject.store().receipt(&cx, &key, make.at).await.unwrap(), None);
    let again = make.act(order_of(&noted), note("one"), Some("verb"));
    assert_eq!(commit(&subject, &again).await, Answer::Committed);
    assert_sound(&subject).await;
}
