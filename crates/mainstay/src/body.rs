//! A body that tells an observer what flows through it.

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use std::{
    pin::Pin,
    task::{Context, Poll, ready},
};

/// Hears of a body's bytes and end; dropped with the body.
pub(crate) trait Observer {
    /// The next part of the body was asked for, which may not be there yet.
    fn asked(&mut self) {}
    /// `count` more bytes were handed on.
    fn bytes(&mut self, _count: usize) {}
    /// The body ended well.
    fn end(&mut self) {}
}

pin_project_lite::pin_project! {
    /// A body and its observer, which lives until the body is dropped.
    pub(crate) struct Observed<B, O> {
        #[pin]
        body: B,
        observer: O,
    }
}

impl<B: Body, O: Observer> Observed<B, O> {
    pub(crate) fn new(body: B, mut observer: O) -> Self {
        if body.is_end_stream() {
            observer.end();
        }
        Self { body, observer }
    }
}

impl<B: Body<Data = Bytes>, O: Observer> Body for Observed<B, O> {
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        task: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
        let mut this = self.project();
        this.observer.asked();
        let frame = ready!(this.body.as_mut().poll_frame(task));
        if let Some(Ok(frame)) = &frame {
            this.observer.bytes(frame.data_ref().map_or(0, Bytes::len));
        }
        if frame.is_none() || this.body.is_end_stream() {
            this.observer.end();
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
