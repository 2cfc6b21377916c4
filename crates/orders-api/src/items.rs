//! The items of a body that has many, each for itself: one that is wrong is told, and the next is read.

use axum::body::{Body, BodyDataStream};
use bytes::{Bytes, BytesMut};
use futures_util::{Stream, StreamExt as _, stream};
use mainstay::lifecycle::Phase;
use tokio::sync::watch;

use crate::{
    body::broke_off,
    problem::{Code, Problem},
};

/// What a body brings next: an item, or what is wrong with that one; or else why no more is read,
/// after which nothing comes.
pub(crate) type Came<T> = Result<Result<T, Problem>, Problem>;

/// How items stand in a body.
pub(crate) trait Framing {
    /// Takes the next item that is there whole, or what there is to say of one that is not taken.
    fn take(&mut self, buffer: &mut BytesMut) -> Option<Result<Bytes, Problem>>;

    /// Takes what is left when the body is over, and which no end of an item follows.
    fn last(&mut self, buffer: &mut BytesMut) -> Option<Came<Bytes>>;
}

/// The items of this body, until it is over or breaks off, or the process drains.
pub(crate) fn read<F: Framing + Send>(
    body: Body,
    framing: F,
    phase: watch::Receiver<Phase>,
) -> impl Stream<Item = Came<Bytes>> + Send {
    let (chunks, buffer) = (body.into_data_stream(), BytesMut::new());
    let reader = Reader { chunks, framing, buffer, is_over: false };
    stream::unfold(Items { reader, phase, ended: false }, Items::next)
}

struct Items<F> {
    reader: Reader<F>,
    phase: watch::Receiver<Phase>,
    ended: bool,
}

impl<F: Framing> Items<F> {
    async fn next(mut self) -> Option<(Came<Bytes>, Self)> {
        if self.ended {
            return None;
        }
        let came = tokio::select! {
            biased;
            // A sender that is gone means that the process ends.
            _ = self.phase.wait_for(|phase| *phase >= Phase::Draining) => Some(Err(draining())),
            came = self.reader.next() => came,
        };
        self.ended = !matches!(came, Some(Ok(_)));
        Some((came?, self))
    }
}

struct Reader<F> {
    chunks: BodyDataStream,
    framing: F,
    buffer: BytesMut,
    is_over: bool,
}

impl<F: Framing> Reader<F> {
    async fn next(&mut self) -> Option<Came<Bytes>> {
        loop {
            if let Some(item) = self.framing.take(&mut self.buffer) {
                return Some(Ok(item));
            }
            if self.is_over {
                return self.framing.last(&mut self.buffer);
            }
            // How long nothing may come is the server's to say, and an error when it is over.
            match self.chunks.next().await {
                Some(Ok(chunk)) => self.buffer.extend_from_slice(&chunk),
                Some(Err(error)) => return Some(Err(broke_off(&error))),
                None => self.is_over = true,
            }
        }
    }
}

/// The problem of items that are not taken any more.
fn draining() -> Problem {
    Problem::new(Code::Draining, "The service stops, and takes no more of this batch.")
}
