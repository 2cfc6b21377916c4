//! Settings of what a light build leaves out. They are read and explained in every build, so that a
//! configuration means the same in each.

use std::{path::PathBuf, time::Duration};

use mainstay::config::duration;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Where PostgreSQL is, and how it is used.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Postgres {
    /// The database, as a URL without a password: `postgres://user@host:5432/database`. Several hosts
    /// may be named, with commas between; the one that takes writes is used.
    #[schemars(example = &"postgres://orderly@db-1,db-2/orderly?sslmode=require")]
    pub url: String,
    /// The same database past any pooler, for what a pooler in transaction mode cannot carry:
    /// notifications and the relay's lock, without which nothing is relayed. Default: `url`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub direct_url: Option<String>,
    /// The file with the password, read anew for every connection. Default: none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub password_file: Option<PathBuf>,
    /// The authorities that a server's certificate is checked against, as PEM. Default: those of the
    /// system. Whether TLS is used is the URL's `sslmode` to say.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ca_file: Option<PathBuf>,
    /// Whether statements are prepared once for each connection, which costs the server less. A pooler
    /// in transaction mode that does not follow them needs `false`: PgBouncer before 1.24, or with
    /// `max_prepared_statements = 0`. Default: `true`.
    pub prepare: bool,
    /// Connections that write. At most 16. Default: 2.
    pub writers: usize,
    /// Changes that may wait for a writer, three quarters of them of one tenant; more are refused as
    /// busy. At most 1,000,000. Default: 4,096.
    pub queue: usize,
    /// Changes that one transaction may hold. At most 4,096. Default: 256.
    pub batch: usize,
    /// Connections that read. At most 256. Default: 8.
    pub readers: usize,
    /// How long it may take to connect to one host; then the next is asked. Default 2 s.
    #[serde(with = "duration::Text")]
    pub connect_timeout: Duration,
    /// How long a transaction may wait for a row that another one holds. Then its changes are tried in
    /// ever smaller parts, each of which waits a sixteenth of that, and what still stands behind such a
    /// row is refused as busy. As long at most a change stays in the queue for one under way here that
    /// touches the same. Default 500 ms.
    #[serde(with = "duration::Text")]
    pub lock_timeout: Duration,
    /// How long a transaction may take to be answered; after that its connection counts as lost and its
    /// outcome as unknown. Default 10 s.
    #[serde(with = "duration::Text")]
    pub answer_timeout: Duration,
    /// How often events are looked for that nobody told of, and whether the server's settings still
    /// keep what was acknowledged. Default 1 s.
    #[serde(with = "duration::Text")]
    pub poll: Duration,
}

impl Default for Postgres {
    fn default() -> Self {
        Self {
            url: String::new(),
            direct_url: None,
            password_file: None,
            ca_file: None,
            prepare: true,
            writers: 2,
            queue: 4_096,
            batch: 256,
            readers: 8,
            connect_timeout: Duration::from_secs(2),
            lock_timeout: Duration::from_millis(500),
            answer_timeout: Duration::from_secs(10),
            poll: Duration::from_secs(1),
        }
    }
}

impl Postgres {
    /// The defaults, with the database at this URL.
    pub fn at(url: impl Into<String>) -> Self {
        Self { url: url.into(), ..Self::default() }
    }
}

/// Where Kafka is, and how events go there and come from there.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Kafka {
    /// Some of the brokers, as `host:port`; they name the others. Default: `127.0.0.1:9092`.
    pub brokers: Vec<String>,
    /// The topic of all events, each under the id of its order. Default: `orders.events.v1`.
    pub events_topic: String,
    /// The compacted topic of the orders as they are now. Its name is also the transactional id under
    /// which it is written, so only one store may be published there. Default: `orders.state.v1`.
    pub state_topic: String,
    /// How the brokers are reached: `plaintext`, `tls` or `sasl_tls`. It must be said when a broker is
    /// another machine; `plaintext` is for a network that is trusted. Default: `plaintext`, to this
    /// machine only.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(example = Security::Tls)]
    pub security: Option<Security>,
    /// The authorities that brokers are trusted by, in PEM, relative to the working directory.
    /// Default: those of the system.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(example = "kafka-ca.pem")]
    pub ca_file: Option<PathBuf>,
    /// How a user is proved with `sasl_tls`: `scram-sha-512`, `scram-sha-256` or `plain`. Default:
    /// `scram-sha-512`.
    pub mechanism: Mechanism,
    /// The user, with `sasl_tls`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(example = &"orderly")]
    pub user: Option<String>,
    /// The file with the user's password, relative to the working directory.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(example = "kafka-password")]
    pub password_file: Option<PathBuf>,
    /// How long a record may wait to be acknowledged before it counts as not delivered. Default: 5 s.
    #[serde(with = "duration::Text")]
    pub delivery_timeout: Duration,
    /// How long a broker may take to answer. At least 1 s. Default: 5 s.
    #[serde(with = "duration::Text")]
    pub request_timeout: Duration,
    /// Records that may wait to be acknowledged; more have to wait for room. Default: 10,000.
    pub queue: u32,
    /// The partitions of a topic that is created. Never change those of a topic that is used: the order
    /// of a key's records would be lost. Default: 12.
    pub partitions: u16,
    /// On how many brokers a topic that is created is kept; 0 for what the cluster does by default.
    /// Default: 0.
    pub replicas: u16,
    /// What other systems tell.
    pub inbound: Inbound,
}

/// How events of other systems are carried out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Inbound {
    /// The topic where warehouses tell what they shipped. Default: `fulfillment.events.v1`.
    pub fulfillment_topic: String,
    /// The name of the consumers that share the work, and under which an event is known to have been
    /// carried out: another name carries all of them out again. Default: `orderly`.
    pub group: String,
    /// Records that may be in hand at a time; of each key one is carried out. Default: 64.
    pub in_hand: usize,
    /// How long a record that may pass later is tried before its key is parked. Default: 10 minutes.
    #[serde(with = "duration::Text")]
    pub retry_for: Duration,
    /// How long one try may take. Default: 5 s.
    #[serde(with = "duration::Text")]
    pub try_timeout: Duration,
    /// How long what is in hand may take when others take over, or at the stop, where it must be less than
    /// `lifecycle.drain`. Default: 5 s.
    #[serde(with = "duration::Text")]
    pub drain_timeout: Duration,
}

/// How the brokers are reached.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Security {
    /// Readable by whoever is between.
    #[default]
    Plaintext,
    /// Over TLS.
    Tls,
    /// Over TLS, as a user.
    SaslTls,
}

/// How a user is proved.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Mechanism {
    /// By a salted challenge with SHA-512.
    #[default]
    #[serde(rename = "scram-sha-512")]
    ScramSha512,
    /// By a salted challenge with SHA-256.
    #[serde(rename = "scram-sha-256")]
    ScramSha256,
    /// By sending the password.
    #[serde(rename = "plain")]
    Plain,
}

impl Default for Kafka {
    fn default() -> Self {
        Self {
            brokers: vec!["127.0.0.1:9092".to_owned()],
            events_topic: "orders.events.v1".to_owned(),
            state_topic: "orders.state.v1".to_owned(),
            security: None,
            ca_file: None,
            mechanism: Mechanism::default(),
            user: None,
            password_file: None,
            delivery_timeout: Duration::from_secs(5),
            request_timeout: Duration::from_secs(5),
            queue: 10_000,
            partitions: 12,
            replicas: 0,
            inbound: Inbound::default(),
        }
    }
}

impl Default for Inbound {
    fn default() -> Self {
        Self {
            fulfillment_topic: "fulfillment.events.v1".to_owned(),
            group: "orderly".to_owned(),
            in_hand: 64,
            retry_for: Duration::from_mins(10),
            try_timeout: Duration::from_secs(5),
            drain_timeout: Duration::from_secs(5),
        }
    }
}
