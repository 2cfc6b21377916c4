//! What a configuration must hold as a whole, beyond each value by itself.

use mainstay::{config::Rules, telemetry};

use super::Config;
use crate::{keys, wired};

impl Config {
    /// Rules over one key or several.
    pub(super) fn check(&self, rules: &mut Rules) {
        self.check_reach(rules);
        self.check_limits(rules);
        rules.accept(&["log.level"], telemetry::check(&self.log));
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
        let local = self.http.listen.ip().is_loopback();
        rules.require(
            local || self.auth.keys_file.is_some(),
            &["http.listen", "auth.keys_file"],
            "it is reachable from other machines and auth.keys_file is not set: anybody could \
             order. Make keys with `orderly key new`, or listen on 127.0.0.1",
        );
        rules.require(
            local || self.store.durable,
            &["store.durable", "http.listen"],
            "store.durable is false and http.listen is reachable from other machines: a power loss \
             would lose acknowledged orders",
        );
        rules.accept(&["admin.listen", "admin.token_file"], self.admin.check_reach());
    }

    fn check_limits(&self, rules: &mut Rules) {
        rules.require(
            self.http.default_deadline <= self.http.largest_deadline,
            &["http.default_deadline", "http.largest_deadline"],
            "it is longer than http.largest_deadline",
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
        counts("server.max_connections", self.server.max_connections > 0);
        counts("server.first_byte_timeout", !self.server.first_byte_timeout.is_zero());
        counts("server.header_timeout", !self.server.header_timeout.is_zero());
        counts("server.idle_timeout", !self.server.idle_timeout.is_zero());
    }

    /// Whether the files it names can be used.
    pub(super) fn check_files(&self, rules: &mut Rules) {
        keys::check(&self.auth, rules);
        rules.accept(&["admin.token_file"], self.admin.token());
    }
}

/// Settings that are allowed and that somebody should know of.
pub(crate) fn warnings(config: &Config) -> Vec<&'static str> {
    let mut warnings = Vec::new();
    if !config.http.listen.ip().is_loopback() {
        warnings.push(
            "the API is served without TLS on an address that other machines reach; put a proxy \
             that speaks TLS in front",
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
