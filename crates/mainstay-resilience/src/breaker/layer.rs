//! The breaker around a service.

use super::{Breaker, Outcome, Permit, Refused};
use crate::clock;
use std::{
    fmt,
    pin::Pin,
    task::{Context, Poll, ready},
};

/// Puts one breaker around services; all of them share it.
///
/// `classify` says what a result means for the health of the dependency. The time of a call is
/// taken from here to its result, with everything that is inside, such as a bulkhead's queue.
#[derive(Clone)]
pub struct Layer<C> {
    breaker: Breaker,
    classify: C,
}

impl<C> Layer<C> {
    /// A layer of `breaker`, whose state remains readable through it.
    pub fn new(breaker: Breaker, classify: C) -> Self {
        Self { breaker, classify }
    }
}

impl<C> fmt::Debug for Layer<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Layer").field("breaker", &self.breaker).finish_non_exhaustive()
    }
}

impl<S, C: Clone> tower::Layer<S> for Layer<C> {
    type Service = Service<S, C>;

    fn layer(&self, inner: S) -> Service<S, C> {
        Service { inner, breaker: self.breaker.clone(), classify: self.classify.clone() }
    }
}

/// A service behind a breaker.
///
/// The permit is taken when the service is called, not when it is asked whether it is ready: a
/// caller who is ready and then waits holds nothing.
#[derive(Clone)]
pub struct Service<S, C> {
    inner: S,
    breaker: Breaker,
    classify: C,
}

impl<S: fmt::Debug, C> fmt::Debug for Service<S, C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Service").field("inner", &self.inner).finish_non_exhaustive()
    }
}

impl<S, C, Req> tower::Service<Req> for Service<S, C>
where
    S: tower::Service<Req>,
    S::Error: From<Refused>,
    C: Fn(&Result<S::Response, S::Error>) -> Outcome + Clone,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = ResponseFuture<S::Future, C>;

    fn poll_ready(&mut self, task: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(task)
    }

    fn call(&mut self, request: Req) -> Self::Future {
        let state = match self.breaker.admit(clock::now()) {
            Err(refused) => Attempt::Refused { refused },
            Ok(permit) => {
                let (future, classify) = (self.inner.call(request), self.classify.clone());
                Attempt::Called { future, admitted: Some((permit, classify)) }
            }
        };
        ResponseFuture { attempt: state }
    }
}

pin_project_lite::pin_project! {
    /// The result of a call that the breaker may have refused.
    pub struct ResponseFuture<F, C> {
        #[pin]
        attempt: Attempt<F, C>,
    }
}

pin_project_lite::pin_project! {
    #[project = AttemptProjection]
    enum Attempt<F, C> {
        Refused { refused: Refused },
        Called {
            #[pin]
            future: F,
            admitted: Option<(Permit, C)>,
        },
    }
}

impl<F, C> fmt::Debug for ResponseFuture<F, C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ResponseFuture").finish_non_exhaustive()
    }
}

impl<F, C, T, E> Future for ResponseFuture<F, C>
where
    F: Future<Output = Result<T, E>>,
    E: From<Refused>,
    C: Fn(&Result<T, E>) -> Outcome,
{
    type Output = Result<T, E>;

    fn poll(self: Pin<&mut Self>, task: &mut Context<'_>) -> Poll<Result<T, E>> {
        match self.project().attempt.project() {
            AttemptProjection::Refused { refused } => Poll::Ready(Err((*refused).into())),
            AttemptProjection::Called { future, admitted } => {
                let result = ready!(future.poll(task));
                if let Some((permit, classify)) = admitted.take() {
                    permit.finish(classify(&result), clock::now());
                }
                Poll::Ready(result)
            }
        }
    }
}
