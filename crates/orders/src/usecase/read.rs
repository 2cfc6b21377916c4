//! Reading orders, their history and the feed.

use mainstay_context::Context;

use super::Orders;
use crate::{
    Error,
    domain::{Entry, Order, Position, Record, Version},
    ports::{Clock as _, Cursor, FeedPage, Filter, OrderRef, Page, Ports, Scope, Store as _},
};

impl<P: Ports> Orders<P> {
    /// One order.
    ///
    /// # Errors
    /// [`Error::NotFound`], also when it is another tenant's; those of the store.
    pub async fn get(&self, cx: &Context, order: OrderRef) -> Result<Record, Error> {
        let caller = Self::caller(cx)?;
        self.load(cx, &caller.tenant, order).await
    }

    /// Orders that pass the filter, newest first.
    ///
    /// # Errors
    /// Those of the store.
    pub async fn list(
        &self,
        cx: &Context,
        filter: &Filter,
        page: Page<Cursor>,
    ) -> Result<Vec<Order>, Error> {
        let caller = self.reader(cx)?;
        Ok(self.ports.store().list(cx, &caller.tenant, filter, page).await?)
    }

    /// What was done to an order, oldest first.
    ///
    /// # Errors
    /// [`Error::NotFound`]; those of the store.
    pub async fn history(
        &self,
        cx: &Context,
        order: OrderRef,
        page: Page<Version>,
    ) -> Result<Vec<Entry>, Error> {
        let caller = Self::caller(cx)?;
        let record = self.load(cx, &caller.tenant, order).await?;
        Ok(self.ports.store().history(cx, &caller.tenant, record.order.id, page).await?)
    }

    /// The tenant's events after a position, in feed order, none skipped.
    ///
    /// # Errors
    /// [`Error::CursorTooOld`] when events after the position are no longer kept; those of the
    /// store.
    pub async fn feed(&self, cx: &Context, page: Page<Position>) -> Result<FeedPage, Error> {
        let caller = self.reader(cx)?;
        Ok(self.ports.store().events(cx, &Scope::Tenant(caller.tenant), page).await?)
    }

    /// Waits until there may be events after a position. May wake for nothing.
    pub async fn feed_grows(&self, after: Position) {
        self.ports.store().events_after(after).await;
    }

    fn reader(&self, cx: &Context) -> Result<super::Caller, Error> {
        if cx.ended(self.ports.clock().instant()).is_some() {
            return Err(Error::DeadlineExceeded);
        }
        Self::caller(cx)
    }
}
