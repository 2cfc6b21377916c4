//! The relay: carries the feed from the store to the world.

use std::collections::BTreeSet;

use mainstay_context::Context;

use crate::{
    Error,
    domain::{OrderId, Position},
    ports::{FeedPage, Page, PublishError, Publisher, ReadError, Scope, Store},
};

/// What one round of the relay did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Relayed {
    /// How many events were published.
    pub events: usize,
    /// How many bytes their data has.
    pub bytes: usize,
    /// How many were gone before they could be: the store forgot them while nothing was published.
    pub missed: u64,
    /// Everything up to here is published.
    pub published: Position,
    /// The last position of the feed when this was read.
    pub head: Position,
}

/// Why a round of the relay did not end well. The next one starts where the last good one ended.
#[derive(Debug, thiserror::Error)]
pub enum RelayError {
    /// The store could not be read, or did not take note of what was published.
    #[error("the feed could not be read")]
    Store(#[from] Error),
    /// The events may not have been published.
    #[error(transparent)]
    Publish(#[from] PublishError),
}

/// Publishes up to `limit` events from where the last round ended, then notes how far that is. The first
/// round of a store notes before all else that its feed is published.
///
/// A round that is interrupted, or that two processes run at once, publishes events again; it never
/// skips one, and never publishes one of an order for the first time after a later one.
///
/// # Errors
/// [`RelayError`]; the same events are then published again.
pub async fn relay(
    cx: &Context,
    store: &impl Store,
    publisher: &impl Publisher,
    limit: usize,
) -> Result<Relayed, RelayError> {
    let noted = store.published(cx).await.map_err(Error::from)?;
    if noted.is_none() {
        // From now on no event is forgotten before it was published, also while that fails.
        store.mark_published(cx, Position(0)).await.map_err(Error::from)?;
    }
    let start = noted.unwrap_or(Position(0));
    publisher.ready(cx).await?;
    let (after, page) = next_page(cx, store, start, limit).await.map_err(Error::from)?;
    if !page.events.is_empty() {
        let named: BTreeSet<OrderId> = page.events.iter().map(|event| event.order).collect();
        let named: Vec<OrderId> = named.into_iter().collect();
        let orders = store.orders(cx, &named).await.map_err(Error::from)?;
        publisher.publish(cx, &page.events, &orders).await?;
    }
    if page.next > start {
        store.mark_published(cx, page.next).await.map_err(Error::from)?;
    }
    let missed = after.0.saturating_sub(start.0);
    Ok(Relayed {
        events: page.events.len(),
        bytes: page.events.iter().map(|event| event.data.len()).fold(0, usize::saturating_add),
        missed,
        published: page.next,
        head: page.head,
    })
}

/// The events after a position, or else the oldest that there are; and where they begin.
async fn next_page(
    cx: &Context,
    store: &impl Store,
    after: Position,
    limit: usize,
) -> Result<(Position, FeedPage), ReadError> {
    let read = |after| store.events(cx, &Scope::All, Page { after: Some(after), limit });
    match read(after).await {
        Err(ReadError::CursorTooOld { oldest }) => {
            let after = Position(oldest.0.saturating_sub(1));
            Ok((after, read(after).await?))
        }
        page => Ok((after, page?)),
    }
}
