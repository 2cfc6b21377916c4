//! What the frames of an HTTP/2 peer say about it, read from their heads.
//!
//! Guarantee: constant memory, no allocation, and the same result however the bytes are split.
//! Deliberately absent: any judgement of the protocol, which is h2's.

/// Before the payload of each frame: its length (3 bytes), type, flags and stream (4 bytes).
const HEAD: usize = 9;

const DATA: u8 = 0x0;
const HEADERS: u8 = 0x1;
const RST_STREAM: u8 = 0x3;
const CONTINUATION: u8 = 0x9;

const END_STREAM: u8 = 0x1;
const END_HEADERS: u8 = 0x4;

/// What a frame costs that does no work.
const IDLE_FRAME: u32 = 1;
/// A reset costs more: the request it ends may have begun its work.
const RESET: u32 = 5;

/// Where the peer stands in its stream of frames.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Frames {
    head: [u8; HEAD],
    /// How much of the head has come.
    have: usize,
    /// How much of the payload is still to come.
    missing: usize,
    /// Whether the frame under way is a body's, which has a limit of its own.
    body: bool,
    /// Whether a block of headers was begun and not ended.
    in_headers: bool,
}

/// What some bytes held.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Seen {
    /// The cost of the frames in them that did no work.
    pub(super) cost: u32,
    /// Whether the peer owed nothing for a moment: all it had begun was whole.
    pub(super) rested: bool,
}

impl Frames {
    /// Reads on; each frame counts when its head is whole.
    pub(super) fn scan(&mut self, mut bytes: &[u8]) -> Seen {
        let mut seen = Seen::default();
        while !bytes.is_empty() {
            if self.have < HEAD {
                let count = bytes.len().min(HEAD - self.have);
                let (now, later) = bytes.split_at(count);
                self.head[self.have..self.have + count].copy_from_slice(now);
                self.have += count;
                bytes = later;
                if self.have == HEAD {
                    seen.cost = seen.cost.saturating_add(self.begin());
                }
            } else {
                let count = bytes.len().min(self.missing);
                self.missing -= count;
                bytes = &bytes[count..];
            }
            if self.have == HEAD && self.missing == 0 {
                (self.have, self.body) = (0, false);
                seen.rested |= !self.in_headers;
            }
        }
        seen
    }

    /// Whether the peer has begun a frame or a block of headers that it must finish soon.
    pub(super) fn unfinished(&self) -> bool {
        self.in_headers || (self.have > 0 && !self.body)
    }

    /// Takes in a whole head and tells what the frame costs.
    fn begin(&mut self) -> u32 {
        let [high, middle, low, kind, flags, ..] = self.head;
        self.missing = u32::from_be_bytes([0, high, middle, low]) as usize;
        self.body = kind == DATA;
        if kind == HEADERS || (kind == CONTINUATION && self.in_headers) {
            self.in_headers = flags & END_HEADERS == 0;
        }
        match kind {
            HEADERS => 0,
            DATA if self.missing > 0 || flags & END_STREAM != 0 => 0,
            RST_STREAM => RESET,
            _ => IDLE_FRAME,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const PING: u8 = 0x6;

    fn frame(kind: u8, flags: u8, payload: usize) -> Vec<u8> {
        let [_, high, middle, low] = u32::try_from(payload).unwrap().to_be_bytes();
        let mut frame = vec![high, middle, low, kind, flags, 0, 0, 0, 1];
        frame.resize(HEAD + payload, 0xff);
        frame
    }

    fn cost(kind: u8, flags: u8, payload: usize) -> u32 {
        Frames::default().scan(&frame(kind, flags, payload)).cost
    }

    #[test]
    fn requests_and_bodies_cost_nothing() {
        assert_eq!(cost(HEADERS, END_HEADERS | END_STREAM, 30), 0);
        assert_eq!(cost(DATA, 0, 1), 0);
        assert_eq!(cost(DATA, END_STREAM, 0), 0);
    }

    #[test]
    fn what_does_no_work_costs() {
        for kind in (0..=255).filter(|kind| ![DATA, HEADERS, RST_STREAM].contains(kind)) {
            assert_eq!(cost(kind, 0, 8), IDLE_FRAME, "{kind}");
        }
        assert_eq!(cost(DATA, 0, 0), IDLE_FRAME);
        assert_eq!(cost(RST_STREAM, 0, 4), RESET);
    }

    #[test]
    fn headers_are_unfinished_until_their_end() {
        let mut frames = Frames::default();
        assert!(!frames.scan(&frame(HEADERS, END_STREAM, 20)).rested);
        assert!(frames.unfinished());
        assert!(!frames.scan(&frame(CONTINUATION, 0, 20)).rested);
        assert!(frames.unfinished());
        assert!(frames.scan(&frame(CONTINUATION, END_HEADERS, 20)).rested);
        assert!(!frames.unfinished());
    }

    #[test]
    fn half_a_frame_is_unfinished_unless_it_is_a_bodys() {
        for (kind, unfinished) in [(HEADERS, true), (PING, true), (DATA, false)] {
            let mut frames = Frames::default();
            frames.scan(&frame(kind, END_HEADERS, 20)[..15]);
            assert_eq!(frames.unfinished(), unfinished, "{kind}");
        }
    }

    /// What a scan of these pieces comes to.
    fn scan<'a>(pieces: impl IntoIterator<Item = &'a [u8]>) -> (u32, bool, Frames) {
        let mut frames = Frames::default();
        let seen: Vec<_> = pieces.into_iter().map(|piece| frames.scan(piece)).collect();
        let cost = seen.iter().fold(0_u32, |cost, seen| cost.saturating_add(seen.cost));
        (cost, seen.iter().any(|seen| seen.rested), frames)
    }

    proptest! {
        #[test]
        fn a_split_changes_nothing(
            kinds in prop::collection::vec((0..12_u8, any::<u8>(), 0..40_usize), 0..40),
            junk in prop::collection::vec(any::<u8>(), 0..60),
            size in 1..50_usize,
        ) {
            let mut bytes: Vec<u8> =
                kinds.into_iter().flat_map(|(kind, flags, len)| frame(kind, flags, len)).collect();
            bytes.extend(junk);
            prop_assert_eq!(scan([&bytes[..]]), scan(bytes.chunks(size)));
        }

        #[test]
        fn any_bytes_are_read(bytes in prop::collection::vec(any::<u8>(), 0..2_000)) {
            let (cost, _, frames) = scan([&bytes[..]]);
            prop_assert!(cost as usize <= bytes.len());
            prop_assert!(frames.have <= HEAD);
        }
    }
}
