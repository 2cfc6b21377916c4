//! The keys that an issuer signs with (RFC 7517).
//!
//! A key that cannot be used is left out, as the standard has it: one for something else, of another
//! kind, or a secret. So is one that would be for this and is no key, such as a point off its curve; with
//! the reason, since whoever made it means it to work. A set without any key is refused.
//!
//! Not told of a key of Ed25519 is whether it is a point: `ring` has no way to ask that.

use std::{ops::RangeInclusive, sync::Arc};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD as BASE64};
use ring::{
    agreement::{self, ECDH_P256, EphemeralPrivateKey, agree_ephemeral},
    rand::SystemRandom,
    signature::{
        ECDSA_P256_SHA256_FIXED, ED25519, RSA_PKCS1_2048_8192_SHA256, RsaPublicKeyComponents,
        UnparsedPublicKey,
    },
};
use serde::Deserialize;
use sha2::{Digest as _, Sha256};

use super::jwt::Algorithm;

/// The fewest bytes of an RSA key's modulus: 2048 bits.
const LEAST_RSA: usize = 256;
/// The most bytes of it: 8192 bits. No signature of a larger one is checked.
const MOST_RSA: usize = 1_024;
/// The exponents of RSA that signatures are checked with; they are odd.
const EXPONENTS: RangeInclusive<u64> = 3..=(1 << 33) - 1;
/// The length of a coordinate of P-256, and of a key of Ed25519, in bytes.
const COORDINATE: usize = 32;

/// The keys of an issuer.
#[derive(Debug)]
pub struct KeySet {
    keys: Vec<Arc<Key>>,
    faulty: Vec<Faulty>,
    /// The SHA-256 of what they were read from.
    written: [u8; 32],
}

/// A set of keys that cannot be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidKeySet {
    /// It is no set of keys.
    #[error("it is not a JSON Web Key Set")]
    Format,
    /// It has no key that could be used.
    #[error("it has no key that signs with RS256 (2048 to 8192 bits), ES256 or EdDSA (Ed25519)")]
    Empty,
    /// What would be its keys has faults, the first one this.
    #[error("none of its keys can be used: of the first, {0}")]
    Faulty(&'static str),
}

/// What would be a key to check signatures with, but for a fault of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Faulty {
    /// Its name, if it has one.
    pub(super) key: Option<String>,
    /// What is wrong.
    pub(super) fault: &'static str,
}

/// Why a set has no key for a token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum NoKey {
    /// The token names none, and there are several.
    Unnamed,
    /// There is none of its name.
    Unknown,
    /// The one of its name signs in another way.
    Unfit,
}

/// A key that signatures are checked with.
#[derive(Debug)]
pub(super) struct Key {
    name: Option<String>,
    public: Public,
}

#[derive(Debug)]
enum Public {
    Rsa(RsaPublicKeyComponents<Vec<u8>>),
    P256(UnparsedPublicKey<Vec<u8>>),
    Ed25519(UnparsedPublicKey<Vec<u8>>),
}

/// What is read of a set; keys one by one, since one that cannot be read harms no other.
#[derive(Deserialize)]
struct Written {
    keys: Vec<serde_json::Value>,
}

/// What is read of a key (RFC 7517, 7518, 8037).
#[derive(Deserialize)]
struct WrittenKey {
    kty: String,
    kid: Option<String>,
    alg: Option<String>,
    #[serde(rename = "use")]
    purpose: Option<String>,
    key_ops: Option<Vec<String>>,
    crv: Option<String>,
    n: Option<String>,
    e: Option<String>,
    x: Option<String>,
    y: Option<String>,
}

impl KeySet {
    /// Reads a set.
    ///
    /// # Errors
    /// [`InvalidKeySet`] when it is none, or has no key that could be used.
    pub fn read(json: &[u8]) -> Result<Self, InvalidKeySet> {
        let written: Written = serde_json::from_slice(json).map_err(|_| InvalidKeySet::Format)?;
        let (mut keys, mut faulty) = (Vec::new(), Vec::new());
        for key in written.keys {
            match serde_json::from_value(key).map(Key::read) {
                Ok(Ok(Some(key))) => keys.push(Arc::new(key)),
                Ok(Err(fault)) => faulty.push(fault),
                Ok(Ok(None)) | Err(_) => {}
            }
        }
        if keys.is_empty() {
            let first = faulty.first().map(|one: &Faulty| InvalidKeySet::Faulty(one.fault));
            return Err(first.unwrap_or(InvalidKeySet::Empty));
        }
        Ok(Self { keys, faulty, written: Sha256::digest(json).into() })
    }

    /// What was left out of it for a fault.
    pub(super) fn faulty(&self) -> &[Faulty] {
        &self.faulty
    }

    /// How many keys it has.
    pub(super) fn count(&self) -> usize {
        self.keys.len()
    }

    /// Whether it was read from the same as another.
    pub(super) fn is_same(&self, other: &Self) -> bool {
        self.written == other.written
    }

    /// The key of this name that signs so; a set of one key needs no name.
    pub(super) fn find(&self, name: Option<&str>, algorithm: Algorithm) -> Result<Arc<Key>, NoKey> {
        let Some(name) = name else {
            let [key] = &self.keys[..] else { return Err(NoKey::Unnamed) };
            return Some(key).filter(|key| key.signs(algorithm)).cloned().ok_or(NoKey::Unfit);
        };
        let mut of_name =
            self.keys.iter().filter(|key| key.name.as_deref() == Some(name)).peekable();
        if of_name.peek().is_none() {
            return Err(NoKey::Unknown);
        }
        of_name.find(|key| key.signs(algorithm)).cloned().ok_or(NoKey::Unfit)
    }
}

impl Key {
    /// The key, if it is one to check signatures with.
    fn read(written: WrittenKey) -> Result<Option<Self>, Faulty> {
        let Some(algorithm) = written.algorithm() else { return Ok(None) };
        let signs = algorithm.as_str();
        let fits = written.alg.as_deref().is_none_or(|alg| alg == signs)
            && written.purpose.as_deref().is_none_or(|purpose| purpose == "sig")
            && written.key_ops.as_ref().is_none_or(|all| all.iter().any(|one| one == "verify"));
        if !fits {
            return Ok(None);
        }
        match Public::read(&written, algorithm) {
            Ok(public) => Ok(Some(Self { name: written.kid, public })),
            Err(fault) => Err(Faulty { key: written.kid, fault }),
        }
    }

    fn signs(&self, algorithm: Algorithm) -> bool {
        self.public.algorithm() == algorithm
    }

    /// Whether this is the key's own signature of a message.
    pub(super) fn has_signed(&self, message: &[u8], signature: &[u8]) -> bool {
        let checked = match &self.public {
            Public::Rsa(key) => key.verify(&RSA_PKCS1_2048_8192_SHA256, message, signature),
            Public::P256(key) | Public::Ed25519(key) => key.verify(message, signature),
        };
        checked.is_ok()
    }
}

impl WrittenKey {
    /// How a key of this kind signs, if it is one that is taken.
    fn algorithm(&self) -> Option<Algorithm> {
        match (self.kty.as_str(), self.crv.as_deref()) {
            ("RSA", _) => Some(Algorithm::Rs256),
            ("EC", Some("P-256")) => Some(Algorithm::Es256),
            ("OKP", Some("Ed25519")) => Some(Algorithm::EdDsa),
            _ => None,
        }
    }
}

impl Public {
    /// The key that signs so, or what is wrong with it.
    fn read(written: &WrittenKey, algorithm: Algorithm) -> Result<Self, &'static str> {
        let WrittenKey { n, e, x, y, .. } = written;
        match algorithm {
            Algorithm::Rs256 => Self::rsa(number(n.as_deref()), number(e.as_deref())),
            Algorithm::Es256 => Self::p256(coordinate(x.as_deref()), coordinate(y.as_deref())),
            Algorithm::EdDsa => {
                let key = coordinate(x.as_deref()).ok_or("its `x` is not 32 bytes of base64url")?;
                Ok(Self::Ed25519(UnparsedPublicKey::new(&ED25519, key)))
            }
        }
    }

    fn rsa(n: Vec<u8>, e: Vec<u8>) -> Result<Self, &'static str> {
        // One whose first bit is not set is shorter than its bytes.
        let is_large = n.len() > LEAST_RSA || (n.len() == LEAST_RSA && n[0] >= 0x80);
        let is_odd = |number: &[u8]| number.last().is_some_and(|byte| byte % 2 == 1);
        if !is_large || n.len() > MOST_RSA || !is_odd(&n) {
            return Err("its modulus is not an odd number of 2048 to 8192 bits");
        }
        let value = e.iter().try_fold(0_u64, |value, byte| {
            value.checked_mul(256).map(|value| value | u64::from(*byte))
        });
        if !is_odd(&e) || !value.is_some_and(|value| EXPONENTS.contains(&value)) {
            return Err("its exponent is not an odd number from 3 to 2^33 - 1");
        }
        Ok(Self::Rsa(RsaPublicKeyComponents { n, e }))
    }

    fn p256(x: Option<Vec<u8>>, y: Option<Vec<u8>>) -> Result<Self, &'static str> {
        let (x, y) = x.zip(y).ok_or("its `x` and `y` are not each 32 bytes of base64url")?;
        let point = [vec![4], x, y].concat();
        if !is_on_curve(&point) {
            return Err("its point is not on the curve");
        }
        Ok(Self::P256(UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, point)))
    }

    const fn algorithm(&self) -> Algorithm {
        match self {
            Self::Rsa(_) => Algorithm::Rs256,
            Self::P256(_) => Algorithm::Es256,
            Self::Ed25519(_) => Algorithm::EdDsa,
        }
    }
}

/// Bytes that are written as text.
fn decoded(text: Option<&str>) -> Option<Vec<u8>> {
    BASE64.decode(text?).ok()
}

/// A number; some write one with zeros before it, which are not a part of it.
fn number(text: Option<&str>) -> Vec<u8> {
    let bytes = decoded(text).unwrap_or_default();
    bytes.into_iter().skip_while(|byte| *byte == 0).collect()
}

fn coordinate(text: Option<&str>) -> Option<Vec<u8>> {
    decoded(text).filter(|bytes| bytes.len() == COORDINATE)
}

/// Whether a point is one of P-256. `ring` looks at that where it agrees on a secret with whoever has the
/// key; this one is nobody's.
fn is_on_curve(point: &[u8]) -> bool {
    let own = EphemeralPrivateKey::generate(&ECDH_P256, &SystemRandom::new());
    let other = agreement::UnparsedPublicKey::new(&ECDH_P256, point);
    own.and_then(|own| agree_ephemeral(own, &other, |_secret| ())).is_ok()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use mainstay_resilience::pool::{self, Pool};
    use serde_json::{Value, json};
    use tokio::time::Instant;

    use super::*;

    /// The key of RFC 8037, appendix A.2.
    fn ed25519(kid: &str) -> Value {
        let x = "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo";
        json!({ "kty": "OKP", "crv": "Ed25519", "kid": kid, "x": x })
    }

    /// The key of RFC 7515, appendix A.3.
    fn p256(kid: &str) -> Value {
        json!({
            "kty": "EC", "crv": "P-256", "kid": kid,
            "x": "f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU",
            "y": "x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0",
        })
    }

    /// As good as that, but for its point.
    fn off_curve(kid: &str) -> Value {
        with(p256(kid), "x", &json!(BASE64.encode([1_u8; COORDINATE])))
    }

    fn rsa(bytes: usize, first: u8) -> Value {
        let mut n = vec![0xff; bytes];
        n[0] = first;
        json!({ "kty": "RSA", "kid": "r", "n": BASE64.encode(n), "e": "AQAB" })
    }

    fn with(mut key: Value, name: &str, value: &Value) -> Value {
        key[name] = value.clone();
        key
    }

    fn count(keys: &[Value]) -> usize {
        let json = json!({ "keys": keys }).to_string();
        KeySet::read(json.as_bytes()).map_or(0, |set| set.count())
    }

    #[test]
    fn the_signatures_of_the_standards_hold() {
        let signed = |key: Value, token: &str| {
            let json = json!({ "keys": [key] }).to_string();
            let set = KeySet::read(json.as_bytes()).unwrap();
            let (message, signature) = token.rsplit_once('.').unwrap();
            let signature = BASE64.decode(signature).unwrap();
            let key = &set.keys[0];
            let [own, other] = [message.as_bytes(), b""];
            (key.has_signed(own, &signature), key.has_signed(other, &signature))
        };
        let eddsa = "eyJhbGciOiJFZERTQSJ9.RXhhbXBsZSBvZiBFZDI1NTE5IHNpZ25pbmc.\
                     hgyY0il_MGCjP0JzlnLWG1PPOt7-09PGcvMg3AIbQR6dWbhijcNR4ki4iylGjg5BhVsPt9g7sVvpA\
                     r_MuM0KAg";
        assert_eq!(signed(ed25519("a"), eddsa), (true, false));
        let es256 = "eyJhbGciOiJFUzI1NiJ9.eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly\
                     9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ.DtEhU3ljbEg8L38VWAfUAqOyKAM6-Xx-F4GawxaepmX\
                     FCgfTjDxw5djxLa8ISlSApmWQxfKTUJqPP3-Kg6NU1Q";
        assert_eq!(signed(p256("b"), es256), (true, false));
    }

    /// How long each of these takes in turn: the middle one of them, and one of a hundred.
    async fn timed(mut work: impl AsyncFnMut()) -> [Duration; 2] {
        let mut took = Vec::new();
        for _ in 0..2_000 {
            let start = Instant::now();
            work().await;
            took.push(start.elapsed());
        }
        took.sort_unstable();
        [took[took.len() / 2], took[took.len() * 99 / 100]]
    }

    /// What ADR 20 is judged by on another machine or with larger keys; alone on the machine:
    /// `cargo test --release -p orders-api --lib beside_one -- --ignored --nocapture`.
    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    #[ignore = "it measures, and says nothing on a machine that does something else"]
    #[expect(clippy::print_stderr, reason = "figures are for whoever runs it")]
    async fn a_signature_checked_in_place_beside_one_checked_by_a_pool() {
        let pool = Pool::start("verify", &pool::Config::default()).unwrap();
        let deadline = || (Instant::now() + Duration::from_secs(10)).into_std();
        let hop = timed(async || pool.submit_by(None, deadline(), || ()).await.unwrap()).await;
        eprintln!("the way to the pool and back alone: {hop:?}");
        for (name, key, length) in [
            ("RS256, 2048 bits", rsa(256, 0xff), 256),
            ("RS256, 4096 bits", rsa(512, 0xff), 512),
            ("RS256, 8192 bits", rsa(1_024, 0xff), 1_024),
            ("ES256", p256("a"), 64),
            ("EdDSA", ed25519("a"), 64),
        ] {
            let set = KeySet::read(json!({ "keys": [key] }).to_string().as_bytes()).unwrap();
            // As long as one of a token, and a number that is looked at; that it is false takes as long
            // to find out.
            let (key, message, signature) = (&set.keys[0], [b'm'; 600], vec![2_u8; length]);
            let in_place = timed(async || assert!(!key.has_signed(&message, &signature))).await;
            let by_pool = timed(async || {
                let (key, signature) = (Arc::clone(key), signature.clone());
                let work = move || key.has_signed(&message, &signature);
                assert_eq!(pool.submit_by(None, deadline(), work).await, Ok(false));
            })
            .await;
            eprintln!("{name}: in place {in_place:?}, by the pool {by_pool:?}");
        }
    }

    #[test]
    fn a_key_that_cannot_be_used_is_left_out_and_harms_no_other() {
        for useless in [
            json!({ "kty": "oct", "k": "c2VjcmV0", "kid": "a", "alg": "HS256" }),
            json!({ "kty": "EC", "crv": "secp256k1", "x": "AA", "y": "AA" }),
            json!({ "kid": "a" }),
            json!("key"),
            with(p256("a"), "x", &json!("AA")),
            with(p256("a"), "use", &json!("enc")),
            with(p256("a"), "alg", &json!("ES384")),
            with(p256("a"), "key_ops", &json!(["sign"])),
            with(ed25519("a"), "crv", &json!("X25519")),
            rsa(128, 0xff),
            rsa(255, 0xff),
            rsa(256, 0x7f),
            rsa(1_025, 0xff),
            rsa(257, 0),
            off_curve("a"),
            with(rsa(256, 0xff), "e", &json!("AQAA")),
        ] {
            // What is left of a modulus with a zero before it is 256 bytes, and large enough.
            let is_large = useless["n"].as_str().is_some_and(|n| n.len() == 343);
            assert_eq!(count(std::slice::from_ref(&useless)), usize::from(is_large), "{useless}");
            assert_eq!(count(&[useless, p256("b")]), 1 + usize::from(is_large));
        }
        assert_eq!(count(&[rsa(256, 0x80), rsa(384, 0xff)]), 2);
        assert_eq!(count(&[with(p256("a"), "use", &json!("sig")), ed25519("b")]), 2);
        for text in ["", "{}", "[]", "{\"keys\":{}}", "{\"keys\":[]}"] {
            assert!(KeySet::read(text.as_bytes()).is_err(), "{text}");
        }
    }

    #[test]
    fn what_would_be_a_key_and_is_none_is_told_with_its_fault() {
        let exponent = |e: &[u8]| with(rsa(256, 0xff), "e", &json!(BASE64.encode(e)));
        let exponents = [&[][..], &[1], &[2], &[1, 0, 0], &[2, 0, 0, 0, 1], &[1; 9]].map(exponent);
        let mut even = vec![0xff_u8; 256];
        even[255] = 0xfe;
        let even = with(rsa(256, 0xff), "n", &json!(BASE64.encode(even)));
        for (key, fault) in exponents
            .map(|key| (key, "its exponent"))
            .into_iter()
            .chain([(even, "its modulus"), (rsa(128, 0xff), "its modulus")])
            .chain([(off_curve("r"), "its point"), (with(p256("r"), "y", &json!("AA")), "its `x`")])
        {
            let json = json!({ "keys": [&key, ed25519("b")] }).to_string();
            let set = KeySet::read(json.as_bytes()).unwrap();
            let [Faulty { key: Some(name), fault: told }] = set.faulty() else { panic!("{key}") };
            assert!((set.count(), &**name) == (1, "r") && told.starts_with(fault), "{key}: {told}");
            let alone = KeySet::read(json!({ "keys": [key] }).to_string().as_bytes());
            assert_eq!(alone.unwrap_err(), InvalidKeySet::Faulty(told));
        }
        for fine in [&[3][..], &[0, 1, 0, 1], &[1, 0xff, 0xff, 0xff, 0xff]].map(exponent) {
            assert_eq!(count(&[fine]), 1);
        }
        let other = json!({ "kty": "oct", "k": "c2VjcmV0", "kid": "a" });
        let set = json!({ "keys": [other, ed25519("b")] }).to_string();
        let set = KeySet::read(set.as_bytes()).unwrap();
        assert!(set.faulty().is_empty(), "it is for something else");
    }

    #[test]
    fn a_key_is_found_by_its_name_and_the_only_one_without() {
        let set =
            |keys: &[Value]| KeySet::read(json!({ "keys": keys }).to_string().as_bytes()).unwrap();
        let found = |set: &KeySet, name, algorithm| set.find(name, algorithm).map(|_| ());
        let (one, two) = (set(&[p256("a")]), set(&[p256("a"), ed25519("b")]));
        assert_eq!(found(&one, None, Algorithm::Es256), Ok(()));
        assert_eq!(found(&one, None, Algorithm::EdDsa), Err(NoKey::Unfit));
        assert_eq!(found(&one, Some("b"), Algorithm::Es256), Err(NoKey::Unknown));
        assert_eq!(found(&two, None, Algorithm::Es256), Err(NoKey::Unnamed));
        assert_eq!(found(&two, Some("b"), Algorithm::EdDsa), Ok(()));
        assert_eq!(found(&two, Some("b"), Algorithm::Es256), Err(NoKey::Unfit));
        assert_eq!(found(&two, Some("../b"), Algorithm::EdDsa), Err(NoKey::Unknown));
        // A standard lets keys of two kinds have one name.
        let same = set(&[p256("a"), ed25519("a")]);
        assert_eq!(found(&same, Some("a"), Algorithm::EdDsa), Ok(()));
    }
}
