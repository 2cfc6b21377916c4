//! Many orders, each placed and answered by itself, as both protocols ask for it.

use std::{pin::pin, sync::Arc};

use futures_util::{Stream, StreamExt as _, stream};
use mainstay::tasks::Tasks;
use mainstay_context::Context;
use orders::{codec, domain::IdempotencyKey, ports::Ports, usecase::Done};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tracing::Instrument as _;

use crate::{
    api::Api,
    items::Came,
    placing::Placing,
    problem::{Code, Problem},
    wire::batch::BatchItem,
};

/// Orders of one batch that are placed, or were and are not told of yet.
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
///
/// What is begun goes on while the client reads nothing: left where it is, it would keep what it has of
/// the store from everybody else. It ends with the stream.
pub(crate) fn place<P: Ports>(
    api: Api<P>,
    cx: Context,
    orders: impl Stream<Item = Came<Asked>> + Send + 'static,
) -> impl Stream<Item = Result<Answer, Problem>> + Send {
    let (run, work) = (Arc::new(Run { api, cx }), Work(Tasks::new()));
    // There is room for as many as have a seat, and for the end.
    let (placed, answers) = mpsc::channel(IN_FLIGHT + 1);
    work.0.spawn("batch", carry_out(run, orders, placed).in_current_span());
    stream::unfold(Told { answers, over: false, _work: work }, Told::next)
}

/// One of those that a batch has in flight. They are never closed.
type Seat = Option<OwnedSemaphorePermit>;

/// What came of an order or ended the batch, with the seat that it has until it is told.
type Placed = (Result<Answer, Problem>, Seat);

/// Places the orders, and hands over what came of each, and `None` when that is all.
async fn carry_out<P: Ports>(
    run: Arc<Run<P>>,
    orders: impl Stream<Item = Came<Asked>> + Send,
    placed: mpsc::Sender<Option<Placed>>,
) {
    let seats = stream::repeat(Arc::new(Semaphore::new(IN_FLIGHT)));
    let seats = seats.then(Semaphore::acquire_owned).map(Result::ok);
    let place = move |((index, seat), order): ((u64, Seat), Came<Asked>)| {
        let run = Arc::clone(&run);
        async move {
            let answer = match order {
                Ok(order) => Ok(run.answer(index, order).await),
                Err(end) => Err(end),
            };
            (answer, seat)
        }
    };
    let orders = stream::iter(0..).zip(seats).zip(orders);
    let mut answers = pin!(orders.map(place).buffered(IN_FLIGHT));
    while let Some(answer) = answers.next().await {
        if placed.send(Some(answer)).await.is_err() {
            return;
        }
    }
    drop(placed.send(None).await);
}

/// The task of a batch; it ends with whoever is told.
struct Work(Tasks);

impl Drop for Work {
    fn drop(&mut self) {
        self.0.abort_all();
    }
}

/// What came of the orders, as it is told.
struct Told {
    answers: mpsc::Receiver<Option<Placed>>,
    over: bool,
    _work: Work,
}

impl Told {
    async fn next(mut self) -> Option<(Result<Answer, Problem>, Self)> {
        if self.over {
            return None;
        }
        let Some(placed) = self.answers.recv().await else {
            // It panicked, which was logged.
            self.over = true;
            let detail = "The batch met a fault of the service; what was answered stands.";
            return Some((Err(Problem::new(Code::Internal, detail)), self));
        };
        let (answer, _seat) = placed?;
        Some((answer, self))
    }
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
