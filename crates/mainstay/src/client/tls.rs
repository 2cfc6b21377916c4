//! Whom a client trusts, and as whom it comes.

use crate::{
    chain::chain,
    pem::{Made, authorities},
};
use std::{
    fs, io,
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};
use tokio::{task::spawn_blocking, time::Instant};
use tokio_rustls::{
    TlsConnector,
    rustls::{
        ClientConfig, RootCertStore,
        crypto::ring,
        pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
    },
};

/// How long files may be other ones by now before they are looked at.
const LOOK_EVERY: Duration = Duration::from_secs(10);

/// Why there is nobody to trust, or nobody to come as.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// The file of authorities cannot be read, or is no bundle of them in PEM.
    #[error("cannot read authorities from {}", .0.display())]
    File(PathBuf, #[source] Box<dyn std::error::Error + Send + Sync>),
    /// No version of TLS can be spoken.
    #[error("no version of TLS can be spoken")]
    Version(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// There are none.
    #[error("no authority is known; name a file of them")]
    Empty,
    /// The host can be in no certificate.
    #[error("no certificate can be for this host")]
    Host(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// A certificate has no key, or a key no certificate.
    #[error("cert_file and key_file belong together: set both or neither")]
    Half,
    /// There is a certificate to show, and no TLS to show it in.
    #[error(
        "cert_file is set and base_url is not https: nobody would be shown the certificate; \
         make it https, or leave cert_file and key_file out"
    )]
    PlainText,
    /// The file of a certificate or its key cannot be read.
    #[error("cannot read {}", .0.display())]
    Read(PathBuf, #[source] io::Error),
    /// A file does not hold what it should.
    #[error("{} is not {}", .0.display(), .1)]
    Pem(PathBuf, &'static str, #[source] Box<dyn std::error::Error + Send + Sync>),
    /// A certificate and a key do not belong together, or are of a kind that is not supported.
    #[error("the certificate in {} cannot be used with the key in {}", .0.display(), .1.display())]
    Unusable(PathBuf, PathBuf, #[source] Box<dyn std::error::Error + Send + Sync>),
}

/// Trusts the authorities in the file, as PEM, or those of the system.
///
/// # Errors
/// [`TlsError`]: they cannot be read, or there are none.
pub fn trusting(file: Option<&PathBuf>) -> Result<Arc<ClientConfig>, TlsError> {
    let paths = Paths { ca: file.cloned(), pair: None, protocol: None };
    Ok(Arc::new(paths.client(&paths.read()?)?))
}

/// What new connections are made with: files that are taken up when they are replaced.
pub(super) struct Tls(Arc<Shared>);

struct Shared {
    paths: Paths,
    client: Made<Files, ClientConfig>,
    looked_at: Mutex<Instant>,
}

/// Where a client's authorities are, and its own certificate and key.
pub(super) struct Paths {
    ca: Option<PathBuf>,
    pair: Option<(PathBuf, PathBuf)>,
    /// What connections speak, if it has to be agreed upon.
    protocol: Option<&'static [u8]>,
}

/// What is in these files.
#[derive(PartialEq, Eq)]
struct Files {
    ca: Option<Vec<u8>>,
    pair: Option<(Vec<u8>, Vec<u8>)>,
}

impl Tls {
    pub(super) fn load(paths: Paths) -> Result<Self, TlsError> {
        let client = Made::new(paths.read()?, |files| paths.client(files))?;
        Ok(Self(Arc::new(Shared { paths, client, looked_at: Mutex::new(Instant::now()) })))
    }

    /// For one connection, with the files as they are now or were a moment ago.
    pub(super) async fn connector(&self) -> TlsConnector {
        if self.0.is_due() {
            let shared = Arc::clone(&self.0);
            // A file system may hang, which is to take the time of this connection and of no other.
            if let Err(error) = spawn_blocking(move || shared.reload()).await {
                tracing::error!(%error, "cannot look for a new certificate to call with");
            }
        }
        self.0.client.get().into()
    }
}

impl Shared {
    /// Whether it is time to look at the files, which one caller is told only.
    fn is_due(&self) -> bool {
        let mut looked_at = self.looked_at.lock().unwrap_or_else(PoisonError::into_inner);
        let is_due = looked_at.elapsed() >= LOOK_EVERY;
        if is_due {
            *looked_at = Instant::now();
        }
        is_due
    }

    fn reload(&self) {
        let files = self.paths.read();
        match files.and_then(|files| self.client.renew(files, |files| self.paths.client(files))) {
            Ok(true) => tracing::info!("new certificates to call with taken up"),
            Ok(false) => {}
            Err(error) => {
                let error = chain(&error);
                tracing::warn!(error, "new certificates to call with refused; the old ones stay");
            }
        }
    }
}

impl Paths {
    pub(super) fn new(
        ca: Option<&PathBuf>,
        cert: Option<&PathBuf>,
        key: Option<&PathBuf>,
        protocol: Option<&'static [u8]>,
    ) -> Result<Self, TlsError> {
        let pair = match (cert, key) {
            (Some(cert), Some(key)) => Some((cert.clone(), key.clone())),
            (None, None) => None,
            (Some(_), None) | (None, Some(_)) => return Err(TlsError::Half),
        };
        Ok(Self { ca: ca.cloned(), pair, protocol })
    }

    fn read(&self) -> Result<Files, TlsError> {
        let read_bundle = |file: &PathBuf| {
            fs::read(file).map_err(|error| TlsError::File(file.clone(), error.into()))
        };
        let read =
            |file: &PathBuf| fs::read(file).map_err(|error| TlsError::Read(file.clone(), error));
        let ca = self.ca.as_ref().map(read_bundle).transpose()?;
        let pair = match &self.pair {
            Some((cert, key)) => Some((read(cert)?, read(key)?)),
            None => None,
        };
        Ok(Files { ca, pair })
    }

    fn client(&self, files: &Files) -> Result<ClientConfig, TlsError> {
        let mut client = self.plain(files)?;
        client.alpn_protocols = self.protocol.iter().map(|name| name.to_vec()).collect();
        Ok(client)
    }

    /// For connections on which there is nothing to agree upon.
    fn plain(&self, files: &Files) -> Result<ClientConfig, TlsError> {
        let client = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .map_err(|error| TlsError::Version(error.into()))?
            .with_root_certificates(self.roots(files)?);
        let (Some((cert_file, key_file)), Some((cert, key))) = (&self.pair, &files.pair) else {
            return Ok(client.with_no_client_auth());
        };
        let certs: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(cert).collect();
        let certs = certs.map_err(|error| {
            TlsError::Pem(cert_file.clone(), "a certificate in PEM", error.to_string().into())
        })?;
        let key = PrivateKeyDer::from_pem_slice(key).map_err(|error| {
            TlsError::Pem(key_file.clone(), "a private key in PEM", error.to_string().into())
        })?;
        client
            .with_client_auth_cert(certs, key)
            .map_err(|error| TlsError::Unusable(cert_file.clone(), key_file.clone(), error.into()))
    }

    fn roots(&self, files: &Files) -> Result<RootCertStore, TlsError> {
        let roots = if let (Some(file), Some(pem)) = (&self.ca, &files.ca) {
            authorities(pem).map_err(|error| TlsError::File(file.clone(), error))?
        } else {
            from_system()
        };
        if roots.is_empty() { Err(TlsError::Empty) } else { Ok(roots) }
    }
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

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;
    use tempfile::TempDir;
    use tokio::time::advance;

    /// A certificate that is its own authority, and its key.
    fn replace(folder: &Path) {
        let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        fs::write(folder.join("key.pem"), made.signing_key.serialize_pem()).unwrap();
        fs::write(folder.join("cert.pem"), made.cert.pem()).unwrap();
    }

    fn load(ca: &PathBuf, cert: &PathBuf, key: &PathBuf) -> Result<Tls, TlsError> {
        Tls::load(Paths::new(Some(ca), Some(cert), Some(key), None)?)
    }

    #[tokio::test(start_paused = true)]
    async fn new_files_are_taken_up_and_broken_ones_are_not() {
        let folder = TempDir::new().unwrap();
        replace(folder.path());
        let (cert, key) = (folder.path().join("cert.pem"), folder.path().join("key.pem"));
        let tls = load(&cert, &cert, &key).unwrap();
        let first = tls.0.client.get();
        let is_first = || Arc::ptr_eq(&first, &tls.0.client.get());

        advance(LOOK_EVERY).await;
        drop(tls.connector().await);
        assert!(is_first(), "they are the same");
        replace(folder.path());
        drop(tls.connector().await);
        assert!(is_first(), "they were looked at just now");
        fs::write(&key, "no key").unwrap();
        advance(LOOK_EVERY).await;
        drop(tls.connector().await);
        assert!(is_first(), "the key is none");
        replace(folder.path());
        advance(LOOK_EVERY).await;
        drop(tls.connector().await);
        assert!(!is_first());
    }

    #[test]
    fn files_that_cannot_be_used_are_named() {
        let (ours, theirs) = (TempDir::new().unwrap(), TempDir::new().unwrap());
        replace(ours.path());
        replace(theirs.path());
        let (cert, key) = (ours.path().join("cert.pem"), ours.path().join("key.pem"));
        let missing = ours.path().join("missing.pem");
        let fault = |ca, cert, key| load(ca, cert, key).map(|_| ()).unwrap_err();
        assert!(matches!(fault(&missing, &cert, &key), TlsError::File(path, _) if path == missing));
        assert!(matches!(fault(&key, &cert, &key), TlsError::Empty));
        assert!(matches!(fault(&cert, &missing, &key), TlsError::Read(path, _) if path == missing));
        assert!(matches!(fault(&cert, &cert, &cert), TlsError::Pem(path, ..) if path == cert));
        let other = theirs.path().join("key.pem");
        assert!(matches!(fault(&cert, &cert, &other), TlsError::Unusable(..)));
        assert!(matches!(fault(&cert, &key, &key), TlsError::Unusable(..)), "no certificate");
    }
}
