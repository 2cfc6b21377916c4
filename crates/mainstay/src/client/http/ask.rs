use super::{BaseUrl, NotSent, Safety};
use crate::{client::limit::Limit, http::propagate};
use bytes::Bytes;
use http::Request;
use http_body_util::Full;
use mainstay_context::Context;
use mainstay_resilience::{Call, retry::Repeat};
use std::sync::Arc;

/// One try of a call.
#[derive(Clone, Debug)]
pub(super) struct Ask {
    pub(super) cx: Context,
    safety: Safety,
    /// As it goes over the connection, but for what the context adds.
    request: Arc<Request<Full<Bytes>>>,
}

impl Ask {
    pub(super) fn new(
        cx: &Context,
        safety: Safety,
        request: Request<Bytes>,
        base: &BaseUrl,
    ) -> Result<Self, NotSent> {
        Ok(Self { cx: cx.clone(), safety, request: Arc::new(base.request(request)?) })
    }

    /// The request of the try with this limit.
    pub(super) fn request(&self, limit: &Limit<'_>) -> Result<Request<Full<Bytes>>, NotSent> {
        let mut request = Request::clone(&self.request);
        let (cx, now) = (limit.context(), limit.start.into_std());
        propagate(&cx, now, request.headers_mut()).map_err(NotSent::Ended)?;
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
