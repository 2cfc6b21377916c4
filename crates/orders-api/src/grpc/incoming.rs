//! The messages of a call to which they come as a stream, each for itself: one that is wrong is told, and
//! the next is read.

use std::sync::{Arc, Mutex, PoisonError};

use axum::body::{Body, BodyDataStream};
use bytes::{Buf as _, Bytes, BytesMut};
use futures_util::{Stream, StreamExt as _, stream};

use super::{
    LARGEST_IN,
    heard::{FRAME, compressed, misshapen},
    shape::Shape,
};
use crate::{
    body::{broke_off, too_large},
    problem::{Code, Problem},
};

/// The messages of one call, beside its request; whoever takes them has them.
#[derive(Clone)]
pub(super) struct Incoming(Arc<Mutex<Option<Messages>>>);

impl Incoming {
    /// The messages of this body, which have this shape.
    pub(super) fn new(body: Body, shape: Shape) -> Self {
        Self(Arc::new(Mutex::new(Some(Messages::new(body, shape)))))
    }

    /// The messages, or what is wrong with each; `None` when they were taken before.
    pub(super) fn take(&self) -> Option<impl Stream<Item = Result<Bytes, Problem>> + Send + use<>> {
        let messages = self.0.lock().unwrap_or_else(PoisonError::into_inner).take();
        messages.map(|messages| stream::unfold(messages, Messages::next))
    }
}

struct Messages {
    chunks: BodyDataStream,
    shape: Shape,
    buffer: BytesMut,
    /// How much is still to come of a message that is too large.
    skip: usize,
    ended: bool,
}

impl Messages {
    fn new(body: Body, shape: Shape) -> Self {
        let (chunks, buffer) = (body.into_data_stream(), BytesMut::new());
        Self { chunks, shape, buffer, skip: 0, ended: false }
    }

    async fn next(mut self) -> Option<(Result<Bytes, Problem>, Self)> {
        loop {
            if let Some(message) = self.take() {
                return Some((message, self));
            }
            if self.ended {
                return None;
            }
            // How long nothing may come is the server's to say, and an error when it is over.
            match self.chunks.next().await {
                Some(Ok(chunk)) => self.buffer.extend_from_slice(&chunk),
                Some(Err(error)) => {
                    self.give_up();
                    return Some((Err(broke_off(&error)), self));
                }
                None if self.buffer.is_empty() => self.ended = true,
                None => {
                    self.give_up();
                    let detail = "The last message is not whole.";
                    return Some((Err(Problem::new(Code::Malformed, detail)), self));
                }
            }
        }
    }

    /// Ends here: the message under way stays unread.
    fn give_up(&mut self) {
        self.buffer.clear();
        (self.skip, self.ended) = (0, true);
    }

    /// The next message that is there whole. One that is too large is told by its length alone.
    fn take(&mut self) -> Option<Result<Bytes, Problem>> {
        let skipped = self.skip.min(self.buffer.len());
        self.buffer.advance(skipped);
        self.skip -= skipped;
        let [flag, length @ ..] = *self.buffer.first_chunk::<FRAME>()?;
        let length = usize::try_from(u32::from_be_bytes(length)).unwrap_or(usize::MAX);
        if length > LARGEST_IN {
            self.buffer.advance(FRAME);
            self.skip = length;
            return Some(Err(too_large("A message", LARGEST_IN)));
        }
        if self.buffer.len() < FRAME + length {
            return None;
        }
        self.buffer.advance(FRAME);
        let message = self.buffer.split_to(length).freeze();
        Some(if flag == 0 { self.checked(message) } else { Err(compressed()) })
    }

    fn checked(&self, message: Bytes) -> Result<Bytes, Problem> {
        self.shape.check(&message).map_err(misshapen)?;
        Ok(message)
    }
}

#[cfg(test)]
mod tests {
    use std::io;

    use super::*;
    use crate::grpc::CALLS;

    /// What is told of the messages that come in these pieces.
    async fn told(pieces: Vec<io::Result<Vec<u8>>>) -> Vec<Result<usize, Code>> {
        let call = CALLS.iter().find(|(path, _)| *path == crate::grpc::BATCH);
        let shape = Shape(call.expect("the call").1);
        let pieces = pieces.into_iter().map(|piece| piece.map(Bytes::from));
        let incoming = Incoming::new(Body::from_stream(stream::iter(pieces)), shape);
        let messages = incoming.take().expect("they are taken once");
        assert!(incoming.take().is_none());
        messages.map(|told| told.map(|message| message.len()).map_err(|e| e.code)).collect().await
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
        let all = [message(2), framed(0, 0, &[]), message(3)].concat();
        let expected: [Result<usize, Code>; 3] = [Ok(3), Ok(0), Ok(3)];
        for size in [1, 4, 7, all.len()] {
            let pieces = all.chunks(size).map(|piece| Ok(piece.to_vec())).collect();
            assert_eq!(told(pieces).await, expected, "{size}");
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
        let all = [message(9), large, framed(1, 1, &[0]), framed(0, 1, &[0x80]), largest].concat();
        let pieces = all.chunks(100_000).map(|piece| Ok(piece.to_vec())).collect();
        let expected = [
            Err(Code::Malformed),
            Err(Code::PayloadTooLarge),
            Err(Code::UnsupportedEncoding),
            Err(Code::Malformed),
            Ok(LARGEST_IN),
        ];
        assert_eq!(told(pieces).await, expected);
    }

    #[tokio::test]
    async fn what_breaks_off_is_told_once_and_is_the_end() {
        let broken = || Err(io::Error::other("gone"));
        let half = || Ok(message(2)[..6].to_vec());
        for pieces in [vec![half()], vec![half(), broken(), Ok(message(2))], vec![broken()]] {
            assert_eq!(told(pieces).await, [Err(Code::Malformed)]);
        }
    }
}
