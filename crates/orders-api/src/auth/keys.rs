//! Who is known by name: API keys of the form `ID.SECRET`, kept as HMACs under a pepper, and the
//! peers of connections that show a certificate.

use std::{collections::HashMap, fmt};

use hmac::{Hmac, Mac as _};
use mainstay::server::Peer;
use mainstay_context::Principal;
use orders::domain::{TenantId, TextError};
use serde::{Deserialize, Serialize};
use sha2::Sha256;

use super::{
    mac,
    scopes::{Scope, names},
};

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
    /// What it opens; everything when it does not say so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scopes: Option<Vec<Scope>>,
}

/// One peer as it stands in a key file, in a `[[peer]]` table.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PeerEntry {
    /// The one URI of its certificate: `spiffe://TRUST-DOMAIN/PATH`.
    pub spiffe_id: String,
    /// Whose orders are open to it.
    pub tenant: String,
    /// Its name, for the history.
    pub principal: String,
    /// What is open to it; everything when it does not say so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scopes: Option<Vec<Scope>>,
}

/// A key file.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct File {
    /// The keys, each in a `[[key]]` table.
    #[serde(default, rename = "key")]
    pub keys: Vec<Entry>,
    /// The peers, each in a `[[peer]]` table.
    #[serde(default, rename = "peer", skip_serializing_if = "Vec::is_empty")]
    pub peers: Vec<PeerEntry>,
}

/// Why a key file cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidKeys {
    /// An id that no `Authorization` header could carry; up to its dot, since it may be a whole key.
    #[error("the key id that begins with {0:?} must be visible ASCII characters without a dot")]
    Id(String),
    /// An id that no certificate has.
    #[error("peer {0:?} must be a SPIFFE id such as spiffe://example.org/shop/till")]
    SpiffeId(String),
    /// The same id twice.
    #[error("id {0:?} is there twice")]
    Twice(String),
    /// Not a tenant's name.
    #[error("tenant {tenant:?} of {id:?} {rule}")]
    Tenant {
        /// The key or peer.
        id: String,
        /// Its tenant.
        tenant: String,
        /// The rule that it breaks.
        rule: TextError,
    },
    /// The principal has no name.
    #[error("the principal of {0:?} is empty")]
    Principal(String),
    /// The hash is not what [`hash`] makes.
    #[error("the hash of key {0:?} is not 64 hexadecimal digits")]
    Hash(String),
}

/// The keys that open the API, and the peers it is open to.
pub struct Keys {
    pepper: Hmac<Sha256>,
    known: HashMap<String, Known>,
    peers: HashMap<String, Principal>,
}

struct Known {
    principal: Principal,
    hash: [u8; 32],
}

impl Keys {
    /// What this file lets in; its keys are hashed under this pepper.
    ///
    /// # Errors
    /// [`InvalidKeys`] says which entry cannot be used.
    pub fn new(pepper: &[u8], file: File) -> Result<Self, InvalidKeys> {
        let mut known = HashMap::with_capacity(file.keys.len());
        for entry in file.keys {
            let id = entry.id.clone();
            if known.insert(id.clone(), Known::try_from(entry)?).is_some() {
                return Err(InvalidKeys::Twice(id));
            }
        }
        let mut peers = HashMap::with_capacity(file.peers.len());
        for PeerEntry { spiffe_id, tenant, principal, scopes } in file.peers {
            if Peer::of(&spiffe_id).is_none() {
                return Err(InvalidKeys::SpiffeId(spiffe_id));
            }
            let principal = named(&spiffe_id, tenant, principal, scopes)?;
            if peers.insert(spiffe_id.clone(), principal).is_some() {
                return Err(InvalidKeys::Twice(spiffe_id));
            }
        }
        Ok(Self { pepper: mac(pepper), known, peers })
    }

    /// Who holds this key; `None` when nobody does.
    pub fn verify(&self, key: &str) -> Option<Principal> {
        let (id, secret) = key.split_once('.')?;
        let known = self.known.get(id);
        let mac = self.pepper.clone().chain_update(secret);
        // An unknown id is compared too, so that it takes no less time.
        let same = mac.verify_slice(known.map_or(&[0; 32], |known| &known.hash)).is_ok();
        known.filter(|_| same).map(|known| known.principal.clone())
    }

    /// Who this peer is; `None` when it is not known.
    pub fn peer(&self, peer: &Peer) -> Option<Principal> {
        self.peers.get(&*peer.spiffe_id).cloned()
    }

    /// How many keys there are, and how many peers.
    pub fn count(&self) -> (usize, usize) {
        (self.known.len(), self.peers.len())
    }
}

impl TryFrom<Entry> for Known {
    type Error = InvalidKeys;

    fn try_from(entry: Entry) -> Result<Self, InvalidKeys> {
        let Entry { id, tenant, principal, hash, scopes } = entry;
        if id.is_empty() || !id.bytes().all(|b| b.is_ascii_graphic() && b != b'.') {
            return Err(InvalidKeys::Id(id.split('.').next().unwrap_or_default().to_owned()));
        }
        let principal = named(&id, tenant, principal, scopes)?;
        let hash = unhex(&hash).ok_or(InvalidKeys::Hash(id))?;
        Ok(Self { principal, hash })
    }
}

/// The principal that the entry of this id names.
fn named(
    id: &str,
    tenant: String,
    principal: String,
    scopes: Option<Vec<Scope>>,
) -> Result<Principal, InvalidKeys> {
    if let Err(rule) = tenant.parse::<TenantId>() {
        return Err(InvalidKeys::Tenant { id: id.to_owned(), tenant, rule });
    }
    if principal.is_empty() {
        return Err(InvalidKeys::Principal(id.to_owned()));
    }
    let scopes = scopes.unwrap_or_else(|| Scope::ALL.into());
    Ok(Principal::new(tenant, principal).with_scopes(names(scopes)))
}

/// Tells how many there are, and nothing of them.
impl fmt::Debug for Keys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shown = f.debug_struct("Keys");
        shown.field("known", &self.known.len()).field("peers", &self.peers.len());
        shown.finish_non_exhaustive()
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

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn entry(id: &str, secret: &str) -> Entry {
        Entry {
            id: id.to_owned(),
            tenant: "shop".to_owned(),
            principal: "till".to_owned(),
            hash: hash(b"pepper", secret),
            scopes: None,
        }
    }

    fn peer(spiffe_id: &str) -> PeerEntry {
        PeerEntry {
            spiffe_id: spiffe_id.to_owned(),
            tenant: "shop".to_owned(),
            principal: "warehouse".to_owned(),
            scopes: Some(vec![Scope::OrdersRead]),
        }
    }

    fn file(keys: Vec<Entry>, peers: Vec<PeerEntry>) -> File {
        File { keys, peers }
    }

    fn keys(pepper: &[u8], entries: Vec<Entry>) -> Result<Keys, InvalidKeys> {
        Keys::new(pepper, file(entries, Vec::new()))
    }

    #[test]
    fn a_key_opens_with_its_own_secret_only() {
        let keys = keys(b"pepper", vec![entry("k1", "one"), entry("k2", "two")]).unwrap();
        let till = Some(Principal::new("shop", "till").with_scopes(names(Scope::ALL)));
        assert_eq!(keys.verify("k1.one"), till);
        assert_eq!(keys.verify("k2.two"), till);
        for token in ["", ".", "k1", "k1.", "k1.two", "k3.one", "k1.one ", "K1.one", ".one"] {
            assert_eq!(keys.verify(token), None, "{token:?}");
        }
    }

    #[test]
    fn another_pepper_opens_nothing() {
        let keys = keys(b"salt", vec![entry("k1", "one")]).unwrap();
        assert_eq!(keys.verify("k1.one"), None);
    }

    #[test]
    fn a_key_may_do_what_its_scopes_say_and_without_them_everything() {
        let hash = hash(b"pepper", "one");
        let key = |id: &str| json!({ "id": id, "tenant": "a", "principal": "b", "hash": hash });
        let mut some = key("b");
        some["scopes"] = json!(["orders:read", "events:read"]);
        let mut text = json!({ "key": [key("a"), some] });
        let keys = Keys::new(b"pepper", serde_json::from_value(text.clone()).unwrap()).unwrap();
        assert_eq!(keys.verify("a.one").unwrap().scopes.len(), Scope::ALL.len());
        assert_eq!(*keys.verify("b.one").unwrap().scopes, ["events:read", "orders:read"]);
        text["key"][1]["scopes"][1] = json!("events:write");
        let refused = serde_json::from_value::<File>(text).unwrap_err().to_string();
        assert!(refused.contains("events:write") && refused.contains("payments:resolve"));
    }

    #[test]
    fn a_peer_is_who_its_certificate_says() {
        let keys =
            Keys::new(b"pepper", file(Vec::new(), vec![peer("spiffe://shop.test/a/b")])).unwrap();
        let of = |id: &str| keys.peer(&Peer { spiffe_id: id.into() });
        let known = of("spiffe://shop.test/a/b").unwrap();
        assert_eq!(known.to_string(), "shop/warehouse");
        assert_eq!(*known.scopes, ["orders:read"]);
        for other in ["spiffe://shop.test/a", "spiffe://shop.test/a/b/c", "spiffe://rival/a/b", ""]
        {
            assert_eq!(of(other), None, "{other}");
        }
    }

    #[test]
    fn unusable_entries_are_refused_by_name() {
        let with = |change: fn(&mut Entry)| {
            let mut entry = entry("k1", "one");
            change(&mut entry);
            keys(b"pepper", vec![entry]).map(|_| ()).unwrap_err()
        };
        let whole = with(|e| e.id = "a.canary".to_owned());
        assert_eq!(whole, InvalidKeys::Id("a".to_owned()), "its secret is not told");
        assert_eq!(with(|e| e.hash.truncate(62)), InvalidKeys::Hash("k1".to_owned()));
        assert_eq!(with(|e| e.hash.replace_range(0..1, "é")), InvalidKeys::Hash("k1".to_owned()));
        assert_eq!(with(|e| e.principal.clear()), InvalidKeys::Principal("k1".to_owned()));
        assert!(matches!(with(|e| e.tenant.push(' ')), InvalidKeys::Tenant { .. }));
        let twice = keys(b"pepper", vec![entry("k1", "one"), entry("k1", "two")]);
        assert_eq!(twice.map(|_| ()).unwrap_err(), InvalidKeys::Twice("k1".to_owned()));
        let id = "spiffe://shop.test/a";
        let twice = Keys::new(b"pepper", file(Vec::new(), vec![peer(id), peer(id)]));
        assert_eq!(twice.map(|_| ()).unwrap_err(), InvalidKeys::Twice(id.to_owned()));
    }

    #[test]
    fn a_peer_that_no_certificate_can_name_is_refused() {
        let long = format!("spiffe://{}/a", "d".repeat(256));
        for id in ["", "spiffe://shop.test", "spiffe://Shop.test/a", "https://shop.test/a", &long] {
            let refused = Keys::new(b"pepper", file(Vec::new(), vec![peer(id)]));
            assert_eq!(refused.map(|_| ()).unwrap_err(), InvalidKeys::SpiffeId(id.to_owned()));
        }
    }

    #[test]
    fn nothing_of_a_key_shows_when_debugged() {
        let keys = keys(b"pepper", vec![entry("k1", "one")]).unwrap();
        assert_eq!(format!("{keys:?}"), "Keys { known: 1, peers: 0, .. }");
    }
}
