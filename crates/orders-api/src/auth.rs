//! Who asks: API keys of the form `ID.SECRET`, kept as HMACs under a pepper.
//!
//! A stolen key file opens nothing without the pepper. Two keys of one principal may be active at
//! once, so that keys can be rotated. An unknown id costs as much as a wrong secret, and secrets
//! are compared in constant time.
//!
//! Deliberately absent: where keys and pepper are read from; that is the binary's.

use std::{collections::HashMap, fmt};

use hmac::{Hmac, KeyInit as _, Mac as _};
use mainstay_context::Principal;
use orders::domain::{TenantId, TextError};
use serde::{Deserialize, Serialize};
use sha2::Sha256;

/// One key as it stands in a key file, in a `[[key]]` table.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Entry {
    /// The public part of the key.
    pub id: String,
    /// Whose orders it opens.
    pub tenant: String,
    /// The name of who holds it, for the history.
    pub principal: String,
    /// What [`hash`] makes of the secret part.
    pub hash: String,
}

/// A key file.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct File {
    /// The keys, each in a `[[key]]` table.
    #[serde(default, rename = "key")]
    pub keys: Vec<Entry>,
}

/// Why a set of keys cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidKeys {
    /// An id that a token could not carry.
    #[error("key id {0:?} must be visible ASCII characters without a dot")]
    Id(String),
    /// The same id twice.
    #[error("key id {0:?} is there twice")]
    Twice(String),
    /// Not a tenant's name.
    #[error("tenant {tenant:?} of key {id:?} {rule}")]
    Tenant {
        /// The key.
        id: String,
        /// Its tenant.
        tenant: String,
        /// The rule that it breaks.
        rule: TextError,
    },
    /// The principal has no name.
    #[error("the principal of key {0:?} is empty")]
    Principal(String),
    /// The hash is not what [`hash`] makes.
    #[error("the hash of key {0:?} is not 64 hexadecimal digits")]
    Hash(String),
}

/// The keys that open the API.
pub struct Keys {
    pepper: Hmac<Sha256>,
    known: HashMap<String, Known>,
}

struct Known {
    principal: Principal,
    hash: [u8; 32],
}

impl Keys {
    /// The keys of these entries, hashed under this pepper.
    ///
    /// # Errors
    /// [`InvalidKeys`] says which entry cannot be used.
    pub fn new(pepper: &[u8], entries: Vec<Entry>) -> Result<Self, InvalidKeys> {
        let mut known = HashMap::with_capacity(entries.len());
        for entry in entries {
            let id = entry.id.clone();
            if known.insert(entry.id.clone(), Known::try_from(entry)?).is_some() {
                return Err(InvalidKeys::Twice(id));
            }
        }
        Ok(Self { pepper: mac(pepper), known })
    }

    /// Who holds this token; `None` when nobody does.
    pub fn verify(&self, token: &str) -> Option<Principal> {
        let (id, secret) = token.split_once('.')?;
        let known = self.known.get(id);
        let mac = self.pepper.clone().chain_update(secret);
        // An unknown id is compared too, so that it takes no less time.
        let same = mac.verify_slice(known.map_or(&[0; 32], |known| &known.hash)).is_ok();
        known.filter(|_| same).map(|known| known.principal.clone())
    }
}

impl TryFrom<Entry> for Known {
    type Error = InvalidKeys;

    fn try_from(entry: Entry) -> Result<Self, InvalidKeys> {
        let Entry { id, tenant, principal, hash } = entry;
        if id.is_empty() || !id.bytes().all(|b| b.is_ascii_graphic() && b != b'.') {
            return Err(InvalidKeys::Id(id));
        }
        if let Err(rule) = tenant.parse::<TenantId>() {
            return Err(InvalidKeys::Tenant { id, tenant, rule });
        }
        if principal.is_empty() {
            return Err(InvalidKeys::Principal(id));
        }
        let hash = unhex(&hash).ok_or(InvalidKeys::Hash(id))?;
        Ok(Self { principal: Principal::new(tenant, principal), hash })
    }
}

/// Tells how many keys there are, and nothing of them.
impl fmt::Debug for Keys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Keys").field("known", &self.known.len()).finish_non_exhaustive()
    }
}

/// What is kept of a secret: its HMAC-SHA256 under the pepper, as 64 hexadecimal digits.
pub fn hash(pepper: &[u8], secret: &str) -> String {
    let hash = mac(pepper).chain_update(secret).finalize().into_bytes();
    hash.iter().flat_map(|byte| [byte >> 4, byte & 15]).filter_map(hex_digit).collect()
}

fn hex_digit(value: u8) -> Option<char> {
    char::from_digit(value.into(), 16)
}

fn unhex(text: &str) -> Option<[u8; 32]> {
    let digits: Vec<u8> = text
        .chars()
        .map(|c| c.to_digit(16).and_then(|d| u8::try_from(d).ok()))
        .collect::<Option<_>>()?;
    let bytes: Vec<u8> = digits.chunks_exact(2).map(|pair| pair[0] << 4 | pair[1]).collect();
    (digits.len() == 64).then(|| bytes.try_into().ok()).flatten()
}

/// HMAC-SHA256 takes a key of any length.
#[expect(clippy::expect_used, reason = "HMAC has no key length it refuses")]
pub(crate) fn mac(key: &[u8]) -> Hmac<Sha256> {
    Hmac::new_from_slice(key).expect("HMAC takes keys of any length")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(id: &str, secret: &str) -> Entry {
        Entry {
            id: id.to_owned(),
            tenant: "shop".to_owned(),
            principal: "till".to_owned(),
            hash: hash(b"pepper", secret),
        }
    }

    #[test]
    fn a_key_opens_with_its_own_secret_only() {
        let keys = Keys::new(b"pepper", vec![entry("k1", "one"), entry("k2", "two.two")]).unwrap();
        let till = Some(Principal::new("shop", "till"));
        assert_eq!(keys.verify("k1.one"), till);
        assert_eq!(keys.verify("k2.two.two"), till);
        for token in ["", ".", "k1", "k1.", "k1.two", "k3.one", "k1.one ", "K1.one", ".one"] {
            assert_eq!(keys.verify(token), None, "{token:?}");
        }
    }

    #[test]
    fn another_pepper_opens_nothing() {
        let keys = Keys::new(b"salt", vec![entry("k1", "one")]).unwrap();
        assert_eq!(keys.verify("k1.one"), None);
    }

    #[test]
    fn unusable_entries_are_refused_by_name() {
        let with = |change: fn(&mut Entry)| {
            let mut entry = entry("k1", "one");
            change(&mut entry);
            Keys::new(b"pepper", vec![entry]).map(|_| ()).unwrap_err()
        };
        assert_eq!(with(|e| e.id = "a.b".to_owned()), InvalidKeys::Id("a.b".to_owned()));
        assert_eq!(with(|e| e.hash.truncate(62)), InvalidKeys::Hash("k1".to_owned()));
        assert_eq!(with(|e| e.hash.replace_range(0..1, "é")), InvalidKeys::Hash("k1".to_owned()));
        assert_eq!(with(|e| e.principal.clear()), InvalidKeys::Principal("k1".to_owned()));
        assert!(matches!(with(|e| e.tenant.push(' ')), InvalidKeys::Tenant { .. }));
        let twice = Keys::new(b"pepper", vec![entry("k1", "one"), entry("k1", "two")]);
        assert_eq!(twice.map(|_| ()).unwrap_err(), InvalidKeys::Twice("k1".to_owned()));
    }

    #[test]
    fn nothing_of_a_key_shows_when_debugged() {
        let keys = Keys::new(b"pepper", vec![entry("k1", "one")]).unwrap();
        assert_eq!(format!("{keys:?}"), "Keys { known: 1, .. }");
    }
}
