//! The store port of a world: fate first, then the tables.

use std::time::Duration;

use jiff::Timestamp;
use mainstay_context::Context;
use orders::{
    domain::{Entry, Order, OrderId, Position, Record, TenantId, Version},
    ports::{
        Answer, AuditSource, Census, Change, Clock as _, CommitError, Cursor, Cutoff, Dossier,
        FeedPage, Filter, Forgotten, Leased, NotWritten, OrderRef, Page, ReadError, Receipt,
        ReceiptKey, Scope, Store, Task, TaskId,
    },
};
use tokio::time::{self, Instant};

use super::{
    World,
    bug::Bug,
    faults::{Fate, Fault},
};

impl World {
    fn ended(&self, cx: &Context) -> bool {
        cx.ended(self.0.clock.instant()).is_some()
    }

    /// Checks and writes; with a planted bug other work may come in between.
    async fn apply(&self, change: Change, gap: Duration) -> Answer {
        if self.kept().engine.looks_ahead(&change) {
            wait(gap).await;
        }
        let answer = self.kept().engine.commit(change);
        self.0.grown.notify_waiters();
        answer
    }

    async fn read(&self, cx: &Context) -> Result<(), ReadError> {
        let Fate { before, fault, .. } = self.injector().read();
        wait(before).await;
        if self.ended(cx) {
            return Err(ReadError::Expired);
        }
        match fault {
            Some(Fault::ReadBusy) => Err(ReadError::Busy),
            Some(Fault::ReadUnavailable) => Err(ReadError::Unavailable(None)),
            _ => Ok(()),
        }
    }

    fn lost(&self) -> CommitError {
        if self.has(Bug::UnknownReportedAsNotWritten) {
            return CommitError::NotWritten(NotWritten::Busy);
        }
        CommitError::OutcomeUnknown
    }
}

async fn wait(time: Duration) {
    if time > Duration::ZERO {
        time::sleep(time).await;
    }
}

impl Store for World {
    async fn commit(&self, cx: &Context, change: Change) -> Result<Answer, CommitError> {
        let Fate { before, fault, after } = self.injector().commit();
        wait(before).await;
        if self.has(Bug::PublishedBeforeCommit) {
            self.tell_early(&change);
        }
        match fault {
            Some(Fault::Busy) => return Err(CommitError::NotWritten(NotWritten::Busy)),
            Some(Fault::Full) => return Err(CommitError::NotWritten(NotWritten::Full)),
            Some(Fault::Unavailable) => return Err(CommitError::Unavailable(None)),
            _ => {}
        }
        if self.ended(cx) {
            return Err(CommitError::NotWritten(NotWritten::Expired));
        }
        match fault {
            Some(Fault::RequestLost) => return Err(self.lost()),
            Some(Fault::Late(by)) => {
                self.kept().commit_later(change, Instant::now() + by);
                return Err(self.lost());
            }
            _ => {}
        }
        let answer = self.apply(change, after).await;
        wait(after).await;
        if fault == Some(Fault::ReplyLost) { Err(self.lost()) } else { Ok(answer) }
    }

    fn expected_wait(&self, _: &TenantId) -> Duration {
        self.injector().expected
    }

    async fn order(
        &self,
        cx: &Context,
        tenant: &TenantId,
        order: OrderRef,
    ) -> Result<Option<Record>, ReadError> {
        self.read(cx).await?;
        Ok(self.kept().engine.order(tenant, order))
    }

    async fn orders(&self, cx: &Context, ids: &[OrderId]) -> Result<Vec<Order>, ReadError> {
        self.read(cx).await?;
        Ok(self.kept().engine.orders(ids))
    }

    async fn receipt(
        &self,
        cx: &Context,
        key: &ReceiptKey,
        at: Timestamp,
    ) -> Result<Option<Receipt>, ReadError> {
        self.read(cx).await?;
        Ok(self.kept().engine.receipt(key, at))
    }

    async fn list(
        &self,
        cx: &Context,
        tenant: &TenantId,
        filter: &Filter,
        page: Page<Cursor>,
    ) -> Result<Vec<Order>, ReadError> {
        self.read(cx).await?;
        Ok(self.kept().engine.list(tenant, filter, page))
    }

    async fn history(
        &self,
        cx: &Context,
        tenant: &TenantId,
        order: OrderId,
        page: Page<Version>,
    ) -> Result<Vec<Entry>, ReadError> {
        self.read(cx).await?;
        Ok(self.kept().engine.history(tenant, order, page))
    }

    async fn events(
        &self,
        cx: &Context,
        scope: &Scope,
        page: Page<Position>,
    ) -> Result<FeedPage, ReadError> {
        self.read(cx).await?;
        self.kept().engine.events(scope, page)
    }

    async fn lease(
        &self,
        cx: &Context,
        now: Timestamp,
        until: Timestamp,
        limit: usize,
    ) -> Result<Vec<Leased>, CommitError> {
        let Fate { before, fault, after } = self.injector().commit();
        wait(before).await;
        match fault {
            Some(Fault::Busy) => return Err(CommitError::NotWritten(NotWritten::Busy)),
            Some(Fault::Full) => return Err(CommitError::NotWritten(NotWritten::Full)),
            Some(Fault::Unavailable | Fault::RequestLost) => {
                return Err(CommitError::Unavailable(None));
            }
            _ => {}
        }
        if self.ended(cx) {
            return Err(CommitError::NotWritten(NotWritten::Expired));
        }
        let leased = self.kept().engine.lease(now, until, limit);
        wait(after).await;
        if fault == Some(Fault::ReplyLost) { Err(self.lost()) } else { Ok(leased) }
    }

    async fn task(&self, cx: &Context, id: TaskId) -> Result<Option<Task>, ReadError> {
        self.read(cx).await?;
        Ok(self.kept().engine.task(id))
    }

    async fn events_after(&self, position: Position) {
        loop {
            // Listen first, then look: an event in between still wakes this listener.
            let mut grown = std::pin::pin!(self.0.grown.notified());
            grown.as_mut().enable();
            if self.kept().engine.head() > position {
                return;
            }
            grown.await;
        }
    }

    async fn published(&self, cx: &Context) -> Result<Option<Position>, ReadError> {
        self.read(cx).await?;
        Ok(self.kept().engine.published())
    }

    async fn mark_published(&self, cx: &Context, to: Position) -> Result<(), CommitError> {
        let Fate { before, fault, .. } = self.injector().commit();
        wait(before).await;
        match fault {
            Some(Fault::Busy) => Err(CommitError::NotWritten(NotWritten::Busy)),
            Some(Fault::Full) => Err(CommitError::NotWritten(NotWritten::Full)),
            Some(Fault::Unavailable | Fault::RequestLost) => Err(CommitError::Unavailable(None)),
            _ if self.ended(cx) => Err(CommitError::NotWritten(NotWritten::Expired)),
            _ => {
                let (before, after) = {
                    let mut kept = self.kept();
                    let before = kept.engine.published();
                    kept.engine.mark_published(to);
                    (before, kept.engine.published())
                };
                self.check_noted(before, after);
                if fault == Some(Fault::ReplyLost) { Err(self.lost()) } else { Ok(()) }
            }
        }
    }

    async fn forget(
        &self,
        cx: &Context,
        cutoff: Cutoff,
        limit: usize,
    ) -> Result<Forgotten, CommitError> {
        let Fate { before, fault, .. } = self.injector().commit();
        wait(before).await;
        if self.ended(cx) {
            return Err(CommitError::NotWritten(NotWritten::Expired));
        }
        match fault {
            Some(Fault::Busy) => Err(CommitError::NotWritten(NotWritten::Busy)),
            Some(Fault::Full) => Err(CommitError::NotWritten(NotWritten::Full)),
            Some(Fault::Unavailable) => Err(CommitError::Unavailable(None)),
            _ => {
                let forgotten = {
                    let mut kept = self.kept();
                    // It takes its turn behind every commit that was sent before it: a change in
                    // flight must not find the receipt gone that speaks against it.
                    kept.commit_all();
                    kept.engine.forget(cutoff, limit)
                };
                self.check_forgotten();
                Ok(forgotten)
            }
        }
    }
}

impl AuditSource for World {
    async fn census(&self) -> Result<Census, ReadError> {
        Ok(self.kept().engine.census())
    }

    async fn dossiers(&self, page: Page<OrderId>) -> Result<Vec<Dossier>, ReadError> {
        Ok(self.kept().engine.dossiers(page))
    }
}
