//! The commands about the topics of Kafka and what is parked in them.

use clap::{Args, Subcommand};

use super::{Serve, said};

#[derive(Debug, Subcommand)]
pub(crate) enum TopicsCommand {
    /// Make those topics of the configuration that are not there.
    ///
    /// Topics that are there stay as they are. Warns of those that one broker alone may lose a record
    /// of, that may lose what is parked, and whose shipments may be read again after retention.keys.
    Topics(Topics),
    /// Make the topics of the configuration those of this store, when another one had them.
    ///
    /// Topics belong to the store that used them first, and no other publishes to them or takes
    /// shipments from them. Run this with a store that takes the place of another, after the services
    /// of that one are stopped for good. A store that was moved, or restored from a backup, is still the
    /// same. The embedded store must be free.
    Claim(Claim),
    /// Show which records are parked, by key, and why.
    ///
    /// A record that cannot be carried out parks its key: it and all later ones of that key wait in the
    /// dead letter topic, others go on. With --json, also what was dropped, by whom and why.
    Dlq(Dlq),
    /// Hand parked records out again, key by key and in order, after their cause is mended.
    ///
    /// A key whose records all pass is released; the first that fails again stays, with all behind it.
    /// May run beside the services on PostgreSQL; the embedded store must be free. Exits with 1 when a
    /// key stays, or the one that is named is not parked.
    Replay(Replay),
    /// Drop the first parked record of a key, one that can never pass.
    ///
    /// It will not be carried out. Who dropped it and why is kept in the dead letter topic, beside the
    /// record, and told by dlq --json. Those behind it stay, for replay; when there are none, later
    /// records of the key pass again. A record that was never tried, since it waited behind another, is
    /// only dropped by its --offset or with --all: so a second run drops nothing by mistake.
    ///
    /// Needs no store and may run beside the services, but not beside a replay. Exits with 1 when
    /// nothing was dropped.
    Drop(DropParked),
}

/// A topic that records are parked behind.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Topic {
    /// What warehouses tell.
    Fulfillment,
    /// What this service tells.
    Events,
}

#[derive(Args, Clone, Debug)]
pub(crate) struct Topics {
    #[command(flatten)]
    pub(crate) config: Serve,
}

#[derive(Args, Clone, Debug)]
pub(crate) struct Claim {
    #[command(flatten)]
    pub(crate) config: Serve,
}

#[derive(Args, Clone, Debug)]
pub(crate) struct Dlq {
    /// Behind which topic.
    #[arg(long, value_enum, default_value = "fulfillment")]
    pub(crate) topic: Topic,
    /// Print the records as JSON.
    #[arg(long)]
    pub(crate) json: bool,
    #[command(flatten)]
    pub(crate) config: Serve,
}

#[derive(Args, Clone, Debug)]
pub(crate) struct Replay {
    /// Behind which topic.
    #[arg(long, value_enum, default_value = "fulfillment")]
    pub(crate) topic: Topic,
    /// Only the records of this key; without it, those of all keys.
    #[arg(long, value_name = "KEY")]
    pub(crate) key: Option<String>,
    #[command(flatten)]
    pub(crate) config: Serve,
}

#[derive(Args, Clone, Debug)]
pub(crate) struct DropParked {
    /// Behind which topic.
    #[arg(long, value_enum, default_value = "fulfillment")]
    pub(crate) topic: Topic,
    /// The key, as dlq shows it.
    #[arg(long, value_name = "KEY")]
    pub(crate) key: String,
    /// Why it is right not to carry it out.
    #[arg(long, value_name = "TEXT", value_parser = said)]
    pub(crate) reason: String,
    /// Who decided that.
    #[arg(long, value_name = "NAME", default_value = "operator", value_parser = said)]
    pub(crate) by: String,
    /// Only if the first record of the key is the one at this offset, as dlq shows it.
    #[arg(long, value_name = "OFFSET", conflicts_with = "all")]
    pub(crate) offset: Option<i64>,
    /// All records of the key that are parked now.
    #[arg(long)]
    pub(crate) all: bool,
    #[command(flatten)]
    pub(crate) config: Serve,
}
