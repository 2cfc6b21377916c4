//! Facts about tasks: planned with a change, handed out once, fenced by their lease.

use jiff::{SignedDuration, Timestamp};
use orders::{
    domain::Order,
    ports::{
        Answer, Change, Expects, Lease, Leased, Progress, Store as _, Task, TaskId, TaskKind, Then,
    },
};

use super::{
    Factory, Subject, assert_sound,
    maker::{CONFIRM, Maker, START, note, order_of},
    writes::commit,
};
use crate::builders;

fn after(seconds: i64) -> Timestamp {
    START.saturating_add(SignedDuration::from_secs(seconds)).expect("is in range")
}

fn task(order: &Order, number: u128, due: i64) -> Task {
    Task {
        id: TaskId(uuid::Uuid::from_u128(number)),
        tenant: order.tenant.clone(),
        order: order.id,
        kind: TaskKind::Attempt,
        due: after(due),
        progress: Progress::default(),
    }
}

async fn lease(subject: &impl Subject, now: i64, until: i64, limit: usize) -> Vec<Leased> {
    let cx = builders::context("t");
    subject.store().lease(&cx, after(now), after(until), limit).await.unwrap()
}

/// A change of nothing but a task.
fn of_task(make: &mut Maker, leased: &Leased, then: Then) -> Change {
    let lease = Lease { task: leased.task.id, epoch: leased.epoch, then };
    Change {
        id: make.stamp().change,
        tenant: leased.task.tenant.clone(),
        at: START,
        expects: Expects::Task,
        write: None,
        receipt: None,
        lease: Some(lease),
        plans: Vec::new(),
    }
}

/// A task is planned with its change or not at all, and planned again it starts over.
pub async fn a_task_comes_with_its_change(factory: &impl Factory) {
    let (subject, mut make) = (factory.make().await, Maker::new());
    let mut placed = make.create("t", "create");
    let order = order_of(&placed).clone();
    placed.plans = vec![task(&order, 1, 0), task(&order, 2, 50)];
    assert_eq!(commit(&subject, &placed).await, Answer::Committed);
    let cx = builders::context("t");
    let found = subject.store().task(&cx, TaskId(uuid::Uuid::from_u128(2))).await.unwrap();
    assert_eq!(found, Some(task(&order, 2, 50)));

    let mut stale = make.act(&order, CONFIRM, None);
    let confirmed = make.act(&order, CONFIRM, None);
    commit(&subject, &confirmed).await;
    stale.plans = vec![task(&order, 3, 0)];
    assert!(matches!(commit(&subject, &stale).await, Answer::Conflict { .. }));
    let slow = lease(&subject, 10, 40, 9).await.remove(0);
    let numbers = |leased: Vec<Leased>| -> Vec<u128> {
        leased.iter().map(|l| l.task.id.0.as_u128()).collect()
    };
    assert_eq!(slow.task.id.0.as_u128(), 1);

    let mut again = make.act(order_of(&confirmed), note("note"), None);
    again.plans = vec![task(&order, 1, 20)];
    commit(&subject, &again).await;
    let finish = of_task(&mut make, &slow, Then::Finish);
    assert_eq!(commit(&subject, &finish).await, Answer::LeaseLost);
    assert_eq!(numbers(lease(&subject, 10, 40, 9).await), [] as [u128; 0]);
    assert_eq!(numbers(lease(&subject, 20, 40, 9).await), [1]);
}

/// A task that is due is handed out once until its lease is over, the longest due first.
pub async fn a_task_is_in_one_hand_at_a_time(factory: &impl Factory) {
    let (subject, mut make) = (factory.make().await, Maker::new());
    let mut placed = make.create("t", "create");
    let order = order_of(&placed).clone();
    placed.plans = vec![task(&order, 1, 30), task(&order, 2, 10), task(&order, 3, 20)];
    commit(&subject, &placed).await;
    let numbers = |leased: &[Leased]| {
        leased.iter().map(|l| (l.task.id.0.as_u128(), l.epoch)).collect::<Vec<_>>()
    };
    assert_eq!(numbers(&lease(&subject, 5, 60, 9).await), []);
    assert_eq!(numbers(&lease(&subject, 40, 60, 2).await), [(2, 1), (3, 1)]);
    assert_eq!(numbers(&lease(&subject, 40, 70, 9).await), [(1, 1)]);
    assert_eq!(numbers(&lease(&subject, 59, 99, 9).await), []);
    assert_eq!(numbers(&lease(&subject, 60, 99, 9).await), [(2, 2), (3, 2)], "nobody came back");
}

/// Whoever lost its lease writes nothing, neither of the task nor of the order.
pub async fn a_lost_lease_writes_nothing(factory: &impl Factory) {
    let (subject, mut make) = (factory.make().await, Maker::new());
    let mut placed = make.create("t", "create");
    let order = order_of(&placed).clone();
    placed.plans = vec![task(&order, 1, 0)];
    commit(&subject, &placed).await;
    let slow = lease(&subject, 0, 30, 1).await.remove(0);
    let quick = lease(&subject, 30, 60, 1).await.remove(0);

    let mut late = make.act(&order, CONFIRM, None);
    late.lease = Some(Lease { task: slow.task.id, epoch: slow.epoch, then: Then::Finish });
    assert_eq!(commit(&subject, &late).await, Answer::LeaseLost);
    let finish = of_task(&mut make, &slow, Then::Finish);
    assert_eq!(commit(&subject, &finish).await, Answer::LeaseLost);

    let progress = Progress { tries: 3, sent: Some(after(31)) };
    let keep = of_task(&mut make, &quick, Then::Keep { due: None, progress });
    assert_eq!(commit(&subject, &keep).await, Answer::Committed);
    assert_eq!(lease(&subject, 59, 90, 1).await, [], "it is still in its hands");
    let free = of_task(&mut make, &quick, Then::Keep { due: Some(after(40)), progress });
    commit(&subject, &free).await;
    let again = lease(&subject, 40, 90, 1).await.remove(0);
    assert_eq!((again.epoch, again.task.progress), (3, progress));

    let mut done = make.act(&order, CONFIRM, None);
    done.lease = Some(Lease { task: again.task.id, epoch: again.epoch, then: Then::Finish });
    assert_eq!(commit(&subject, &done).await, Answer::Committed);
    assert_eq!(commit(&subject, &done).await, Answer::Committed, "asked again");
    assert_eq!(lease(&subject, 9_999, 99_999, 9).await, []);
    assert_sound(&subject).await;
}
