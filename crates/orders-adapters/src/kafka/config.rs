//! Where Kafka is, and how it is used.

use std::{io, path::PathBuf, time::Duration};

use mainstay::config::{Secret, duration};
use rdkafka::{ClientConfig, error::KafkaError};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Where Kafka is, and how events go there and come from there.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Some of the brokers, as `host:port`; they name the others. Default: `127.0.0.1:9092`.
    pub brokers: Vec<String>,
    /// The topic of all events, each under the id of its order. Default: `orders.events.v1`.
    pub events_topic: String,
    /// The compacted topic of the orders as they are now. Default: `orders.state.v1`.
    pub state_topic: String,
    /// How the brokers are reached: `plaintext`, `tls` or `sasl_tls`. Default: `plaintext`, for a
    /// network that is trusted.
    pub security: Security,
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
    /// How long what is in hand may take when others take over, or at the stop. Default: 5 s.
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

impl Default for Config {
    fn default() -> Self {
        Self {
            brokers: vec!["127.0.0.1:9092".to_owned()],
            events_topic: "orders.events.v1".to_owned(),
            state_topic: "orders.state.v1".to_owned(),
            security: Security::default(),
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

/// Why a client of Kafka cannot be made. That no broker answers is no such reason.
#[derive(Debug, thiserror::Error)]
pub enum SetupError {
    /// The file with the password cannot be read.
    #[error("kafka.password_file cannot be read")]
    Password(#[source] io::Error),
    /// A setting that the security asks for is missing.
    #[error("kafka.{0} is needed with kafka.security = sasl_tls")]
    Missing(&'static str),
    /// The client does not take its settings.
    #[error("the Kafka client cannot be made")]
    Client(#[source] KafkaError),
}

/// The longest wait before a broker that is gone is tried again.
const RECONNECT: Duration = Duration::from_secs(1);

impl Config {
    /// What every client of Kafka is made with.
    pub(super) fn client(&self) -> Result<ClientConfig, SetupError> {
        let mut client = ClientConfig::new();
        client
            .set("bootstrap.servers", self.brokers.join(","))
            .set("client.id", "orderly")
            .set("reconnect.backoff.ms", "50")
            .set("reconnect.backoff.max.ms", millis(RECONNECT))
            .set("socket.timeout.ms", millis(self.request_timeout.max(Duration::from_secs(1))))
            .set("socket.connection.setup.timeout.ms", millis(Duration::from_secs(2)))
            .set("socket.keepalive.enable", "true")
            .set("topic.metadata.refresh.interval.ms", millis(Duration::from_mins(1)))
            // Idle connections are closed by brokers as a matter of course.
            .set("log.connection.close", "false")
            // Topics are made by `create_topics` or by the operator, with what they need.
            .set("allow.auto.create.topics", "false");
        let protocol = match self.security {
            Security::Plaintext => "plaintext",
            Security::Tls => "ssl",
            Security::SaslTls => "sasl_ssl",
        };
        client.set("security.protocol", protocol);
        if let Some(file) = self.ca_file.as_ref().filter(|_| self.security != Security::Plaintext) {
            client.set("ssl.ca.location", file.display().to_string());
        }
        if self.security == Security::SaslTls {
            let mechanism = match self.mechanism {
                Mechanism::ScramSha512 => "SCRAM-SHA-512",
                Mechanism::ScramSha256 => "SCRAM-SHA-256",
                Mechanism::Plain => "PLAIN",
            };
            let user = self.user.as_ref().ok_or(SetupError::Missing("user"))?;
            let file = self.password_file.as_ref().ok_or(SetupError::Missing("password_file"))?;
            let password = Secret::from_file(file).map_err(SetupError::Password)?;
            client.set("sasl.mechanism", mechanism).set("sasl.username", user);
            client.set("sasl.password", password.expose());
        }
        Ok(client)
    }
}

/// The dead letter topic of a topic.
pub(super) fn dlq_of(topic: &str) -> String {
    format!("{topic}.dlq")
}

/// A time as librdkafka wants it.
pub(super) fn millis(time: Duration) -> String {
    time.as_millis().to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_section_says_what_differs() {
        let text = r#"{"brokers": ["a:1", "b:2"], "security": "sasl_tls", "mechanism": "plain",
            "inbound": {"in_hand": 2}}"#;
        let config: Config = serde_json::from_str(text).unwrap();
        assert_eq!((config.inbound.in_hand, config.mechanism), (2, Mechanism::Plain));
        assert_eq!(config.events_topic, "orders.events.v1");
        assert!(serde_json::from_str::<Config>(r#"{"broker": "a:1"}"#).is_err());
    }

    #[test]
    fn a_user_needs_a_name_and_a_password() {
        let mut config = Config { security: Security::SaslTls, ..Config::default() };
        assert!(matches!(config.client(), Err(SetupError::Missing("user"))));
        config.user = Some("orderly".to_owned());
        assert!(matches!(config.client(), Err(SetupError::Missing("password_file"))));
        config.password_file = Some(PathBuf::from("/nonexistent/password"));
        assert!(matches!(config.client(), Err(SetupError::Password(_))));
    }

    #[test]
    fn the_password_is_handed_to_the_client_only() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), "canary\n").unwrap();
        let config = Config {
            security: Security::SaslTls,
            user: Some("orderly".to_owned()),
            password_file: Some(file.path().to_owned()),
            ..Config::default()
        };
        let client = config.client().unwrap();
        assert_eq!(client.get("sasl.password"), Some("canary"));
        assert_eq!(client.get("security.protocol"), Some("sasl_ssl"));
        assert!(!format!("{config:?} {client:?}").contains("canary"));
    }
}
