//! One try of a call with one message, the same for every protocol.

use super::{
    http::{NotSent, Safety},
    limit::Limit,
};
use crate::http::answered_try;
use bytes::Bytes;
use http::{HeaderMap, Request};
use mainstay_context::{Cause, Context};
use mainstay_resilience::{Call, retry::Repeat};
use std::{sync::Arc, time::Instant};

/// Has a context sent on by the headers of one protocol.
pub(super) type SendOn = fn(&Context, Instant, &mut HeaderMap) -> Result<(), Cause>;

/// One try of a call.
#[derive(Clone, Debug)]
pub(super) struct Ask {
    pub(super) cx: Context,
    safety: Safety,
    /// As it goes over the connection, but for what the context adds.
    request: Arc<Request<Bytes>>,
}

impl Ask {
    pub(super) fn new(cx: Context, safety: Safety, request: Request<Bytes>) -> Self {
        Self { cx, safety, request: Arc::new(request) }
    }

    /// The request of the try with this limit.
    pub(super) fn request(
        &self,
        limit: &Limit<'_>,
        send_on: SendOn,
    ) -> Result<Request<Bytes>, NotSent> {
        let mut request = Request::clone(&self.request);
        let (cx, now) = (limit.context(), limit.start.into_std());
        send_on(&cx, now, request.headers_mut()).map_err(NotSent::Ended)?;
        Ok(request)
    }
}

impl Call for Ask {
    fn context(&self) -> Option<&Context> {
        Some(&self.cx)
    }
}

impl Repeat for Ask {
    fn safety(&self) -> Safety {
        self.safety
    }

    fn attempt(&self, attempt: u32) -> Self {
        let Self { cx, safety, request } = self.clone();
        Self { cx: cx.with_attempt(attempt), safety, request }
    }
}

/// Whether a proxy between has made more than one try of what is answered so. Tries of tries would
/// multiply.
pub(super) fn was_tried_again(answer: &HeaderMap) -> bool {
    answered_try(answer).is_some_and(|tries| tries > 1)
}
