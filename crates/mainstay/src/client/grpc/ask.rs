use super::{NotSent, Safety, body::Outgoing};
use crate::{client::limit::Limit, http::propagate_grpc};
use bytes::Bytes;
use http::Request;
use http_body_util::{BodyExt as _, Full};
use mainstay_context::Context;
use mainstay_resilience::{Call, retry::Repeat};
use std::sync::Arc;

/// One try of a call with one message.
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
    pub(super) fn request(&self, limit: &Limit<'_>) -> Result<Request<Outgoing>, NotSent> {
        let mut request = Request::clone(&self.request);
        let (cx, now) = (limit.context(), limit.start.into_std());
        propagate_grpc(&cx, now, request.headers_mut()).map_err(NotSent::Ended)?;
        Ok(request.map(|message| Full::new(message).map_err(|never| match never {}).boxed_unsync()))
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
