//! Who asks: two tenants with two keys and a token each, and what opens nothing.

use std::{
    sync::{Arc, LazyLock},
    thread,
};

use orders_api::auth::{Scope, Source, Tokens};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::runtime::Builder;

use crate::{
    shop::{FOREIGN, FOREIGN_OTHER, OTHER, OWN, Shop},
    tokens::{
        issuer::{Issuer, NOW, claims_with, put, tokens},
        keep_fresh, known,
    },
};

/// A key of nobody's.
const WRONG: &str = "Bearer own.wrong";
/// For how long a token is good, in seconds: tests let years pass.
const CENTURY: i64 = 100 * 365 * 24 * 60 * 60;

/// Whose a credential is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Whose {
    Own,
    /// Another tenant's.
    Foreign,
    Nobodys,
}

/// One of a tenant's credentials. Each opens all that is the tenant's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Credential {
    Key,
    /// Of another principal.
    OtherKey,
    /// Of the principal of the first key.
    Token,
}

impl Credential {
    pub(crate) const ALL: [Self; 3] = [Self::Key, Self::OtherKey, Self::Token];

    /// How it is shown.
    pub(crate) fn of(self, whose: Whose) -> &'static str {
        match (whose, self) {
            (Whose::Own, Self::Key) => OWN,
            (Whose::Own, Self::OtherKey) => OTHER,
            (Whose::Own, Self::Token) => &ISSUED.own,
            (Whose::Foreign, Self::Key) => FOREIGN,
            (Whose::Foreign, Self::OtherKey) => FOREIGN_OTHER,
            (Whose::Foreign, Self::Token) => &ISSUED.foreign,
            (Whose::Nobodys, Self::Key | Self::OtherKey) => WRONG,
            (Whose::Nobodys, Self::Token) => &ISSUED.forged,
        }
    }

    /// The subject of its principal.
    pub(crate) const fn subject(self) -> &'static str {
        match self {
            Self::Key | Self::Token => "till",
            Self::OtherKey => "till-2",
        }
    }
}

/// A service that all of them open, over the store that the environment names.
pub(crate) fn shop() -> Shop {
    Shop::trusting(Arc::clone(&ISSUED.tokens))
}

/// What an issuer gave out, and what trusts it.
struct Issued {
    tokens: Arc<Tokens>,
    own: String,
    foreign: String,
    /// One that says the right things, and is signed by somebody else.
    forged: String,
}

static ISSUED: LazyLock<Issued> = LazyLock::new(|| {
    // Whoever is the first to need it is in a runtime of its own, whose time may stand still.
    let making = thread::spawn(|| {
        let runtime = Builder::new_current_thread().enable_time().build().unwrap();
        runtime.block_on(issued())
    });
    making.join().unwrap()
});

async fn issued() -> Issued {
    let (issuer, folder) = (Issuer::new(), TempDir::new().unwrap());
    let file = folder.path().join("jwks.json");
    put(&file, &issuer.keys());
    let tokens = tokens();
    let fresh = keep_fresh(&tokens, Source::File(file));
    known(&tokens).await;
    // Keys that were found stay, whether anybody looks for others or not.
    drop(fresh);
    Issued {
        own: bearer(&issuer, "shop"),
        foreign: bearer(&issuer, "rival"),
        forged: bearer(&Issuer::new(), "shop"),
        tokens,
    }
}

/// A token of this tenant's.
fn bearer(issuer: &Issuer, tenant: &str) -> String {
    let claims = claims_with(&json!({
        "sub": Credential::Token.subject(),
        "tenant": tenant,
        "scope": scopes(),
        "exp": NOW + CENTURY,
    }));
    format!("Bearer {}", issuer.signed(&json!({ "alg": "EdDSA", "kid": "ed" }), &claims))
}

/// The names of all scopes, as a token has them.
fn scopes() -> Value {
    Scope::ALL.map(Scope::as_str).join(" ").into()
}
