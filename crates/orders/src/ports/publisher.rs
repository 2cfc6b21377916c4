//! What the core needs to tell the world what happened.

use std::future::Future;

use mainstay_context::Context;

use super::{Cause, Event};
use crate::domain::Order;

/// Publishes the feed outside the store, each event at least once.
///
/// Of one order, no event is first seen after a later one. An event that is published again is the
/// same message, recognisable by its id and its version.
pub trait Publisher: Send + Sync + 'static {
    /// Gets ready to publish what is read from the store after this: nothing that was read before by
    /// somebody else who publishes can take the place of it.
    ///
    /// # Errors
    /// [`PublishError`]: nothing is published yet.
    fn ready(&self, cx: &Context) -> impl Future<Output = Result<(), PublishError>> + Send;

    /// Publishes events in this order, and the orders they tell of as they are now; returns once all
    /// of it is surely kept.
    ///
    /// # Errors
    /// [`PublishError`]: some of it may have been kept, and all of it is to be published again.
    fn publish(
        &self,
        cx: &Context,
        events: &[Event],
        orders: &[Order],
    ) -> impl Future<Output = Result<(), PublishError>> + Send;
}

/// Why events were not, or not surely, published. Publish them again.
#[derive(Debug, thiserror::Error)]
#[error("the events could not be published")]
pub struct PublishError(#[source] pub Cause);
