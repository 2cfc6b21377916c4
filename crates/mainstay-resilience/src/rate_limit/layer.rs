//! The limiter around a service that answers those whom it refuses.

use super::{Limiter, Rate, Refused};
use crate::clock;
use std::{
    fmt,
    hash::Hash,
    pin::Pin,
    task::{Context, Poll, ready},
};

/// What a limit means for requests and their answers.
pub struct Rules<K, Req, Res> {
    /// Whose limit a request counts against; `None` when it counts against none.
    pub key: fn(&Req) -> Option<K>,
    /// The answer to one that is refused, under which rate.
    pub refuse: fn(Refused, Rate) -> Res,
    /// What an answer costs beside the 1 of its request.
    pub extra: fn(&Res) -> u32,
}

impl<K, Req, Res> Clone for Rules<K, Req, Res> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<K, Req, Res> Copy for Rules<K, Req, Res> {}

impl<K, Req, Res> fmt::Debug for Rules<K, Req, Res> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Rules").finish_non_exhaustive()
    }
}

/// Puts one limiter around services; all of them share it. Requests are refused at once, before the
/// service sees them; none waits.
pub struct Layer<K, Req, Res> {
    limiter: Limiter<K>,
    rate: Rate,
    rules: Rules<K, Req, Res>,
}

impl<K, Req, Res> Layer<K, Req, Res> {
    /// A layer of `limiter`, which limits each key to `rate`.
    pub fn new(limiter: Limiter<K>, rate: Rate, rules: Rules<K, Req, Res>) -> Self {
        Self { limiter, rate, rules }
    }
}

impl<K, Req, Res> Clone for Layer<K, Req, Res> {
    fn clone(&self) -> Self {
        Self { limiter: self.limiter.clone(), rate: self.rate, rules: self.rules }
    }
}

impl<K, Req, Res> fmt::Debug for Layer<K, Req, Res> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Layer").field("rate", &self.rate).finish_non_exhaustive()
    }
}

impl<S, K, Req, Res> tower::Layer<S> for Layer<K, Req, Res> {
    type Service = Service<S, K, Req, Res>;

    fn layer(&self, inner: S) -> Self::Service {
        Service { inner, layer: self.clone() }
    }
}

/// A service behind a limiter.
pub struct Service<S, K, Req, Res> {
    inner: S,
    layer: Layer<K, Req, Res>,
}

impl<S: Clone, K, Req, Res> Clone for Service<S, K, Req, Res> {
    fn clone(&self) -> Self {
        Self { inner: self.inner.clone(), layer: self.layer.clone() }
    }
}

impl<S, K, Req, Res> fmt::Debug for Service<S, K, Req, Res> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Service").field("layer", &self.layer).finish_non_exhaustive()
    }
}

impl<S, K, Req> tower::Service<Req> for Service<S, K, Req, S::Response>
where
    S: tower::Service<Req>,
    K: Clone + Eq + Hash,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = ResponseFuture<S::Future, K, Req, S::Response>;

    fn poll_ready(&mut self, task: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(task)
    }

    fn call(&mut self, request: Req) -> Self::Future {
        let Layer { limiter, rate, rules } = &self.layer;
        let key = (rules.key)(&request);
        let checked = key.as_ref().map(|key| limiter.check(key, *rate, 1, clock::now()));
        let attempt = if let Some(Err(refused)) = checked {
            Attempt::Refused { answer: Some((rules.refuse)(refused, *rate)) }
        } else {
            let charged = key.map(|key| (self.layer.clone(), key));
            Attempt::Called { future: self.inner.call(request), charged }
        };
        ResponseFuture { attempt }
    }
}

pin_project_lite::pin_project! {
    /// The answer to a request that the limiter may have refused.
    pub struct ResponseFuture<F, K, Req, Res> {
        #[pin]
        attempt: Attempt<F, K, Req, Res>,
    }
}

pin_project_lite::pin_project! {
    #[project = AttemptProjection]
    enum Attempt<F, K, Req, Res> {
        Refused { answer: Option<Res> },
        Called {
            #[pin]
            future: F,
            charged: Option<(Layer<K, Req, Res>, K)>,
        },
    }
}

impl<F, K, Req, Res> fmt::Debug for ResponseFuture<F, K, Req, Res> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ResponseFuture").finish_non_exhaustive()
    }
}

impl<F, K, Req, Res, E> Future for ResponseFuture<F, K, Req, Res>
where
    F: Future<Output = Result<Res, E>>,
    K: Clone + Eq + Hash,
{
    type Output = Result<Res, E>;

    fn poll(self: Pin<&mut Self>, task: &mut Context<'_>) -> Poll<Self::Output> {
        match self.project().attempt.project() {
            // As of every future, asked again after its answer it has none.
            AttemptProjection::Refused { answer } => {
                answer.take().map_or(Poll::Pending, |answer| Poll::Ready(Ok(answer)))
            }
            AttemptProjection::Called { future, charged } => {
                let result = ready!(future.poll(task));
                if let (Ok(answer), Some((layer, key))) = (&result, charged.take()) {
                    let extra = (layer.rules.extra)(answer);
                    if extra > 0 {
                        layer.limiter.charge(&key, layer.rate, extra, clock::now());
                    }
                }
                Poll::Ready(result)
            }
        }
    }
}
