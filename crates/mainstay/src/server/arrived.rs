//! When bytes came, by the kernel's clock.
//!
//! On a machine that is busy they wait in their socket until a thread is free to read them, and whoever
//! sent them waits as well. Without this a request would begin when it is read.

use std::{
    io,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    task::{Context, Poll, ready},
    time::{Duration, SystemTime},
};

use http::Version;
use tokio::{
    io::{AsyncRead, AsyncWrite, Interest, ReadBuf},
    net::TcpStream,
    time::Instant,
};

/// What is older has no believable time: the clock was set meanwhile.
const OLDEST: Duration = Duration::from_mins(1);

/// When the last bytes of a request's header came to this machine, in the extensions of the request.
///
/// It is not there where the system does not tell, and of what came together with a request before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Arrived(pub Instant);

/// When the bytes came that were read last. Clones share it.
#[derive(Clone, Debug)]
pub(super) struct Stamps(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    start: Instant,
    /// In nanoseconds since the start, and one more; 0 is none.
    last: AtomicU64,
}

impl Stamps {
    pub(super) fn new(start: Instant) -> Self {
        Self(Arc::new(Shared { start, last: AtomicU64::new(0) }))
    }

    /// When the request came that was read last. On HTTP/1 only the first of several that came together
    /// has waited to be read; the others wait for one another.
    pub(super) fn of(&self, version: Version) -> Option<Arrived> {
        let last = &self.0.last;
        let last =
            if version < Version::HTTP_2 { last.swap(0, Relaxed) } else { last.load(Relaxed) };
        let last = last.checked_sub(1)?;
        Some(Arrived(self.0.start + Duration::from_nanos(last)))
    }

    fn read(&self, came: SystemTime, now: SystemTime) {
        let age = now.duration_since(came).unwrap_or_default();
        if age > OLDEST {
            return;
        }
        let Some(at) = Instant::now().checked_sub(age) else { return };
        let since = at.saturating_duration_since(self.0.start).as_nanos();
        self.0.last.store(u64::try_from(since).map_or(0, |since| since.saturating_add(1)), Relaxed);
    }
}

/// A socket that tells when what is read from it came.
pub(super) struct Stamped {
    socket: TcpStream,
    stamps: Stamps,
    tells: bool,
}

impl Stamped {
    pub(super) fn new(socket: TcpStream, stamps: Stamps) -> Self {
        let tells = kernel::stamp(&socket).is_ok();
        Self { socket, stamps, tells }
    }
}

impl AsyncRead for Stamped {
    fn poll_read(
        mut self: Pin<&mut Self>,
        task: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        if !this.tells {
            return Pin::new(&mut this.socket).poll_read(task, buf);
        }
        loop {
            ready!(this.socket.poll_read_ready(task))?;
            let room = buf.initialize_unfilled();
            let (most, mut read) = (room.len(), None);
            let tried = this.socket.try_io(Interest::READABLE, || {
                let (count, came) = kernel::receive(&this.socket, room)?;
                read = Some((count, came));
                // Whatever else comes makes the socket ready anew.
                if count > 0 && count < most {
                    Err(io::ErrorKind::WouldBlock.into())
                } else {
                    Ok(())
                }
            });
            match (read, tried) {
                (Some((count, came)), _) => {
                    buf.advance(count);
                    if let Some(came) = came {
                        this.stamps.read(came, kernel::now());
                    }
                    return Poll::Ready(Ok(()));
                }
                (None, Err(error)) if error.kind() != io::ErrorKind::WouldBlock => {
                    return Poll::Ready(Err(error));
                }
                (None, _) => {}
            }
        }
    }
}

impl AsyncWrite for Stamped {
    fn poll_write(
        mut self: Pin<&mut Self>,
        task: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.socket).poll_write(task, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        task: &mut Context<'_>,
        parts: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.socket).poll_write_vectored(task, parts)
    }

    fn is_write_vectored(&self) -> bool {
        self.socket.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, task: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_flush(task)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, task: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_shutdown(task)
    }
}

#[cfg(target_os = "linux")]
mod kernel {
    use nix::{
        errno::Errno,
        sys::socket::{ControlMessageOwned, MsgFlags, recvmsg, setsockopt, sockopt},
    };
    use std::{
        io::{self, IoSliceMut},
        os::fd::AsRawFd as _,
        time::{Duration, SystemTime},
    };
    use tokio::net::TcpStream;

    /// Room for one time, and more than that.
    const CONTROL: usize = 64;

    /// Has the socket tell when what is read from it came.
    pub(super) fn stamp(socket: &TcpStream) -> io::Result<()> {
        Ok(setsockopt(socket, sockopt::ReceiveTimestampns, &true)?)
    }

    /// The time of the clock by which it tells.
    #[expect(clippy::disallowed_methods, reason = "the kernel's clock is compared with itself")]
    pub(super) fn now() -> SystemTime {
        SystemTime::now()
    }

    /// Reads once, and tells when the last of it came.
    pub(super) fn receive(
        socket: &TcpStream,
        room: &mut [u8],
    ) -> io::Result<(usize, Option<SystemTime>)> {
        let mut control = [0; CONTROL];
        let mut parts = [IoSliceMut::new(room)];
        loop {
            let flags = MsgFlags::empty();
            let read = recvmsg::<()>(socket.as_raw_fd(), &mut parts, Some(&mut control), flags);
            let read = match read {
                Err(Errno::EINTR) => continue,
                read => read?,
            };
            let came = read.cmsgs()?.find_map(|message| {
                let ControlMessageOwned::ScmTimestampns(time) = message else { return None };
                Some(Duration::from(time))
            });
            return Ok((read.bytes, came.map(|since| SystemTime::UNIX_EPOCH + since)));
        }
    }
}

#[cfg(not(target_os = "linux"))]
mod kernel {
    use std::{io, time::SystemTime};
    use tokio::net::TcpStream;

    pub(super) const fn now() -> SystemTime {
        SystemTime::UNIX_EPOCH
    }

    pub(super) fn stamp(_socket: &TcpStream) -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }

    pub(super) fn receive(
        socket: &TcpStream,
        room: &mut [u8],
    ) -> io::Result<(usize, Option<SystemTime>)> {
        Ok((socket.try_read(room)?, None))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WAIT: Duration = Duration::from_secs(3);

    #[tokio::test(start_paused = true)]
    async fn what_came_together_waited_once_on_http_1_and_all_of_it_on_http_2() {
        let stamps = Stamps::new(Instant::now());
        tokio::time::advance(Duration::from_secs(9)).await;
        let read = || stamps.read(SystemTime::UNIX_EPOCH, SystemTime::UNIX_EPOCH + WAIT);
        read();
        let waited = stamps.of(Version::HTTP_11).map(|Arrived(at)| at.elapsed()).unwrap();
        assert_eq!(waited, WAIT);
        assert_eq!(stamps.of(Version::HTTP_11), None);
        read();
        let both = [Version::HTTP_2; 2].map(|version| stamps.of(version));
        assert!(both[0].is_some() && both[0] == both[1], "{both:?}");
    }

    #[test]
    fn times_that_cannot_be_are_left_out() {
        let stamps = Stamps::new(Instant::now());
        let now = SystemTime::UNIX_EPOCH + 9 * OLDEST;
        stamps.read(now - 2 * OLDEST, now);
        assert_eq!(stamps.of(Version::HTTP_2), None);
        let before = Instant::now();
        stamps.read(now + OLDEST, now);
        assert!(stamps.of(Version::HTTP_2).is_some_and(|Arrived(at)| at >= before));
    }
}
