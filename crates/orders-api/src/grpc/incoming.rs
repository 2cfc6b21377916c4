//! The messages of a call to which they come as a stream, each for itself: one that is wrong is told, and
//! the next is read.

use std::sync::{Arc, Mutex, PoisonError};

use axum::body::Body;
use bytes::{Buf as _, Bytes, BytesMut};

use super::{
    LARGEST_IN,
    heard::{FRAME, compressed, misshapen},
    shape::Shape,
};
use crate::{
    body::too_large,
    items::{Came, Framing},
    problem::{Code, Problem},
};

/// The body of one call, beside its request, and the shape of its messages; whoever takes it has it.
#[derive(Clone)]
pub(super) struct Incoming(Arc<Mutex<Option<Body>>>, Shape);

impl Incoming {
    /// The messages of this body, which have this shape.
    pub(super) fn new(body: Body, shape: Shape) -> Self {
        Self(Arc::new(Mutex::new(Some(body))), shape)
    }

    /// The body, and how its messages stand there; `None` when it was taken before.
    pub(super) fn take(&self) -> Option<(Body, Messages)> {
        let body = self.0.lock().unwrap_or_else(PoisonError::into_inner).take();
        body.map(|body| (body, Messages { shape: self.1, skip: 0 }))
    }
}

/// Messages with their length before them. One that is too large is told by that alone, and skipped.
pub(super) struct Messages {
    shape: Shape,
    /// How much is still to come of a message that is too large.
    skip: usize,
}

impl Messages {
    fn checked(&self, message: Bytes) -> Result<Bytes, Problem> {
        self.shape.check(&message).map_err(misshapen)?;
        Ok(message)
    }
}

impl Framing for Messages {
    fn take(&mut self, buffer: &mut BytesMut) -> Option<Result<Bytes, Problem>> {
        let skipped = self.skip.min(buffer.len());
        buffer.advance(skipped);
        self.skip -= skipped;
        let [flag, length @ ..] = *buffer.first_chunk::<FRAME>()?;
        let length = usize::try_from(u32::from_be_bytes(length)).unwrap_or(usize::MAX);
        if length > LARGEST_IN {
            buffer.advance(FRAME);
            self.skip = length;
            return Some(Err(too_large("A message", LARGEST_IN)));
        }
        if buffer.len() < FRAME + length {
            return None;
        }
        buffer.advance(FRAME);
        let message = buffer.split_to(length).freeze();
        Some(if flag == 0 { self.checked(message) } else { Err(compressed()) })
    }

    /// A message says how long it is, so nothing may be left.
    fn last(&mut self, buffer: &mut BytesMut) -> Option<Came<Bytes>> {
        let is_whole = buffer.is_empty() && self.skip == 0;
        let half = || Err(Problem::new(Code::Malformed, "The last message is not whole."));
        (!is_whole).then(half)
    }
}

#[cfg(test)]
mod tests {
    use std::{io, pin::pin};

    use futures_util::{StreamExt as _, stream};
    use mainstay::lifecycle::Phase;
    use tokio::sync::watch;

    use super::*;
    use crate::{grpc::CALLS, items};

    /// A message's length, or its problem; or the end that is told.
    type Told = Result<Result<usize, Code>, Code>;

    fn told(came: Came<Bytes>) -> Told {
        let of = |problem: Problem| problem.code;
        came.map(|item| item.map(|message| message.len()).map_err(of)).map_err(of)
    }

    fn incoming(pieces: Vec<io::Result<Vec<u8>>>) -> (Body, Messages) {
        let call = CALLS.iter().find(|(path, _)| *path == crate::grpc::BATCH);
        let shape = Shape(call.expect("the call").1);
        let pieces = pieces.into_iter().map(|piece| piece.map(Bytes::from));
        let incoming = Incoming::new(Body::from_stream(stream::iter(pieces)), shape);
        let taken = incoming.take().expect("it is taken once");
        assert!(incoming.take().is_none());
        taken
    }

    /// What is told of the messages that come in these pieces.
    async fn all(pieces: Vec<io::Result<Vec<u8>>>) -> Vec<Told> {
        let (_sender, phase) = watch::channel(Phase::Ready);
        let (body, messages) = incoming(pieces);
        items::read(body, messages, phase).map(told).collect().await
    }

    fn framed(flag: u8, length: usize, message: &[u8]) -> Vec<u8> {
        let length = u32::try_from(length).unwrap().to_be_bytes();
        [&[flag][..], &length, message].concat()
    }

    /// A message of a batch that names this field, which is there or not.
    fn message(field: u8) -> Vec<u8> {
        framed(0, 3, &[field << 3 | 2, 1, b'k'])
    }

    #[tokio::test]
    async fn messages_are_whole_however_they_come() {
        let bytes = [message(2), framed(0, 0, &[]), message(3)].concat();
        let expected: [Told; 3] = [Ok(Ok(3)), Ok(Ok(0)), Ok(Ok(3))];
        for size in [1, 4, 7, bytes.len()] {
            let pieces = bytes.chunks(size).map(|piece| Ok(piece.to_vec())).collect();
            assert_eq!(all(pieces).await, expected, "{size}");
        }
    }

    #[tokio::test]
    async fn a_message_that_is_wrong_is_told_and_the_next_is_read() {
        let large = framed(0, LARGEST_IN + 1, &vec![0; LARGEST_IN + 1]);
        let largest = framed(0, LARGEST_IN, &{
            // A text of the second field, of a length in three bytes.
            let length = LARGEST_IN - 4;
            let bytes = [(length & 0x7f) | 0x80, ((length >> 7) & 0x7f) | 0x80, length >> 14];
            let bytes = bytes.map(|byte| u8::try_from(byte).unwrap());
            [&[0x12][..], &bytes, &vec![b'k'; length]].concat()
        });
        let bytes =
            [message(9), large, framed(1, 1, &[0]), framed(0, 1, &[0x80]), largest].concat();
        let pieces = bytes.chunks(100_000).map(|piece| Ok(piece.to_vec())).collect();
        let expected: [Told; 5] = [
            Ok(Err(Code::Malformed)),
            Ok(Err(Code::PayloadTooLarge)),
            Ok(Err(Code::UnsupportedEncoding)),
            Ok(Err(Code::Malformed)),
            Ok(Ok(LARGEST_IN)),
        ];
        assert_eq!(all(pieces).await, expected);
    }

    #[tokio::test]
    async fn what_breaks_off_is_told_once_and_is_the_end() {
        let broken = || Err(io::Error::other("gone"));
        let half = || Ok(message(2)[..6].to_vec());
        for pieces in [vec![half()], vec![half(), broken(), Ok(message(2))], vec![broken()]] {
            assert_eq!(all(pieces).await, [Err(Code::Malformed)]);
        }
        let large = Ok(framed(0, LARGEST_IN + 1, b"half"));
        assert_eq!(all(vec![large]).await, [Ok(Err(Code::PayloadTooLarge)), Err(Code::Malformed)]);
    }

    #[tokio::test]
    async fn what_has_come_is_left_when_the_process_drains() {
        let (sender, phase) = watch::channel(Phase::Ready);
        let (body, messages) = incoming(vec![Ok(message(2).repeat(3))]);
        let mut items = pin!(items::read(body, messages, phase));
        assert_eq!(items.next().await.map(told), Some(Ok(Ok(3))));
        sender.send_replace(Phase::LameDuck);
        assert_eq!(items.next().await.map(told), Some(Ok(Ok(3))));
        sender.send_replace(Phase::Draining);
        assert_eq!(items.next().await.map(told), Some(Err(Code::Draining)));
        assert_eq!(items.next().await.map(told), None);
    }
}
