//! The live feed as server-sent events.

use std::{convert::Infallible, time::Duration};

use ::orders::ports::Ports;
use axum::response::{IntoResponse, Response, sse};
use futures_util::StreamExt as _;
use mainstay::http::Record;
use mainstay_context::Context;
use serde::Serialize;
use serde_json::json;

use crate::{
    live::{Live, Told, What},
    wire::event::CloudEvent,
};

/// What a feed tells the client of this request.
pub(super) fn answer<P: Ports>(live: Live<P>, cx: Context, record: Record) -> Response {
    let events = live.told().map(move |told| {
        if let What::Failed(problem, _) = &told.what {
            problem.ends(&record);
        }
        Ok::<_, Infallible>(event(told, &cx))
    });
    sse::Sse::new(events).into_response()
}

fn event(Told { position, what }: Told, cx: &Context) -> sse::Event {
    let frame = sse::Event::default().id(position.to_string());
    match what {
        What::Event(event) => {
            let event = CloudEvent::from(event);
            let data = written(&event);
            frame.event(event.kind).data(data)
        }
        What::Alive => frame.comment("keep-alive"),
        What::Draining(retry) => {
            last(frame, "drain", retry, &json!({ "next": position.to_string() }))
        }
        What::Failed(problem, retry) => last(frame, "problem", retry, &problem.body(cx)),
    }
}

/// What a feed ends with.
fn last(frame: sse::Event, name: &str, retry: Duration, data: &impl Serialize) -> sse::Event {
    frame.retry(retry).event(name).data(written(data))
}

fn written(data: &impl Serialize) -> String {
    serde_json::to_string(data).unwrap_or_default()
}
