//! Facts about when a change is accepted.

use std::time::Duration;

use orders::ports::{CommitError, NotWritten, OrderRef, Store as _};

use super::{
    Factory, Subject as _, assert_sound,
    maker::{Maker, order_of},
};
use crate::builders;

/// A change whose deadline has passed is surely not written.
pub async fn a_change_past_its_deadline_is_not_written(factory: &impl Factory) {
    let (subject, mut make) = (factory.make().await, Maker::new());
    let placed = make.create("t", "create");
    let past = tokio::time::Instant::now().into_std();
    let cx = builders::context("t").with_deadline(past);
    tokio::time::sleep(Duration::from_millis(1)).await;
    let answer = subject.store().commit(&cx, placed.clone()).await;
    let expired = matches!(answer, Err(CommitError::NotWritten(NotWritten::Expired)));
    assert!(expired, "{answer:?}");
    let cx = builders::context("t");
    let order = OrderRef::Id(order_of(&placed).id);
    assert_eq!(subject.store().order(&cx, &placed.tenant, order).await.unwrap(), None);
    assert_sound(&subject).await;
}
