//! Whom a client trusts.

use std::{path::PathBuf, sync::Arc};
use tokio_rustls::rustls::{
    self, ClientConfig, RootCertStore,
    crypto::ring,
    pki_types::{CertificateDer, pem, pem::PemObject},
};

/// Why there is nobody to trust.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// The file of authorities cannot be read, or is not PEM.
    #[error("cannot read authorities from {}", .0.display())]
    File(PathBuf, #[source] Box<dyn std::error::Error + Send + Sync>),
    /// An authority cannot be used.
    #[error("unusable authority")]
    Authority(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// There are none.
    #[error("no authority is known; name a file of them")]
    Empty,
    /// The host can be in no certificate.
    #[error("no certificate can be for this host")]
    Host(#[source] Box<dyn std::error::Error + Send + Sync>),
}

/// Trusts the authorities in the file, as PEM, or those of the system.
///
/// # Errors
/// [`TlsError`]: they cannot be read, or there are none.
pub fn trusting(file: Option<&PathBuf>) -> Result<Arc<ClientConfig>, TlsError> {
    let roots = match file {
        Some(file) => from_file(file)?,
        None => from_system(),
    };
    if roots.is_empty() {
        return Err(TlsError::Empty);
    }
    let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(|error| TlsError::Authority(error.into()))?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(Arc::new(config))
}

fn from_file(file: &PathBuf) -> Result<RootCertStore, TlsError> {
    let unreadable = |error: pem::Error| TlsError::File(file.clone(), error.into());
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_file_iter(file).map_err(unreadable)? {
        let added: Result<(), rustls::Error> = roots.add(certificate.map_err(unreadable)?);
        added.map_err(|error| TlsError::Authority(error.into()))?;
    }
    Ok(roots)
}

/// Of a system's many authorities, one that cannot be read or used is no reason to trust none.
fn from_system() -> RootCertStore {
    let mut roots = RootCertStore::empty();
    let (_added, ignored) =
        roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    if ignored > 0 {
        tracing::debug!(ignored, "some authorities of the system cannot be used");
    }
    roots
}
