//! What can be set of the simulator itself. The listener of operators and logs are the program's.

use std::net::SocketAddr;

use mainstay::{
    config::{Rules, Secret},
    server,
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{faults, ledger, webhooks};

/// The bearer secret where none is set: on one machine only, and no secret at all.
pub const DEVELOPMENT_SECRET: &str = "gateway-sim-development-secret";

/// The simulator's settings.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// The contract's API.
    pub http: Http,
    /// What really happened.
    pub ledger: ledger::Config,
    /// Events to the caller.
    pub webhooks: webhooks::Config,
    /// What goes wrong.
    pub faults: faults::Config,
    /// Limits on the connections of the API.
    pub server: server::Config,
}

/// The API.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Http {
    /// The address and port where the contract is served, and `/sim/` for whoever tests with it;
    /// port 0 takes any free one. An address that other machines reach needs `secret`. Default
    /// 127.0.0.1:8090.
    pub listen: SocketAddr,
    /// What callers send as `Authorization: Bearer SECRET`, at least 16 visible ASCII characters.
    /// Default: gateway-sim-development-secret.
    pub secret: Secret<String>,
}

impl Default for Http {
    fn default() -> Self {
        let secret = Secret::new(DEVELOPMENT_SECRET.to_owned());
        Self { listen: ([127, 0, 0, 1], 8090).into(), secret }
    }
}

impl Config {
    /// The rules over one key or several.
    pub fn check(&self, rules: &mut Rules) {
        let secret = self.http.secret.expose();
        rules.require(
            secret.len() >= 16 && secret.bytes().all(|byte| byte.is_ascii_graphic()),
            &["http.secret"],
            "it must be at least 16 visible ASCII characters",
        );
        rules.require(
            self.http.listen.ip().is_loopback() || secret != DEVELOPMENT_SECRET,
            &["http.listen", "http.secret"],
            "it is reachable from other machines, and http.secret is the one everybody knows: set \
             another, or listen on 127.0.0.1",
        );
        rules.require(
            !self.ledger.idempotency_window.is_zero(),
            &["ledger.idempotency_window"],
            "it must not be 0",
        );
        rules.accept(&["faults.rates"], faults::check_rates(&self.faults.rates));
        rules.accept(&["webhooks.url"], self.webhooks.target());
        rules.require(
            self.http.listen.ip().is_loopback()
                || self.webhooks.url.is_none()
                || self.webhooks.secret.expose() != webhooks::DEVELOPMENT_SECRET,
            &["webhooks.secret", "webhooks.url", "http.listen"],
            "it is the one everybody knows, and the simulator is reachable from other machines: \
             set another",
        );
        rules.accept(&["webhooks.secret"], self.webhooks.key());
    }
}
