//! A socket whose reads and writes are felt by a pulse.

use super::{first::First, pulse::Pulse};
use std::{
    io,
    pin::Pin,
    task::{Context, Poll, ready},
};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

pin_project_lite::pin_project! {
    /// A socket whose reads and writes are felt by a pulse, and which reads no more after a flood.
    pub(super) struct Felt<S> {
        #[pin]
        socket: S,
        pulse: Pulse,
        first: First,
        deaf: bool,
    }
}

impl<S> Felt<S> {
    pub(super) fn new(socket: S, pulse: Pulse) -> Self {
        Self { socket, pulse, first: First::default(), deaf: false }
    }
}

impl<S: AsyncRead> AsyncRead for Felt<S> {
    fn poll_read(
        self: Pin<&mut Self>,
        task: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let mut this = self.project();
        if *this.deaf {
            // Nothing wakes the reader: the connection's task closes soon.
            return Poll::Pending;
        }
        while !this.first.is_whole() {
            let came = ready!(this.first.poll_fill(this.socket.as_mut(), task))?;
            // Too little to be a flood: what it returns does not matter yet.
            this.pulse.received(came);
        }
        if this.first.give(buf) {
            return Poll::Ready(Ok(()));
        }
        let before = buf.filled().len();
        ready!(this.socket.poll_read(task, buf))?;
        if !this.pulse.received(&buf.filled()[before..]) {
            *this.deaf = true;
            // What broke the limit is not passed on either: it may be thousands of frames.
            buf.set_filled(before);
            return Poll::Pending;
        }
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite> AsyncWrite for Felt<S> {
    fn poll_write(
        self: Pin<&mut Self>,
        task: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let this = self.project();
        let written = this.socket.poll_write(task, bytes);
        felt(this.pulse, written)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        task: &mut Context<'_>,
        parts: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.project();
        let written = this.socket.poll_write_vectored(task, parts);
        felt(this.pulse, written)
    }

    fn is_write_vectored(&self) -> bool {
        self.socket.is_write_vectored()
    }

    /// TLS holds bytes back until this; a bare socket does not.
    fn poll_flush(self: Pin<&mut Self>, task: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.project();
        let flushed = this.socket.poll_flush(task);
        match flushed {
            Poll::Ready(_) => this.pulse.flushed(),
            Poll::Pending => this.pulse.stuck(),
        }
        flushed
    }

    fn poll_shutdown(self: Pin<&mut Self>, task: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.project().socket.poll_shutdown(task)
    }
}

fn felt(pulse: &Pulse, written: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
    match &written {
        Poll::Ready(Ok(count)) => pulse.sent(*count),
        Poll::Ready(Err(_)) => {}
        Poll::Pending => pulse.stuck(),
    }
    written
}
