//! Authorities of certificates, and what they sign.

use rcgen::{
    BasicConstraints, Certificate, CertificateParams, CertifiedIssuer, DnType,
    ExtendedKeyUsagePurpose, IsCa, KeyPair, SanType,
};
use std::{fs, path::Path};
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};

/// Who signs certificates.
pub(crate) struct Authority(CertifiedIssuer<'static, KeyPair>);

impl Authority {
    pub(crate) fn new(name: &str) -> Self {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        // By default it would have the name of what it signs.
        params.distinguished_name.push(DnType::CommonName, name);
        Self(CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap())
    }

    pub(crate) fn pem(&self) -> String {
        self.0.pem()
    }

    pub(crate) fn der(&self) -> CertificateDer<'static> {
        self.0.der().clone()
    }

    /// For a server at `localhost`.
    pub(crate) fn server(&self) -> Signed {
        self.sign(ExtendedKeyUsagePurpose::ServerAuth, |params| {
            let name = SanType::DnsName("localhost".try_into().unwrap());
            params.subject_alt_names = vec![name];
        })
    }

    /// For a client with these URIs.
    pub(crate) fn client(&self, uris: &[&str]) -> Signed {
        self.sign(ExtendedKeyUsagePurpose::ClientAuth, |params| name(params, uris))
    }

    /// For something else.
    pub(crate) fn sign(
        &self,
        usage: ExtendedKeyUsagePurpose,
        change: impl FnOnce(&mut CertificateParams),
    ) -> Signed {
        let mut params = CertificateParams::default();
        params.extended_key_usages = vec![usage];
        change(&mut params);
        let key = KeyPair::generate().unwrap();
        let cert = params.signed_by(&key, &self.0).unwrap();
        Signed { cert, key }
    }
}

/// Gives a certificate these URIs.
pub(crate) fn name(params: &mut CertificateParams, uris: &[&str]) {
    let uri = |&uri: &&str| SanType::URI(uri.try_into().unwrap());
    params.subject_alt_names = uris.iter().map(uri).collect();
}

/// A certificate and its key.
pub(crate) struct Signed {
    cert: Certificate,
    key: KeyPair,
}

impl Signed {
    pub(crate) fn der(&self) -> CertificateDer<'static> {
        self.cert.der().clone()
    }

    pub(crate) fn key(&self) -> PrivateKeyDer<'static> {
        PrivatePkcs8KeyDer::from(self.key.serialize_der()).into()
    }

    /// Writes `cert.pem` and `key.pem`.
    pub(crate) fn write(&self, folder: &Path) {
        fs::write(folder.join("cert.pem"), self.cert.pem()).unwrap();
        fs::write(folder.join("key.pem"), self.key.serialize_pem()).unwrap();
    }
}
