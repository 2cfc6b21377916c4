//! What a configuration must hold as a whole, beyond each value by itself.

use std::time::Duration;

use mainstay::{
    config::Rules,
    server::{Tls, tls},
    telemetry,
};
use orders::usecase::LONGEST_REQUEST;

use super::Config;
use crate::{keys, wired};

/// The least limit of the store's log: some hundred changes.
const LEAST_LOG: u64 = 1 << 20;

impl Config {
    /// Rules over one key or several.
    pub(super) fn check(&self, rules: &mut Rules) {
        self.check_reach(rules);
        self.check_limits(rules);
        rules.accept(&["log.level"], telemetry::check_level(&self.log.level));
        rules.accept(&["log.traces.endpoint"], self.log.traces.check_endpoint());
        rules.accept(&["log.traces.sample_ratio"], self.log.traces.check_ratio());
        rules.accept(&["retention.keys", "retention.events"], wired::policy(&self.retention));
        rules.require(
            self.auth.keys_file.is_some() || self.auth.pepper_file.is_none(),
            &["auth.pepper_file", "auth.keys_file"],
            "it belongs together with auth.keys_file, which is not set: set both or neither",
        );
        rules.require(
            self.auth.pepper_file.is_some() || self.auth.keys_file.is_none(),
            &["auth.keys_file", "auth.pepper_file"],
            "it belongs together with auth.pepper_file, which is not set: set both or neither",
        );
    }

    /// What must not be reachable from other machines.
    fn check_reach(&self, rules: &mut Rules) {
        for (keys, fault) in self.reach() {
            rules.require(false, keys, &fault);
        }
    }

    /// The same rules, for where the service really listens: on a socket that was passed in.
    pub(crate) fn refuse_reach(&self) -> Result<(), String> {
        let faults: Vec<String> =
            self.reach().into_iter().map(|(keys, fault)| format!("{}: {fault}", keys[0])).collect();
        if faults.is_empty() { Ok(()) } else { Err(faults.join("; ")) }
    }

    fn reach(&self) -> Vec<(&'static [&'static str], String)> {
        let mut faults: Vec<(&'static [&'static str], String)> = Vec::new();
        let local = self.http.listen.ip().is_loopback();
        if !local && self.auth.keys_file.is_none() {
            let fault = "it is reachable from other machines and auth.keys_file is not set: anybody \
                         could order. Make keys with `orderly key new`, or listen on 127.0.0.1";
            faults.push((&["http.listen", "auth.keys_file"], fault.to_owned()));
        }
        if !local && !self.store.durable {
            let fault = "store.durable is false and http.listen is reachable from other machines: \
                         a power loss would lose acknowledged orders";
            faults.push((&["store.durable", "http.listen"], fault.to_owned()));
        }
        if let Err(fault) = self.admin.check_reach() {
            faults.push((&["admin.listen", "admin.token_file"], fault.to_string()));
        }
        faults
    }

    fn check_limits(&self, rules: &mut Rules) {
        rules.require(
            self.http.default_deadline <= self.http.largest_deadline,
            &["http.default_deadline", "http.largest_deadline"],
            "it is longer than http.largest_deadline",
        );
        rules.require(
            self.http.largest_deadline.as_secs() < LONGEST_REQUEST.as_secs().unsigned_abs(),
            &["http.largest_deadline"],
            "it must be below 10min: receipts are kept that much longer than their life, so that no \
             request outlives the one it asks for",
        );
        rules.require(
            self.retention.keys >= self.http.largest_deadline,
            &["retention.keys", "http.largest_deadline"],
            "it is shorter than http.largest_deadline: a retry would no longer find its key",
        );
        rules.require(
            self.store.wal_limit >= LEAST_LOG,
            &["store.wal_limit"],
            "it must be at least 1048576 (1 MiB): with less, changes would be refused as busy",
        );
        let not_zero = "it must not be 0";
        let mut counts = |key: &str, holds: bool| rules.require(holds, &[key], not_zero);
        counts("http.default_deadline", !self.http.default_deadline.is_zero());
        counts("http.body_limit", self.http.body_limit > 0);
        counts("store.queue", self.store.queue > 0);
        counts("store.batch", self.store.batch > 0);
        counts("store.readers", self.store.readers > 0);
        counts("store.read_queue", self.store.read_queue > 0);
        counts("retention.every", !self.retention.every.is_zero());
        counts("retention.events", !self.retention.events.is_zero());
        let reload_every = self.http.tls.as_ref().map(|tls| tls.reload_every);
        counts("http.tls.reload_every", reload_every != Some(Duration::ZERO));
        for limit in self.server.zeros() {
            rules.require(false, &[&format!("server.{limit}")], not_zero);
        }
    }

    /// The certificate to serve with, if one is set.
    pub(crate) fn tls(&self) -> Result<Option<Tls>, tls::Error> {
        self.http.tls.as_ref().map(Tls::load).transpose()
    }

    /// Whether the files it names can be used.
    pub(super) fn check_files(&self, rules: &mut Rules) {
        keys::check(&self.auth, rules);
        rules.accept(&["admin.token_file"], self.admin.token());
        rules.accept(&["http.tls"], self.tls());
    }
}

/// Settings that are allowed and that somebody should know of.
pub(crate) fn warnings(config: &Config) -> Vec<&'static str> {
    let mut warnings = Vec::new();
    if !config.http.listen.ip().is_loopback() && config.http.tls.is_none() {
        warnings.push(
            "the API is served without TLS on an address that other machines reach; set \
             http.tls.cert_file and http.tls.key_file, or put a proxy that speaks TLS in front",
        );
    }
    if !config.admin.listen.ip().is_loopback() {
        warnings.push(
            "admin.listen is reachable from other machines without TLS: its token can be read on \
             the way; keep it to a network of your own",
        );
    }
    if !config.store.durable {
        warnings.push("store.durable is false: a power loss takes acknowledged orders");
    }
    warnings
}
