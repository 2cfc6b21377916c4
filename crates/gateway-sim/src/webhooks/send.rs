//! One POST on a connection of its own.

use std::io;

use bytes::Bytes;
use http::{Request, StatusCode, Uri};
use http_body_util::Full;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

/// Why a delivery failed before there was an answer.
#[derive(Debug, thiserror::Error)]
pub(super) enum Failed {
    #[error("cannot be written: {0}")]
    Request(#[from] http::Error),
    #[error("no connection: {0}")]
    Connect(#[from] io::Error),
    #[error("connection broke: {0}")]
    Broke(#[from] hyper::Error),
}

/// The status of the answer. Its body is not read: it says nothing that would change anything.
pub(super) async fn post(
    target: &Uri,
    request: Result<Request<Full<Bytes>>, http::Error>,
) -> Result<StatusCode, Failed> {
    let request = request?;
    let host = target.host().unwrap_or_default().trim_matches(['[', ']']);
    let stream = TcpStream::connect((host, target.port_u16().unwrap_or(80))).await?;
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    let mut answer = std::pin::pin!(sender.send_request(request));
    tokio::select! {
        biased;
        answer = &mut answer => Ok(answer?.status()),
        // The connection may end with the answer read already.
        ended = connection => {
            ended?;
            Ok(answer.await?.status())
        }
    }
}
