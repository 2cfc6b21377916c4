//! An issuer of tokens: its keys, its set of them, and whatever token a test wants of it.

use std::{fs, path::Path, sync::Arc, time::Duration};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD as BASE64};
use orders_api::auth::{Algorithm, Tokens, Trust};
use ring::{
    hmac,
    rand::SystemRandom,
    signature::{
        ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair as _,
        RSA_PKCS1_SHA256, RsaKeyPair, RsaPublicKeyComponents,
    },
};
use serde_json::{Value, json};

/// When every world begins: 2026-01-01T00:00:00Z.
pub(crate) const NOW: i64 = 1_767_225_600;

/// Three keys, one of each kind. That of RSA is made for these tests, and is no secret: it takes too
/// long to draw one.
pub(crate) struct Issuer {
    rsa: RsaKeyPair,
    ec: EcdsaKeyPair,
    ed: Ed25519KeyPair,
}

impl Issuer {
    pub(crate) fn new() -> Self {
        let (random, kind) = (SystemRandom::new(), &ECDSA_P256_SHA256_FIXED_SIGNING);
        let ec = EcdsaKeyPair::generate_pkcs8(kind, &random).unwrap();
        let ed = Ed25519KeyPair::generate_pkcs8(&random).unwrap();
        Self {
            rsa: RsaKeyPair::from_pkcs8(include_bytes!("rsa.pk8")).unwrap(),
            ec: EcdsaKeyPair::from_pkcs8(kind, ec.as_ref(), &random).unwrap(),
            ed: Ed25519KeyPair::from_pkcs8(ed.as_ref()).unwrap(),
        }
    }

    /// Its keys, named `rsa`, `ec` and `ed`.
    pub(crate) fn keys(&self) -> Value {
        let (rsa, point): (Value, &[u8]) = (self.rsa_key(), self.ec.public_key().as_ref());
        let (x, y) = point[1..].split_at(32);
        let (x, y) = (BASE64.encode(x), BASE64.encode(y));
        let ed = BASE64.encode(self.ed.public_key());
        json!({ "keys": [
            rsa,
            { "kty": "EC", "crv": "P-256", "kid": "ec", "use": "sig", "alg": "ES256", "x": x, "y": y },
            { "kty": "OKP", "crv": "Ed25519", "kid": "ed", "x": ed },
            { "kty": "oct", "kid": "oct", "k": "c2VjcmV0" },
            { "kty": "OKP", "crv": "Ed25519", "kid": "enc", "use": "enc", "x": ed },
        ] })
    }

    pub(super) fn rsa_key(&self) -> Value {
        let RsaPublicKeyComponents { n, e } =
            RsaPublicKeyComponents::<Vec<u8>>::from(self.rsa.public());
        json!({ "kty": "RSA", "kid": "rsa", "n": BASE64.encode(n), "e": BASE64.encode(e) })
    }

    /// A good token, signed in this way.
    pub(super) fn token(&self, alg: &str) -> String {
        let kid = match alg {
            "RS256" => "rsa",
            "ES256" => "ec",
            _ => "ed",
        };
        self.signed(&json!({ "alg": alg, "kid": kid, "typ": "JWT" }), &claims())
    }

    /// A token with this header and these claims, and the signature that its `alg` asks for, if it is
    /// one of the issuer's; else that of Ed25519.
    pub(crate) fn signed(&self, header: &Value, claims: &Value) -> String {
        self.signed_text(&header.to_string(), &claims.to_string())
    }

    /// The same of a header and claims as they are written.
    pub(super) fn signed_text(&self, header: &str, claims: &str) -> String {
        let message = format!("{}.{}", BASE64.encode(header), BASE64.encode(claims));
        let signature = BASE64.encode(self.sign(header, message.as_bytes()));
        format!("{message}.{signature}")
    }

    fn sign(&self, header: &str, message: &[u8]) -> Vec<u8> {
        let random = SystemRandom::new();
        if header.contains("RS256") {
            let mut signature = vec![0; self.rsa.public().modulus_len()];
            self.rsa.sign(&RSA_PKCS1_SHA256, &random, message, &mut signature).unwrap();
            return signature;
        }
        if header.contains("ES256") {
            return Vec::from(self.ec.sign(&random, message).unwrap().as_ref());
        }
        Vec::from(self.ed.sign(message).as_ref())
    }

    /// A token whose signature is an HMAC under the public key of RSA, which everybody knows.
    pub(super) fn confused(&self) -> String {
        let header = json!({ "alg": "HS256", "kid": "rsa" }).to_string();
        let message = format!("{}.{}", BASE64.encode(header), BASE64.encode(claims().to_string()));
        let public = BASE64.decode(self.rsa_key()["n"].as_str().unwrap()).unwrap();
        let key = hmac::Key::new(hmac::HMAC_SHA256, &public);
        let signature = hmac::sign(&key, message.as_bytes());
        format!("{message}.{}", BASE64.encode(signature))
    }
}

/// What a good token says.
pub(super) fn claims() -> Value {
    json!({
        "iss": "https://id.test",
        "aud": ["orderly", "another"],
        "sub": "ann",
        "tenant": "shop",
        "scope": "openid orders:read orders:write payments:write events:read",
        "exp": NOW + 600,
        "nbf": NOW,
    })
}

/// The same with these in addition, or in the place of what it says; `null` takes one out.
pub(crate) fn claims_with(more: &Value) -> Value {
    let mut claims = claims();
    for (name, value) in more.as_object().unwrap() {
        if value.is_null() {
            claims.as_object_mut().unwrap().remove(name);
        } else {
            claims[name] = value.clone();
        }
    }
    claims
}

/// What the service trusts.
pub(crate) fn tokens() -> Arc<Tokens> {
    Arc::new(Tokens::new(Trust {
        issuer: "https://id.test".to_owned(),
        audience: "orderly".to_owned(),
        algorithms: Algorithm::ALL.into(),
        leeway: Duration::from_mins(1),
        tenant_claim: "tenant".to_owned(),
    }))
}

/// Puts a set of keys there, whole.
pub(crate) fn put(path: &Path, keys: &Value) {
    let beside = path.with_extension("new");
    fs::write(&beside, keys.to_string()).unwrap();
    fs::rename(beside, path).unwrap();
}
