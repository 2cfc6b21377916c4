//! The command line.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

/// A payment provider that can be made to fail, with a ledger that tells what really happened.
#[derive(Debug, Parser)]
#[command(name = "gateway-sim", version, about, propagate_version = true)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Run the simulator.
    Serve(Serve),
    /// Show the configuration.
    Config {
        #[command(subcommand)]
        command: ConfigCommand,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum ConfigCommand {
    /// Print the effective configuration as TOML, with where each value came from.
    Print(Print),
}

/// Where the configuration comes from: defaults, then the file, then the environment
/// (`GATEWAY_SIM__HTTP__LISTEN=…`), then these flags.
#[derive(Args, Clone, Debug, Default)]
pub(crate) struct Serve {
    /// Configuration file (TOML).
    #[arg(long, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    /// Address of the contract's API; short for --set http.listen=ADDR.
    #[arg(long, value_name = "ADDR")]
    pub(crate) listen: Option<String>,
    /// Address of health, readiness and metrics; short for --set admin.listen=ADDR.
    #[arg(long, value_name = "ADDR")]
    pub(crate) admin_listen: Option<String>,
    /// File of the ledger; short for --set ledger.path=FILE.
    #[arg(long, value_name = "FILE")]
    pub(crate) ledger: Option<String>,
    /// Any other value, such as faults.rates.answer-lost=0.05. May be repeated.
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

fn pair(text: &str) -> Result<(String, String), String> {
    text.split_once('=')
        .map(|(key, value)| (key.to_owned(), value.to_owned()))
        .ok_or_else(|| "must be KEY=VALUE".to_owned())
}
