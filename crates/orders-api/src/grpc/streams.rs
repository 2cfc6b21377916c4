//! The calls that stream: a batch of orders, and the events as they happen.

use bytes::Bytes;
use futures_util::stream::{self, BoxStream, Stream, StreamExt as _};
use mainstay::http::StreamDeadline;
use mainstay_context::Context;
use orders::ports::{Page, Ports};
use prost::Message as _;
use tokio::time::sleep_until;
use tonic::{Request, Response, Status};

use super::{
    incoming::Incoming,
    open, passed_by,
    pb::{self, batch_create_orders_response::Outcome},
    read,
};
use crate::{
    api::{Api, out_of_time},
    batch::{self, Answer, Asked},
    live::{self, Live, Told, What},
    problem::Problem,
    wire::batch::{BatchItem, Key},
};

/// What a call is told until it ends.
pub(super) type Telling<T> = BoxStream<'static, Result<T, Status>>;

/// The messages of a batch are taken beside the request; tonic has none.
pub(super) fn batch_create_orders<P: Ports, T>(
    api: &Api<P>,
    request: Request<T>,
) -> Result<Response<Telling<pb::BatchCreateOrdersResponse>>, Problem> {
    let by = deadline(&request);
    let incoming = request.extensions().get::<Incoming>().and_then(Incoming::take);
    let messages = incoming.ok_or_else(passed_by)?;
    let (cx, _none) = open(request)?;
    let orders = messages.map(|message: Result<Bytes, Problem>| message.and_then(asked));
    let answers = batch::place(api.clone(), cx.clone(), orders);
    Ok(until(by, cx, answers.map(|answer| Ok(answer.into()))))
}

/// The order that a message asks for.
fn asked(message: Bytes) -> Result<Asked, Problem> {
    let asked = pb::BatchCreateOrdersRequest::decode(message);
    let asked = asked.map_err(|error| Problem::of(&Status::internal(error.to_string())))?;
    let order = asked.order.ok_or_else(|| Problem::unreadable("order", "must be there"))?.into();
    let idempotency_key = read::key(&asked.idempotency_key)?.map(Key);
    let batch = read::key_of("batch_key", &asked.batch_key)?;
    Ok(Asked { item: BatchItem { idempotency_key, order }, batch })
}

impl From<Answer> for pb::BatchCreateOrdersResponse {
    fn from(Answer { cx, index, outcome }: Answer) -> Self {
        let (outcome, replayed) = match outcome {
            Ok(done) => (Outcome::Order(Box::new(done.record.into())), done.replayed),
            Err(problem) => (Outcome::Problem(told(&problem.status(&cx))), problem.is_replayed()),
        };
        Self { index, outcome: Some(outcome), replayed }
    }
}

/// A status as a message, with the details that it has.
fn told(status: &Status) -> tonic_types::Status {
    let whole = tonic_types::Status::decode(status.details());
    whole.unwrap_or_else(|_| tonic_types::Status {
        code: status.code().into(),
        message: status.message().to_owned(),
        details: Vec::new(),
    })
}

pub(super) async fn watch_events<P: Ports>(
    api: &Api<P>,
    request: Request<pb::WatchEventsRequest>,
) -> Result<Response<Telling<pb::WatchEventsResponse>>, Problem> {
    let by = deadline(&request);
    let (cx, asked) = open(request)?;
    let after = asked.after.map(live::after).transpose()?;
    let page = live::page(api, &cx, Page { after, limit: live::PAGE }).await?;
    let live = Live::new(api.clone(), cx.clone(), page);
    let of = cx.clone();
    Ok(until(by, cx, live.told().map(move |told| watched(told, &of))))
}

fn watched(Told { position, what }: Told, cx: &Context) -> Result<pb::WatchEventsResponse, Status> {
    let mut told =
        pb::WatchEventsResponse { position: position.0, ..pb::WatchEventsResponse::default() };
    match what {
        What::Event(event) => told.event = Some(event.into()),
        What::Alive => {}
        What::Draining(retry) => {
            told.draining = true;
            told.retry_after_ms = u32::try_from(retry.as_millis()).unwrap_or(u32::MAX);
        }
        What::Failed(problem, _) => return Err(problem.status(cx)),
    }
    Ok(told)
}

/// By when the caller wants a call to be over that streams.
fn deadline<T>(request: &Request<T>) -> Option<StreamDeadline> {
    request.extensions().get().copied()
}

/// Ends what is told by the deadline, if there is one. The head of the answer is the stack's to see to.
fn until<T: Send + 'static>(
    by: Option<StreamDeadline>,
    cx: Context,
    told: impl Stream<Item = Result<T, Status>> + Send + 'static,
) -> Response<Telling<T>> {
    let told = told.boxed();
    let Some(StreamDeadline(at)) = by else { return Response::new(told) };
    let next = move |told: Option<Telling<T>>| {
        let cx = cx.clone();
        async move {
            let mut told = told?;
            tokio::select! {
                biased;
                () = sleep_until(at) => Some((Err(out_of_time().status(&cx)), None)),
                item = told.next() => item.map(|item| (item, Some(told))),
            }
        }
    };
    Response::new(stream::unfold(Some(told), next).boxed())
}
