//! An answer that comes once the provider has said what became of an order's payments: `Prefer: wait=N`
//! over HTTP, `wait_seconds` over gRPC.
//!
//! The change is committed before, and as without it; the wait is no part of the receipt, so that a
//! replay may wait as well. It costs a seat and no reader of the store: what the feed tells wakes it.
//! It ends when nothing is open any more, after N seconds, shortly before the request's deadline, and
//! when the service drains. Whatever ends it, the order is answered as it is then. A wait never fails:
//! the change was made.

use std::{sync::Arc, time::Duration};

use mainstay::lifecycle::Phase;
use mainstay_context::Context;
use orders::{
    domain::{AttemptState, Order, OrderId, Position, Record},
    ports::{OrderRef, Page, Ports},
};
use tokio::{
    sync::Semaphore,
    time::{Instant, sleep, timeout},
};

use crate::{
    api::{Api, use_case},
    problem::Problem,
};

/// How many answers wait at a time; one more is given at once.
const AT_ONCE: usize = 256;
/// How long before the request's deadline a wait ends.
const MARGIN: Duration = Duration::from_millis(100);
/// The least time between a wake and the read that follows: one read tells of several commits.
const PACE: Duration = Duration::from_millis(10);
/// How often the time is doubled when a wake was for nothing, to 160 ms: other orders' events wake a
/// wait too.
const SLOWEST: u32 = 4;
/// The wait before a store is asked again that did not answer.
const REST: Duration = Duration::from_millis(250);
/// Events read at a time.
const PAGE: usize = 100;
/// Past every feed: nothing is read there but where its end is.
const END: Position = Position(i64::MAX.unsigned_abs());

/// The seats of those who wait.
#[derive(Clone, Debug)]
pub(crate) struct Seats(Arc<Semaphore>);

impl Default for Seats {
    fn default() -> Self {
        Self(Arc::new(Semaphore::new(AT_ONCE)))
    }
}

/// The order after the wait, and whether it was waited for as was asked.
pub(crate) async fn wait<P: Ports>(
    api: &Api<P>,
    cx: &Context,
    record: Record,
    time: Duration,
) -> (Record, bool) {
    if !is_open(&record.order) || time.is_zero() {
        return (record, true);
    }
    let Ok(_seat) = api.seats.0.try_acquire() else { return (record, false) };
    let time = cx.deadline().map_or(time, |at| time.min(before(at.into())));
    let (id, mut phase) = (record.order.id, api.config.phase.clone());
    let waited = tokio::select! {
        biased;
        // A sender that is gone means that the process ends.
        _ = phase.wait_for(|phase| *phase >= Phase::Draining) => false,
        settled = timeout(time, settled(api, cx, id)) => match settled {
            Ok(settled) => return (settled, true),
            Err(_elapsed) => true,
        },
    };
    let now = timeout(MARGIN / 2, read(api, cx, id)).await;
    (now.ok().and_then(Result::ok).unwrap_or(record), waited)
}

/// The time until shortly before a deadline.
fn before(deadline: Instant) -> Duration {
    deadline.saturating_duration_since(Instant::now()).saturating_sub(MARGIN)
}

/// The order once nothing of its payments is open. A store that does not answer is asked again.
async fn settled<P: Ports>(api: &Api<P>, cx: &Context, id: OrderId) -> Record {
    let (mut seen, mut idle) = (END, 0);
    loop {
        // The end of the feed first, then the order: what comes in between is after that end.
        let Ok((next, is_its, is_full)) = feed(api, cx, seen, id).await else {
            sleep(REST).await;
            continue;
        };
        if is_its || seen == END {
            match read(api, cx, id).await {
                Ok(record) if !is_open(&record.order) => return record,
                Ok(_) => (seen, idle) = (next, 0),
                Err(_) => {
                    sleep(REST).await;
                    continue;
                }
            }
        } else {
            (seen, idle) = (next, SLOWEST.min(idle + 1));
        }
        api.orders.feed_grows(seen).await;
        // Behind a busy feed there is no time to rest.
        if !is_full {
            sleep(PACE * 2_u32.pow(idle)).await;
        }
    }
}

/// How far the feed was read from a position on, whether it told of this order, and whether there may
/// be more at once.
async fn feed<P: Ports>(
    api: &Api<P>,
    cx: &Context,
    after: Position,
    id: OrderId,
) -> Result<(Position, bool, bool), Problem> {
    let page = Page { after: Some(after), limit: PAGE };
    let page = use_case("feed", api.orders.feed(cx, page)).await?;
    let is_its = page.events.iter().any(|event| event.order == id);
    Ok((page.next, is_its, page.events.len() == PAGE))
}

async fn read<P: Ports>(api: &Api<P>, cx: &Context, id: OrderId) -> Result<Record, Problem> {
    Ok(use_case("get", api.orders.get(cx, OrderRef::Id(id))).await?)
}

/// Whether an outcome is still to come by itself. What is parked waits for a person.
fn is_open(order: &Order) -> bool {
    let open = |state: &AttemptState| matches!(state, AttemptState::Open | AttemptState::Unknown);
    order.payments.iter().flat_map(|payment| &payment.attempts).any(|attempt| open(&attempt.state))
}
