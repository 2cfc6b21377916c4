//! A request's body, which may not stop coming.

use super::{pulse::Pulse, tally::Ended};
use crate::config::duration;
use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use std::{
    error::Error,
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};
use tokio::time::{Sleep, sleep};

/// Nothing came of a request's body for this long, [`Config::body_idle_timeout`]; the body's
/// reader gets this error. On HTTP/1 the connection ends with the answer, on HTTP/2 only the stream.
///
/// [`Config::body_idle_timeout`]: super::Config::body_idle_timeout
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("nothing came of the body for {}", duration::format(*.0))]
pub struct BodyIdle(pub Duration);

impl BodyIdle {
    /// Finds it in `error` or in what caused that: readers wrap the error of a body.
    pub fn find<'a>(error: &'a (dyn Error + 'static)) -> Option<&'a Self> {
        let chain = std::iter::successors(Some(error), |&error| error.source());
        chain.into_iter().find_map(|error| error.downcast_ref())
    }
}

pin_project_lite::pin_project! {
    /// A body that fails when it is waited for and nothing of it comes for the limit.
    ///
    /// A reader that does something else meanwhile does not spend the limit: what came is given
    /// out first.
    pub(super) struct Arriving<B> {
        #[pin]
        body: B,
        #[pin]
        wait: Option<Sleep>,
        limit: Duration,
        // Of the connection, where it ends with its body.
        pulse: Option<Pulse>,
    }
}

impl<B> Arriving<B> {
    /// A body whose connection, if this is its pulse, ends when nothing of the body comes.
    pub(super) fn new(body: B, limit: Duration, pulse: Option<Pulse>) -> Self {
        Self { body, wait: None, limit, pulse }
    }
}

impl<B> Body for Arriving<B>
where
    B: Body<Data = Bytes, Error: Into<Box<dyn Error + Send + Sync>>>,
{
    type Data = Bytes;
    type Error = Box<dyn Error + Send + Sync>;

    fn poll_frame(
        self: Pin<&mut Self>,
        task: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        let mut this = self.project();
        if let Poll::Ready(frame) = this.body.poll_frame(task) {
            this.wait.set(None);
            return Poll::Ready(frame.map(|frame| frame.map_err(Into::into)));
        }
        if this.wait.is_none() {
            this.wait.set(Some(sleep(*this.limit)));
        }
        if let Some(wait) = this.wait.as_mut().as_pin_mut() {
            ready!(wait.poll(task));
        }
        // What is left of it cannot be told from a next request, but where each has its own stream.
        if let Some(pulse) = this.pulse {
            pulse.leave(Ended::Body);
        }
        Poll::Ready(Some(Err(BodyIdle(*this.limit).into())))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::stream;
    use http_body_util::BodyExt;
    use std::{convert::Infallible, pin::pin};
    use tokio::{sync::mpsc, time::Instant};

    const LIMIT: Duration = Duration::from_secs(5);

    fn body() -> (mpsc::Sender<Bytes>, Arriving<axum::body::Body>) {
        let (sender, pieces) = mpsc::channel(8);
        let pieces = stream::unfold(pieces, async |mut pieces| {
            Some((Ok::<Bytes, Infallible>(pieces.recv().await?), pieces))
        });
        let body = axum::body::Body::from_stream(pieces);
        (sender, Arriving::new(body, LIMIT, Some(Pulse::new())))
    }

    #[tokio::test(start_paused = true)]
    async fn a_body_that_stops_coming_fails_at_the_limit() {
        let (sender, body) = body();
        let pulse = body.pulse.clone().unwrap();
        let mut body = pin!(body);
        sender.send("a".into()).await.unwrap();
        assert!(body.frame().await.unwrap().is_ok());
        let before = Instant::now();
        let error = body.frame().await.unwrap().unwrap_err();
        assert_eq!(BodyIdle::find(&*error), Some(&BodyIdle(LIMIT)));
        assert_eq!(before.elapsed(), LIMIT);
        assert_eq!(pulse.leaving(), Some(Ended::Body));
    }

    #[tokio::test(start_paused = true)]
    async fn the_limit_is_per_piece_and_not_for_the_whole() {
        let (sender, body) = body();
        let sending = async {
            for _ in 0..10 {
                sleep(LIMIT * 4 / 5).await;
                sender.send("a".into()).await.unwrap();
            }
            drop(sender);
        };
        let (whole, ()) = tokio::join!(body.collect(), sending);
        assert_eq!(whole.unwrap().to_bytes(), "a".repeat(10));
    }

    #[tokio::test(start_paused = true)]
    async fn a_reader_that_is_late_gets_what_has_come() {
        let (sender, body) = body();
        let mut body = pin!(body);
        assert!(futures_util::poll!(body.frame()).is_pending());
        sender.send("a".into()).await.unwrap();
        sleep(2 * LIMIT).await;
        assert!(body.frame().await.unwrap().is_ok());
    }

    #[test]
    fn it_is_found_where_it_was_wrapped() {
        let wrapped = std::io::Error::other(axum::Error::new(BodyIdle(LIMIT)));
        assert_eq!(BodyIdle::find(&wrapped), Some(&BodyIdle(LIMIT)));
        assert_eq!(BodyIdle(LIMIT).to_string(), "nothing came of the body for 5s");
        assert_eq!(BodyIdle::find(&std::io::Error::other("gone")), None);
    }
}
