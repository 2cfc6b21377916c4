//! Facts about reading.

use std::{collections::BTreeMap, time::Duration};

use jiff::SignedDuration;
use orders::{
    domain::{Address, Draft, Order, OrderId, Personal, Position, State, Tax, TenantId, Version},
    ports::{Cursor, Cutoff, Event, Filter, OrderRef, Page, ReadError, Scope, Store as _},
};

use super::{
    Factory, Subject, assert_sound,
    maker::{CANCEL, CONFIRM, Maker, START, note, order_of},
    writes::{all, commit},
};
use crate::builders;

pub(super) fn full_draft() -> Draft {
    let eur = "EUR".parse().expect("a currency");
    let money = |minor| orders::domain::Money::new(minor, eur);
    let mut line = builders::line("cup", 3, "1250.000001");
    line.name = Some("A cup – blue".to_owned());
    line.discount = Some(money(50));
    line.tax = Some(Tax { amount: money(700), inclusive: false });
    let address = Address {
        recipient: Some("Reception".to_owned()),
        line1: "1 Road".to_owned(),
        city: "Town".to_owned(),
        country: "DE".to_owned(),
        ..Address::default()
    };
    Draft {
        customer_id: "customer ü".to_owned(),
        external_reference: Some("ref/1".to_owned()),
        lines: vec![line, builders::line("tea", 1, "0.5")],
        discount: Some(money(10)),
        shipping: Some(money(499)),
        expected_total: None,
        metadata: BTreeMap::from([("channel".to_owned(), "web \"x\"\n".to_owned())]),
        personal: Some(Personal {
            name: Some("A Buyer".to_owned()),
            email: Some("a@b.example".to_owned()),
            phone: None,
            shipping_address: Some(address),
            billing_address: None,
        }),
        instrument: None,
    }
}

/// Every field of an order comes back as it was written, by id and by number.
pub async fn what_is_written_is_read_back_whole(factory: &impl Factory) {
    let (subject, mut make) = (factory.make().await, Maker::new());
    let placed = make.place("t", Some("create"), full_draft());
    make.advance(5);
    let noted = make.act(order_of(&placed), note("line one\nline two"), None);
    commit(&subject, &placed).await;
    commit(&subject, &noted).await;
    let (cx, order) = (builders::context("t"), order_of(&noted));
    for reference in [OrderRef::Id(order.id), OrderRef::Number(order.number)] {
        let found = subject.store().order(&cx, &placed.tenant, reference).await.unwrap();
        let found = found.expect("the order");
        assert_eq!(found.order, *order);
        assert_eq!(found.personal, full_draft().personal);
        assert_eq!(
            found.notes,
            noted.write.as_ref().unwrap().note.iter().cloned().collect::<Vec<_>>()
        );
    }
    let entries = subject.store().history(&cx, &placed.tenant, order.id, all()).await.unwrap();
    let written = [&placed, &noted].map(|change| change.write.as_ref().unwrap().entry.clone());
    assert_eq!(entries, written);
    assert_sound(&subject).await;
}

/// A foreign tenant finds nothing, by any way of asking.
pub async fn tenants_never_see_each_other(factory: &impl Factory) {
    let (subject, mut make) = (factory.make().await, Maker::new());
    let placed = make.place("t", Some("create"), full_draft());
    commit(&subject, &placed).await;
    let theirs = make.create("u", "create");
    commit(&subject, &theirs).await;
    let (store, cx, order) = (subject.store(), builders::context("u"), order_of(&placed));
    let them: TenantId = theirs.tenant.clone();
    for reference in [OrderRef::Id(order.id), OrderRef::Number(order.number)] {
        assert_eq!(store.order(&cx, &them, reference).await.unwrap(), None);
    }
    assert!(store.history(&cx, &them, order.id, all()).await.unwrap().is_empty());
    let by_reference =
        Filter { external_reference: order.external_reference.clone(), ..Filter::default() };
    assert!(store.list(&cx, &them, &by_reference, all()).await.unwrap().is_empty());
    let list = store.list(&cx, &them, &Filter::default(), all()).await.unwrap();
    assert_eq!(list, [order_of(&theirs).clone()]);
    let feed = store.events(&cx, &Scope::Tenant(them.clone()), all()).await.unwrap();
    assert!(feed.events.iter().all(|event| event.tenant == them), "{:?}", feed.events);
    assert_eq!(feed.events.len(), 1);
    let stolen = make.act(order, CONFIRM, None);
    let stolen = orders::ports::Change { tenant: them, ..stolen };
    let answer = commit(&subject, &stolen).await;
    assert!(matches!(answer, orders::ports::Answer::Conflict { .. }), "{answer:?}");
    assert_sound(&subject).await;
}

/// Walks a list page by page.
pub(super) async fn walk(
    subject: &impl Subject,
    tenant: &TenantId,
    filter: &Filter,
    limit: usize,
) -> Vec<Order> {
    let (mut orders, mut after) = (Vec::new(), None);
    let cx = builders::context(tenant.as_str());
    loop {
        let page = Page { after, limit };
        let more = subject.store().list(&cx, tenant, filter, page).await.expect("a page");
        assert!(more.len() <= limit, "a page of {} with a limit of {limit}", more.len());
        let Some(last) = more.last() else { return orders };
        after = Some(Cursor { created_at: last.created_at, id: last.id });
        orders.extend(more);
    }
}

/// Many orders are read by their ids in one call, each as it is now; an id of none gives none.
pub async fn orders_are_read_together_whosever_they_are(factory: &impl Factory) {
    let (subject, mut make) = (factory.make().await, Maker::new());
    let mut expected = Vec::new();
    for (tenant, key) in [("t", "first"), ("u", "first"), ("t", "second")] {
        let placed = make.create(tenant, key);
        commit(&subject, &placed).await;
        expected.push(order_of(&placed).clone());
    }
    let confirmed = make.act(&expected[1], CONFIRM, None);
    commit(&subject, &confirmed).await;
    expected[1] = order_of(&confirmed).clone();
    let left_out = expected.remove(0);
    let nobody = OrderId(uuid::Uuid::from_u128(1));
    let ids: Vec<OrderId> = expected.iter().map(|order| order.id).chain([nobody]).collect();
    let cx = builders::context("relay");
    let by_id = |mut orders: Vec<Order>| {
        orders.sort_by_key(|order| order.id);
        orders
    };
    let found = by_id(subject.store().orders(&cx, &ids).await.unwrap());
    assert_eq!(found, by_id(expected), "and not {}", left_out.id);
    assert_eq!(subject.store().orders(&cx, &[]).await.unwrap(), []);
    assert_sound(&subject).await;
}

/// Pages of any size give every order once, newest first, also where many share a time.
pub async fn lists_page_without_gaps_or_repeats(factory: &impl Factory) {
    let (subject, mut make) = (factory.make().await, Maker::new());
    let mut expected = Vec::new();
    for index in 0..23 {
        // Every third is placed at another time, and some of them earlier than their forerunner.
        make.advance([0, 0, 7, 0, 0, -3][index % 6]);
        let placed = make.create("t", &format!("key-{index}"));
        commit(&subject, &placed).await;
        commit(&subject, &make.create("u", &format!("key-{index}"))).await;
        expected.push(order_of(&placed).clone());
    }
    expected.sort_by_key(|order| std::cmp::Reverse((order.created_at, order.id)));
    let tenant: TenantId = "t".parse().unwrap();
    for limit in [1, 2, 5, 23, 100] {
        let found = walk(&subject, &tenant, &Filter::default(), limit).await;
        assert_eq!(found, expected, "by {limit}");
    }
    assert_sound(&subject).await;
}

/// Each part of a filter narrows the list, and all of them together.
pub async fn filters_hold_together(factory: &impl Factory) {
    let (subject, mut make) = (factory.make().await, Maker::new());
    let mut orders = Vec::new();
    for index in 0..8_u8 {
        make.advance(1);
        let customer_id = format!("c-{}", index % 2);
        let external_reference = (index % 3 == 0).then(|| format!("r-{index}"));
        let draft = Draft { customer_id, external_reference, ..builders::draft() };
        let placed = make.place("t", Some(&format!("key-{index}")), draft);
        commit(&subject, &placed).await;
        let last = if index % 4 < 2 { make.act(order_of(&placed), CONFIRM, None) } else { placed };
        commit(&subject, &last).await;
        orders.push(order_of(&last).clone());
    }
    orders.reverse();
    let filters = [
        Filter { state: Some(State::Confirmed), ..Filter::default() },
        Filter { state: Some(State::Cancelled), ..Filter::default() },
        Filter { payment_state: Some(orders::domain::PaymentState::None), ..Filter::default() },
        Filter { payment_state: Some(orders::domain::PaymentState::Voided), ..Filter::default() },
        Filter { customer_id: Some("c-1".parse().unwrap()), ..Filter::default() },
        Filter { created_after: Some(orders[4].created_at), ..Filter::default() },
        Filter { external_reference: Some("r-3".parse().unwrap()), ..Filter::default() },
        Filter {
            state: Some(State::Pending),
            customer_id: Some("c-1".parse().unwrap()),
            created_after: Some(orders[6].created_at),
            ..Filter::default()
        },
    ];
    let tenant = "t".parse().unwrap();
    for filter in &filters {
        let fits = |order: &&Order| {
            filter.state.is_none_or(|state| order.state == state)
                && filter.payment_state.is_none_or(|state| order.payment_state() == state)
                && filter.customer_id.as_ref().is_none_or(|id| order.customer_id == *id)
                && filter.created_after.is_none_or(|after| order.created_at > after)
                && (filter.external_reference.is_none()
                    || order.external_reference == filter.external_reference)
        };
        let expected: Vec<Order> = orders.iter().filter(fits).cloned().collect();
        assert_eq!(walk(&subject, &tenant, filter, 2).await, expected, "{filter:?}");
    }
}

/// History comes oldest first, after the version asked for.
pub async fn history_pages_by_version(factory: &impl Factory) {
    let (subject, mut make) = (factory.make().await, Maker::new());
    let mut last = make.create("t", "create");
    commit(&subject, &last).await;
    for index in 0..6 {
        last = make.act(order_of(&last), note(&format!("note {index}")), None);
        commit(&subject, &last).await;
    }
    let (cx, id) = (builders::context("t"), order_of(&last).id);
    let versions = async |after: u64, limit| {
        let page = Page { after: Version::new(after), limit };
        let entries = subject.store().history(&cx, &last.tenant, id, page).await.unwrap();
        entries.iter().map(|entry| entry.version.get()).collect::<Vec<_>>()
    };
    assert_eq!(versions(0, 3).await, [1, 2, 3]);
    assert_eq!(versions(3, 3).await, [4, 5, 6]);
    assert_eq!(versions(6, 3).await, [7]);
    assert_eq!(versions(7, 3).await, [] as [u64; 0]);
    let nobody = OrderId(uuid::Uuid::from_u128(1));
    assert!(subject.store().history(&cx, &last.tenant, nobody, all()).await.unwrap().is_empty());
}

/// Reads the feed from after a position to its head.
pub(super) async fn drain(
    subject: &impl Subject,
    scope: &Scope,
    mut after: Option<Position>,
    limit: usize,
) -> Result<Vec<Event>, ReadError> {
    let (mut events, cx) = (Vec::new(), builders::context("t"));
    loop {
        let page = subject.store().events(&cx, scope, Page { after, limit }).await?;
        assert!(page.events.len() <= limit, "{} events with a limit of {limit}", page.events.len());
        let last = page.events.last().map_or(Position(0), |event| event.position);
        assert!(last <= page.next, "{last} is past the page's end, {}", page.next);
        assert!(page.next <= page.head, "the page ends past the head: {page:?}");
        let ends = page.next >= page.head;
        assert!(ends || after.is_none_or(|after| page.next > after), "no progress: {page:?}");
        after = Some(page.next);
        events.extend(page.events);
        if ends {
            return Ok(events);
        }
    }
}

/// The feed gives every event once, in order, positions without a hole, whatever the page size; a
/// tenant's feed is the whole feed's part.
pub async fn the_feed_skips_nothing(factory: &impl Factory) {
    let (subject, mut make) = (factory.make().await, Maker::new());
    assert_eq!(drain(&subject, &Scope::All, None, 5).await.unwrap(), []);
    let mut written = Vec::new();
    for index in 0..9 {
        let tenant = ["t", "u", "u"][index % 3];
        let placed = make.create(tenant, &format!("key-{index}"));
        let confirmed = make.act(order_of(&placed), CONFIRM, None);
        let cancelled = make.act(order_of(&confirmed), CANCEL, None);
        for change in [placed, confirmed, cancelled] {
            commit(&subject, &change).await;
            written.push(change);
        }
    }
    let whole = drain(&subject, &Scope::All, None, 1_000).await.unwrap();
    assert_eq!(whole.len(), written.len());
    let past = Page { after: Some(Position(1_000)), limit: 5 };
    let page = subject.store().events(&builders::context("t"), &Scope::All, past).await.unwrap();
    assert_eq!((page.events.len(), page.next), (0, page.head), "a cursor past the head");
    for ((index, event), change) in (1..).zip(&whole).zip(&written) {
        let write = change.write.as_ref().expect("the change writes");
        let expected = Event {
            position: Position(index),
            id: change.id,
            tenant: change.tenant.clone(),
            order: write.order.id,
            version: write.order.version,
            kind: write.event.kind.to_owned(),
            at: change.at,
            trace: write.entry.trace,
            data: write.event.data.clone(),
        };
        assert_eq!(*event, expected);
    }
    for tenant in ["t", "u", "nobody"] {
        let tenant: TenantId = tenant.parse().unwrap();
        let own = |event: &&Event| event.tenant == tenant;
        let expected: Vec<Event> = whole.iter().filter(own).cloned().collect();
        let scope = Scope::Tenant(tenant.clone());
        for limit in [1, 2, 3, 1_000] {
            assert_eq!(drain(&subject, &scope, None, limit).await.unwrap(), expected);
        }
        let rest = drain(&subject, &scope, Some(Position(10)), 2).await.unwrap();
        assert_eq!(rest, expected.into_iter().filter(|e| e.position.0 > 10).collect::<Vec<_>>());
    }
    assert_sound(&subject).await;
}

/// A page ends at the head only when nothing more is committed, also when it is full.
pub async fn a_full_page_hides_nothing(factory: &impl Factory) {
    let (subject, mut make) = (factory.make().await, Maker::new());
    commit(&subject, &make.create("t", "first")).await;
    assert_eq!(drain(&subject, &Scope::All, None, 1).await.unwrap().len(), 1);
    for number in 2..12 {
        commit(&subject, &make.create("t", &format!("key-{number}"))).await;
        // The page is full of what was there before.
        let found = drain(&subject, &Scope::All, None, number - 1).await.unwrap();
        assert_eq!(found.len(), number);
    }
}

/// Who waits for the feed to grow is woken; who is behind does not wait.
pub async fn the_feed_wakes_who_waits(factory: &impl Factory) {
    let (subject, mut make) = (factory.make().await, Maker::new());
    let placed = make.create("t", "create");
    let limit = Duration::from_secs(20);
    let waits = tokio::time::timeout(limit, subject.store().events_after(Position(0)));
    let (woken, _) = tokio::join!(waits, async {
        tokio::task::yield_now().await;
        commit(&subject, &placed).await
    });
    woken.expect("the waiter wakes");
    let behind = tokio::time::timeout(limit, subject.store().events_after(Position(0))).await;
    behind.expect("who is behind does not wait");
}

/// Forgetting takes what is past its time, oldest first and without leaving a hole; a cursor
/// before what is left is told so.
pub async fn forgetting_keeps_what_is_not_due(factory: &impl Factory) {
    let (subject, mut make) = (factory.make().await, Maker::new());
    let mut last = make.create("t", "create");
    commit(&subject, &last).await;
    let verb_key = |index: usize| format!("verb-{index}");
    // The fourth change is stamped by a clock that is ahead: what follows it must stay too.
    for (index, step) in [100, 100, 5_000, -4_900, 100].into_iter().enumerate() {
        make.advance(step);
        last = make.act(order_of(&last), note("note"), Some(&verb_key(index)));
        commit(&subject, &last).await;
    }
    let after = |seconds| START.saturating_add(SignedDuration::from_secs(seconds)).unwrap();
    let cutoff = Cutoff {
        events_before: after(600),
        now: after(10_000),
        unpublished: false,
        receipts_before: after(3_750),
    };
    let cx = builders::context("t");
    let (mut events, mut receipts) = (0, 0);
    loop {
        let forgotten = subject.store().forget(&cx, cutoff, 2).await.unwrap();
        events += forgotten.events;
        receipts += forgotten.receipts;
        if (forgotten.events, forgotten.receipts) == (0, 0) {
            break;
        }
    }
    assert_eq!(events, 3);
    assert!((1..=2).contains(&receipts), "the note's, and perhaps the create's: {receipts}");
    for old in [0, 2] {
        let told = drain(&subject, &Scope::All, Some(Position(old)), 10).await;
        let oldest = Position(4);
        assert!(
            matches!(told, Err(ReadError::CursorTooOld { oldest: o }) if o == oldest),
            "{told:?}"
        );
    }
    let left = drain(&subject, &Scope::All, Some(Position(3)), 10).await.unwrap();
    assert_eq!(left.iter().map(|event| event.position.0).collect::<Vec<_>>(), [4, 5, 6]);
    let kept = last.receipt.clone().expect("a receipt");
    let found = subject.store().receipt(&cx, &kept.key, after(3_750)).await.unwrap();
    assert_eq!(found, Some(kept));
    let again = make.act(order_of(&last), note("more"), None);
    commit(&subject, &again).await;
    let left = drain(&subject, &Scope::All, Some(Position(6)), 10).await.unwrap();
    assert_eq!(left.iter().map(|event| event.position.0).collect::<Vec<_>>(), [7]);
    make.advance(4_000);
    let expired = make.create("t", "create");
    let expired = commit(&subject, &expired).await;
    assert_eq!(expired, orders::ports::Answer::KeyExpired(order_of(&last).id));
    assert_sound(&subject).await;
}

/// A clock that was far ahead for a while holds nothing back: what it stamped goes with what came
/// after it, and stays while nothing did.
pub async fn times_to_come_do_not_keep_the_feed_for_ever(factory: &impl Factory) {
    const YEARS: i64 = 10 * 365 * 24 * 3_600;
    let (subject, mut make) = (factory.make().await, Maker::new());
    let first = make.create("t", "create");
    commit(&subject, &first).await;
    make.advance(YEARS);
    let mut last = first;
    for _ in 0..5 {
        last = make.act(order_of(&last), note("from the future"), None);
        commit(&subject, &last).await;
    }
    make.advance(100 - YEARS);
    let cx = builders::context("t");
    let after = |seconds| START.saturating_add(SignedDuration::from_secs(seconds)).unwrap();
    let cutoff = |seconds| Cutoff {
        events_before: after(seconds),
        now: after(10_000),
        unpublished: false,
        receipts_before: START,
    };
    let forget = async |seconds, limit| {
        subject.store().forget(&cx, cutoff(seconds), limit).await.unwrap().events
    };
    assert_eq!((forget(600, 10).await, forget(600, 10).await), (1, 0), "the first, and no more");

    last = make.act(order_of(&last), note("back in time"), None);
    commit(&subject, &last).await;
    assert_eq!(forget(50, 10).await, 0, "what came after is not old yet");
    let gone = [forget(600, 2).await, forget(600, 2).await, forget(600, 2).await];
    assert_eq!((gone.iter().sum::<usize>(), forget(600, 2).await), (6, 0), "{gone:?}");
    assert_sound(&subject).await;
}

/// How far the feed was published is kept and never goes back; from the moment that somebody publishes
/// it, nothing of it is forgotten before, whoever forgets, unless that is asked for.
pub async fn what_is_not_published_is_not_forgotten(factory: &impl Factory) {
    let (subject, mut make) = (factory.make().await, Maker::new());
    let store = subject.store();
    let mut last = make.create("t", "create");
    commit(&subject, &last).await;
    for _ in 0..4 {
        last = make.act(order_of(&last), note("note"), None);
        commit(&subject, &last).await;
    }
    let cx = builders::context("t");
    let forget = async |unpublished, limit| {
        let long_after = START.saturating_add(SignedDuration::from_hours(1)).unwrap();
        let cutoff = Cutoff {
            events_before: long_after,
            now: long_after,
            unpublished,
            receipts_before: START,
        };
        store.forget(&cx, cutoff, limit).await.unwrap().events
    };
    assert_eq!(store.published(&cx).await.unwrap(), None);
    assert_eq!(forget(false, 1).await, 1, "nobody publishes it");
    store.mark_published(&cx, Position(0)).await.unwrap();
    assert_eq!(store.published(&cx).await.unwrap(), Some(Position(0)));
    assert_eq!(forget(false, 10).await, 0, "somebody is about to publish it");
    store.mark_published(&cx, Position(3)).await.unwrap();
    for earlier in [2, 0] {
        store.mark_published(&cx, Position(earlier)).await.unwrap();
    }
    assert_eq!(store.published(&cx).await.unwrap(), Some(Position(3)));
    assert_eq!((forget(false, 10).await, forget(false, 10).await), (2, 0));
    let left = drain(&subject, &Scope::All, Some(Position(3)), 10).await.unwrap();
    assert_eq!(left.iter().map(|event| event.position.0).collect::<Vec<_>>(), [4, 5]);
    assert_eq!(forget(true, 10).await, 2, "that is asked for");
    assert_sound(&subject).await;
}
