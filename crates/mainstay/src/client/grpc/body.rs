//! What goes over a connection, each way.

use super::{Error, NotSent, Unknown, answer, connection::Connection};
use crate::client::limit;
use bytes::Bytes;
use http::HeaderMap;
use http_body::Frame;
use http_body_util::{BodyExt as _, Full, combinators::UnsyncBoxBody};
use hyper::body::Incoming;
use mainstay_context::{Cause, Context};
use std::{
    fmt,
    pin::Pin,
    task::{self, Poll, ready},
};

/// An error of whatever kind.
pub(super) type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// What a request carries.
pub(super) type Outgoing = UnsyncBoxBody<Bytes, BoxError>;

/// The largest message that is kept to be sent again, in bytes.
const MESSAGE_LIMIT: usize = 4 << 20;

/// A message as it goes out.
pub(super) fn outgoing(message: Bytes) -> Outgoing {
    Full::new(message).map_err(|never| match never {}).boxed_unsync()
}

/// The message of a call, as a whole.
pub(super) async fn message(mut body: Outgoing) -> Result<Bytes, NotSent> {
    let mut message = Vec::new();
    while let Some(frame) = body.frame().await {
        let data = frame.map_err(NotSent::Unwritten)?.into_data().unwrap_or_default();
        if message.len() + data.len() > MESSAGE_LIMIT {
            return Err(NotSent::Invalid("its message has more than 4 MiB"));
        }
        message.extend_from_slice(&data);
    }
    Ok(message.into())
}

/// What an answer carries: one message that is there, or messages as they come.
///
/// It fails with a status when the request for which the call is made ends, when the connection does,
/// and when it is over without a status of its own. Dropped before its end, it resets its stream.
pub struct Body(Kind);

enum Kind {
    Whole { data: Option<Bytes>, trailers: Option<HeaderMap> },
    Live(Live),
}

struct Live {
    incoming: Incoming,
    /// Whether it was said what became of the call.
    said: bool,
    /// The end of the request.
    end: Pin<Box<dyn Future<Output = Cause> + Send>>,
    /// Does not end before this does.
    _connection: Connection,
}

impl Body {
    pub(super) fn whole(data: Bytes, trailers: Option<HeaderMap>) -> Self {
        Self(Kind::Whole { data: Some(data).filter(|data| !data.is_empty()), trailers })
    }

    /// What comes behind this head of an answer.
    pub(super) fn live(
        head: &HeaderMap,
        incoming: Incoming,
        cx: &Context,
        connection: Connection,
    ) -> Self {
        let cx = cx.clone();
        let end = Box::pin(async move { limit::ended(&cx).await });
        let said = answer::has_status(head);
        Self(Kind::Live(Live { incoming, said, end, _connection: connection }))
    }
}

impl http_body::Body for Body {
    type Data = Bytes;
    type Error = tonic::Status;

    fn poll_frame(
        self: Pin<&mut Self>,
        task: &mut task::Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, tonic::Status>>> {
        let this = self.get_mut();
        match &mut this.0 {
            Kind::Whole { data, trailers } => {
                let data = data.take().map(Frame::data);
                let frame = data.or_else(|| trailers.take().map(Frame::trailers));
                Poll::Ready(frame.map(Ok))
            }
            Kind::Live(live) => {
                let frame = ready!(live.poll(task));
                if !matches!(frame, Some(Ok(_))) {
                    // What is left of it goes, so that its stream is reset now.
                    this.0 = Kind::Whole { data: None, trailers: None };
                }
                Poll::Ready(frame.map(|frame| frame.map_err(tonic::Status::from)))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.0 {
            Kind::Whole { data, trailers } => data.is_none() && trailers.is_none(),
            Kind::Live(_) => false,
        }
    }
}

impl Live {
    fn poll(&mut self, task: &mut task::Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        // Looked at first: a peer that always has more to tell would otherwise outlast it.
        if let Poll::Ready(cause) = self.end.as_mut().poll(task) {
            return Poll::Ready(Some(Err(Error::Unknown(Unknown::Ended(cause)))));
        }
        let frame = ready!(http_body::Body::poll_frame(Pin::new(&mut self.incoming), task));
        Poll::Ready(match frame {
            Some(Ok(frame)) => {
                let frame = readable(frame);
                self.said |= frame.trailers_ref().is_some_and(answer::has_status);
                Some(Ok(frame))
            }
            Some(Err(error)) => Some(Err(Error::Unknown(Unknown::Lost(error.into())))),
            // A proxy that cuts a stream off may do so as if it were over.
            None => (!self.said).then(|| Err(answer::broke_off())),
        })
    }
}

/// The frame, and of trailers only what can be read.
fn readable(frame: Frame<Bytes>) -> Frame<Bytes> {
    match frame.into_trailers() {
        Ok(mut trailers) => {
            answer::make_readable(&mut trailers);
            Frame::trailers(trailers)
        }
        Err(frame) => frame,
    }
}

impl fmt::Debug for Body {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let live = matches!(self.0, Kind::Live(_));
        f.debug_struct("Body").field("live", &live).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::stream;
    use http_body_util::StreamBody;

    fn chunks(sizes: &[usize]) -> Outgoing {
        let frames: Vec<Result<_, BoxError>> =
            sizes.iter().map(|&size| Ok(Frame::data(Bytes::from(vec![7; size])))).collect();
        StreamBody::new(stream::iter(frames)).boxed_unsync()
    }

    #[tokio::test]
    async fn a_message_is_kept_whole_up_to_a_limit() {
        assert_eq!(message(chunks(&[2, 0, 3])).await.unwrap(), [7; 5][..]);
        assert_eq!(message(chunks(&[MESSAGE_LIMIT])).await.unwrap().len(), MESSAGE_LIMIT);
        let error = message(chunks(&[MESSAGE_LIMIT, 1])).await.unwrap_err();
        assert!(matches!(error, NotSent::Invalid(_)), "{error:?}");
    }

    #[tokio::test]
    async fn a_message_that_cannot_be_made_is_not_sent() {
        let failing = stream::iter([Err::<Frame<Bytes>, BoxError>("no message".into())]);
        let error = message(StreamBody::new(failing).boxed_unsync()).await.unwrap_err();
        assert!(matches!(error, NotSent::Unwritten(_)), "{error:?}");
    }

    #[tokio::test]
    async fn a_whole_answer_has_its_message_and_then_its_trailers() {
        let mut trailers = HeaderMap::new();
        trailers.insert("grpc-status", "0".parse().unwrap());
        let mut body = Body::whole(Bytes::from_static(b"hello"), Some(trailers.clone()));
        assert_eq!(body.frame().await.unwrap().unwrap().into_data().unwrap(), "hello");
        assert_eq!(body.frame().await.unwrap().unwrap().into_trailers().unwrap(), trailers);
        assert!(body.frame().await.is_none() && http_body::Body::is_end_stream(&body));
    }
}
