//! TLS, with certificates that are replaced while the server runs, and with those of clients.
//!
//! Guarantees: TLS 1.2 and 1.3 with HTTP/2 and HTTP/1.1 by ALPN; new files are served to new
//! connections soon after they are there, all of them as one, and files that cannot be used change
//! nothing but the log. With a [`client_ca_file`](Config::client_ca_file), a certificate that a client
//! shows was made by one of those authorities, for clients, and is valid, or the handshake fails. Whom
//! it names is the [`Peer`](super::Peer) of every request. It is verified in every handshake, since no
//! session is resumed, and a connection takes no more requests when the certificate that it was opened
//! with ends.
//!
//! Not guaranteed: that a connection ends with the trust in an authority that was taken out of the
//! file, or before an answer that streams on does. The first has a bound,
//! [`max_age`](super::Config::max_age).
//!
//! Not here: lists of certificates that were revoked, several names.

use crate::{
    config::duration,
    pem::{Made, authorities},
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::{convert::Infallible, fmt, fs, io, path::PathBuf, sync::Arc, time::Duration};
use tokio_rustls::{
    TlsAcceptor,
    rustls::{
        self, ServerConfig,
        crypto::{CryptoProvider, ring},
        pki_types::{CertificateDer, PrivateKeyDer, pem, pem::PemObject},
        server::{NoServerSessionStorage, WebPkiClientVerifier, danger::ClientCertVerifier},
    },
};

/// Where the certificate and its key are, and whom clients are trusted by.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// The certificate and those that lead to its authority, in PEM, the server's own first.
    pub cert_file: PathBuf,
    /// The key of the certificate, in PEM.
    pub key_file: PathBuf,
    /// The authorities that make the certificates of clients, in PEM; two while one is replaced.
    /// Clients are then asked for a certificate, and whom its one URI names, a SPIFFE id, is known
    /// as the caller. Default: none, and nobody is asked.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(example = "clients-ca.pem")]
    pub client_ca_file: Option<PathBuf>,
    /// Whether clients need a certificate: `required`, or `optional` where others come too, such as
    /// probes of this port and senders of webhooks. One that does not hold is refused either way.
    /// Only with `client_ca_file`. Default: `required`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(example = ClientAuth::Required)]
    pub client_auth: Option<ClientAuth>,
    /// How often to look whether the files changed. Default 10 s.
    #[serde(default = "reload_every", with = "duration::Text")]
    pub reload_every: Duration,
}

/// Whether clients need a certificate.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ClientAuth {
    /// Without one nobody gets in.
    #[default]
    Required,
    /// Without one a client is nobody known.
    Optional,
}

const fn reload_every() -> Duration {
    Duration::from_secs(10)
}

impl Config {
    /// These files, looked at every 10 s; clients are asked for no certificate.
    pub fn new(cert_file: impl Into<PathBuf>, key_file: impl Into<PathBuf>) -> Self {
        Self {
            cert_file: cert_file.into(),
            key_file: key_file.into(),
            client_ca_file: None,
            client_auth: None,
            reload_every: reload_every(),
        }
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
    /// It is said whether clients need a certificate, and not by whom they are trusted.
    #[error(
        "client_auth is set and client_ca_file is not: no certificate could be verified; set \
         client_ca_file to the authorities that make those of clients"
    )]
    NoAuthorities,
}

/// A certificate to serve with. Clones share it.
#[derive(Clone)]
pub struct Tls(Arc<Shared>);

struct Shared {
    config: Config,
    server: Made<Files, ServerConfig>,
}

/// The contents of all files.
#[derive(PartialEq, Eq)]
struct Files {
    cert: Vec<u8>,
    key: Vec<u8>,
    client_ca: Option<Vec<u8>>,
}

impl Tls {
    /// Reads the files.
    ///
    /// # Errors
    ///
    /// Fails when they cannot be read or used.
    pub fn load(config: &Config) -> Result<Self, Error> {
        if config.client_auth.is_some() && config.client_ca_file.is_none() {
            return Err(Error::NoAuthorities);
        }
        let server = Made::new(Files::read(config)?, |files| files.server(config))?;
        Ok(Self(Arc::new(Shared { config: config.clone(), server })))
    }

    pub(super) fn acceptor(&self) -> TlsAcceptor {
        self.0.server.get().into()
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
        let files = Files::read(&self.config);
        match files.and_then(|files| self.server.renew(files, |files| files.server(&self.config))) {
            Ok(true) => tracing::info!(%cert_file, "new certificates taken up"),
            Ok(false) => {}
            Err(error) => {
                let cause = std::error::Error::source(&error).map(ToString::to_string);
                tracing::warn!(%cert_file, %error, cause, "new certificates refused; the old ones stay");
            }
        }
    }
}

impl Files {
    fn read(config: &Config) -> Result<Self, Error> {
        let read =
            |path: &PathBuf| fs::read(path).map_err(|error| Error::Read(path.clone(), error));
        let (cert, key) = (read(&config.cert_file)?, read(&config.key_file)?);
        let client_ca = config.client_ca_file.as_ref().map(read).transpose()?;
        Ok(Self { cert, key, client_ca })
    }

    fn server(&self, config: &Config) -> Result<ServerConfig, Error> {
        let bad_cert = |error: pem::Error| {
            Error::Pem(config.cert_file.clone(), "a certificate in PEM", error.to_string().into())
        };
        let certs: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&self.cert).collect();
        let key = PrivateKeyDer::from_pem_slice(&self.key).map_err(|error| {
            Error::Pem(config.key_file.clone(), "a private key in PEM", error.to_string().into())
        })?;
        let unusable = |error: rustls::Error| {
            Error::Unusable(config.cert_file.clone(), config.key_file.clone(), error.into())
        };
        let provider = Arc::new(ring::default_provider());
        let clients = self.clients(config, &provider)?;
        let mut server = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(unusable)?
            .with_client_cert_verifier(clients)
            .with_single_cert(certs.map_err(bad_cert)?, key)
            .map_err(unusable)?;
        server.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        if self.client_ca.is_some() {
            // The certificate of a session that is resumed would not be verified again.
            server.session_storage = Arc::new(NoServerSessionStorage {});
        }
        Ok(server)
    }

    /// What verifies the certificates of clients.
    fn clients(
        &self,
        config: &Config,
        provider: &Arc<CryptoProvider>,
    ) -> Result<Arc<dyn ClientCertVerifier>, Error> {
        let (Some(file), Some(pem)) = (&config.client_ca_file, &self.client_ca) else {
            return Ok(WebPkiClientVerifier::no_client_auth());
        };
        let unusable = |error| Error::Pem(file.clone(), "a bundle of authorities in PEM", error);
        let roots = Arc::new(authorities(pem).map_err(unusable)?);
        let clients = WebPkiClientVerifier::builder_with_provider(roots, Arc::clone(provider));
        let clients = match config.client_auth.unwrap_or_default() {
            ClientAuth::Required => clients,
            ClientAuth::Optional => clients.allow_unauthenticated(),
        };
        clients.build().map_err(|error| unusable(error.into()))
    }
}

impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tls").field("config", &self.0.config).finish_non_exhaustive()
    }
}
