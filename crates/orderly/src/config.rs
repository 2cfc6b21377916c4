//! The configuration: everything that can be set, with its default.

use std::{ffi::OsString, net::SocketAddr, path::PathBuf, process::ExitCode, time::Duration};

use mainstay::{
    config::{Loaded, Loader, duration},
    server::tls,
};
use orders_adapters::sqlite;
use serde::{Deserialize, Serialize};

use crate::{
    cli::Serve,
    console::{Failure, say},
};

/// Everything that can be set.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Config {
    pub(crate) http: Http,
    pub(crate) admin: Admin,
    pub(crate) auth: Auth,
    pub(crate) store: Store,
    pub(crate) retention: Retention,
    pub(crate) server: mainstay::server::Config,
    pub(crate) lifecycle: mainstay::lifecycle::Config,
    pub(crate) log: mainstay::telemetry::Config,
}

/// The API.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Http {
    /// Where the API listens.
    pub(crate) listen: SocketAddr,
    /// How long a request may take that brings no deadline of its own.
    #[serde(with = "duration")]
    pub(crate) default_deadline: Duration,
    /// The longest deadline a request may bring.
    #[serde(with = "duration")]
    pub(crate) largest_deadline: Duration,
    /// The largest body, in bytes; of a streamed batch, the longest line.
    pub(crate) body_limit: usize,
    /// The certificate to serve the API over TLS with. Without it, it is served as plain text.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) tls: Option<tls::Config>,
}

/// Health, readiness and metrics.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Admin {
    /// Where they are served.
    pub(crate) listen: SocketAddr,
}

/// Who may use the API.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Auth {
    /// The key file. Without one, and on loopback only, a development key is made.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) keys_file: Option<PathBuf>,
    /// The secret that the hashes in the key file are made with.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) pepper_file: Option<PathBuf>,
}

/// The embedded store; see [`sqlite::Config`].
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Store {
    pub(crate) path: PathBuf,
    pub(crate) queue: usize,
    pub(crate) batch: usize,
    pub(crate) readers: usize,
    pub(crate) read_queue: usize,
    pub(crate) wal_limit: u64,
    pub(crate) durable: bool,
}

/// How long things are remembered.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Retention {
    /// How long a decision is replayed under its idempotency key.
    #[serde(with = "duration")]
    pub(crate) keys: Duration,
    /// How long events are kept in the feed.
    #[serde(with = "duration")]
    pub(crate) events: Duration,
    /// How often what is past its time is forgotten.
    #[serde(with = "duration")]
    pub(crate) every: Duration,
}

impl Default for Http {
    fn default() -> Self {
        Self {
            listen: ([127, 0, 0, 1], 8080).into(),
            default_deadline: Duration::from_secs(2),
            largest_deadline: Duration::from_secs(10),
            body_limit: 256 * 1024,
            tls: None,
        }
    }
}

impl Default for Admin {
    fn default() -> Self {
        Self { listen: ([127, 0, 0, 1], 9090).into() }
    }
}

impl Default for Store {
    fn default() -> Self {
        let store = sqlite::Config::at("data/orderly.db");
        Self {
            path: store.path,
            queue: store.queue,
            batch: store.batch,
            readers: store.readers,
            read_queue: store.read_queue,
            wal_limit: store.wal_limit,
            durable: store.durable,
        }
    }
}

impl Default for Retention {
    fn default() -> Self {
        let days = |days: u64| Duration::from_hours(24 * days);
        Self { keys: days(7), events: days(90), every: Duration::from_mins(1) }
    }
}

impl Http {
    /// As the chassis takes them.
    pub(crate) const fn deadlines(&self) -> mainstay::http::Config {
        mainstay::http::Config {
            default_deadline: self.default_deadline,
            largest_deadline: self.largest_deadline,
        }
    }
}

impl Store {
    /// As the adapter takes it.
    pub(crate) fn sqlite(&self) -> sqlite::Config {
        sqlite::Config {
            path: self.path.clone(),
            queue: self.queue,
            batch: self.batch,
            readers: self.readers,
            read_queue: self.read_queue,
            wal_limit: self.wal_limit,
            durable: self.durable,
        }
    }
}

/// What makes a configuration unusable, all at once.
#[derive(Debug, thiserror::Error)]
#[error("the configuration cannot be used:\n  - {}", .0.join("\n  - "))]
pub(crate) struct Refused(Vec<String>);

impl Config {
    /// Rules over several keys.
    pub(crate) fn refuse(&self) -> Result<(), Refused> {
        let mut reasons = Vec::new();
        let mut refuse = |unless: bool, reason: &str| {
            if !unless {
                reasons.push(reason.to_owned());
            }
        };
        let local = self.http.listen.ip().is_loopback();
        refuse(
            local || self.auth.keys_file.is_some(),
            "http.listen is reachable from other machines and auth.keys_file is not set: anybody \
             could order. Make keys with `orderly key new`, or listen on 127.0.0.1",
        );
        refuse(
            local || self.store.durable,
            "store.durable is false and http.listen is reachable from other machines: a power loss \
             would lose acknowledged orders",
        );
        refuse(
            self.admin.listen.ip().is_loopback(),
            "admin.listen is reachable from other machines, and it asks nobody who they are: \
             listen on 127.0.0.1",
        );
        refuse(
            self.auth.keys_file.is_some() == self.auth.pepper_file.is_some(),
            "auth.keys_file and auth.pepper_file belong together: set both or neither",
        );
        refuse(
            self.http.default_deadline <= self.http.largest_deadline,
            "http.default_deadline is longer than http.largest_deadline",
        );
        refuse(
            self.store.queue > 0 && self.store.batch > 0 && self.store.read_queue > 0,
            "store.queue, store.batch and store.read_queue must be at least 1",
        );
        refuse(!self.retention.every.is_zero(), "retention.every must not be 0");
        refuse(!self.http.default_deadline.is_zero(), "http.default_deadline must not be 0");
        refuse(self.http.body_limit > 0, "http.body_limit must be at least 1");
        for limit in self.server.zeros() {
            refuse(false, &format!("server.{limit} must not be 0"));
        }
        let reload_every = self.http.tls.as_ref().map(|tls| tls.reload_every);
        refuse(reload_every != Some(Duration::ZERO), "http.tls.reload_every must not be 0");
        if reasons.is_empty() { Ok(()) } else { Err(Refused(reasons)) }
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
    if !config.store.durable {
        warnings.push("store.durable is false: a power loss takes acknowledged orders");
    }
    warnings
}

/// Reads every layer and checks the whole.
pub(crate) fn load(options: &Serve) -> Result<Loaded<Config>, Failure> {
    let loaded = layers(options)?;
    loaded.value.refuse()?;
    Ok(loaded)
}

fn layers(options: &Serve) -> Result<Loaded<Config>, Failure> {
    let mut loader = Loader::new();
    if let Some(file) = &options.config {
        loader = loader.file(file);
    }
    let short = [
        ("http.listen", &options.listen),
        ("admin.listen", &options.admin_listen),
        ("store.path", &options.store),
    ];
    let short = short
        .into_iter()
        .filter_map(|(key, value)| value.clone().map(|value| (key.to_owned(), value)));
    // A variable that is not text cannot be one of ours, and must not stop anything.
    let text = |(name, value): (OsString, OsString)| {
        Some((name.into_string().ok()?, value.into_string().ok()?))
    };
    // Two underscores, because Kubernetes invents variables like ORDERLY_PORT for its services.
    Ok(loader
        .env("ORDERLY__", std::env::vars_os().filter_map(text))
        .flags(short.chain(options.set.iter().cloned()))
        .load()?)
}

/// `orderly config print`.
pub(crate) fn print(options: &Serve) -> Result<ExitCode, Failure> {
    say(layers(options)?.print().trim_end());
    Ok(ExitCode::SUCCESS)
}

/// `orderly config check`.
pub(crate) fn check(options: &Serve) -> Result<ExitCode, Failure> {
    let loaded = load(options)?;
    mainstay::telemetry::check(&loaded.value.log)?;
    crate::wired::policy(&loaded.value.retention)?;
    crate::keys::from_file(&loaded.value)?;
    crate::app::tls(&loaded.value)?;
    for warning in warnings(&loaded.value) {
        say(&format!("warning: {warning}"));
    }
    say("the configuration is usable");
    Ok(ExitCode::SUCCESS)
}
