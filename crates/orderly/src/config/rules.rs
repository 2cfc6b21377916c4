//! What a configuration must hold as a whole, beyond each value by itself.

use std::{
    io,
    net::{SocketAddr, TcpListener},
    path::PathBuf,
    time::Duration,
};

use mainstay::{
    client,
    config::{Rules, Secret},
    server::{Tls, tls},
    telemetry,
};
use orders::usecase::LONGEST_REQUEST;
use orders_adapters::{settings::Security, sqlite::Sqlite};

use super::{Config, LEFT_OUT, on_the_way};
use crate::{cli::Serve, console::whole, keys, wired};

/// The least limit of the store's log: some hundred changes.
const LEAST_LOG: u64 = 1 << 20;

impl Config {
    /// Rules over one key or several.
    pub(super) fn check(&self, rules: &mut Rules, options: &Serve) {
        self.check_reach(rules, options);
        self.check_limits(rules);
        self.limits.check(rules);
        self.check_shared(rules);
        self.check_kafka(rules);
        rules.accept(&["log.level"], telemetry::check_level(&self.log.level));
        rules.accept(&["log.traces.endpoint"], self.log.traces.check_endpoint());
        rules.accept(&["log.traces.sample_ratio"], self.log.traces.check_ratio());
        rules.accept(
            &["retention.keys", "retention.events", "expiry.unpaid", "expiry.authorizations"],
            wired::policy(self),
        );
        rules.require(
            !self.shares_an_address(),
            &["admin.listen", "http.listen"],
            "it is the same as http.listen: admin.listen and http.listen need a port each",
        );
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
        if let Some(jwt) = &self.auth.jwt {
            jwt.check(rules);
        }
    }

    /// What has to do with the store that several processes share.
    fn check_shared(&self, rules: &mut Rules) {
        let Some(postgres) = &self.postgres else {
            let fault = "it needs postgres.url: the embedded store belongs to one process, which does \
                         everything";
            return rules.require(self.roles.are_all(), &["roles", "postgres.url"], fault);
        };
        rules.require(cfg!(feature = "postgres"), &["postgres"], LEFT_OUT);
        let url = &postgres.url;
        let is_one = url.starts_with("postgres://") || url.starts_with("postgresql://");
        let fault = "it must be a URL such as postgres://user@host:5432/database";
        rules.require(is_one, &["postgres.url"], fault);
        for (key, url) in
            [("postgres.url", Some(url)), ("postgres.direct_url", postgres.direct_url.as_ref())]
        {
            let fault = "it holds a password, which would be shown; put it into a file and name that \
                         with postgres.password_file";
            rules.require(!url.is_some_and(|url| on_the_way::holds_password(url)), &[key], fault);
            let fault = "it leads to other machines, and TLS is used only if the server offers it: add \
                         ?sslmode=require, or ?sslmode=disable on a network that is trusted";
            let says = |url| matches!(on_the_way::sslmode(url), Some(mode) if mode != "prefer");
            let is_said = url.is_none_or(|url| !on_the_way::leaves(url) || says(url));
            rules.require(is_said, &[key], fault);
            let fault = "its sslmode must be disable, prefer or require; the last checks the \
                         certificate and its host, as verify-full does elsewhere";
            let mode = url.and_then(|url| on_the_way::sslmode(url));
            let is_known = matches!(mode, None | Some("disable" | "prefer" | "require"));
            rules.require(is_known, &[key], fault);
        }
        for (key, count, most) in [
            ("postgres.writers", postgres.writers, 16),
            ("postgres.queue", postgres.queue, 1_000_000),
            ("postgres.batch", postgres.batch, 4_096),
            ("postgres.readers", postgres.readers, 256),
        ] {
            rules.require(
                (1..=most).contains(&count),
                &[key],
                format!("it must be from 1 to {most}"),
            );
        }
        for (key, time) in [
            ("postgres.connect_timeout", postgres.connect_timeout),
            ("postgres.lock_timeout", postgres.lock_timeout),
            ("postgres.answer_timeout", postgres.answer_timeout),
            ("postgres.poll", postgres.poll),
        ] {
            rules.require(!time.is_zero(), &[key], "it must not be 0");
        }
    }

    /// What has to do with Kafka.
    fn check_kafka(&self, rules: &mut Rules) {
        let Some(kafka) = &self.kafka else { return };
        rules.require(cfg!(feature = "kafka"), &["kafka"], LEFT_OUT);
        rules.require(
            !self.retention.unpublished,
            &["retention.unpublished", "kafka"],
            "kafka is set: events would be lost that it has not got yet",
        );
        let fault = "it must name at least one broker, such as [\"kafka-1:9092\"]";
        rules.require(!kafka.brokers.is_empty(), &["kafka.brokers"], fault);
        let fault = "it must be said how brokers on other machines are reached: tls, sasl_tls, or \
                     plaintext on a network that is trusted";
        let is_here = !kafka.brokers.iter().any(|broker| on_the_way::is_away(broker));
        let is_said = kafka.security.is_some();
        rules.require(is_said || is_here, &["kafka.security", "kafka.brokers"], fault);
        let fault = "it is needed with kafka.security = sasl_tls";
        let is_user = kafka.security == Some(Security::SaslTls);
        rules.require(!is_user || kafka.user.is_some(), &["kafka.user", "kafka.security"], fault);
        let has_password = kafka.password_file.is_some();
        rules.require(!is_user || has_password, &["kafka.password_file", "kafka.security"], fault);
        if let Some(file) = &kafka.password_file {
            let read = Secret::<String>::from_file(file);
            let read = read.map_err(|error| format!("cannot read {}: {error}", file.display()));
            rules.accept(&["kafka.password_file"], read);
        }
        rules.require(
            kafka.inbound.drain_timeout < self.lifecycle.drain,
            &["kafka.inbound.drain_timeout", "lifecycle.drain"],
            "it must be below lifecycle.drain: what was carried out at a stop could not be noted, and \
             would be carried out again",
        );
        for (key, count) in [
            ("kafka.queue", u64::from(kafka.queue)),
            ("kafka.partitions", u64::from(kafka.partitions)),
            ("kafka.inbound.in_hand", kafka.inbound.in_hand as u64),
        ] {
            rules.require(count > 0, &[key], "it must not be 0");
        }
        for (key, time) in [
            ("kafka.delivery_timeout", kafka.delivery_timeout),
            ("kafka.request_timeout", kafka.request_timeout),
            ("kafka.inbound.try_timeout", kafka.inbound.try_timeout),
        ] {
            rules.require(!time.is_zero(), &[key], "it must not be 0");
        }
    }

    /// What must not be reachable from other machines.
    fn check_reach(&self, rules: &mut Rules, options: &Serve) {
        for (keys, fault) in self.reach(options) {
            rules.require(false, keys, &fault);
        }
    }

    /// The same rules, for where the service really listens: on a socket that was passed in.
    pub(crate) fn refuse_reach(&self, options: &Serve) -> Result<(), String> {
        let faults = self.reach(options).into_iter();
        let faults: Vec<_> = faults.map(|(keys, fault)| format!("{}: {fault}", keys[0])).collect();
        if faults.is_empty() { Ok(()) } else { Err(faults.join("; ")) }
    }

    fn reach(&self, options: &Serve) -> Vec<(&'static [&'static str], String)> {
        let mut faults: Vec<(&'static [&'static str], String)> = Vec::new();
        let local = self.http.listen.ip().is_loopback();
        if !local && self.auth.keys_file.is_none() && self.auth.jwt.is_none() {
            let fault = format!(
                "it is reachable from other machines and auth.keys_file is not set: anybody could \
                 order. Set auth.keys_file and auth.pepper_file and make a key with `{}`, or \
                 listen on 127.0.0.1",
                options.key_new()
            );
            faults.push((&["http.listen", "auth.keys_file"], fault));
        }
        if !local && !self.store.durable && self.postgres.is_none() {
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
        for (key, count, most) in [
            ("http.body_limit", self.http.body_limit, 64 << 20),
            ("admission.in_service", self.admission.in_service, 1_000_000),
            ("admission.queue", self.admission.queue, 1_000_000),
            ("admission.queue_per_tenant", self.admission.queue_per_tenant, 1_000_000),
            ("store.queue", self.store.queue, 1_000_000),
            ("store.batch", self.store.batch, 65_536),
            ("store.readers", self.store.readers, 64),
            ("store.read_queue", self.store.read_queue, 1_000_000),
        ] {
            let fits = (1..=most).contains(&count);
            rules.require(fits, &[key], format!("it must be from 1 to {most}"));
        }
        let not_zero = "it must not be 0";
        let mut counts = |key: &str, holds: bool| rules.require(holds, &[key], not_zero);
        counts("http.default_deadline", !self.http.default_deadline.is_zero());
        counts("auth.reload_every", !self.auth.reload_every.is_zero());
        counts("retention.every", !self.retention.every.is_zero());
        counts("retention.events", !self.retention.events.is_zero());
        let reload_every = self.http.tls.as_ref().map(|tls| tls.reload_every);
        counts("http.tls.reload_every", reload_every != Some(Duration::ZERO));
        for limit in self.gateway.iter().flat_map(|gateway| gateway.client.zeros()) {
            rules.require(false, &[&format!("gateway.client.{limit}")], not_zero);
        }
        for limit in self.server.zeros() {
            rules.require(false, &[&format!("server.{limit}")], not_zero);
        }
    }

    /// The certificate to serve with, if one is set.
    pub(crate) fn tls(&self) -> Result<Option<Tls>, tls::Error> {
        self.http.tls.as_ref().map(Tls::load).transpose()
    }

    /// Whether the files it names can be used.
    pub(super) fn check_files(&self, rules: &mut Rules, options: &Serve) {
        keys::check(&self.auth, options, rules);
        if let Some(jwt) = &self.auth.jwt {
            jwt.check_file(rules);
        }
        rules.accept(&["admin.token_file"], self.admin.token());
        rules.accept(&["http.tls"], self.tls());
        if let Some(gateway) = &self.gateway {
            rules.accept(&["gateway.client"], gateway.client.check_files());
            rules.accept(&["gateway.secret_file"], self.gateway_secret());
            rules.accept(&["gateway.webhook_secret_file"], self.webhook_secrets());
        }
        let Some(postgres) = &self.postgres else { return };
        if let Some(file) = &postgres.password_file {
            let read = Secret::<String>::from_file(file);
            let read = read.map_err(|error| format!("cannot read {}: {error}", file.display()));
            rules.accept(&["postgres.password_file"], read);
        }
        if let Some(file) = &postgres.ca_file {
            rules.accept(&["postgres.ca_file"], client::tls::trusting(Some(file)));
        }
    }

    /// Whether there is a place for its store.
    pub(super) fn check_place(&self, rules: &mut Rules) {
        if self.postgres.is_some() {
            return;
        }
        rules.accept(&["store.path"], Sqlite::place(&self.store.path));
    }

    /// Whether what it needs for itself could be had now: taken, and let go again.
    pub(super) fn check_free(&self, rules: &mut Rules) {
        if self.postgres.is_none() {
            let store = Sqlite::probe(&self.store.path).map_err(wired::with_hint);
            rules.accept(&["store.path"], store);
        }
        let listen = |key, address| {
            let bound = TcpListener::bind(address);
            bound.map_err(|error| cannot_listen(key, address, &error))
        };
        // Held until both are bound, since each may be in the other's way.
        let _api = rules.accept(&["http.listen"], listen("http.listen", self.http.listen));
        if !self.shares_an_address() {
            rules.accept(&["admin.listen"], listen("admin.listen", self.admin.listen));
        }
    }

    /// Whether both listeners would want the same port.
    fn shares_an_address(&self) -> bool {
        self.http.listen == self.admin.listen && self.http.listen.port() != 0
    }
}

/// Why `address`, the value of `key`, cannot be listened on.
pub(crate) fn cannot_listen(key: &str, address: SocketAddr, error: &io::Error) -> String {
    format!("cannot listen on {address}: {error}; choose another address with --set {key}=ADDR")
}

/// Settings that are allowed and that somebody should know of.
pub(crate) fn warnings(config: &Config) -> Vec<String> {
    let mut warnings = exposed(config);
    if !config.http.listen.ip().is_loopback() && config.http.tls.is_none() {
        warnings.push(
            "the API is served without TLS on an address that other machines reach; set \
             http.tls.cert_file and http.tls.key_file, or put a proxy that speaks TLS in front"
                .to_owned(),
        );
    }
    let asks = config.http.tls.as_ref().is_some_and(|tls| tls.client_ca_file.is_some());
    if !asks && keys::has_peers(&config.auth) {
        warnings.push(
            "auth.keys_file: it has a [[peer]], and clients are asked for no certificate, so nobody \
             is it; set http.tls.client_ca_file. What a proxy that ends TLS says of them is not read"
                .to_owned(),
        );
    }
    if !config.admin.listen.ip().is_loopback() {
        warnings.push(
            "admin.listen is reachable from other machines without TLS: its token can be read on \
             the way; keep it to a network of your own"
                .to_owned(),
        );
    }
    for (what, key) in in_plain_text(config) {
        warnings.push(format!(
            "{key} leads to other machines without TLS: {what} can be read on the way; keep it to a \
             network of your own"
        ));
    }
    if config.gateway.as_ref().is_some_and(|gateway| gateway.key_window < SHORT_WINDOW) {
        warnings.push(
            "gateway.key_window is below 5min: what the provider may not have got is hardly ever \
             sent again, and waits for a person"
                .to_owned(),
        );
    }
    if !config.store.durable && config.postgres.is_none() {
        warnings.push("store.durable is false: a power loss takes acknowledged orders".to_owned());
    }
    warnings
}

/// What is sent to other machines as plain text because somebody said so, and by which setting.
fn in_plain_text(config: &Config) -> Vec<(&'static str, &'static str)> {
    let mut plain = Vec::new();
    let url = config.postgres.as_ref().map(|postgres| &postgres.url);
    let direct = config.postgres.as_ref().and_then(|postgres| postgres.direct_url.as_ref());
    for (key, url) in [("postgres.url", url), ("postgres.direct_url", direct)] {
        let says = |url: &String| on_the_way::sslmode(url) == Some("disable");
        if url.is_some_and(|url| on_the_way::leaves(url) && says(url)) {
            plain.push(("every order", key));
        }
    }
    let kafka = config.kafka.as_ref().filter(|kafka| {
        kafka.security.unwrap_or_default() == Security::Plaintext
            && kafka.brokers.iter().any(|broker| on_the_way::is_away(broker))
    });
    if kafka.is_some() {
        plain.push(("every event", "kafka.brokers"));
    }
    plain
}

/// A minute of a key's time is kept for clocks and requests under way.
const SHORT_WINDOW: Duration = Duration::from_mins(5);

/// A warning for each file of secrets that others than its owner can read.
fn exposed(config: &Config) -> Vec<String> {
    let gateway = config.gateway.as_ref();
    let secrets = [
        ("auth.pepper_file", config.auth.pepper_file.as_ref()),
        ("auth.keys_file", config.auth.keys_file.as_ref()),
        ("admin.token_file", config.admin.token_file.as_ref()),
        (
            "postgres.password_file",
            config.postgres.as_ref().and_then(|postgres| postgres.password_file.as_ref()),
        ),
        (
            "kafka.password_file",
            config.kafka.as_ref().and_then(|kafka| kafka.password_file.as_ref()),
        ),
        ("gateway.secret_file", gateway.and_then(|gateway| gateway.secret_file.as_ref())),
        (
            "gateway.webhook_secret_file",
            gateway.and_then(|gateway| gateway.webhook_secret_file.as_ref()),
        ),
        ("gateway.client.key_file", gateway.and_then(|gateway| gateway.client.key_file.as_ref())),
        ("http.tls.key_file", config.http.tls.as_ref().map(|tls| &tls.key_file)),
    ];
    let exposed = secrets.into_iter().filter_map(|(key, path)| Some((key, path?)));
    let exposed = exposed.filter(|(_, path)| keys::is_exposed(path));
    let warning = |(key, path): (&str, &PathBuf)| {
        let path = whole(path);
        format!("{key}: others than its owner can read {0}; chmod 600 {0}", path.display())
    };
    exposed.map(warning).collect()
}
