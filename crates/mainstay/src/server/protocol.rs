//! Which protocol a peer speaks, and where in it its bytes stand.

use super::frames::Frames;

const HTTP2_PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// The protocol of a connection, told by the peer's first bytes.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Protocol {
    /// All bytes so far, this many, are those of the HTTP/2 preface.
    Undecided(usize),
    Http1,
    Http2(Frames),
}

/// What some bytes from the peer were.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Heard {
    /// The cost of the HTTP/2 frames in them that did no work.
    pub(super) cost: u32,
    pub(super) header: Header,
}

/// Where a peer stands with what it must finish soon: a header, a preface, a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Header {
    /// All it had begun is whole.
    Whole,
    /// It goes on with one, or begins one if there was none.
    GoesOn,
    /// It begins one after the last was whole.
    Begins,
}

impl Protocol {
    /// Takes in bytes, of which there is at least one. On HTTP/1 only the caller knows whether
    /// they are a body's.
    pub(super) fn received(&mut self, bytes: &[u8]) -> Heard {
        match self {
            Self::Http1 => Heard { cost: 0, header: Header::GoesOn },
            Self::Http2(frames) => hear(frames, bytes, false),
            Self::Undecided(seen) => {
                let missing = &HTTP2_PREFACE[*seen..];
                if let Some(rest) = bytes.strip_prefix(missing) {
                    let mut frames = Frames::default();
                    let heard = hear(&mut frames, rest, true);
                    *self = Self::Http2(frames);
                    return heard;
                }
                *self = if missing.starts_with(bytes) {
                    Self::Undecided(*seen + bytes.len())
                } else {
                    Self::Http1
                };
                Heard { cost: 0, header: Header::GoesOn }
            }
        }
    }
}

fn hear(frames: &mut Frames, bytes: &[u8], was_whole: bool) -> Heard {
    let seen = frames.scan(bytes);
    let header = match (frames.unfinished(), was_whole || seen.rested) {
        (false, _) => Header::Whole,
        (true, false) => Header::GoesOn,
        (true, true) => Header::Begins,
    };
    Heard { cost: seen.cost, header }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PING: &[u8] = &[0, 0, 8, 6, 0, 0, 0, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8];

    fn hear_all(pieces: &[&[u8]]) -> (Protocol, Heard) {
        let mut protocol = Protocol::Undecided(0);
        let heard = pieces.iter().map(|piece| protocol.received(piece)).last();
        (protocol, heard.unwrap())
    }

    #[test]
    fn the_first_byte_that_is_not_the_prefaces_decides_for_http1() {
        assert_eq!(hear_all(&[b"PRI * HTTP/1"]).0, Protocol::Http1);
        assert_eq!(hear_all(&[b"P", b"O"]).0, Protocol::Http1);
        assert_eq!(hear_all(&[b"P", b"R"]).0, Protocol::Undecided(2));
    }

    #[test]
    fn a_preface_may_come_in_pieces_and_with_frames() {
        let whole = [HTTP2_PREFACE, PING].concat();
        for split in 1..whole.len() {
            let (protocol, heard) = hear_all(&[&whole[..split], &whole[split..]]);
            assert!(matches!(protocol, Protocol::Http2(_)), "{split}");
            assert_eq!(heard.header, Header::Whole, "{split}");
        }
    }

    #[test]
    fn a_frame_after_a_whole_one_begins_anew() {
        let start = [HTTP2_PREFACE, &PING[..10]].concat();
        assert_eq!(hear_all(&[&start]).1.header, Header::Begins);
        assert_eq!(hear_all(&[&start, &PING[10..12]]).1.header, Header::GoesOn);
        let again = [&PING[10..], &PING[..10]].concat();
        let (_, heard) = hear_all(&[&start, &again]);
        assert_eq!(heard, Heard { cost: 1, header: Header::Begins });
    }
}
