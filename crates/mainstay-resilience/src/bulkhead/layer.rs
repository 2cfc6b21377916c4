//! The bulkhead around a service.

use super::{Bulkhead, Full};
use crate::Call;
use std::{
    mem,
    pin::Pin,
    task::{Context, Poll},
};

/// Puts one bulkhead around services; all of them share its permits.
#[derive(Clone, Debug)]
pub struct Layer(Bulkhead);

impl Layer {
    /// A layer of `bulkhead`, whose state remains readable through it.
    pub fn new(bulkhead: Bulkhead) -> Self {
        Self(bulkhead)
    }
}

impl<S> tower::Layer<S> for Layer {
    type Service = Service<S>;

    fn layer(&self, inner: S) -> Service<S> {
        Service { inner, bulkhead: self.0.clone() }
    }
}

/// A service with a bounded number of calls at a time.
///
/// The permit is waited for after the service was called, not while it is asked whether it is
/// ready: there is no request then, and so no deadline.
#[derive(Clone, Debug)]
pub struct Service<S> {
    inner: S,
    bulkhead: Bulkhead,
}

impl<S, Req> tower::Service<Req> for Service<S>
where
    S: tower::Service<Req> + Clone + Send + 'static,
    S::Error: From<Full>,
    S::Future: Send,
    Req: Call + Send + Sync + 'static,
{
    type Response = S::Response;
    type Error = S::Error;
    /// In a box: next to a call over a network it costs nothing.
    type Future = Pin<Box<dyn Future<Output = Result<S::Response, S::Error>> + Send>>;

    fn poll_ready(&mut self, task: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(task)
    }

    fn call(&mut self, request: Req) -> Self::Future {
        // The one that is ready makes the call; its clone is not ready yet.
        let clone = self.inner.clone();
        let mut ready = mem::replace(&mut self.inner, clone);
        let bulkhead = self.bulkhead.clone();
        Box::pin(async move {
            let _permit = bulkhead.acquire(request.context()).await?;
            ready.call(request).await
        })
    }
}
