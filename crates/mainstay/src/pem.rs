//! What is made from files in PEM, and made anew when they are replaced.

use std::{
    error::Error,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};
use tokio_rustls::rustls::{
    RootCertStore,
    pki_types::{CertificateDer, pem::PemObject},
};

/// Something made from the contents of files, all of them as one: it changes whole, or not at all.
pub(crate) struct Made<F, T>(Mutex<Current<F, T>>);

struct Current<F, T> {
    /// What was last read, whether it could be used or not.
    files: F,
    made: Arc<T>,
}

impl<F: PartialEq, T> Made<F, T> {
    pub(crate) fn new<E>(files: F, read: impl FnOnce(&F) -> Result<T, E>) -> Result<Self, E> {
        let made = Arc::new(read(&files)?);
        Ok(Self(Mutex::new(Current { files, made })))
    }

    /// What was last made.
    pub(crate) fn get(&self) -> Arc<T> {
        Arc::clone(&self.current().made)
    }

    /// Makes it anew if the files changed, and says whether they did; files that were refused are not
    /// tried twice.
    pub(crate) fn renew<E>(
        &self,
        files: F,
        read: impl FnOnce(&F) -> Result<T, E>,
    ) -> Result<bool, E> {
        let mut current = self.current();
        if files == current.files {
            return Ok(false);
        }
        let made = read(&files);
        current.files = files;
        current.made = Arc::new(made?);
        Ok(true)
    }

    fn current(&self) -> MutexGuard<'_, Current<F, T>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The authorities in a bundle, of which there may be none.
pub(crate) fn authorities(pem: &[u8]) -> Result<RootCertStore, Box<dyn Error + Send + Sync>> {
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(pem) {
        roots.add(certificate?)?;
    }
    Ok(roots)
}
