//! Failpoints: the process dies on purpose, before or after a call of a port.
//!
//! Only with the cargo feature `failpoints`, which a release build refuses. `ORDERLY_FAILPOINT`
//! names a point and a hit, as `gateway.send.after:2` does: the second time it is passed the process
//! aborts and flushes nothing, as by a kill. Every point that is passed is logged, so that a run
//! without a name tells which there are. An empty lease is not passed `after`: nothing was done.
//!
//! Deliberately absent: faults that the process survives, which are the simulator's to make, and
//! reads that only answer a client.

use std::{
    ops::Deref,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use jiff::{SignedDuration, Timestamp};
use mainstay_context::Context;
use orders::{
    domain::{AttemptId, AttemptState, Entry, Order, OrderId, Position, Record, TenantId, Version},
    ports::{
        Answer, Change, CommitError, Cursor, Cutoff, FeedPage, Filter, Forgotten, Found, Gateway,
        Instruction, Lease, Leased, OrderRef, Page, ReadError, Receipt, ReceiptKey, Scope, Sent,
        Store, Task, TaskId, Then, Write,
    },
};

use crate::console::Failure;

#[cfg(not(debug_assertions))]
compile_error!("failpoints kill the service on purpose: they are not for release builds");

/// The variable that names where to die.
const VARIABLE: &str = "ORDERLY_FAILPOINT";

/// Every call that has a point before and one after it.
const CALLS: &[&str] = &[
    "store.commit.verb",
    "store.commit.hear",
    "store.commit.sending",
    "store.commit.settle",
    "store.commit.doubt",
    "store.commit.park",
    "store.commit.put-off",
    "store.commit.finish",
    "store.order",
    "store.receipt",
    "store.lease",
    "store.task",
    "gateway.send",
    "gateway.look_up",
];

/// Where to die, and how often it was passed.
#[derive(Debug, Default)]
pub(crate) struct Failpoint {
    /// The point and the hit; nowhere when it is `None`.
    at: Option<(String, u32)>,
    hits: AtomicU32,
}

impl Failpoint {
    /// The failpoint that the environment names, if it names one.
    ///
    /// # Errors
    /// Fails when there is no such point.
    pub(crate) fn from_env() -> Result<Arc<Self>, Failure> {
        tracing::warn!("built with failpoints: this is no service to rely on");
        let Some(name) = std::env::var_os(VARIABLE) else { return Ok(Arc::default()) };
        Ok(Arc::new(Self::named(&name.to_string_lossy())?))
    }

    fn named(name: &str) -> Result<Self, Failure> {
        let (point, hit) = name.split_once(':').unwrap_or((name, "1"));
        let call = point.strip_suffix(".before").or_else(|| point.strip_suffix(".after"));
        let known = call.is_some_and(|call| CALLS.contains(&call));
        match hit.parse() {
            Ok(hit) if known && hit > 0 => {
                Ok(Self { at: Some((point.to_owned(), hit)), hits: AtomicU32::new(0) })
            }
            _ => Err(format!(
                "{VARIABLE} is {name:?} and must be CALL.before:N or CALL.after:N with N from 1; \
                 the calls are {}",
                CALLS.join(", ")
            )
            .into()),
        }
    }

    fn pass(&self, call: &str, side: &str) {
        let point = format!("{call}.{side}");
        tracing::info!(point, "failpoint");
        let Some((at, hit)) = &self.at else { return };
        if *at == point && self.hits.fetch_add(1, Ordering::Relaxed) + 1 == *hit {
            std::process::abort();
        }
    }
}

/// A port whose calls pass failpoints.
#[derive(Debug)]
pub(crate) struct Failing<T> {
    port: T,
    failpoint: Arc<Failpoint>,
}

impl<T> Failing<T> {
    pub(crate) const fn new(port: T, failpoint: Arc<Failpoint>) -> Self {
        Self { port, failpoint }
    }

    async fn around<R>(&self, call: &str, work: impl Future<Output = R>) -> R {
        self.failpoint.pass(call, "before");
        let result = work.await;
        self.failpoint.pass(call, "after");
        result
    }
}

impl<T> Deref for Failing<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.port
    }
}

/// What a change is for, by what becomes of its task.
fn purpose(change: &Change) -> &'static str {
    let Some(lease) = &change.lease else {
        let told = change.write.as_ref().is_some_and(|write| &*write.entry.actor == "gateway");
        return if told { "store.commit.hear" } else { "store.commit.verb" };
    };
    match (lease.then, &change.write) {
        (Then::Keep { due: None, .. }, _) => "store.commit.sending",
        (Then::Keep { .. }, Some(write)) if parks(lease, write) => "store.commit.park",
        (Then::Keep { .. }, Some(_)) => "store.commit.doubt",
        (Then::Keep { .. }, None) => "store.commit.put-off",
        (Then::Finish, Some(_)) => "store.commit.settle",
        (Then::Finish, None) => "store.commit.finish",
    }
}

fn parks(lease: &Lease, write: &Write) -> bool {
    let attempt = write.order.attempt(AttemptId(lease.task.0));
    attempt.is_ok_and(|attempt| attempt.state == AttemptState::Parked)
}

impl<T: Store> Store for Failing<T> {
    async fn commit(&self, cx: &Context, change: Change) -> Result<Answer, CommitError> {
        self.around(purpose(&change), self.port.commit(cx, change)).await
    }

    fn expected_wait(&self, tenant: &TenantId) -> Duration {
        self.port.expected_wait(tenant)
    }

    async fn order(
        &self,
        cx: &Context,
        tenant: &TenantId,
        order: OrderRef,
    ) -> Result<Option<Record>, ReadError> {
        self.around("store.order", self.port.order(cx, tenant, order)).await
    }

    async fn orders(&self, cx: &Context, ids: &[OrderId]) -> Result<Vec<Order>, ReadError> {
        self.port.orders(cx, ids).await
    }

    async fn receipt(
        &self,
        cx: &Context,
        key: &ReceiptKey,
        at: Timestamp,
    ) -> Result<Option<Receipt>, ReadError> {
        self.around("store.receipt", self.port.receipt(cx, key, at)).await
    }

    async fn list(
        &self,
        cx: &Context,
        tenant: &TenantId,
        filter: &Filter,
        page: Page<Cursor>,
    ) -> Result<Vec<Order>, ReadError> {
        self.port.list(cx, tenant, filter, page).await
    }

    async fn history(
        &self,
        cx: &Context,
        tenant: &TenantId,
        order: OrderId,
        page: Page<Version>,
    ) -> Result<Vec<Entry>, ReadError> {
        self.port.history(cx, tenant, order, page).await
    }

    async fn events(
        &self,
        cx: &Context,
        scope: &Scope,
        page: Page<Position>,
    ) -> Result<FeedPage, ReadError> {
        self.port.events(cx, scope, page).await
    }

    async fn lease(
        &self,
        cx: &Context,
        now: Timestamp,
        until: Timestamp,
        limit: usize,
    ) -> Result<Vec<Leased>, CommitError> {
        self.failpoint.pass("store.lease", "before");
        let leased = self.port.lease(cx, now, until, limit).await;
        if leased.as_ref().is_ok_and(|leased| !leased.is_empty()) {
            self.failpoint.pass("store.lease", "after");
        }
        leased
    }

    async fn task(&self, cx: &Context, id: TaskId) -> Result<Option<Task>, ReadError> {
        self.around("store.task", self.port.task(cx, id)).await
    }

    async fn events_after(&self, position: Position) {
        self.port.events_after(position).await;
    }

    async fn published(&self, cx: &Context) -> Result<Option<Position>, ReadError> {
        self.port.published(cx).await
    }

    async fn mark_published(&self, cx: &Context, to: Position) -> Result<(), CommitError> {
        self.port.mark_published(cx, to).await
    }

    async fn forget(
        &self,
        cx: &Context,
        cutoff: Cutoff,
        limit: usize,
    ) -> Result<Forgotten, CommitError> {
        self.port.forget(cx, cutoff, limit).await
    }
}

impl<T: Gateway> Gateway for Failing<T> {
    async fn send(&self, cx: &Context, order: &Instruction) -> Sent {
        self.around("gateway.send", self.port.send(cx, order)).await
    }

    async fn look_up(&self, cx: &Context, order: &Instruction) -> Found {
        self.around("gateway.look_up", self.port.look_up(cx, order)).await
    }

    fn key_window(&self) -> SignedDuration {
        self.port.key_window()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_point_that_is_none_is_refused_with_those_that_are() {
        for wrong in ["gateway.send", "gateway.send.after:0", "gateway.sent.after:1", "", ":1"] {
            let refused = Failpoint::named(wrong).unwrap_err().to_string();
            assert!(refused.contains("gateway.look_up"), "{wrong}: {refused}");
        }
        let named = Failpoint::named("gateway.send.after:2").unwrap();
        assert_eq!(named.at, Some(("gateway.send.after".to_owned(), 2)));
    }
}
