//! The order service: `orderly serve` and the commands around it.

mod app;
mod audit;
mod banner;
mod calls;
mod cli;
mod config;
mod console;
mod demo;
mod events;
#[cfg(feature = "failpoints")]
mod failpoint;
mod gateway_check;
mod identities;
mod import;
mod keys;
mod load;
mod metrics;
mod migrate;
mod reconcile;
#[cfg(feature = "kafka")]
mod relay;
#[cfg(feature = "postgres")]
mod shares;
mod take_over;
mod wired;
mod worker;

use std::process::ExitCode;

use clap::Parser as _;

use crate::{
    cli::{Cli, Command, ConfigCommand, EventsCommand, GatewayCommand, KeyCommand},
    console::complain,
};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let outcome = match Cli::parse().command {
        Command::Serve(options) => app::serve(&options),
        Command::Config { command: ConfigCommand::Print(options) } if options.defaults => {
            Ok(config::print_defaults())
        }
        Command::Config { command: ConfigCommand::Print(options) } => {
            config::print(&options.config)
        }
        Command::Config { command: ConfigCommand::Explain(options) } => config::explain(&options),
        Command::Config { command: ConfigCommand::Check(options) } => config::check(&options),
        Command::Demo(options) => demo::run(&options),
        Command::Audit(options) => audit::run(&options),
        Command::Reconcile(options) => Ok(reconcile::run(&options)),
        Command::Import(options) => import::run(&options),
        Command::Migrate(options) => migrate::run(&options),
        Command::Health(options) => calls::health(&options),
        Command::Events { command: EventsCommand::Watch(options) } => calls::watch(&options),
        Command::Events { command: EventsCommand::Topics(command) } => events::run(&command),
        Command::Move(options) => take_over::run(&options),
        Command::Gateway { command: GatewayCommand::Check(options) } => {
            Ok(gateway_check::run(&options))
        }
        Command::Key { command: KeyCommand::New(options) } => keys::new(&options),
    };
    outcome.unwrap_or_else(|error| {
        complain(&error);
        ExitCode::FAILURE
    })
}
