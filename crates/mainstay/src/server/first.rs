//! The first header of a connection, kept until it is whole.
//!
//! hyper has about 24 KiB in buffers from the first byte on; this has what came. So a flood of
//! connections that never finish a header costs a few KiB for each. Not here: later headers.

use std::{
    io,
    pin::Pin,
    task::{Context, Poll, ready},
};
use tokio::io::{AsyncRead, ReadBuf};

/// A longer header is passed on as it comes.
const MOST: usize = 2 << 10;

/// What came of the first header and is not passed on yet.
#[derive(Debug, Default)]
pub(super) struct First {
    held: Vec<u8>,
    whole: bool,
}

impl First {
    /// Whether nothing more is kept: the header has ended, is long, is none, or never comes.
    pub(super) const fn is_whole(&self) -> bool {
        self.whole
    }

    /// Keeps what `socket` has, and tells it.
    pub(super) fn poll_fill(
        &mut self,
        socket: Pin<&mut impl AsyncRead>,
        task: &mut Context<'_>,
    ) -> Poll<io::Result<&[u8]>> {
        let mut room = [0; 512];
        let mut came = ReadBuf::new(&mut room);
        ready!(socket.poll_read(task, &mut came))?;
        let before = self.held.len();
        self.held.extend_from_slice(came.filled());
        // A line break may have come before the one that ends the header.
        let unseen = &self.held[before.saturating_sub(2)..];
        let ended = unseen.windows(2).any(|end| end == b"\n\n")
            || unseen.windows(3).any(|end| end == b"\n\r\n");
        let gone = came.filled().is_empty();
        self.whole = ended || gone || self.held.len() >= MOST || !self.may_be_http();
        Poll::Ready(Ok(&self.held[before..]))
    }

    /// Passes on what is kept; returns whether there was any.
    pub(super) fn give(&mut self, buf: &mut ReadBuf<'_>) -> bool {
        let count = self.held.len().min(buf.remaining());
        buf.put_slice(&self.held[..count]);
        self.held.drain(..count);
        if self.held.is_empty() {
            self.held = Vec::new();
        }
        count > 0
    }

    /// Methods and the preface of HTTP/2 begin with a letter; empty lines may come before.
    fn may_be_http(&self) -> bool {
        self.held.first().is_none_or(|&byte| byte.is_ascii_alphabetic() || b"\r\n".contains(&byte))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::future::poll_fn;
    use tokio::io::{AsyncWriteExt, DuplexStream, duplex};

    async fn fill(first: &mut First, socket: &mut DuplexStream) {
        poll_fn(|task| first.poll_fill(Pin::new(&mut *socket), task).map_ok(|_| ())).await.unwrap();
    }

    /// What is passed on, once it is, of these pieces.
    async fn passed(pieces: &[&[u8]]) -> Option<Vec<u8>> {
        let (mut peer, mut socket) = duplex(64 << 10);
        let mut first = First::default();
        for piece in pieces {
            peer.write_all(piece).await.unwrap();
            fill(&mut first, &mut socket).await;
        }
        let mut room = [0; 4 << 10];
        let mut buf = ReadBuf::new(&mut room);
        if !first.is_whole() {
            return None;
        }
        first.give(&mut buf);
        Some(buf.filled().to_vec())
    }

    #[tokio::test]
    async fn a_header_is_kept_until_its_end_however_that_is_written() {
        for end in ["\r\n\r\n", "\n\n", "\n\r\n"] {
            let header = format!("GET / HTTP/1.1{end}");
            for split in 1..header.len() {
                let (one, other) = header.as_bytes().split_at(split);
                assert_eq!(passed(&[one]).await, None, "{split}");
                assert_eq!(passed(&[one, other]).await.as_deref(), Some(header.as_bytes()));
            }
        }
    }

    #[tokio::test]
    async fn what_is_no_header_is_passed_on_at_once() {
        let hello_of_tls = &[0x16, 3, 1, 2, 0][..];
        assert_eq!(passed(&[hello_of_tls]).await.as_deref(), Some(hello_of_tls));
    }

    #[tokio::test]
    async fn a_long_header_is_passed_on_as_it_comes() {
        let line = &[b'a'; 512][..];
        assert_eq!(passed(&[line; 3]).await, None);
        assert_eq!(passed(&[line; 4]).await.map(|all| all.len()), Some(MOST));
    }

    #[tokio::test]
    async fn what_came_before_the_end_of_the_connection_is_passed_on() {
        let (mut peer, mut socket) = duplex(64);
        peer.write_all(b"GET").await.unwrap();
        drop(peer);
        let mut first = First::default();
        fill(&mut first, &mut socket).await;
        assert!(!first.is_whole());
        fill(&mut first, &mut socket).await;
        assert!(first.is_whole());
        let mut room = [0; 2];
        assert!(first.give(&mut ReadBuf::new(&mut room)));
        assert!(first.give(&mut ReadBuf::new(&mut room)));
        assert!(!first.give(&mut ReadBuf::new(&mut room)));
    }

    proptest! {
        #[test]
        fn nothing_is_lost(bytes in prop::collection::vec(any::<u8>(), 1..3_000), room in 1..50_usize) {
            let mut first = First { held: bytes.clone(), whole: true };
            let mut passed = Vec::new();
            let mut space = vec![0; room];
            loop {
                let mut buf = ReadBuf::new(&mut space);
                if !first.give(&mut buf) {
                    break;
                }
                passed.extend_from_slice(buf.filled());
            }
            prop_assert_eq!(passed, bytes);
        }
    }
}
