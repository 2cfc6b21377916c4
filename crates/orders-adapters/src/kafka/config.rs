//! What a client of Kafka is made with.

use std::{io, time::Duration};

use mainstay::config::Secret;
use rdkafka::{ClientConfig, config::RDKafkaLogLevel, error::KafkaError};

pub use crate::settings::{Inbound, Kafka as Config, Mechanism, Security};

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
        // Not only errors: why a broker hangs up is told at this level.
        client.set_log_level(RDKafkaLogLevel::Info);
        client
            .set("bootstrap.servers", self.brokers.join(","))
            .set("client.id", "orderly")
            .set("reconnect.backoff.ms", "50")
            .set("reconnect.backoff.max.ms", millis(RECONNECT))
            .set("socket.timeout.ms", millis(self.request_timeout.max(Duration::from_secs(1))))
            .set("socket.connection.setup.timeout.ms", millis(Duration::from_secs(2)))
            .set("socket.keepalive.enable", "true")
            .set("topic.metadata.refresh.interval.ms", millis(Duration::from_mins(1)))
            // Topics are made by `create_topics` or by the operator, with what they need.
            .set("allow.auto.create.topics", "false");
        let security = self.security.unwrap_or_default();
        let protocol = match security {
            Security::Plaintext => "plaintext",
            Security::Tls => "ssl",
            Security::SaslTls => "sasl_ssl",
        };
        client.set("security.protocol", protocol);
        if let Some(file) = self.ca_file.as_ref().filter(|_| security != Security::Plaintext) {
            client.set("ssl.ca.location", file.display().to_string());
        }
        if security == Security::SaslTls {
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
    use std::path::PathBuf;

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
        let mut config = Config { security: Some(Security::SaslTls), ..Config::default() };
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
            security: Some(Security::SaslTls),
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
