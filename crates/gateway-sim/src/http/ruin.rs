//! What a fault makes of an answer that is there already.

use std::{io, time::Duration};

use axum::{
    body::{Body, to_bytes},
    extract::Request,
    middleware::Next,
    response::Response,
};
use bytes::Bytes;
use futures_util::{Stream, StreamExt as _, stream};
use http::{HeaderValue, header};

/// Where `redirect` leads.
pub(super) const REDIRECTED: &str = "/sim/redirected";

/// How long the first half of an answer has to leave before the connection breaks.
const HALFWAY: Duration = Duration::from_millis(50);

/// The most of an answer of ours, in bytes.
const LARGEST: usize = 64 << 10;

/// What is to happen to an answer, told by whoever makes it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ruin {
    hold: Duration,
    end: End,
}

#[derive(Clone, Copy, Debug)]
enum End {
    /// It arrives.
    Whole,
    /// Nothing of it does.
    Silence,
    /// Half of it does.
    Reset,
    /// It does, a byte at a time.
    Drip(Duration),
    /// This many bytes do, and they are another answer.
    Huge(u64),
}

impl Ruin {
    /// The answer after a time.
    pub(super) const fn held(hold: Duration) -> Self {
        Self { hold, end: End::Whole }
    }

    /// The end of the connection after a time.
    pub(super) const fn silence(hold: Duration) -> Self {
        Self { hold, end: End::Silence }
    }

    /// The end of the connection in the middle of the answer.
    pub(super) const fn reset(hold: Duration) -> Self {
        Self { hold, end: End::Reset }
    }

    /// The answer with this pause before each byte.
    pub(super) const fn drip(hold: Duration, pause: Duration) -> Self {
        Self { hold, end: End::Drip(pause) }
    }

    /// An answer of so many bytes.
    pub(super) const fn huge(hold: Duration, bytes: u64) -> Self {
        Self { hold, end: End::Huge(bytes) }
    }

    /// Lets it happen to this answer.
    pub(super) fn on(self, mut response: Response) -> Response {
        response.extensions_mut().insert(self);
        response
    }
}

/// Does what the answer says is to happen to it.
pub(super) async fn spoil(request: Request, next: Next) -> Response {
    let mut response = next.run(request).await;
    let Some(Ruin { hold, end }) = response.extensions_mut().remove::<Ruin>() else {
        return response;
    };
    if !hold.is_zero() {
        tokio::time::sleep(hold).await;
    }
    match end {
        End::Whole => response,
        // A body that fails at once takes the head along, which hyper has not sent by then.
        End::Silence => response.map(|_| Body::from_stream(stream::once(async { broken() }))),
        End::Reset => {
            in_parts(response, |bytes| {
                let half = bytes.slice(..bytes.len() / 2);
                stream::once(async { Ok(half) }).chain(stream::once(async {
                    tokio::time::sleep(HALFWAY).await;
                    broken()
                }))
            })
            .await
        }
        End::Drip(pause) => {
            in_parts(response, |bytes| {
                stream::iter(0..bytes.len()).then(move |at| {
                    let byte = bytes.slice(at..=at);
                    async move {
                        tokio::time::sleep(pause).await;
                        Ok(byte)
                    }
                })
            })
            .await
        }
        End::Huge(bytes) => response.map(|_| Body::from_stream(huge(bytes))),
    }
}

fn broken() -> io::Result<Bytes> {
    Err(io::Error::other("broken by a fault"))
}

/// The same answer with the same length, its body as `parts` makes it.
async fn in_parts<S>(response: Response, parts: impl FnOnce(Bytes) -> S) -> Response
where
    S: Stream<Item = io::Result<Bytes>> + Send + 'static,
{
    let (mut head, body) = response.into_parts();
    // An answer of ours is in memory, and small.
    let bytes = to_bytes(body, LARGEST).await.unwrap_or_default();
    head.headers.insert(header::CONTENT_LENGTH, HeaderValue::from(bytes.len()));
    Response::from_parts(head, Body::from_stream(parts(bytes)))
}

/// JSON that does not end before this many bytes.
fn huge(bytes: u64) -> impl Stream<Item = io::Result<Bytes>> {
    const CHUNK: usize = 64 << 10;
    let chunk = Bytes::from(vec![b'x'; CHUNK]);
    let start = stream::once(async { Ok(Bytes::from_static(b"{\"reference\":\"")) });
    let chunks = stream::iter(0..bytes.div_ceil(64 << 10)).map(move |_| Ok(chunk.clone()));
    let end = stream::once(async { Ok(Bytes::from_static(b"\"}")) });
    start.chain(chunks).chain(end)
}
