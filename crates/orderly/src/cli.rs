//! The command line.

mod calls;
pub(crate) mod topics;

use std::{net::SocketAddr, path::PathBuf, time::Duration};

use clap::{Args, Parser, Subcommand};
use jiff::Timestamp;
use orders::domain::TenantId;
use orders_api::auth::Scope;

pub(crate) use self::{
    calls::{Health, Service, WatchEvents},
    topics::TopicsCommand,
};

/// Takes orders, and does not lose them.
#[derive(Debug, Parser)]
#[command(name = "orderly", version, about, propagate_version = true)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Run the service.
    Serve(Serve),
    /// Show what the service promises, in about a minute and on a store of its own.
    ///
    /// Starts a simulated payment provider and the service on free ports of this machine, pays an
    /// order and kills the service with -9 meanwhile, then places many real baskets while calls to
    /// the provider go wrong and the service is killed again. At the end it compares both ledgers.
    /// Everything is in a temporary folder that goes with it, and nothing else is touched.
    ///
    /// Exits with 1, and says which, when a promise does not hold; the folder is kept then.
    Demo(Demo),
    /// Show or check the configuration.
    Config {
        #[command(subcommand)]
        command: ConfigCommand,
    },
    /// Check that a store holds together: every order against its history, events and receipts.
    ///
    /// Reads one snapshot, also beside a running service. While it reads, the service's write-ahead
    /// log cannot be emptied: past four times store.wal_limit new changes are refused as busy, so
    /// under heavy load audit a copy. Exits with 1 when it finds something.
    ///
    /// To copy a store while the service runs: (umask 077; sqlite3 orderly.db "VACUUM INTO
    /// 'copy.db'"), or the command .backup of sqlite3. With the service stopped in order, the one
    /// file is all of it and cp will do. Not safe: cp while it runs, even of the file with its -wal.
    Audit(Audit),
    /// Compare a provider's settlement list with the payments in a store, and name what does not agree.
    ///
    /// FILE is CSV whose first line names reference,payment,operation,amount_minor,currency,at, in any
    /// order; other columns are ignored. One line is one operation that took effect: authorize,
    /// capture, void or refund. reference and payment are the ids this service gave the provider, at
    /// is a time such as 2026-03-01T12:00:00Z. gateway-sim exports its ledger so, at /ledger.csv.
    ///
    /// Reads one snapshot, also beside a running service, with the same cost as audit. It keeps the
    /// list in memory, about 150 bytes a line, and one page of orders. Payments made elsewhere are no
    /// business of a provider and left out.
    ///
    /// Exits with 0 when both say the same, 1 when something does not agree, 2 when the list or the
    /// store cannot be read.
    Reconcile(Reconcile),
    /// Place orders from a file of JSON lines, through the same rules as the API.
    ///
    /// Each line is {"idempotency_key": "...", "order": {...}}, as in the API's batch. Run it again
    /// after an interruption: lines that were taken before are recognised by their key. The service
    /// must not be running on the same store, which must be there unless --create is given. Exits
    /// with 3 when some lines were refused.
    Import(Import),
    /// Make the tables of the PostgreSQL store, or bring them to this version.
    ///
    /// One process does it at a time, others wait. Services of the version before go on beside it, so
    /// migrate first and then replace them. Run it with the role that owns the tables. Says which steps
    /// were carried out.
    Migrate(Migrate),
    /// Take a grown embedded store over to PostgreSQL, whole, and compare both afterwards.
    ///
    /// The service must be stopped. The tables must be there (orderly migrate) and empty. Orders, their
    /// history, the feed with its positions, keys, tasks and personal data are written in one
    /// transaction: all of it or nothing. The source is audited first, then what was written, and each
    /// order is compared before that is committed. The file is left as it is: keep it as a backup. A
    /// mark beside it, FILE-moved, keeps services from starting on it: remove that to go back.
    Move(Move),
    /// Ask a running service whether it is healthy, and exit with 0 when it is.
    ///
    /// For the probe of an image that has nothing but this binary: it asks by the standard of gRPC, on
    /// the address of the API, and needs no key and no configuration. Exits with 1 when the service does
    /// not serve, or does not answer in time.
    Health(Health),
    /// Print events as they happen; make the Kafka topics, say whose they are, show what is parked
    /// behind them, hand it out again or drop it.
    Events {
        #[command(subcommand)]
        command: EventsCommand,
    },
    /// Check an implementation of the payment gateway contract.
    Gateway {
        #[command(subcommand)]
        command: GatewayCommand,
    },
    /// Make API keys.
    Key {
        #[command(subcommand)]
        command: KeyCommand,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum ConfigCommand {
    /// Print the effective configuration as TOML, with where each value came from.
    Print(Print),
    /// Explain a key, or all keys of a section: meaning, default, effective value and where that
    /// came from.
    Explain(Explain),
    /// Check the configuration and exit with 1 when the service would not start with it now: when
    /// a value or a file is wrong, an address is taken, or another process has the store. Servers it
    /// names are asked with --connect.
    Check(Check),
}

#[derive(Debug, Subcommand)]
pub(crate) enum EventsCommand {
    /// Print every event of a running service as it happens, one line of JSON for each.
    ///
    /// The lines are the CloudEvents of the HTTP API. When the service is replaced or cannot be reached,
    /// it goes on by itself, with no event left out or told twice. After a stop, go on with the last
    /// position as --after.
    Watch(WatchEvents),
    #[command(flatten)]
    Topics(TopicsCommand),
}

#[derive(Debug, Subcommand)]
pub(crate) enum GatewayCommand {
    /// Run the gateway contract (api/gateway.yaml) against an implementation and say what is missing.
    /// It moves money of the test instruments: a settlement list has those payments too.
    ///
    /// For whoever puts an implementation before a payment provider: every address and every
    /// guarantee that is seen from outside is looked at, with about 150 requests on payments made for
    /// it. Use a test account of the provider: small amounts are authorized, captured and refunded.
    /// For each fact that is missing it tells what was sent, what came, and what the contract says.
    ///
    /// Exits with 0 when every fact holds, 1 when one is missing or could not be seen, 2 when the
    /// address cannot be reached.
    Check(GatewayCheck),
}

#[derive(Debug, Subcommand)]
pub(crate) enum KeyCommand {
    /// Make a key, add its hash to the key file and print it once. A running service takes it up within
    /// auth.reload_every.
    New(NewKey),
}

/// Where the configuration comes from: defaults, then the file, then the environment
/// (`ORDERLY__HTTP__LISTEN=…`), then these flags. Relative paths are relative to the working
/// directory, also those in the file.
#[derive(Args, Clone, Debug, Default)]
pub(crate) struct Serve {
    /// Configuration file (TOML).
    #[arg(long, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    /// Address of the API; short for --set http.listen=ADDR.
    #[arg(long, value_name = "ADDR")]
    pub(crate) listen: Option<String>,
    /// Address of health, readiness, metrics and the status page; short for --set admin.listen=ADDR.
    #[arg(long, value_name = "ADDR")]
    pub(crate) admin_listen: Option<String>,
    /// File of the embedded store; short for --set store.path=FILE.
    #[arg(long, value_name = "FILE")]
    pub(crate) store: Option<String>,
    /// What this process does: all, or some of api, relay and worker, as in api,worker; short for
    /// --set roles=ROLES.
    #[arg(long, value_name = "ROLES")]
    pub(crate) roles: Option<String>,
    /// Any other value, such as store.queue=8192. May be repeated.
    #[arg(long = "set", value_name = "KEY=VALUE", value_parser = pair)]
    pub(crate) set: Vec<(String, String)>,
}

#[derive(Args, Clone, Debug)]
pub(crate) struct Check {
    /// Do not ask whether addresses and store are free: for a new configuration of a service that
    /// runs with the old one.
    #[arg(long)]
    pub(crate) while_running: bool,
    /// Connect to PostgreSQL and Kafka too, and say what stands in the way there: a host, a password,
    /// a certificate, settings that could lose orders, missing tables or topics. Each has a few seconds
    /// to answer.
    #[arg(long)]
    pub(crate) connect: bool,
    #[command(flatten)]
    pub(crate) config: Serve,
}

#[derive(Args, Clone, Debug)]
pub(crate) struct Print {
    /// Print a commented file of every key with its default instead, ready to be saved.
    #[arg(long)]
    pub(crate) defaults: bool,
    #[command(flatten)]
    pub(crate) config: Serve,
}

#[derive(Args, Clone, Debug)]
pub(crate) struct Explain {
    /// A key such as http.listen, or a section such as http.
    #[arg(value_name = "KEY")]
    pub(crate) key: String,
    #[command(flatten)]
    pub(crate) config: Serve,
}

#[derive(Args, Clone, Debug)]
pub(crate) struct Demo {
    /// How many orders are placed in the second part.
    #[arg(long, value_name = "COUNT", default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub(crate) orders: u32,
    /// How many calls of a hundred to the provider go wrong.
    #[arg(long, value_name = "PERCENT", default_value_t = 20, value_parser = clap::value_parser!(u32).range(0..=60))]
    pub(crate) faults: u32,
    /// What baskets, fates and faults are drawn with.
    #[arg(long, default_value_t = 1)]
    pub(crate) seed: u64,
    /// A new or empty folder for store, ledger and log, which is kept.
    #[arg(long, value_name = "FOLDER")]
    pub(crate) dir: Option<PathBuf>,
}

#[derive(Args, Clone, Debug)]
pub(crate) struct Audit {
    #[command(flatten)]
    pub(crate) config: Serve,
    /// Print the result as JSON.
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Args, Clone, Debug)]
pub(crate) struct Migrate {
    #[command(flatten)]
    pub(crate) config: Serve,
    /// Stop after this step; without it, the last one. This version works with the tables of any step
    /// that it lets you stop at.
    #[arg(long, value_name = "STEP")]
    pub(crate) to: Option<i32>,
}

#[derive(Args, Clone, Debug)]
pub(crate) struct Move {
    /// The embedded store, as sqlite://FILE.
    #[arg(long, value_name = "URL")]
    pub(crate) from: String,
    /// The database, as postgres://USER@HOST:PORT/DATABASE; short for --set postgres.url=URL.
    #[arg(long, value_name = "URL")]
    pub(crate) to: String,
    #[command(flatten)]
    pub(crate) config: Serve,
}

#[derive(Args, Clone, Debug)]
pub(crate) struct Reconcile {
    /// The settlement list (CSV); - for standard input.
    #[arg(value_name = "FILE|-")]
    pub(crate) file: PathBuf,
    /// When the time begins that the list covers: what was asked for earlier may be missing in it.
    #[arg(long, value_name = "TIME")]
    pub(crate) from: Option<Timestamp>,
    /// When it ends: what was asked for then or later may be missing too. Give it for a list that
    /// was made while the service runs.
    #[arg(long, value_name = "TIME")]
    pub(crate) to: Option<Timestamp>,
    /// Print the result as JSON.
    #[arg(long)]
    pub(crate) json: bool,
    #[command(flatten)]
    pub(crate) config: Serve,
}

#[derive(Args, Clone, Debug)]
pub(crate) struct Import {
    /// File of JSON lines; - for standard input.
    #[arg(value_name = "FILE|-")]
    pub(crate) file: PathBuf,
    /// Whose orders they are.
    #[arg(long)]
    pub(crate) tenant: String,
    /// Who places them, as the history will say.
    #[arg(long, default_value = "import")]
    pub(crate) principal: String,
    /// Lines to pass over, for going on where an earlier run stopped.
    #[arg(long, default_value_t = 0, value_name = "LINES")]
    pub(crate) skip: u64,
    /// Write what became of the lines here, as JSON, each refused line with its errors.
    #[arg(long, value_name = "FILE")]
    pub(crate) report: Option<PathBuf>,
    /// Make the store if there is none.
    #[arg(long)]
    pub(crate) create: bool,
    #[command(flatten)]
    pub(crate) config: Serve,
}

#[derive(Args, Clone, Debug)]
pub(crate) struct GatewayCheck {
    /// Where the implementation is, such as http://127.0.0.1:8090: what /v1/authorizations follows.
    #[arg(value_name = "URL")]
    pub(crate) url: String,
    /// File with the secret that it knows its caller by.
    #[arg(long, value_name = "FILE")]
    pub(crate) secret_file: PathBuf,
    /// A payment instrument that is approved.
    #[arg(long, value_name = "TOKEN", default_value = "tok_ok")]
    pub(crate) instrument: String,
    /// A payment instrument that is declined.
    #[arg(long, value_name = "TOKEN", default_value = "tok_decline")]
    pub(crate) declined_instrument: String,
    /// The currency of the payments; their amounts are a few thousand minor units at most.
    #[arg(long, value_name = "CODE", default_value = "EUR")]
    pub(crate) currency: String,
    /// How long one answer may take, such as 500ms or 10s.
    #[arg(long, value_name = "TIME", default_value = "10s", value_parser = duration)]
    pub(crate) timeout: Duration,
    /// Look at events too: listen for them here. The implementation must send them to this address.
    #[arg(long, value_name = "ADDR", requires = "webhook_secret_file")]
    pub(crate) webhook_listen: Option<SocketAddr>,
    /// File with the secret that events are signed with: whsec_ and base64.
    #[arg(long, value_name = "FILE", requires = "webhook_listen")]
    pub(crate) webhook_secret_file: Option<PathBuf>,
    /// Look at a restart too: the shell command that restarts the implementation and ends.
    #[arg(long, value_name = "COMMAND")]
    pub(crate) restart_command: Option<String>,
    /// Print the result as JSON.
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Args, Clone, Debug)]
pub(crate) struct NewKey {
    /// Whose orders the key opens.
    #[arg(long)]
    pub(crate) tenant: String,
    /// Who holds it, as the history will say.
    #[arg(long)]
    pub(crate) principal: String,
    /// What it opens: some of orders:read, orders:write, payments:write, payments:resolve and
    /// events:read, with commas between. Without it, everything.
    #[arg(long, value_name = "SCOPES", value_delimiter = ',', value_parser = scope)]
    pub(crate) scopes: Option<Vec<Scope>>,
    #[command(flatten)]
    pub(crate) config: Serve,
}

impl Serve {
    /// The command that makes a key with the same configuration, for a hint.
    pub(crate) fn key_new(&self) -> String {
        let file = self.config.iter().map(|file| format!(" --config {}", quoted(&file.display())));
        let set = self.set.iter().map(|(key, value)| {
            let pair = format!("{key}={value}");
            format!(" --set {}", quoted(&pair))
        });
        let same: String = file.chain(set).collect();
        format!("orderly key new{same} --tenant T --principal P")
    }
}

/// The text as one word of a shell.
fn quoted(text: &impl ToString) -> String {
    let text = text.to_string();
    let plain = |c: char| c.is_ascii_alphanumeric() || "_-./:=@%+,".contains(c);
    if !text.is_empty() && text.chars().all(plain) {
        text
    } else {
        format!("'{}'", text.replace('\'', r"'\''"))
    }
}

/// The tenant that a flag names.
pub(crate) fn tenant(text: &str) -> Result<TenantId, String> {
    text.parse().map_err(|error| format!("--tenant {error}"))
}

/// The principal that a flag names.
pub(crate) fn principal(text: &str) -> Result<&str, String> {
    if text.is_empty() {
        return Err("--principal must not be empty: the history says who did what".to_owned());
    }
    Ok(text)
}

fn said(text: &str) -> Result<String, String> {
    if text.trim().is_empty() { Err("must not be empty".to_owned()) } else { Ok(text.to_owned()) }
}

fn scope(name: &str) -> Result<Scope, String> {
    let known = || Scope::ALL.map(Scope::as_str).join(", ");
    Scope::named(name).ok_or_else(|| format!("there is no such scope; there are {}", known()))
}

fn duration(text: &str) -> Result<Duration, String> {
    mainstay::config::duration::parse(text).map_err(|error| error.to_string())
}

fn pair(text: &str) -> Result<(String, String), String> {
    text.split_once('=')
        .map(|(key, value)| (key.to_owned(), value.to_owned()))
        .ok_or_else(|| "must be KEY=VALUE".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hint_repeats_the_configuration_as_a_shell_reads_it() {
        let set = [("log.level", "info"), ("auth.keys_file", "it's here")];
        let options = Serve {
            config: Some("my shop.toml".into()),
            set: set.map(|(key, value)| (key.to_owned(), value.to_owned())).to_vec(),
            ..Serve::default()
        };
        assert_eq!(
            options.key_new(),
            r"orderly key new --config 'my shop.toml' --set log.level=info --set 'auth.keys_file=it'\''s here' --tenant T --principal P"
        );
    }
}
