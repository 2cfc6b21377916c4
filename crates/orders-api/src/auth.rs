//! Who asks, and what they may do.
//!
//! There are three kinds of identity, and all give one [`Principal`] with
//! its scopes: API keys of the form `ID.SECRET`, kept as HMACs under a pepper; tokens of an issuer,
//! which are JWTs and told from keys by their two dots; and the peers of connections that were opened
//! with a certificate. Whoever sends an `Authorization` header is who that says, also over such a
//! connection.
//!
//! A stolen key file opens nothing without the pepper. Two keys of one principal may be active at
//! once, so that keys can be rotated. An unknown id costs as much as a wrong secret, and secrets
//! are compared in constant time.
//!
//! Deliberately absent: where keys and pepper are read from, and who checks certificates; the first is
//! the binary's, the second the server's.

mod jwks;
mod jwt;
mod key_source;
mod keys;
mod scopes;
mod tokens;
mod verified;

use std::{
    fmt,
    sync::{Arc, PoisonError, RwLock},
};

use hmac::{Hmac, KeyInit as _};
use http::{header, request::Parts};
use jiff::Timestamp;
use mainstay::{
    metrics::{Counter, Metrics},
    server::Peer,
};
use mainstay_context::Principal;
use sha2::Sha256;

pub(crate) use self::scopes::{authorize, must_be_let_pay};
pub use self::{
    jwks::{InvalidKeySet, KeySet},
    jwt::{Algorithm, InvalidAlgorithm, Trust},
    key_source::{KeysUrl, Source},
    keys::{Entry, File, InvalidKeys, Keys, PeerEntry, hash},
    scopes::{OPERATIONS, Operation, Scope, table},
    tokens::{KeysStatus, REST, Tokens},
};

use self::tokens::Refused;
use crate::problem::{Code, Problem};

/// The largest token or key that is looked at, in bytes.
const LARGEST: usize = 8 * 1024;

/// All that opens the API.
pub struct Auth {
    keys: RwLock<Arc<Keys>>,
    tokens: Option<Arc<Tokens>>,
    counted: Counter,
}

/// By what somebody says who they are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Key,
    Jwt,
    Peer,
    /// By nothing, or in a way that cannot be read.
    None,
}

/// What was shown.
enum Shown<'r> {
    Key(&'r str),
    Jwt(&'r str),
    Peer(&'r Peer),
}

impl Auth {
    /// Lets in whom these keys name, and holders of these tokens where some are taken.
    ///
    /// It reports to `metrics`: `auth_total{kind,outcome}`, and of tokens `auth_keys_age_seconds` and
    /// `auth_keys_failures_total`.
    pub fn new(keys: Keys, tokens: Option<Arc<Tokens>>, metrics: &Metrics) -> Self {
        let help = "Requests by what opens the API to them (key, jwt, peer or none) and what came of \
                    it: ok, refused (401), denied (403), unavailable (503) or method (405)";
        let counted = metrics.counter("auth_total", help, &["kind", "outcome"]);
        if let Some(tokens) = &tokens {
            measure(tokens, metrics);
        }
        Self { keys: RwLock::new(Arc::new(keys)), tokens, counted }
    }

    /// The keys that open it now.
    pub fn keys(&self) -> Arc<Keys> {
        Arc::clone(&self.keys.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Opens it to these keys, and from now on to no others.
    pub fn replace_keys(&self, keys: Keys) {
        *self.keys.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(keys);
    }

    /// What is known of the issuer's keys, where tokens are taken.
    pub fn tokens(&self) -> Option<KeysStatus> {
        self.tokens.as_ref().map(|tokens| tokens.status())
    }

    /// Who makes this request, and by what that was found out; whether an id is known is not told.
    pub(crate) async fn identify(
        &self,
        head: &Parts,
        now: Timestamp,
    ) -> (Kind, Result<Principal, Problem>) {
        match Shown::by(head) {
            Ok(Shown::Key(key)) => (Kind::Key, self.keys().verify(key).ok_or_else(unknown_key)),
            Ok(Shown::Jwt(token)) => (Kind::Jwt, self.verify(token, now).await),
            Ok(Shown::Peer(peer)) => (Kind::Peer, self.keys().peer(peer).ok_or_else(unknown_peer)),
            Err(detail) => (Kind::None, Err(Problem::new(Code::Unauthenticated, detail))),
        }
    }

    async fn verify(&self, token: &str, now: Timestamp) -> Result<Principal, Problem> {
        let Some(tokens) = &self.tokens else {
            let detail = "No tokens are taken here (auth.jwt); a key is `ID.SECRET`.";
            return Err(Problem::new(Code::Unauthenticated, detail));
        };
        tokens.verify(token, now).await.map_err(|refused| match refused {
            Refused::Token(detail) => Problem::new(Code::Unauthenticated, detail),
            // It is not the caller's fault, and a good token must not be thrown away for it.
            Refused::KeysAway => Problem::new(
                Code::TokenKeysUnavailable,
                "The keys of the issuer cannot be had now, and none that is known is the token's.",
            ),
        })
    }

    /// Counts what came of a request: nothing that stands in its way, or this problem.
    pub(crate) fn count(&self, kind: Kind, problem: Option<&Problem>) {
        let outcome = match problem.map(|problem| problem.code) {
            None => "ok",
            Some(Code::InsufficientScope) => "denied",
            Some(Code::TokenKeysUnavailable) => "unavailable",
            Some(Code::MethodNotAllowed) => "method",
            Some(_) => "refused",
        };
        self.counted.inc(&[kind.as_str(), outcome]);
    }
}

impl<'r> Shown<'r> {
    /// What a request shows, or what is wrong with the way it does.
    fn by(head: &'r Parts) -> Result<Self, &'static str> {
        let mut values = head.headers.get_all(header::AUTHORIZATION).iter();
        let Some(value) = values.next() else {
            let peer = head.extensions.get::<Peer>();
            return peer.map(Self::Peer).ok_or("The request has no Authorization header.");
        };
        if values.next().is_some() {
            return Err("The request has more than one Authorization header.");
        }
        let pair = value.to_str().ok().and_then(|value| value.split_once(' '));
        let token = pair.filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"));
        let (_, token) = token.ok_or("The Authorization header is not `Bearer KEY`.")?;
        let token = token.trim();
        if token.len() > LARGEST {
            return Err("The key or token is larger than 8 KiB.");
        }
        Ok(if jwt::has_form(token) { Self::Jwt(token) } else { Self::Key(token) })
    }
}

impl Kind {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Key => "key",
            Self::Jwt => "jwt",
            Self::Peer => "peer",
            Self::None => "none",
        }
    }
}

fn unknown_key() -> Problem {
    Problem::new(
        Code::Unauthenticated,
        "The key is not known here. One that was just made is known some seconds later, see \
         `auth.reload_every`.",
    )
}

fn unknown_peer() -> Problem {
    Problem::new(
        Code::Unauthenticated,
        "The request has no Authorization header, and its connection's certificate is of nobody \
         who is known here.",
    )
}

/// Shows what is known of the issuer's keys at each scrape.
fn measure(tokens: &Arc<Tokens>, metrics: &Metrics) {
    let read = Arc::clone(tokens);
    let help = "Since the issuer's keys were last got; not a number when they never were";
    metrics.gauge_fn("auth_keys_age_seconds", help, move || {
        read.status().age.map_or(f64::NAN, |age| age.as_secs_f64())
    });
    let read = Arc::clone(tokens);
    let help = "Looks for the issuer's keys that failed";
    metrics.counter_fn("auth_keys_failures_total", help, move || read.status().failures);
}

/// Tells how many keys there are and whose tokens are taken, and nothing of them.
impl fmt::Debug for Auth {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shown = f.debug_struct("Auth");
        shown.field("keys", &self.keys()).field("tokens", &self.tokens).finish_non_exhaustive()
    }
}

/// HMAC-SHA256 takes a key of any length.
#[expect(clippy::expect_used, reason = "HMAC has no key length it refuses")]
pub(crate) fn mac(key: &[u8]) -> Hmac<Sha256> {
    Hmac::new_from_slice(key).expect("HMAC takes keys of any length")
}
