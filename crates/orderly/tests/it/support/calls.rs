//! Calls of gRPC over one connection.

use hyper::{Request, Response, body::Incoming, client::conn::http2::handshake};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    task::JoinSet,
};
use tonic::body::Body;
use tower::{service_fn, util::BoxCloneService};

/// What generated clients make their calls with.
pub(crate) type Calls = BoxCloneService<Request<Body>, Response<Incoming>, hyper::Error>;

/// Calls over a stream that is open, and what they end with.
pub(crate) async fn calls<S>(stream: S) -> hyper::Result<(Calls, JoinSet<()>)>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (executor, io) = (TokioExecutor::new(), TokioIo::new(stream));
    let (sender, connection) = handshake::<_, _, Body>(executor, io).await?;
    let mut driver = JoinSet::new();
    driver.spawn(async move { drop(connection.await) });
    let send = service_fn(move |request: Request<Body>| {
        let mut sender = sender.clone();
        async move { sender.send_request(request).await }
    });
    Ok((Calls::new(send), driver))
}
