//! HTTP/1.1 on one kept connection, without a pool.

use bytes::Bytes;
use http::{Request, Response, Uri};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use std::{error::Error, time::Duration};
use tokio::{net::TcpStream, task::JoinSet, time::timeout};

const MOST_ANSWER_BYTES: usize = 16 * 1024 * 1024;

/// Where to connect, and for how long to wait.
#[derive(Clone, Debug)]
pub(crate) struct Target {
    address: String,
    timeout: Duration,
}

/// One caller's connection, opened again when it is lost.
#[derive(Debug)]
pub(crate) struct Client {
    target: Target,
    live: Option<Live>,
    /// Connections made after the first.
    reconnects: u64,
}

#[derive(Debug)]
struct Live {
    sender: SendRequest<Full<Bytes>>,
    /// Owns the task that moves the bytes: dropped, it ends.
    _driver: JoinSet<()>,
}

/// There was no answer.
#[derive(Debug)]
pub(crate) enum Lost {
    Connect(String),
    Broken(String),
    Timeout(Duration),
}

impl Target {
    pub(crate) fn new(url: &Uri, timeout: Duration) -> Result<Self, String> {
        let (host, port) = Self::check(url)?;
        Ok(Self { address: format!("{host}:{port}"), timeout })
    }

    /// Accepts `http://host[:port]` and nothing more.
    pub(crate) fn check(url: &Uri) -> Result<(&str, u16), String> {
        let host = url.host().filter(|_| url.scheme_str() == Some("http"));
        let host = host.ok_or("expected http://host:port")?;
        if !matches!(url.path(), "" | "/") || url.query().is_some() {
            return Err("the path is chosen by the tool: expected http://host:port".to_owned());
        }
        Ok((host, url.port_u16().unwrap_or(80)))
    }
}

impl Client {
    pub(crate) async fn connect(target: &Target) -> Result<Self, Lost> {
        let live = bounded(target.timeout, Live::open(&target.address)).await?;
        Ok(Self { target: target.clone(), live: Some(live), reconnects: 0 })
    }

    /// Sends one request and reads the whole answer, within the time limit.
    pub(crate) async fn send(
        &mut self,
        request: Request<Full<Bytes>>,
    ) -> Result<Response<Bytes>, Lost> {
        let result = bounded(self.target.timeout, self.exchange(request)).await;
        if result.is_err() {
            // What is left on the wire is unknown, so it cannot carry another request.
            self.live = None;
        }
        result
    }

    pub(crate) fn take_reconnects(&mut self) -> u64 {
        std::mem::take(&mut self.reconnects)
    }

    async fn exchange(&mut self, request: Request<Full<Bytes>>) -> Result<Response<Bytes>, Lost> {
        let (parts, body) = match self.live().await?.sender.try_send_request(request).await {
            Ok(answer) => answer,
            Err(mut error) => match error.take_message() {
                // The service closed the connection before it took the request: nothing is lost.
                Some(request) => {
                    self.live = None;
                    self.live().await?.sender.send_request(request).await.map_err(broken)?
                }
                None => return Err(broken(error.into_error())),
            },
        }
        .into_parts();
        let body = Limited::new(body, MOST_ANSWER_BYTES).collect().await.map_err(broken)?;
        Ok(Response::from_parts(parts, body.to_bytes()))
    }

    /// The connection, opened again if it was closed.
    async fn live(&mut self) -> Result<&mut Live, Lost> {
        if let Some(mut live) = self.live.take()
            && live.sender.ready().await.is_ok()
        {
            return Ok(self.live.insert(live));
        }
        self.reconnects += 1;
        Ok(self.live.insert(Live::open(&self.target.address).await?))
    }
}

impl Live {
    async fn open(address: &str) -> Result<Self, Lost> {
        let connect = |error: std::io::Error| Lost::Connect(format!("{address}: {error}"));
        let stream = TcpStream::connect(address).await.map_err(connect)?;
        stream.set_nodelay(true).map_err(connect)?;
        let (sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(broken)?;
        let mut driver = JoinSet::new();
        driver.spawn(async move {
            // The caller sees the same failure as the end of its request.
            connection.await.ok();
        });
        Ok(Self { sender, _driver: driver })
    }
}

impl Lost {
    pub(crate) fn kind(&self) -> &'static str {
        match self {
            Self::Connect(_) => "no connection",
            Self::Broken(_) => "connection lost",
            Self::Timeout(_) => "timeout",
        }
    }

    pub(crate) fn detail(self) -> String {
        match self {
            Self::Connect(detail) | Self::Broken(detail) => detail,
            Self::Timeout(limit) => format!("no answer in {limit:?}"),
        }
    }
}

async fn bounded<T>(
    limit: Duration,
    work: impl Future<Output = Result<T, Lost>>,
) -> Result<T, Lost> {
    timeout(limit, work).await.unwrap_or(Err(Lost::Timeout(limit)))
}

fn broken(error: impl Into<Box<dyn Error + Send + Sync>>) -> Lost {
    let error = error.into();
    match error.source() {
        Some(source) => Lost::Broken(format!("{error}: {source}")),
        None => Lost::Broken(error.to_string()),
    }
}
