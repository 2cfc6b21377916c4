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

use tokio::{
    io::{AsyncRead, AsyncWrite, Interest, ReadBuf},
    net::{TcpListener, TcpStream},
    time::Instant,
};

/// What is older has no believable time: the clock was set meanwhile.
const OLDEST: Duration = Duration::from_mins(1);

/// When the last bytes that were read of a request came to this machine, in the extensions of the request:
/// the end of its header, and what came with it.
///
/// It is not there where the system does not tell. A request on HTTP/1 that came while another of its
/// connection was served begins when that was answered. On HTTP/2 the last read of the connection counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Arrived(pub Instant);

/// When the bytes came that were read last. Clones share it.
#[derive(Clone, Debug)]
pub(super) struct Stamps(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    /// Before anything that is believed.
    start: Instant,
    /// In nanoseconds since the start; 0 is none.
    last: AtomicU64,
}

impl Stamps {
    pub(super) fn new() -> Self {
        let now = Instant::now();
        // A connection waits to be accepted as well.
        let start = now.checked_sub(2 * OLDEST).unwrap_or(now);
        Self(Arc::new(Shared { start, last: AtomicU64::new(0) }))
    }

    /// When a request came that is read now, and that nobody was free for before `free`.
    pub(super) fn request(&self, free: Option<Instant>) -> Option<Arrived> {
        let last = self.0.last.load(Relaxed);
        let came = (last > 0).then(|| self.0.start + Duration::from_nanos(last))?;
        Some(Arrived(free.map_or(came, |free| came.max(free))))
    }

    fn read(&self, came: Option<SystemTime>, now: SystemTime) {
        let age = came.map(|came| now.duration_since(came).unwrap_or_default());
        let at = age.filter(|age| *age <= OLDEST).and_then(|age| Instant::now().checked_sub(age));
        let since = at.map(|at| at.saturating_duration_since(self.0.start).as_nanos());
        let last = since.and_then(|since| u64::try_from(since).ok()).unwrap_or_default();
        self.0.last.store(last, Relaxed);
    }
}

/// Has the connections of a listener tell when bytes came, from before they are accepted on.
pub(super) fn stamp(listener: &TcpListener) {
    if let Err(error) = kernel::stamp(listener) {
        tracing::debug!(%error, "nobody tells when requests came");
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
                    if count > 0 {
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
        os::fd::{AsFd, AsRawFd as _},
        time::{Duration, SystemTime},
    };
    use tokio::net::TcpStream;

    /// Room for one time, and more than that, aligned as the system's header of such.
    #[repr(align(8))]
    struct Control([u8; 64]);

    /// Has the socket tell when what is read from it came.
    pub(super) fn stamp(socket: &impl AsFd) -> io::Result<()> {
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
        let mut control = Control([0; 64]);
        let mut parts = [IoSliceMut::new(room)];
        loop {
            let flags = MsgFlags::empty();
            let read = recvmsg::<()>(socket.as_raw_fd(), &mut parts, Some(&mut control.0), flags);
            let read = match read {
                Err(Errno::EINTR) => continue,
                read => read?,
            };
            // Without its time what was read is as good.
            let came = read.cmsgs().ok().and_then(|mut told| {
                told.find_map(|message| {
                    let ControlMessageOwned::ScmTimestampns(time) = message else { return None };
                    Some(Duration::from(time))
                })
            });
            return Ok((read.bytes, came.map(|since| SystemTime::UNIX_EPOCH + since)));
        }
    }
}

#[cfg(not(target_os = "linux"))]
mod kernel {
    use std::{io, os::fd::AsFd, time::SystemTime};
    use tokio::net::TcpStream;

    pub(super) const fn now() -> SystemTime {
        SystemTime::UNIX_EPOCH
    }

    pub(super) fn stamp(_socket: &impl AsFd) -> io::Result<()> {
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

    fn waited(stamps: &Stamps, free: Option<Instant>) -> Option<Duration> {
        stamps.request(free).map(|Arrived(at)| at.elapsed())
    }

    #[tokio::test(start_paused = true)]
    async fn a_request_waits_from_when_it_came_or_the_connection_was_free() {
        let stamps = Stamps::new();
        assert_eq!(waited(&stamps, None), None);
        stamps.read(Some(SystemTime::UNIX_EPOCH), SystemTime::UNIX_EPOCH + WAIT);
        // Before the connection was accepted, as here, or after.
        assert_eq!(waited(&stamps, None), Some(WAIT));
        let free = Instant::now();
        assert_eq!(waited(&stamps, Some(free)), Some(Duration::ZERO));
        tokio::time::advance(WAIT).await;
        assert_eq!(waited(&stamps, Some(free)), Some(WAIT));
    }

    #[tokio::test(start_paused = true)]
    async fn a_time_that_cannot_be_is_none_and_leaves_none_behind() {
        let (stamps, now) = (Stamps::new(), SystemTime::UNIX_EPOCH + 9 * OLDEST);
        for unbelievable in [None, Some(now - 2 * OLDEST)] {
            stamps.read(Some(now), now);
            assert_eq!(waited(&stamps, None), Some(Duration::ZERO));
            stamps.read(unbelievable, now);
            assert_eq!(waited(&stamps, None), None);
        }
        stamps.read(Some(now + OLDEST), now);
        assert_eq!(waited(&stamps, None), Some(Duration::ZERO));
    }
}
