//! Admission before a service.

use super::{Admission, Refused};
use crate::{Call, clock};
use mainstay_context::Context as CallContext;
use std::{
    fmt, mem,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

/// Puts one admission before services; all of them share it.
///
/// `beyond` says of a request how long it would wait behind this, and `None` of one that is let in
/// whatever the load is, without a permit. `answer` says how a refusal is told: as an answer and not as
/// an error, because a service for callers outside has none. A permit is held until there is an answer,
/// so also while the body of a request comes slowly; an answer whose body comes bit by bit is no longer in
/// service.
#[derive(Clone)]
pub struct Layer<B, A> {
    admission: Admission,
    beyond: B,
    answer: A,
    patience: Option<Duration>,
}

impl<B, A> Layer<B, A> {
    /// A layer of `admission`, whose state remains readable through it.
    pub fn new(admission: Admission, beyond: B, answer: A) -> Self {
        Self { admission, beyond, answer, patience: None }
    }

    /// Lets whoever has no deadline wait for this long; without it they do not wait.
    #[must_use]
    pub fn with_patience(self, patience: Duration) -> Self {
        Self { patience: Some(patience), ..self }
    }

    /// A context of its own to wait with: the request, which may not be shared, is not borrowed meanwhile.
    fn waiting(&self, request: &impl Call) -> Option<CallContext> {
        let cx = request.context()?.clone();
        Some(match self.patience {
            Some(time) if cx.deadline().is_none() => cx.with_deadline(clock::now() + time),
            Some(_) | None => cx,
        })
    }
}

impl<B, A> fmt::Debug for Layer<B, A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Layer").field("admission", &self.admission).finish_non_exhaustive()
    }
}

impl<S, B: Clone, A: Clone> tower::Layer<S> for Layer<B, A> {
    type Service = Service<S, B, A>;

    fn layer(&self, inner: S) -> Service<S, B, A> {
        Service { inner, layer: self.clone() }
    }
}

/// A service that lets no more in than it can do in time.
///
/// The permit is waited for after the service was called, not while it is asked whether it is
/// ready: there is no request then, and so no deadline. What comes with the request, its body, is not
/// touched before it has one.
#[derive(Clone)]
pub struct Service<S, B, A> {
    inner: S,
    layer: Layer<B, A>,
}

impl<S: fmt::Debug, B, A> fmt::Debug for Service<S, B, A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Service").field("inner", &self.inner).finish_non_exhaustive()
    }
}

impl<S, B, A, Req> tower::Service<Req> for Service<S, B, A>
where
    S: tower::Service<Req> + Clone + Send + 'static,
    S::Future: Send,
    B: Fn(&Req) -> Option<Duration>,
    A: Fn(Refused) -> S::Response + Clone + Send + 'static,
    Req: Call + Send + 'static,
{
    type Response = S::Response;
    type Error = S::Error;
    /// In a box: next to what is done for a request it costs nothing.
    type Future = Pin<Box<dyn Future<Output = Result<S::Response, S::Error>> + Send>>;

    fn poll_ready(&mut self, task: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(task)
    }

    fn call(&mut self, request: Req) -> Self::Future {
        let Some(beyond) = (self.layer.beyond)(&request) else {
            return Box::pin(self.inner.call(request));
        };
        // The one that is ready makes the call; its clone is not ready yet.
        let clone = self.inner.clone();
        let mut ready = mem::replace(&mut self.inner, clone);
        let (admission, answer) = (self.layer.admission.clone(), self.layer.answer.clone());
        let cx = self.layer.waiting(&request);
        Box::pin(async move {
            let _permit = match admission.acquire(cx.as_ref(), beyond).await {
                Ok(permit) => permit,
                Err(refused) => return Ok(answer(refused)),
            };
            ready.call(request).await
        })
    }
}
