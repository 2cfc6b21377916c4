//! The shares of this process in the limits on principals, leased from the store beside the requests.
//!
//! Each process has what it leased last, for as long as the store is away: the others take it once the lease
//! is over, so until it is back more may pass than the limit.

use std::{sync::Arc, time::Duration};

use mainstay::{
    lifecycle::{Lifecycle, Phase},
    metrics::{Gauge, Metrics},
};
use mainstay_context::{Context, Principal};
use mainstay_resilience::rate_limit::{Limiter, Share};
use orders::{Orders, ports::Ports as _};
use orders_api::limits::Limits;
use tokio::time::{Instant, sleep, timeout};

use crate::wired::Wired;

/// How long a lease lasts: what others wait for when a process dies.
const LASTS: Duration = Duration::from_secs(5);
/// How often it is renewed; so soon do shares follow what is asked.
const RENEW: Duration = Duration::from_secs(1);
/// How often one that has nothing asks again, which others only give back when they renew.
const AGAIN: Duration = Duration::from_millis(250);
/// How long it does that before it serves nevertheless, whether the store answers or not.
const PATIENCE: Duration = Duration::from_secs(2);

/// Leases shares for as long as the service runs; returns once it has some, or after a moment.
pub(crate) async fn keep(
    lifecycle: &Lifecycle,
    orders: &Arc<Orders<Wired>>,
    limits: &Limits,
    metrics: &Metrics,
) {
    let Some(mut shares) = Shares::new(orders, limits, metrics) else { return };
    if first(async || shares.lease().await).await == Leased::Alone {
        // The whole is this process's.
        return;
    }
    let watched = lifecycle.clone();
    let work = async move {
        loop {
            sleep(RENEW).await;
            shares.lease().await;
        }
    };
    lifecycle.tasks().spawn("limit shares", async move {
        tokio::select! {
            () = work => {}
            () = watched.reached(Phase::Flushing) => {}
        }
    });
}

/// Asks until there is a share of each limit, there is nobody to share with, or no more patience.
async fn first(mut lease: impl AsyncFnMut() -> Leased) -> Leased {
    let asked = timeout(PATIENCE, async {
        loop {
            let leased = lease().await;
            if leased != Leased::NotAll {
                return leased;
            }
            sleep(AGAIN).await;
        }
    });
    asked.await.unwrap_or(Leased::NotAll)
}

/// What came of asking for shares.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Leased {
    /// There is a share of each limit.
    All,
    /// Of some there is none, or the store did not answer.
    NotAll,
    /// There is nobody to share with.
    Alone,
}

struct Shares {
    orders: Arc<Orders<Wired>>,
    /// What the others know this process by.
    process: String,
    parts: Vec<Part>,
    gauge: Gauge,
    is_away: bool,
}

/// One limit.
struct Part {
    name: &'static str,
    limiter: Limiter<Principal>,
    /// What was asked of late, the more the later.
    demand: u64,
}

impl Shares {
    fn new(orders: &Arc<Orders<Wired>>, limits: &Limits, metrics: &Metrics) -> Option<Self> {
        let shared = limits.shared();
        if shared.is_empty() {
            return None;
        }
        // Without randomness two processes might be taken for one, which is no reason not to serve.
        let process = getrandom::u64().unwrap_or_else(|_| std::process::id().into());
        let part = |(name, limiter)| Part { name, limiter, demand: 0 };
        let help = "The part of a limit that this process may let pass, leased from the store";
        Some(Self {
            orders: Arc::clone(orders),
            process: format!("{process:016x}"),
            parts: shared.into_iter().map(part).collect(),
            gauge: metrics.gauge("rate_limit_share", help, &["limit"]),
            is_away: false,
        })
    }

    async fn lease(&mut self) -> Leased {
        let Ok(request) = "limit-shares".parse() else { return Leased::NotAll };
        for part in &mut self.parts {
            part.demand = part.demand.midpoint(part.limiter.take_asked());
        }
        let asked: Vec<_> = self.parts.iter().map(|part| (part.name, part.demand)).collect();
        let (store, cx) = (self.orders.ports().store(), Context::new(request));
        let leased = timeout(LASTS, store.lease_shares(&cx, &self.process, &asked, LASTS)).await;
        let leased = match leased {
            Ok(Ok(Some(leased))) => leased,
            Ok(Ok(None)) => return Leased::Alone,
            Ok(Err(_)) | Err(_) => {
                self.away();
                return Leased::NotAll;
            }
        };
        self.is_away = false;
        let now = Instant::now().into_std();
        let mut all = Leased::All;
        for part in &self.parts {
            let share = leased.iter().find(|(name, _)| name == part.name).map(|(_, share)| *share);
            let share = share.unwrap_or(0);
            part.limiter.set_share(Share::millionths(share), now);
            self.gauge.set(f64::from(share) / 1e6, &[part.name]);
            if share == 0 {
                all = Leased::NotAll;
            }
        }
        all
    }

    /// Tells once that the last shares are kept.
    fn away(&mut self) {
        if !self.is_away {
            tracing::warn!("shares of limits cannot be leased; this process keeps those it has");
        }
        self.is_away = true;
    }
}

#[cfg(test)]
mod tests {
    use std::future::pending;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_start_waits_for_shares_no_longer_than_its_patience() {
        let start = Instant::now();
        assert_eq!(first(async || pending().await).await, Leased::NotAll);
        assert_eq!(start.elapsed(), PATIENCE, "of a store that is silent");
        assert_eq!(first(async || Leased::NotAll).await, Leased::NotAll);
        assert_eq!(start.elapsed(), 2 * PATIENCE, "of others that give nothing");
        let mut answers = [Leased::NotAll, Leased::All].into_iter();
        assert_eq!(first(async || answers.next().unwrap()).await, Leased::All);
        assert_eq!(start.elapsed(), 2 * PATIENCE + AGAIN);
    }
}
