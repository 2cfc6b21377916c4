//! The tokens of an issuer.

use std::{fs, path::PathBuf, time::Duration};

use mainstay::{
    client::http::{self, BaseUrl},
    config::{Rules, duration},
};
use orders_api::auth::{Algorithm, KeySet, KeysUrl, REST, Trust};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::on_the_way;

/// The most that clocks may differ.
const LARGEST_LEEWAY: Duration = Duration::from_mins(5);

/// Whose tokens (JWTs) open the API, beside the keys of the key file.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Jwt {
    /// Who makes the tokens: their `iss`, letter by letter.
    pub(crate) issuer: String,
    /// Whom a token must be made for: one of its `aud`.
    pub(crate) audience: String,
    /// Where the issuer's keys are, as its `jwks_uri` tells; `https`, except on this machine. Either
    /// this or `jwks_file`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(example = &"https://id.example.com/realms/shop/certs")]
    pub(crate) jwks_url: Option<String>,
    /// The file with the issuer's keys, relative to the working directory. Either this or `jwks_url`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(example = "jwks.json")]
    pub(crate) jwks_file: Option<PathBuf>,
    /// How tokens may be signed: some of RS256, ES256 and EdDSA. Default: all of them.
    pub(crate) algorithms: Vec<String>,
    /// How far the issuer's clock may be from ours; at most 5 min. Default 1 min.
    #[serde(with = "duration::Text")]
    pub(crate) leeway: Duration,
    /// The claim that names the tenant. Default `tenant`.
    pub(crate) tenant_claim: String,
    /// How often the keys are looked for; at least 10 s. They are looked for sooner when a token names
    /// one that is not known, once in 10 s. Default 5 min.
    #[serde(with = "duration::Text")]
    pub(crate) refresh_every: Duration,
    /// How the key server is asked; its address is that of `jwks_url`.
    pub(crate) client: http::Config,
}

impl Default for Jwt {
    fn default() -> Self {
        Self {
            issuer: String::new(),
            audience: String::new(),
            jwks_url: None,
            jwks_file: None,
            algorithms: Algorithm::ALL.map(|one| one.as_str().to_owned()).into(),
            leeway: Duration::from_mins(1),
            tenant_claim: "tenant".to_owned(),
            refresh_every: Duration::from_mins(5),
            client: http::Config::default(),
        }
    }
}

impl Jwt {
    /// As the API takes it.
    ///
    /// # Errors
    /// Fails on an algorithm that is not taken.
    pub(crate) fn trust(&self) -> Result<Trust, String> {
        let read = |name: &String| {
            name.parse::<Algorithm>().map_err(|error| format!("{name:?} is not taken: {error}"))
        };
        Ok(Trust {
            issuer: self.issuer.clone(),
            audience: self.audience.clone(),
            algorithms: self.algorithms.iter().map(read).collect::<Result<_, _>>()?,
            leeway: self.leeway,
            tenant_claim: self.tenant_claim.clone(),
        })
    }

    /// Where the keys are, if they are on a server.
    ///
    /// # Errors
    /// Fails when it is no such address.
    pub(crate) fn url(&self) -> Result<Option<KeysUrl>, String> {
        let read = |url: &String| url.parse::<KeysUrl>().map_err(|error| error.to_string());
        self.jwks_url.as_ref().map(read).transpose()
    }

    /// Rules over one key or several.
    pub(super) fn check(&self, rules: &mut Rules) {
        for (key, text) in [
            ("auth.jwt.issuer", &self.issuer),
            ("auth.jwt.audience", &self.audience),
            ("auth.jwt.tenant_claim", &self.tenant_claim),
        ] {
            rules.require(!text.is_empty(), &[key], "it must not be empty");
        }
        rules.require(
            self.jwks_url.is_some() != self.jwks_file.is_some(),
            &["auth.jwt.jwks_url", "auth.jwt.jwks_file"],
            "set one of auth.jwt.jwks_url and auth.jwt.jwks_file: where the issuer's keys are",
        );
        rules.accept(&["auth.jwt.jwks_url"], self.url());
        let is_safe = self.jwks_url.as_deref().is_none_or(is_private);
        let fault = "it leads to other machines without TLS: whoever changes the keys on the way could \
                     make every token; use https";
        rules.require(is_safe, &["auth.jwt.jwks_url"], fault);
        rules.accept(&["auth.jwt.algorithms"], self.trust());
        let fault = "it must name at least one of RS256, ES256 and EdDSA";
        rules.require(!self.algorithms.is_empty(), &["auth.jwt.algorithms"], fault);
        rules.require(
            self.leeway <= LARGEST_LEEWAY,
            &["auth.jwt.leeway"],
            "it must be at most 5min: for so long a token that has expired still opens",
        );
        rules.require(
            self.refresh_every >= REST,
            &["auth.jwt.refresh_every"],
            "it must be at least 10s",
        );
        rules.require(
            self.client.base_url == BaseUrl::default(),
            &["auth.jwt.client.base_url"],
            "leave it out: the address is that of auth.jwt.jwks_url",
        );
        for limit in self.client.zeros() {
            rules.require(false, &[&format!("auth.jwt.client.{limit}")], "it must not be 0");
        }
    }

    /// Whether the file it names can be used.
    pub(super) fn check_file(&self, rules: &mut Rules) {
        let Some(file) = &self.jwks_file else { return };
        let cannot = |error: String| format!("cannot use {}: {error}", file.display());
        let read = fs::read(file).map_err(|error| cannot(error.to_string()));
        let keys =
            read.and_then(|json| KeySet::read(&json).map_err(|error| cannot(error.to_string())));
        rules.accept(&["auth.jwt.jwks_file"], keys);
    }
}

/// Whether nobody can change on the way what comes from this URL.
fn is_private(url: &str) -> bool {
    let Some((scheme, rest)) = url.split_once("://") else { return true };
    let host = rest.split(['/', '?', '#']).next().unwrap_or_default();
    !scheme.eq_ignore_ascii_case("http") || !on_the_way::is_away(host)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_come_in_plain_text_from_this_machine_only() {
        for url in ["https://id.test/keys", "http://127.0.0.1:9000/keys", "http://[::1]/keys"] {
            assert!(is_private(url), "{url}");
        }
        for url in ["http://id.test/keys", "HTTP://10.0.0.1:80/keys", "http://id.test?a=b"] {
            assert!(!is_private(url), "{url}");
        }
    }

    #[test]
    fn tokens_are_signed_in_a_way_that_is_known() {
        let with = |name: &str| Jwt { algorithms: vec![name.to_owned()], ..Jwt::default() }.trust();
        assert_eq!(with("RS256").unwrap().algorithms, [Algorithm::Rs256]);
        for name in ["none", "HS256", "rs256", ""] {
            assert!(with(name).is_err(), "{name}");
        }
        assert_eq!(Jwt::default().trust().unwrap().algorithms, Algorithm::ALL);
    }
}
