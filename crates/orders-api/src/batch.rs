//! Many orders, each placed and answered by itself, as both protocols ask for it.

use std::sync::Arc;

use futures_util::{Stream, StreamExt as _, stream};
use mainstay_context::Context;
use orders::{codec, domain::IdempotencyKey, ports::Ports, usecase::Done};

use crate::{
    api::Api,
    items::Came,
    placing::Placing,
    problem::{Code, Problem},
    wire::batch::BatchItem,
};

/// Orders of one batch that are placed at a time.
const IN_FLIGHT: usize = 64;

/// One order of a batch, and the key of its batch.
#[derive(Debug)]
pub(crate) struct Asked {
    pub(crate) item: BatchItem,
    pub(crate) batch: Option<IdempotencyKey>,
}

/// What came of one order of a batch.
pub(crate) struct Answer {
    /// The context of this order alone.
    pub(crate) cx: Context,
    /// Its place in the batch, from 0.
    pub(crate) index: u64,
    pub(crate) outcome: Result<Done, Problem>,
}

/// Places each order by itself, and answers for each in the order of the batch, with a bounded number
/// in flight. What is read ahead is bounded by what the client reads of the answers. When the orders
/// end too early, those that were taken are answered, and then it is told why.
pub(crate) fn place<P: Ports>(
    api: Api<P>,
    cx: Context,
    orders: impl Stream<Item = Came<Asked>> + Send,
) -> impl Stream<Item = Result<Answer, Problem>> + Send {
    let run = Arc::new(Run { api, cx });
    let place = move |(index, order): (u64, Came<Asked>)| {
        let run = Arc::clone(&run);
        async move {
            match order {
                Ok(order) => Ok(run.answer(index, order).await),
                Err(end) => Err(end),
            }
        }
    };
    stream::iter(0..).zip(orders).map(place).buffered(IN_FLIGHT)
}

/// One batch under way.
struct Run<P> {
    api: Api<P>,
    cx: Context,
}

impl<P: Ports> Run<P> {
    async fn answer(self: Arc<Self>, index: u64, order: Result<Asked, Problem>) -> Answer {
        // What cannot be read costs as much: it was work too. The wait for a turn is no part of the time
        // to place.
        let waiting = self.api.step(&self.cx);
        let order = self.api.config.limits.wait(&waiting).await.and(order);
        let cx = self.api.step(&self.cx);
        let outcome = match order {
            Ok(order) => self.api.in_time(self.place(&cx, index, order)).await,
            Err(problem) => Err(problem),
        };
        if let Err(problem) = &outcome {
            problem.log();
        }
        Answer { cx, index, outcome }
    }

    async fn place(&self, cx: &Context, index: u64, asked: Asked) -> Result<Done, Problem> {
        let Asked { item: BatchItem { idempotency_key, order }, batch } = asked;
        let derived = batch.map(|batch| codec::batch_item_key(&batch, index)).transpose();
        let derived = derived.map_err(|error| {
            Problem::new(Code::Internal, format!("No key comes of the batch's: {error}."))
        })?;
        let key = Ok(idempotency_key.map(|key| key.0).or(derived));
        let placed = Placing { order, key }.place(&self.api, cx).await;
        placed.map_err(|problem| problem.under("/order"))
    }
}
