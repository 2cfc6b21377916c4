//! The calls that stream: a batch of orders, and the events as they happen.

use bytes::Bytes;
use futures_util::{StreamExt as _, TryStreamExt as _};
use orders::ports::{Page, Ports};
use prost::Message as _;
use tonic::{Request, Response, Status};

use super::{
    incoming::Incoming,
    passed_by,
    pb::{self, batch_create_orders_response::Outcome},
    read,
    telling::{Call, Telling},
};
use crate::{
    api::Api,
    batch::{self, Answer, Asked},
    items,
    live::{self, Live, Told, What},
    problem::Problem,
    wire::batch::{BatchItem, Key},
};

/// The messages of a batch are taken beside the request; tonic has none.
pub(super) fn batch_create_orders<P: Ports, T>(
    api: &Api<P>,
    request: &Request<T>,
) -> Result<Response<Telling<pb::BatchCreateOrdersResponse>>, Problem> {
    let call = Call::of(request)?;
    let incoming = request.extensions().get::<Incoming>().and_then(Incoming::take);
    let (body, messages) = incoming.ok_or_else(passed_by)?;
    let mut batch = Batch::default();
    let messages = items::read(body, messages, api.config.phase.clone());
    let orders = messages.map(move |came| came.map(|message| batch.asked(message?)));
    let answers = batch::place(api.clone(), call.cx.clone(), orders);
    Ok(call.tell(answers.map_ok(pb::BatchCreateOrdersResponse::from)))
}

/// What all messages of a batch have in common.
#[derive(Default)]
struct Batch {
    /// The key of the batch, by the first message that could be read.
    key: Option<String>,
}

impl Batch {
    /// The order that a message asks for.
    fn asked(&mut self, message: Bytes) -> Result<Asked, Problem> {
        let asked = pb::BatchCreateOrdersRequest::decode(message);
        let asked = asked.map_err(|error| Problem::of(&Status::internal(error.to_string())))?;
        let is_same = *self.key.get_or_insert_with(|| asked.batch_key.clone()) == asked.batch_key;
        let order =
            asked.order.ok_or_else(|| Problem::unreadable("order", "must be there"))?.into();
        let idempotency_key = read::key(&asked.idempotency_key)?.map(Key);
        if !is_same {
            let detail = "must be the same in each message of the batch";
            return Err(Problem::unreadable("batch_key", detail));
        }
        let batch = read::key_of("batch_key", &asked.batch_key)?;
        Ok(Asked { item: BatchItem { idempotency_key, order }, batch })
    }
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
    let call = Call::of(&request)?;
    let after = request.into_inner().after.map(live::after).transpose()?;
    let page = live::page(api, &call.cx, Page { after, limit: live::PAGE }).await?;
    let live = Live::new(api.clone(), call.cx.clone(), page);
    Ok(call.tell(live.told().map(watched)))
}

fn watched(Told { position, what }: Told) -> Result<pb::WatchEventsResponse, Problem> {
    let mut told =
        pb::WatchEventsResponse { position: position.0, ..pb::WatchEventsResponse::default() };
    match what {
        What::Event(event) => told.event = Some(event.into()),
        What::Alive => {}
        What::Draining(retry) => {
            told.draining = true;
            told.retry_after_ms = u32::try_from(retry.as_millis()).unwrap_or(u32::MAX);
        }
        What::Failed(problem, _) => return Err(problem),
    }
    Ok(told)
}
