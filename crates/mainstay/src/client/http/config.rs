//! The limits of a client.

use super::{BaseUrl, TlsError};
use crate::client::tls::{Paths, Tls};
use mainstay_resilience::{
    breaker, bulkhead,
    retry::{BudgetConfig, Policy},
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::{path::PathBuf, time::Duration};
use tokio_rustls::rustls::pki_types::ServerName;

/// Where a service is, and the limits of calls to it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Where the service is: `http` or `https`, with or without a path. Default
    /// `http://127.0.0.1:8080`, so that one who forgets it reaches no stranger.
    pub base_url: BaseUrl,
    /// The authorities that an `https` service is trusted by, in PEM. Default those of the
    /// system.
    pub ca_file: Option<PathBuf>,
    /// The certificate to show an `https` service that asks for one, and those that lead to its
    /// authority, in PEM, the own one first. New connections take up a file that was replaced
    /// within 10 s, as they do of `key_file` and `ca_file`. Default: none.
    pub cert_file: Option<PathBuf>,
    /// The key of `cert_file`, in PEM.
    pub key_file: Option<PathBuf>,
    /// The time to look up the name, connect and shake hands. Default 1 s.
    #[serde(with = "crate::config::duration::Text")]
    pub connect_timeout: Duration,
    /// The time of one try, from its turn to the last byte of its answer. Default 2 s.
    #[serde(with = "crate::config::duration::Text")]
    pub try_timeout: Duration,
    /// The most tries of a call, the first included. Default 3.
    pub tries: u32,
    /// The part of the calls that may be made again. Default 0.2.
    pub retry_ratio: f64,
    /// The retries a second that are allowed however few calls there are. Default 1.
    pub retry_floor: u32,
    /// The most tries at a time, and the most connections that rest. Default 64.
    pub max_in_flight: usize,
    /// The most tries that wait for another one to end. Default 64.
    pub max_queue: usize,
    /// The longest such wait. Default 100 ms.
    #[serde(with = "crate::config::duration::Text")]
    pub max_wait: Duration,
    /// How long a connection may rest and be used again; less than the service keeps it. Default
    /// 10 s.
    #[serde(with = "crate::config::duration::Text")]
    pub idle_timeout: Duration,
    /// The most bytes of an answer's body; more is an error. Default 65,536.
    pub reply_limit: usize,
    /// When calls are refused because the service fails.
    pub breaker: Breaker,
}

impl Default for Config {
    fn default() -> Self {
        Self::new(BaseUrl::default())
    }
}

impl Config {
    /// The default limits for the service there.
    pub fn new(base_url: BaseUrl) -> Self {
        Self {
            base_url,
            ca_file: None,
            cert_file: None,
            key_file: None,
            connect_timeout: Duration::from_secs(1),
            try_timeout: Duration::from_secs(2),
            tries: 3,
            retry_ratio: 0.2,
            retry_floor: 1,
            max_in_flight: 64,
            max_queue: 64,
            max_wait: Duration::from_millis(100),
            idle_timeout: Duration::from_secs(10),
            reply_limit: 64 << 10,
            breaker: Breaker::default(),
        }
    }

    /// The names of the limits that are 0, which would let nothing pass.
    pub fn zeros(&self) -> Vec<&'static str> {
        let limits = [
            ("connect_timeout", self.connect_timeout.is_zero()),
            ("try_timeout", self.try_timeout.is_zero()),
            ("tries", self.tries == 0),
            ("max_in_flight", self.max_in_flight == 0),
            ("breaker.window", self.breaker.window.is_zero()),
            ("breaker.slow_call", self.breaker.slow_call.is_zero()),
            ("breaker.probes", self.breaker.probes == 0),
            ("breaker.probe_timeout", self.breaker.probe_timeout.is_zero()),
        ];
        limits.into_iter().filter_map(|(name, zero)| zero.then_some(name)).collect()
    }

    /// Whether the files that it names can be used.
    ///
    /// # Errors
    /// [`TlsError`]: they cannot.
    pub fn check_files(&self) -> Result<(), TlsError> {
        self.tls(None).map(|_| ())
    }

    /// For an `https` service: what connections are made with that speak this protocol, if it has to
    /// be agreed upon, and the name that it must show.
    pub(in crate::client) fn tls(
        &self,
        protocol: Option<&'static [u8]>,
    ) -> Result<Option<(Tls, ServerName<'static>)>, TlsError> {
        let [ca, cert, key] = [&self.ca_file, &self.cert_file, &self.key_file].map(Option::as_ref);
        let paths = Paths::new(ca, cert, key, protocol)?;
        if !self.base_url.is_tls() {
            return if cert.is_some() { Err(TlsError::PlainText) } else { Ok(None) };
        }
        let name = ServerName::try_from(self.base_url.host().to_owned());
        let name = name.map_err(|error| TlsError::Host(error.into()))?;
        Ok(Some((Tls::load(paths)?, name)))
    }

    /// From which time on a try that had no answer says something of the service.
    pub(in crate::client) fn patience(&self) -> Duration {
        self.breaker.slow_call.min(self.try_timeout)
    }

    pub(in crate::client) fn policy(&self) -> Policy {
        Policy { tries: self.tries, ..Policy::default() }
    }

    pub(in crate::client) fn budget(&self) -> BudgetConfig {
        BudgetConfig {
            ratio: self.retry_ratio,
            floor_per_second: self.retry_floor,
            ..BudgetConfig::default()
        }
    }

    pub(in crate::client) fn bulkhead(&self) -> bulkhead::Config {
        bulkhead::Config {
            max_in_flight: self.max_in_flight,
            max_queue: self.max_queue,
            max_wait: self.max_wait,
        }
    }
}

/// When calls to a service are refused because it fails, and for how long.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Breaker {
    /// The failures in a row that open it; 0 for no such limit. Default 5.
    pub consecutive_failures: u32,
    /// The part of the calls whose failure opens it; above 1 for no such limit. Default 0.5.
    pub failure_ratio: f64,
    /// From this time on a call is slow; the wait for other calls is part of it. Default 1 s.
    #[serde(with = "crate::config::duration::Text")]
    pub slow_call: Duration,
    /// The part of the calls whose slowness opens it; above 1 for no such limit. Default 0.8.
    pub slow_ratio: f64,
    /// The time over which the ratios are taken. Default 10 s.
    #[serde(with = "crate::config::duration::Text")]
    pub window: Duration,
    /// The least calls in that time for a ratio to mean anything. Default 20.
    pub least_calls: u32,
    /// The least time it stays open. Default 1 s.
    #[serde(with = "crate::config::duration::Text")]
    pub open_least: Duration,
    /// The most time it stays open, also when the service asks for more. Default 10 s: so soon is a
    /// service used again that was away for long.
    #[serde(with = "crate::config::duration::Text")]
    pub open_most: Duration,
    /// How many calls are tried before it closes. Default 3.
    pub probes: u32,
    /// How long one of them may take. Default 5 s.
    #[serde(with = "crate::config::duration::Text")]
    pub probe_timeout: Duration,
}

impl Default for Breaker {
    fn default() -> Self {
        let breaker::Config {
            consecutive_failures,
            failure_ratio,
            slow_call,
            slow_ratio,
            window,
            least_calls,
            open_least,
            open_most,
            probes,
            probe_timeout,
        } = breaker::Config::default();
        Self {
            consecutive_failures: consecutive_failures.unwrap_or(0),
            failure_ratio,
            slow_call,
            slow_ratio,
            window,
            least_calls,
            open_least,
            open_most,
            probes,
            probe_timeout,
        }
    }
}

impl Breaker {
    pub(in crate::client) fn settings(&self) -> breaker::Config {
        breaker::Config {
            consecutive_failures: Some(self.consecutive_failures).filter(|&count| count > 0),
            failure_ratio: self.failure_ratio,
            slow_call: self.slow_call,
            slow_ratio: self.slow_ratio,
            window: self.window,
            least_calls: self.least_calls,
            open_least: self.open_least,
            open_most: self.open_most,
            probes: self.probes,
            probe_timeout: self.probe_timeout,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_are_those_of_the_parts() {
        assert_eq!(Breaker::default().settings(), breaker::Config::default());
        let config = Config::default();
        assert_eq!(config.policy(), Policy::default());
        assert_eq!(config.budget(), BudgetConfig::default());
        assert_eq!(config.bulkhead(), bulkhead::Config::default());
        assert_eq!(config.zeros(), [""; 0]);
    }

    #[test]
    fn a_section_says_where_and_what_differs() {
        let text = "base_url = 'https://pay.test/v1'\ntries = 2\nbreaker.probes = 1";
        let config: Config = toml::from_str(text).unwrap();
        assert_eq!((config.tries, config.breaker.probes), (2, 1));
        assert_eq!(config.base_url.to_string(), "https://pay.test/v1");
        assert_eq!(config.try_timeout, Duration::from_secs(2));
        assert!(toml::from_str::<Config>("retries = 2").is_err());
        assert!(toml::from_str::<Config>("base_url = 'ftp://pay.test'").is_err());
    }

    #[test]
    fn limits_of_nothing_are_named() {
        let config = Config { tries: 0, try_timeout: Duration::ZERO, ..Config::default() };
        assert_eq!(config.zeros(), ["try_timeout", "tries"]);
    }
}
