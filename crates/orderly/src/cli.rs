//! The command line.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

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
    Audit(Audit),
    /// Place orders from a file of JSON lines, through the same rules as the API.
    ///
    /// Each line is {"idempotency_key": "...", "order": {...}}, as in the API's batch. Run it again
    /// after an interruption: lines that were taken before are recognised by their key. The service
    /// must not be running on the same store. Exits with 3 when some lines were refused.
    Import(Import),
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
    /// Check the configuration and exit with 1 when the service would not start with it.
    Check(Serve),
}

#[derive(Debug, Subcommand)]
pub(crate) enum KeyCommand {
    /// Make a key, add its hash to the key file and print it once. A running service learns of it
    /// when it is started again.
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
    /// Any other value, such as store.queue=8192. May be repeated.
    #[arg(long = "set", value_name = "KEY=VALUE", value_parser = pair)]
    pub(crate) set: Vec<(String, String)>,
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
pub(crate) struct Audit {
    #[command(flatten)]
    pub(crate) config: Serve,
    /// Print the result as JSON.
    #[arg(long)]
    pub(crate) json: bool,
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
    #[command(flatten)]
    pub(crate) config: Serve,
}

#[derive(Args, Clone, Debug)]
pub(crate) struct NewKey {
    /// Whose orders the key opens.
    #[arg(long)]
    pub(crate) tenant: String,
    /// Who holds it, as the history will say.
    #[arg(long)]
    pub(crate) principal: String,
    #[command(flatten)]
    pub(crate) config: Serve,
}

fn pair(text: &str) -> Result<(String, String), String> {
    text.split_once('=')
        .map(|(key, value)| (key.to_owned(), value.to_owned()))
        .ok_or_else(|| "must be KEY=VALUE".to_owned())
}
