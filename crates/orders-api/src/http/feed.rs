//! Every event of the tenant, as pages or live.

use ::orders::{
    domain::Position,
    ports::{Page, Ports},
};
use axum::{
    Extension, Json,
    extract::State,
    response::{IntoResponse, Response},
};
use http::{HeaderMap, HeaderName};
use mainstay::http::{Cx, Record};

use super::{
    headers,
    openapi::{FeedProblems, LastEventId},
    params::{FeedParams, Params},
    sse,
};
use crate::{
    api::Api,
    live::{self, Live},
    problem::Problem,
    wire::event::Feed,
};

pub(super) const PATH: &str = "/v1/events";

/// Read events
///
/// In feed order, none skipped: as a page, or live with `Accept: text/event-stream`. Go on with
/// `next` as `after`; a live feed goes on by `Last-Event-ID`. Before the service stops, a live feed
/// ends with an event named `drain`; connect again and go on.
#[utoipa::path(
    get,
    path = PATH,
    operation_id = "listEvents",
    tag = "events",
    params(FeedParams, LastEventId),
    responses(
        (status = 200, description = "Events, in feed order.", content(
            (Feed = "application/json"),
            (String = "text/event-stream"),
        )),
        FeedProblems,
    )
)]
pub(super) async fn feed<P: Ports>(
    State(api): State<Api<P>>,
    Cx(cx): Cx,
    Extension(record): Extension<Record>,
    Params(params): Params<FeedParams>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let is_live = headers::wants_events(&headers);
    let resumed = last_event_id(&headers)?.filter(|_| is_live);
    let after = resumed.or(params.after()?);
    let page = live::page(&api, &cx, Page { after, limit: params.limit()? }).await?;
    if is_live {
        return Ok(sse::answer(Live::new(api, cx.clone(), page), cx, record));
    }
    let events = page.events.into_iter().map(Into::into).collect();
    Ok(Json(Feed { events, next: page.next.to_string() }).into_response())
}

fn last_event_id(headers: &HeaderMap) -> Result<Option<Position>, Problem> {
    const NAME: HeaderName = HeaderName::from_static("last-event-id");
    let wrong = || Problem::unreadable("Last-Event-ID", "must be a position of the feed");
    let text = headers::single(headers, &NAME).map_err(|()| wrong())?;
    let digits = |text: &str| text.bytes().all(|b| b.is_ascii_digit());
    let read = |text: &str| text.parse().ok().filter(|_| digits(text)).and_then(live::position);
    text.map(|text| read(text).ok_or_else(wrong)).transpose()
}
