//! Requests that are answered before the router sees them.

use crate::http::Ids;
use axum::response::Response;
use http::request::Parts;
use mainstay_context::Context;
use std::{fmt, sync::Arc, time::Duration};

/// When a request that has waited for so long is to come again, if it is refused.
type Decide = Arc<dyn Fn(&Parts, Duration) -> Option<Duration> + Send + Sync>;
/// How that is told.
type Tell = fn(&Parts, &Context, Duration) -> Response;

/// Refuses what came too late to be taken up, at the least cost.
#[derive(Clone)]
pub(super) struct Shed {
    decide: Decide,
    tell: Tell,
}

impl Shed {
    pub(super) fn new(
        decide: impl Fn(&Parts, Duration) -> Option<Duration> + Send + Sync + 'static,
        tell: Tell,
    ) -> Self {
        Self { decide: Arc::new(decide), tell }
    }

    /// The answer to a request that is refused.
    pub(super) fn answer(&self, head: &Parts, waited: Duration) -> Option<Response> {
        let retry_after = (self.decide)(head, waited)?;
        let ids = Ids::unrecorded(&head.headers);
        let cx = Context::new(ids.request_id.clone()).with_trace(ids.trace);
        let mut response = (self.tell)(head, &cx, retry_after);
        ids.echo(response.headers_mut());
        Some(response)
    }
}

impl fmt::Debug for Shed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shed").finish_non_exhaustive()
    }
}
