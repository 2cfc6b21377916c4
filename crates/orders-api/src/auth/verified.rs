//! Tokens whose signature was found to hold a moment ago, so that it is not checked for every request.

use std::collections::HashMap;

use jiff::Timestamp;
use mainstay_context::Principal;
use sha2::{Digest as _, Sha256};

/// How many are remembered.
const MOST: usize = 4_096;
/// How long one is remembered at most, in seconds.
const LONGEST: i64 = 60;

/// What a token is remembered by: its SHA-256, since it opens everything itself.
pub(super) type Digest = [u8; 32];

/// The digest of a token.
pub(super) fn digest(token: &str) -> Digest {
    Sha256::digest(token).into()
}

/// A bounded number of tokens. Only those of the issuer come in, so no stranger can fill it.
#[derive(Default)]
pub(super) struct Verified(HashMap<Digest, Proven>);

struct Proven {
    principal: Principal,
    /// From when and until when it counts, in seconds since 1970: the clock may jump either way.
    from: i64,
    until: i64,
}

impl Verified {
    /// Who this token is for, if that was found a moment ago.
    pub(super) fn get(&self, token: &Digest, now: Timestamp) -> Option<Principal> {
        let proven = self.0.get(token)?;
        proven.counts(now.as_second()).then(|| proven.principal.clone())
    }

    /// Remembers who a token is for, which ends at `ends`.
    pub(super) fn add(&mut self, token: Digest, principal: Principal, now: Timestamp, ends: i64) {
        let from = now.as_second();
        if self.0.len() >= MOST {
            self.0.retain(|_, proven| proven.counts(from));
        }
        // As many at once are more than are worth a search for the oldest.
        if self.0.len() >= MOST {
            self.0.clear();
        }
        let until = ends.min(from.saturating_add(LONGEST));
        self.0.insert(token, Proven { principal, from, until });
    }

    /// Forgets all of them.
    pub(super) fn clear(&mut self) {
        self.0.clear();
    }
}

impl Proven {
    fn counts(&self, now: i64) -> bool {
        (self.from..self.until).contains(&now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    #[test]
    fn a_token_is_remembered_for_a_minute_and_not_beyond_its_end() {
        let mut verified = Verified::default();
        let ann = Principal::new("shop", "ann");
        verified.add(digest("long"), ann.clone(), at(100), 1_000);
        verified.add(digest("short"), ann.clone(), at(100), 130);
        for (now, long, short) in
            [(99, false, false), (100, true, true), (130, true, false), (160, false, false)]
        {
            assert_eq!(verified.get(&digest("long"), at(now)).is_some(), long, "{now}");
            assert_eq!(verified.get(&digest("short"), at(now)).is_some(), short, "{now}");
        }
        assert_eq!(verified.get(&digest("long"), at(100)), Some(ann));
        assert_eq!(verified.get(&digest("other"), at(100)), None);
        verified.clear();
        assert_eq!(verified.get(&digest("long"), at(100)), None);
    }

    #[test]
    fn no_more_are_remembered_than_there_is_room_for() {
        let mut verified = Verified::default();
        for number in 0..=2 * MOST {
            verified.add(digest(&number.to_string()), Principal::new("a", "b"), at(0), 1_000);
            assert!(verified.0.len() <= MOST);
        }
        let last = digest(&(2 * MOST).to_string());
        assert!(verified.get(&last, at(0)).is_some());
    }
}
