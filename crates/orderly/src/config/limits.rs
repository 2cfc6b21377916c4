//! How much may be asked of the API.
//!
//! Nothing is limited unless that is set. Behind a proxy that is not trusted all clients are one address,
//! and what a principal may ask is for whoever runs the service to say: neither can be guessed.

use std::{num::NonZeroU32, time::Duration};

use mainstay::config::Rules;
use mainstay_resilience::rate_limit;
use orders::domain::TenantId;
use orders_api::limits;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// For more there would have to be another place than a configuration.
const MOST_OVERRIDES: usize = 1_000;

/// Whoever sets it means a limit.
const ONLY_BURST: &str =
    "a burst without per_second limits nothing: set per_second as well, or leave the burst out";

/// How much may be asked in a time. What is too much is refused with 429, or over gRPC as
/// RESOURCE_EXHAUSTED, and told when to come back. Default: there is no limit.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Limits {
    /// Whether nothing is refused: what would be is counted (`rate_limit_total`) and logged now and then.
    /// Default: `false`.
    pub(crate) shadow: bool,
    /// What one address, or one /64 of IPv6, may ask before it is known who asks. A request without a
    /// valid key counts as 20. Trusted proxies (`server.trusted_proxies`) do not count, but those they
    /// speak for. Each process counts for itself. A generous start is 2000 a second, and 4000 at once.
    pub(crate) address: Rate,
    /// What one principal may ask, of all processes on one store together. What fits is seen with
    /// `limits.shadow`; a start is 500 reads, 200 writes and 10 live feeds a second.
    pub(crate) principal: Rates,
    /// Other limits than `limits.principal` for some: each with a `tenant`, if it is for one of its
    /// principals only a `principal`, and the tables of `limits.principal`, of which one that is left out
    /// is no limit. At most 1,000. Default: none.
    pub(crate) overrides: Vec<Override>,
}

/// What one principal may ask.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Rates {
    /// Of what only looks: orders, lists, histories, pages of the feed.
    pub(crate) read: Rate,
    /// Of what changes something. Each order of a batch counts as one, also one that cannot be read; it
    /// waits for its turn for as long as `http.default_deadline`, with up to 1,024 of its principal.
    pub(crate) write: Rate,
    /// Of live feeds that are opened.
    pub(crate) watch: Rate,
}

/// So many a second.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Rate {
    /// How many a second; 0 is no limit. Default: 0.
    pub(crate) per_second: u32,
    /// How many at once, saved up while fewer are asked; only with `per_second`, and 0 is as many as that.
    /// Default: 0.
    pub(crate) burst: u32,
}

/// Other limits for a tenant, or for one of its principals.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Override {
    pub(crate) tenant: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) principal: Option<String>,
    #[serde(default)]
    pub(crate) read: Rate,
    #[serde(default)]
    pub(crate) write: Rate,
    #[serde(default)]
    pub(crate) watch: Rate,
}

impl Limits {
    /// As the API takes them.
    pub(crate) fn config(&self) -> limits::Config {
        limits::Config {
            shadow: self.shadow,
            address: self.address.rate(),
            principal: rates([&self.principal.read, &self.principal.write, &self.principal.watch]),
            overrides: self.overrides.iter().map(Override::config).collect(),
        }
    }

    /// What must hold of them.
    pub(super) fn check(&self, rules: &mut Rules) {
        let Rates { read, write, watch } = &self.principal;
        for (key, rate) in [
            ("limits.address", &self.address),
            ("limits.principal.read", read),
            ("limits.principal.write", write),
            ("limits.principal.watch", watch),
        ] {
            let keys = [format!("{key}.burst"), format!("{key}.per_second")];
            rules.require(rate.is_whole(), &keys.each_ref().map(String::as_str), ONLY_BURST);
        }
        let key = "limits.overrides";
        let fault = format!("there are more than {MOST_OVERRIDES}");
        rules.require(self.overrides.len() <= MOST_OVERRIDES, &[key], fault);
        for one in self.overrides.iter().take(MOST_OVERRIDES) {
            let are_whole = [&one.read, &one.write, &one.watch].map(Rate::is_whole);
            let fault = format!("{:?}: {ONLY_BURST}", one.tenant);
            rules.require(!are_whole.contains(&false), &[key], fault);
            let fault = format!("{:?} is not the name of a tenant", one.tenant);
            rules.require(one.tenant.parse::<TenantId>().is_ok(), &[key], fault);
            let same = |other: &&Override| {
                (&other.tenant, &other.principal) == (&one.tenant, &one.principal)
            };
            let fault = format!("{:?} has two for the same", one.tenant);
            rules.require(self.overrides.iter().filter(same).count() == 1, &[key], fault);
        }
    }
}

impl Override {
    fn config(&self) -> limits::Override {
        limits::Override {
            tenant: self.tenant.clone(),
            principal: self.principal.clone(),
            rates: rates([&self.read, &self.write, &self.watch]),
        }
    }
}

fn rates([read, write, watch]: [&Rate; 3]) -> limits::Rates {
    limits::Rates { read: read.rate(), write: write.rate(), watch: watch.rate() }
}

impl Rate {
    /// Whether it says how many a second, if it says anything.
    fn is_whole(&self) -> bool {
        self.per_second > 0 || self.burst == 0
    }

    fn rate(&self) -> Option<rate_limit::Rate> {
        let count = NonZeroU32::new(self.per_second)?;
        let burst = NonZeroU32::new(self.burst).unwrap_or(count);
        Some(rate_limit::Rate::new(count, Duration::from_secs(1), burst))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_are_read_as_they_are_meant() {
        let limits: Limits = toml::from_str(
            "address.per_second = 50\n\
             principal.write = { per_second = 10, burst = 30 }\n\
             [[overrides]]\n\
             tenant = \"shop\"\n\
             principal = \"import\"\n\
             write.per_second = 500\n",
        )
        .unwrap();
        let config = limits.config();
        let rate = |count, burst| {
            let some = |number| NonZeroU32::new(number).unwrap();
            Some(rate_limit::Rate::new(some(count), Duration::from_secs(1), some(burst)))
        };
        assert_eq!(config.address, rate(50, 50));
        let write = |write| limits::Rates { write, ..limits::Rates::default() };
        assert_eq!(config.principal, write(rate(10, 30)));
        assert_eq!(config.overrides[0].rates, write(rate(500, 500)));
        assert_eq!(Limits::default().config(), limits::Config::default());
    }
}
