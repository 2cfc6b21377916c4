//! Connections to one service: over TCP, and over TLS where its address says so.

use super::{
    http::{Config, TlsError},
    tls::Tls,
};
use std::{
    io,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    task::{Context, Poll},
};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
};
use tokio_rustls::{client::TlsStream, rustls::pki_types::ServerName};

/// Makes connections to one service.
pub(super) struct Dialer {
    host: String,
    port: u16,
    tls: Option<(Tls, ServerName<'static>)>,
    protocol: Option<&'static [u8]>,
}

impl Dialer {
    /// One whose connections speak this protocol, if it has to be agreed upon.
    pub(super) fn new(config: &Config, protocol: Option<&'static [u8]>) -> Result<Self, TlsError> {
        let base = &config.base_url;
        let tls = config.tls(protocol)?;
        Ok(Self { host: base.host().to_owned(), port: base.port(), tls, protocol })
    }

    /// Connects, and shakes hands. It has no limit of its own.
    pub(super) async fn dial(&self) -> io::Result<Stream> {
        let stream = TcpStream::connect((self.host.as_str(), self.port)).await?;
        stream.set_nodelay(true)?;
        let Some((tls, name)) = &self.tls else { return Ok(Stream::Plain(stream)) };
        let stream = tls.connector().await.connect(name.clone(), stream).await?;
        if self.protocol.is_some() && stream.get_ref().1.alpn_protocol() != self.protocol {
            return Err(io::Error::other("the service does not speak the protocol"));
        }
        Ok(Stream::Tls(Box::new(stream)))
    }
}

/// What bytes go over.
pub(super) enum Stream {
    Plain(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
}

/// What has gone over a connection so far. The numbers only ever grow.
#[derive(Debug, Default)]
pub(super) struct Traffic {
    written: AtomicU64,
    read: AtomicU64,
}

impl Traffic {
    /// How many writes may have taken something.
    pub(super) fn written(&self) -> u64 {
        self.written.load(Relaxed)
    }

    /// How many reads brought something.
    pub(super) fn read(&self) -> u64 {
        self.read.load(Relaxed)
    }
}

/// Remembers whether anything was written and read.
pub(super) struct Watched {
    stream: Stream,
    traffic: Arc<Traffic>,
}

impl Watched {
    pub(super) fn new(stream: Stream) -> (Self, Arc<Traffic>) {
        let traffic = Arc::new(Traffic::default());
        (Self { stream, traffic: Arc::clone(&traffic) }, traffic)
    }

    /// Notes what a write came to. What TLS was given it may have sent, whatever it says.
    fn note(&self, written: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        let taken = matches!(written, Poll::Ready(Ok(count)) if count > 0);
        if taken || matches!(self.stream, Stream::Tls(_)) {
            self.traffic.written.fetch_add(1, Relaxed);
        }
        written
    }
}

impl AsyncRead for Watched {
    fn poll_read(
        mut self: Pin<&mut Self>,
        task: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let read = match &mut self.stream {
            Stream::Plain(stream) => Pin::new(stream).poll_read(task, buffer),
            Stream::Tls(stream) => Pin::new(stream).poll_read(task, buffer),
        };
        if buffer.filled().len() > before {
            self.traffic.read.fetch_add(1, Relaxed);
        }
        read
    }
}

impl AsyncWrite for Watched {
    fn poll_write(
        mut self: Pin<&mut Self>,
        task: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = match &mut self.stream {
            Stream::Plain(stream) => Pin::new(stream).poll_write(task, bytes),
            Stream::Tls(stream) => Pin::new(stream).poll_write(task, bytes),
        };
        self.note(written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        task: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = match &mut self.stream {
            Stream::Plain(stream) => Pin::new(stream).poll_write_vectored(task, slices),
            Stream::Tls(stream) => Pin::new(stream).poll_write_vectored(task, slices),
        };
        self.note(written)
    }

    fn is_write_vectored(&self) -> bool {
        match &self.stream {
            Stream::Plain(stream) => stream.is_write_vectored(),
            Stream::Tls(stream) => stream.is_write_vectored(),
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, task: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.stream {
            Stream::Plain(stream) => Pin::new(stream).poll_flush(task),
            Stream::Tls(stream) => Pin::new(stream).poll_flush(task),
        }
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, task: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.stream {
            Stream::Plain(stream) => Pin::new(stream).poll_shutdown(task),
            Stream::Tls(stream) => Pin::new(stream).poll_shutdown(task),
        }
    }
}
