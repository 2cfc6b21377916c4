//! The configuration: everything that can be set, with its default.

mod commands;
mod connections;
mod jwt;
mod limits;
mod on_the_way;
mod roles;
mod rules;

use std::{ffi::OsString, net::SocketAddr, path::PathBuf, time::Duration};

use mainstay::{
    admin,
    config::{Loaded, Loader, Rules, Secret, duration},
    lifecycle,
    server::{self, tls},
    telemetry,
};
use mainstay_resilience::admission;
use orders_adapters::{gateway, settings, sqlite};
use orders_api::http::Secrets;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{cli::Serve, console::Failure};

pub(crate) use self::{
    commands::{check, explain, print, print_defaults},
    jwt::Jwt,
    limits::Limits,
    roles::{Role, Roles},
    rules::{cannot_listen, warnings},
};

/// Every setting of orderly with its default, made from the code by `orderly config print
/// --defaults`. Save it, change what should differ, and start with `orderly serve --config FILE`.
///
/// Later layers win: this file, then the environment (`ORDERLY__HTTP__LISTEN=...`), then flags
/// (`--set http.listen=...`). Durations are written like 500ms, 2s, 1h30m or 7d; relative paths
/// are relative to the working directory of the process.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Config {
    /// What this process does: some of `api`, `relay` and `worker`, with commas between. All but `all`
    /// need `postgres`, since the embedded store belongs to one process. Default: `all`.
    pub(crate) roles: Roles,
    pub(crate) http: Http,
    /// The listener for operators and their tools: health, readiness, metrics, status page.
    pub(crate) admin: admin::Config,
    pub(crate) admission: Admission,
    pub(crate) auth: Auth,
    /// The embedded store; not used when `postgres` is set.
    pub(crate) store: sqlite::Config,
    /// PostgreSQL as the store, for several processes on several machines. `orderly migrate` makes its
    /// tables.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) postgres: Option<settings::Postgres>,
    /// The payment gateway: anything that speaks `api/gateway.yaml`. Without it orders cannot be paid
    /// here; payments made elsewhere can be recorded.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) gateway: Option<gateway::Config>,
    /// Kafka, where every change is told to the world, and where warehouses tell what they shipped.
    /// Without it there is the feed of the API.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) kafka: Option<settings::Kafka>,
    pub(crate) expiry: Expiry,
    pub(crate) retention: Retention,
    /// Limits on the connections of the API.
    pub(crate) server: server::Config,
    /// How long each phase of a stop may take.
    pub(crate) lifecycle: lifecycle::Config,
    pub(crate) limits: Limits,
    /// What is logged to standard error, and how.
    pub(crate) log: telemetry::Config,
}

/// Said of what needs another build.
pub(crate) const LEFT_OUT: &str = "this build was made without it; build it with `cargo build --release -p orderly --features \
     postgres,kafka`";

/// The API.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Http {
    /// The address and port where the API listens; port 0 takes any free one. An address that
    /// other machines reach needs `auth.keys_file` or `auth.jwt`. Default 127.0.0.1:8080.
    pub(crate) listen: SocketAddr,
    /// How long a request may take that brings no deadline of its own. Default 2 s.
    #[serde(with = "duration::Text")]
    pub(crate) default_deadline: Duration,
    /// The longest deadline a request may bring. Default 10 s.
    #[serde(with = "duration::Text")]
    pub(crate) largest_deadline: Duration,
    /// The largest body, in bytes; of a streamed batch, the longest line. A message of gRPC has
    /// 1 MiB, whatever is set here. At most 64 MiB. Default 262,144 (256 KiB).
    pub(crate) body_limit: usize,
    /// The certificate to serve the API over TLS with. Without it, it is served as plain text.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) tls: Option<tls::Config>,
}

/// How many requests are served at a time, and how many wait for their turn. One that could not be
/// done by its deadline is refused at once, as `overloaded`. Streamed batches, live feeds and health are
/// not counted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Admission {
    /// The most requests that are served at a time, those that `Prefer: wait` holds included; of one tenant
    /// at most three quarters of what others leave. At most 1,000,000. Default 1,024: four full batches of
    /// changes, beyond which the store gets no faster.
    pub(crate) in_service: usize,
    /// The most requests that wait; more are refused. At most 1,000,000. Default 4,096.
    pub(crate) queue: usize,
    /// The most requests of one tenant that wait. At most 1,000,000. Default 1,024: a quarter of the
    /// queue.
    pub(crate) queue_per_tenant: usize,
}

/// Who may use the API: `docs/IDENTITIES.md`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Auth {
    /// The key file, relative to the working directory; `orderly key new` makes it. Default: none,
    /// and on loopback only, where `jwt` is not set either, a development key is made.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(example = "keys.toml")]
    pub(crate) keys_file: Option<PathBuf>,
    /// The file with the secret that the hashes in the key file are made with, relative to the
    /// working directory; `orderly key new` makes it. Default: none.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(example = &"pepper")]
    pub(crate) pepper_file: Option<PathBuf>,
    /// How often to look whether these files changed. A key that was taken out opens nothing that much
    /// later. Default 10 s.
    #[serde(with = "duration::Text")]
    pub(crate) reload_every: Duration,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) jwt: Option<Jwt>,
}

/// How long things are waited for. A change holds for orders and payments that come after it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Expiry {
    /// How long a new order waits to be paid or confirmed before it is `EXPIRED`; paid in part it is
    /// cancelled, and its money goes back. Default 0 s, which is for ever.
    #[serde(with = "duration::Text")]
    pub(crate) unpaid: Duration,
    /// How long money may stay held before the gateway is asked to let go of it; less than the
    /// provider itself keeps it. Default 0 s, which is for ever.
    #[serde(with = "duration::Text")]
    pub(crate) authorizations: Duration,
}

/// How long things are remembered.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Retention {
    /// How long a decision is replayed under its idempotency key. Default 7 days.
    #[serde(with = "duration::Text")]
    pub(crate) keys: Duration,
    /// How long events are kept in the feed; longer while a relay has not published them, see
    /// `unpublished`. Default 90 days.
    #[serde(with = "duration::Text")]
    pub(crate) events: Duration,
    /// Whether events past their time are forgotten although they wait to be published. Once a relay has
    /// been at work on a store, an event is kept there until it was published, whichever process
    /// forgets; `true` is for a store whose events nobody will ever publish again. Default: `false`.
    pub(crate) unpublished: bool,
    /// How often what is past its time is forgotten. Default 1 min.
    #[serde(with = "duration::Text")]
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

impl Default for Admission {
    fn default() -> Self {
        let admission::Config { in_service, queue, queue_per_tenant } =
            admission::Config::default();
        Self { in_service, queue, queue_per_tenant }
    }
}

impl Admission {
    /// As the chassis takes them.
    pub(crate) const fn limits(&self) -> admission::Config {
        let Self { in_service, queue, queue_per_tenant } = *self;
        admission::Config { in_service, queue, queue_per_tenant }
    }
}

impl Default for Auth {
    fn default() -> Self {
        let reload_every = Duration::from_secs(10);
        Self { keys_file: None, pepper_file: None, reload_every, jwt: None }
    }
}

impl Default for Retention {
    fn default() -> Self {
        let days = |days: u64| Duration::from_hours(24 * days);
        let every = Duration::from_mins(1);
        Self { keys: days(7), events: days(90), unpublished: false, every }
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

impl Config {
    /// The secret that the gateway knows us by.
    pub(crate) fn gateway_secret(&self) -> Result<Secret<String>, String> {
        let file = self.gateway.as_ref().and_then(|gateway| gateway.secret_file.as_ref());
        let file = file.ok_or("it is not set: the gateway asks who we are")?;
        let secret = Secret::from_file(file);
        secret.map_err(|error| format!("cannot read {}: {error}", file.display()))
    }

    /// What the gateway's webhooks are signed with, if they are taken.
    pub(crate) fn webhook_secrets(&self) -> Result<Option<Secrets>, String> {
        let file = self.gateway.as_ref().and_then(|gateway| gateway.webhook_secret_file.as_ref());
        let Some(file) = file else { return Ok(None) };
        let text = Secret::from_file(file)
            .map_err(|error| format!("cannot read {}: {error}", file.display()))?;
        let secrets = text.expose().parse::<Secrets>();
        secrets.map(Some).map_err(|error| format!("{}: {error}", file.display()))
    }
}

/// Reads every layer and checks the whole, but not the files it names: a command may be there to
/// make them.
pub(crate) fn load(options: &Serve) -> Result<Loaded<Config>, Failure> {
    layers(options, |config, rules| config.check(rules, options))
}

/// Reads every layer and checks all that `orderly serve` needs, files included, but not whether it
/// could be had now: that shows when it is taken.
pub(crate) fn load_to_serve(options: &Serve) -> Result<Loaded<Config>, Failure> {
    layers(options, |config, rules| {
        config.check(rules, options);
        config.check_files(rules, options);
        config.check_place(rules);
    })
}

/// Reads every layer and checks all that `orderly serve` needs, addresses and store included.
fn load_to_start(options: &Serve) -> Result<Loaded<Config>, Failure> {
    layers(options, |config, rules| {
        config.check(rules, options);
        config.check_files(rules, options);
        config.check_free(rules);
    })
}

fn layers(
    options: &Serve,
    rules: impl FnOnce(&Config, &mut Rules),
) -> Result<Loaded<Config>, Failure> {
    let mut loader = Loader::new();
    if let Some(file) = &options.config {
        loader = loader.file(file);
    }
    let short = [
        ("http.listen", &options.listen),
        ("admin.listen", &options.admin_listen),
        ("store.path", &options.store),
        ("roles", &options.roles),
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
        .load_where(rules)?)
}
