//! One connection, and whether a request left over it.
//!
//! Nothing drives it but the call that uses it: when that is dropped, so is the connection, and no
//! task is left behind.

use super::{Answer, Error, NotSent, Unknown, answer};
use crate::client::dial::{Stream, Traffic, Watched};
use bytes::Bytes;
use http::Request;
use http_body_util::Full;
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use std::{
    error::Error as StdError,
    fmt, io,
    pin::{Pin, pin},
    sync::Arc,
    task::{Context, Waker},
};
use tokio_rustls::rustls::{self, AlertDescription};

/// The most bytes of an answer's header.
const HEADER_LIMIT: usize = 64 << 10;

type Driver = Pin<Box<http1::Connection<TokioIo<Watched>, Full<Bytes>>>>;

/// A connection that carries one request at a time.
pub(super) struct Connection {
    sender: SendRequest<Full<Bytes>>,
    /// Moves the bytes when polled; `None` once it has ended.
    driver: Option<Driver>,
    traffic: Arc<Traffic>,
    /// What was written before the current request.
    before: u64,
    /// Whether there was an answer: the peer has accepted the connection.
    answered: bool,
}

impl Connection {
    pub(super) async fn begin(stream: Stream) -> io::Result<Self> {
        let (io, traffic) = Watched::new(stream);
        let handshake =
            http1::Builder::new().max_buf_size(HEADER_LIMIT).handshake(TokioIo::new(io)).await;
        let (sender, driver) = handshake.map_err(io::Error::other)?;
        Ok(Self { sender, driver: Some(Box::pin(driver)), traffic, before: 0, answered: false })
    }

    /// Whether it can carry a request, as far as this side has heard.
    pub(super) fn is_usable(&mut self) -> bool {
        // Once moves what came, and once more what that led to.
        for _ in 0..2 {
            self.drive(&mut Context::from_waker(Waker::noop()));
        }
        self.driver.is_some() && self.sender.is_ready()
    }

    /// Whether a byte of the current request may have left.
    pub(super) fn has_written(&self) -> bool {
        self.traffic.written() != self.before
    }

    /// Sends a request, and reads its answer up to so many bytes.
    pub(super) async fn exchange(
        &mut self,
        request: Request<Full<Bytes>>,
        reply_limit: usize,
    ) -> Result<Answer, Error> {
        self.before = self.traffic.written();
        let sent = self.sender.try_send_request(request);
        let answer = async {
            match sent.await {
                Ok(head) => answer::read(head, reply_limit).await,
                Err(error) => Err(Error::Unknown(Unknown::Lost(error.into_error().into()))),
            }
        };
        let mut answer = pin!(answer);
        let driver = &mut self.driver;
        let result = std::future::poll_fn(|task| {
            // How it ends is told through the answer.
            if driver.as_mut().is_some_and(|driver| driver.as_mut().poll(task).is_ready()) {
                *driver = None;
            }
            answer.as_mut().poll(task)
        })
        .await;
        self.answered |= result.is_ok();
        result.map_err(|error| self.told(error))
    }

    /// Whether a lost connection took anything is known here only.
    ///
    /// On TLS 1.3 this side may send before the peer has looked at its certificate. If the peer wants
    /// another one, it reads nothing of that.
    fn told(&self, error: Error) -> Error {
        match error {
            Error::Unknown(Unknown::Lost(source)) if !self.has_written() => {
                Error::NotSent(NotSent::Unwritten(source))
            }
            Error::Unknown(Unknown::Lost(source)) if !self.answered && is_refused(&*source) => {
                Error::NotSent(NotSent::Connect(io::Error::other(source)))
            }
            Error::Unknown(_) | Error::NotSent(_) => error,
        }
    }

    fn drive(&mut self, task: &mut Context<'_>) {
        if self.driver.as_mut().is_some_and(|driver| driver.as_mut().poll(task).is_ready()) {
            self.driver = None;
        }
    }
}

impl fmt::Debug for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connection").field("open", &self.driver.is_some()).finish_non_exhaustive()
    }
}

/// Whether the peer ended the handshake because of this side's certificate, or for want of one.
fn is_refused(error: &(dyn StdError + 'static)) -> bool {
    use AlertDescription::{
        BadCertificate, CertificateExpired, CertificateRequired, CertificateRevoked,
        CertificateUnknown, UnknownCA, UnsupportedCertificate,
    };
    let refusals = [
        BadCertificate,
        CertificateExpired,
        CertificateRequired,
        CertificateRevoked,
        CertificateUnknown,
        UnknownCA,
        UnsupportedCertificate,
    ];
    std::iter::successors(Some(error), |&error| error.source()).any(|error| {
        // What an I/O error wraps is not its source.
        let wrapped = error.downcast_ref::<io::Error>().and_then(io::Error::get_ref);
        match wrapped.and_then(|wrapped| wrapped.downcast_ref::<rustls::Error>()) {
            Some(rustls::Error::AlertReceived(alert)) => refusals.contains(alert),
            Some(_) | None => false,
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;
    use tokio::{
        io::AsyncReadExt,
        net::{TcpListener, TcpStream},
    };

    async fn connected() -> (Connection, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let stream = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let (peer, _) = listener.accept().await.unwrap();
        (Connection::begin(Stream::Plain(stream)).await.unwrap(), peer)
    }

    fn request() -> Request<Full<Bytes>> {
        Request::get("/").header("host", "test").body(Full::default()).unwrap()
    }

    #[tokio::test]
    async fn a_connection_that_was_closed_takes_nothing_and_says_so() {
        let (mut connection, peer) = connected().await;
        assert!(connection.is_usable());
        drop(peer);
        // What the kernel knows the reactor has yet to hear.
        tokio::time::sleep(Duration::from_millis(5)).await;
        let error = connection.exchange(request(), 1).await.unwrap_err();
        assert!(matches!(error, Error::NotSent(NotSent::Unwritten(_))), "{error:?}");
        assert!(!connection.has_written() && !connection.is_usable());
    }

    #[tokio::test]
    async fn a_connection_that_took_a_byte_says_so() {
        let (mut connection, mut peer) = connected().await;
        let close_at_the_first = async {
            peer.read_u8().await.unwrap();
            drop(peer);
        };
        let (result, ()) = tokio::join!(connection.exchange(request(), 1), close_at_the_first);
        let error = result.unwrap_err();
        assert!(matches!(error, Error::Unknown(Unknown::Lost(_))), "{error:?}");
        assert!(connection.has_written());
    }

    #[test]
    fn a_certificate_that_is_refused_is_told_from_other_ends_of_a_connection() {
        let told = |alert| {
            let error = rustls::Error::AlertReceived(alert);
            io::Error::new(io::ErrorKind::InvalidData, error)
        };
        for alert in [AlertDescription::CertificateRequired, AlertDescription::UnknownCA] {
            assert!(is_refused(&told(alert)), "{alert:?}");
        }
        assert!(!is_refused(&told(AlertDescription::InternalError)));
        assert!(!is_refused(&io::Error::from(io::ErrorKind::ConnectionReset)));
    }

    #[tokio::test]
    async fn a_closed_connection_is_not_usable() {
        let (mut connection, peer) = connected().await;
        drop(peer);
        tokio::time::sleep(Duration::from_millis(5)).await;
        assert!(!connection.is_usable());
    }
}
