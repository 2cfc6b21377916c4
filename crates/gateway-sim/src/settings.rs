//! The program's configuration: the simulator's, and what every service has.

use std::{ffi::OsString, process::ExitCode, time::Duration};

use gateway_sim::{Config, Http, faults, ledger, webhooks};
use mainstay::{
    admin,
    config::{self, Errors, Loaded, Loader, Rules},
    lifecycle, server, telemetry,
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{
    Failure,
    cli::{Print, Serve},
    say,
};

/// Every setting of gateway-sim with its default, made from the code by `gateway-sim config print
/// --defaults`. Later layers win: this file, then the environment
/// (`GATEWAY_SIM__HTTP__LISTEN=...`), then flags (`--set http.listen=...`).
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Settings {
    /// The contract's API.
    pub(crate) http: Http,
    /// What really happened.
    pub(crate) ledger: ledger::Config,
    /// Events to the caller.
    pub(crate) webhooks: webhooks::Config,
    /// What goes wrong.
    pub(crate) faults: faults::Config,
    /// Limits on the connections of the API.
    pub(crate) server: server::Config,
    /// The listener for operators and their tools: health, readiness, metrics, status page.
    pub(crate) admin: admin::Config,
    /// How long each phase of a stop may take.
    pub(crate) lifecycle: lifecycle::Config,
    /// What is logged to standard error, and how.
    pub(crate) log: telemetry::Config,
}

impl Default for Settings {
    fn default() -> Self {
        let Config { http, ledger, webhooks, faults, server } = Config::default();
        // Not 9090, so that it runs beside the service it is a provider for.
        let admin =
            admin::Config { listen: ([127, 0, 0, 1], 9092).into(), ..admin::Config::default() };
        // No load balancer stands before it that would have to notice.
        let lifecycle =
            lifecycle::Config { lame_duck: Duration::ZERO, ..lifecycle::Config::default() };
        let log = telemetry::Config::default();
        Self { http, ledger, webhooks, faults, server, admin, lifecycle, log }
    }
}

impl Settings {
    /// The simulator's part.
    pub(crate) fn sim(&self) -> Config {
        Config {
            http: self.http.clone(),
            ledger: self.ledger.clone(),
            webhooks: self.webhooks.clone(),
            faults: self.faults.clone(),
            server: self.server.clone(),
        }
    }

    fn check(&self, rules: &mut Rules) {
        self.sim().check(rules);
        rules.accept(&["admin.listen", "admin.token_file"], self.admin.check_reach());
        rules.accept(&["log.level"], telemetry::check(&self.log));
        for zero in self.server.zeros() {
            rules.require(false, &[&format!("server.{zero}")], "it must not be 0");
        }
    }
}

/// Reads every layer and checks the whole.
pub(crate) fn load(options: &Serve) -> Result<Loaded<Settings>, Errors> {
    let mut loader = Loader::new();
    if let Some(file) = &options.config {
        loader = loader.file(file);
    }
    let short = [
        ("http.listen", &options.listen),
        ("admin.listen", &options.admin_listen),
        ("ledger.path", &options.ledger),
    ];
    let short = short
        .into_iter()
        .filter_map(|(key, value)| value.clone().map(|value| (key.to_owned(), value)));
    // A variable that is not text cannot be one of ours, and must not stop anything.
    let text = |(name, value): (OsString, OsString)| {
        Some((name.into_string().ok()?, value.into_string().ok()?))
    };
    loader
        .env("GATEWAY_SIM__", std::env::vars_os().filter_map(text))
        .flags(short.chain(options.set.iter().cloned()))
        .load_where(Settings::check)
}

/// Prints the configuration, or every default.
pub(crate) fn print(options: &Print) -> Result<ExitCode, Failure> {
    let text = if options.defaults {
        config::reference::<Settings>()
    } else {
        load(&options.config)?.print()
    };
    say(text.trim_end());
    Ok(ExitCode::SUCCESS)
}
