//! What a broker shows behind TLS, and whom it lets in there.

use std::path::{Path, PathBuf};

use crate::{
    port,
    servers::{certificate::Authority, directory::Directory},
};

/// The listeners behind TLS of a broker, each on a port of 127.0.0.1.
#[derive(Debug)]
pub struct Tls {
    for_users: u16,
    for_all: u16,
    misnamed: u16,
    ca: PathBuf,
    other_ca: PathBuf,
    password: PathBuf,
    /// What the listeners show, and what the misnamed one shows: a certificate and its key.
    shown: [PathBuf; 2],
}

/// What the listeners speak.
pub(super) const PROTOCOLS: &str = "USERS:SASL_SSL,ALL:SSL,MISNAMED:SSL";
/// By what a user can be proved without sending the password.
const SCRAM: [&str; 2] = ["SCRAM-SHA-512", "SCRAM-SHA-256"];

impl Tls {
    /// The only user.
    pub const USER: &'static str = "orderly";
    /// The user's password.
    pub const PASSWORD: &'static str = "canary-of-kafka";

    pub(super) fn new(directory: &Directory) -> Self {
        let (ca, other) = (Authority::new("authority"), Authority::new("another authority"));
        let write = |name: &str, text: &str| directory.file(name, text.as_bytes());
        let show = |name: &str, host: &str| {
            let made = ca.certificate(host);
            write(name, &format!("{}{}", made.certificate, made.key))
        };
        Self {
            for_users: port::free(),
            for_all: port::free(),
            misnamed: port::free(),
            ca: write("ca.pem", &ca.pem()),
            other_ca: write("other-ca.pem", &other.pem()),
            password: write("password", Self::PASSWORD),
            shown: [show("named.pem", "127.0.0.1"), show("misnamed.pem", "kafka.invalid")],
        }
    }

    /// Where [the user](Self::USER) is let in, by `SCRAM-SHA-512`, `SCRAM-SHA-256` or `PLAIN`.
    pub fn for_users(&self) -> String {
        address(self.for_users)
    }

    /// Where everybody is let in.
    pub fn for_all(&self) -> String {
        address(self.for_all)
    }

    /// Where everybody is let in, and the certificate is another host's.
    pub fn misnamed(&self) -> String {
        address(self.misnamed)
    }

    /// The authority that made the certificates.
    pub fn ca_file(&self) -> &Path {
        &self.ca
    }

    /// An authority that did not.
    pub fn other_ca_file(&self) -> &Path {
        &self.other_ca
    }

    /// The file with [the password](Self::PASSWORD).
    pub fn password_file(&self) -> &Path {
        &self.password
    }

    /// What is added to the listeners.
    pub(super) fn listeners(&self) -> String {
        let Self { for_users, for_all, misnamed, .. } = self;
        [("USERS", for_users), ("ALL", for_all), ("MISNAMED", misnamed)]
            .map(|(name, port)| format!(",{name}://127.0.0.1:{port}"))
            .concat()
    }

    /// What is added to the settings of the broker.
    pub(super) fn settings(&self) -> String {
        let scram = SCRAM.map(|mechanism| {
            let mechanism = mechanism.to_lowercase();
            format!(
                "listener.name.users.{mechanism}.sasl.jaas.config=\
                 org.apache.kafka.common.security.scram.ScramLoginModule required;\n"
            )
        });
        let [named, misnamed] = &self.shown;
        format!(
            "ssl.keystore.type=PEM
ssl.keystore.location={}
listener.name.misnamed.ssl.keystore.location={}
sasl.enabled.mechanisms={},PLAIN
listener.name.users.plain.sasl.jaas.config=\
org.apache.kafka.common.security.plain.PlainLoginModule required user_{}=\"{}\";
{}",
            named.display(),
            misnamed.display(),
            SCRAM.join(","),
            Self::USER,
            Self::PASSWORD,
            scram.concat(),
        )
    }

    /// What makes the user when the broker's directory is made.
    pub(super) fn user() -> Vec<String> {
        let proved = |mechanism: &str| {
            let proof = format!("{mechanism}=[name={},password={}]", Self::USER, Self::PASSWORD);
            ["--add-scram".to_owned(), proof]
        };
        SCRAM.map(proved).concat()
    }
}

fn address(port: u16) -> String {
    format!("127.0.0.1:{port}")
}
