//! TLS, with certificates that are replaced while the server runs.
//!
//! Guarantees: TLS 1.2 and 1.3 with HTTP/2 and HTTP/1.1 by ALPN; a new pair of files is served to
//! new connections soon after it is there, and a pair that cannot be used changes nothing but the
//! log. Not here: certificates of clients, several names.

use crate::config::duration;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::{
    convert::Infallible,
    fmt, fs, io,
    path::PathBuf,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};
use tokio_rustls::{
    TlsAcceptor,
    rustls::{
        ServerConfig,
        crypto::ring,
        pki_types::{CertificateDer, PrivateKeyDer, pem, pem::PemObject},
    },
};

/// Where the certificate and its key are.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// The certificate and those that lead to its authority, in PEM, the server's own first.
    pub cert_file: PathBuf,
    /// The key of the certificate, in PEM.
    pub key_file: PathBuf,
    /// How often to look whether the files changed. Default 10 s.
    #[serde(default = "reload_every", with = "duration::Text")]
    pub reload_every: Duration,
}

const fn reload_every() -> Duration {
    Duration::from_secs(10)
}

impl Config {
    /// These files, looked at every 10 s.
    pub fn new(cert_file: impl Into<PathBuf>, key_file: impl Into<PathBuf>) -> Self {
        let reload_every = reload_every();
        Self { cert_file: cert_file.into(), key_file: key_file.into(), reload_every }
    }
}

/// Why a certificate cannot be served.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file cannot be read.
    #[error("cannot read {}", .0.display())]
    Read(PathBuf, #[source] io::Error),
    /// A file does not hold what it should.
    #[error("{} is not {}", .0.display(), .1)]
    Pem(PathBuf, &'static str, #[source] Box<dyn std::error::Error + Send + Sync>),
    /// They do not belong together, or are of a kind that is not supported.
    #[error("the certificate in {} cannot be used with the key in {}", .0.display(), .1.display())]
    Unusable(PathBuf, PathBuf, #[source] Box<dyn std::error::Error + Send + Sync>),
}

/// A certificate to serve with. Clones share it.
#[derive(Clone)]
pub struct Tls(Arc<Shared>);

struct Shared {
    config: Config,
    current: Mutex<Current>,
}

struct Current {
    /// What was last read, whether it could be used or not.
    files: Files,
    server: Arc<ServerConfig>,
}

/// The contents of both files.
#[derive(PartialEq, Eq)]
struct Files {
    cert: Vec<u8>,
    key: Vec<u8>,
}

impl Tls {
    /// Reads both files.
    ///
    /// # Errors
    ///
    /// Fails when they cannot be read or used.
    pub fn load(config: &Config) -> Result<Self, Error> {
        let files = Files::read(config)?;
        let server = Arc::new(files.server(config)?);
        let current = Mutex::new(Current { files, server });
        Ok(Self(Arc::new(Shared { config: config.clone(), current })))
    }

    pub(super) fn acceptor(&self) -> TlsAcceptor {
        Arc::clone(&self.0.current().server).into()
    }

    /// Takes up new files for as long as it is polled.
    pub(super) async fn keep_fresh(&self) -> Infallible {
        loop {
            tokio::time::sleep(self.0.config.reload_every).await;
            let shared = Arc::clone(&self.0);
            // A file system may hang; the accept loop, which polls this, must not.
            if let Err(error) = tokio::task::spawn_blocking(move || shared.reload()).await {
                tracing::error!(%error, "cannot look for a new certificate");
            }
        }
    }
}

impl Shared {
    fn reload(&self) {
        let cert_file = self.config.cert_file.display();
        match self.take_up() {
            Ok(true) => tracing::info!(%cert_file, "new certificate taken up"),
            Ok(false) => {}
            Err(error) => {
                let cause = std::error::Error::source(&error).map(ToString::to_string);
                tracing::warn!(%cert_file, %error, cause, "new certificate refused; the old one stays");
            }
        }
    }

    /// Uses the files if they changed; a pair that was refused is not tried twice.
    fn take_up(&self) -> Result<bool, Error> {
        let files = Files::read(&self.config)?;
        let mut current = self.current();
        if files == current.files {
            return Ok(false);
        }
        let server = files.server(&self.config);
        current.files = files;
        current.server = Arc::new(server?);
        Ok(true)
    }

    fn current(&self) -> MutexGuard<'_, Current> {
        self.current.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Files {
    fn read(config: &Config) -> Result<Self, Error> {
        let read =
            |path: &PathBuf| fs::read(path).map_err(|error| Error::Read(path.clone(), error));
        Ok(Self { cert: read(&config.cert_file)?, key: read(&config.key_file)? })
    }

    fn server(&self, config: &Config) -> Result<ServerConfig, Error> {
        let bad_cert = |error: pem::Error| {
            Error::Pem(config.cert_file.clone(), "a certificate in PEM", error.to_string().into())
        };
        let certs: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&self.cert).collect();
        let key = PrivateKeyDer::from_pem_slice(&self.key).map_err(|error| {
            Error::Pem(config.key_file.clone(), "a private key in PEM", error.to_string().into())
        })?;
        let unusable = |error: tokio_rustls::rustls::Error| {
            Error::Unusable(config.cert_file.clone(), config.key_file.clone(), error.into())
        };
        let provider = Arc::new(ring::default_provider());
        let mut server = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(unusable)?
            .with_no_client_auth()
            .with_single_cert(certs.map_err(bad_cert)?, key)
            .map_err(unusable)?;
        server.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        Ok(server)
    }
}

impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tls").field("config", &self.0.config).finish_non_exhaustive()
    }
}
