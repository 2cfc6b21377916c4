//! Certificates of servers, by authorities that nobody knows.

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair, KeyUsagePurpose,
};

/// Who signs certificates.
pub(super) struct Authority(CertifiedIssuer<'static, KeyPair>);

/// What a server shows, as PEM.
#[derive(Debug)]
pub(super) struct Certificate {
    pub(super) certificate: String,
    pub(super) key: String,
}

impl Authority {
    pub(super) fn new(name: &str) -> Self {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        // By default it would have the name of what it signs.
        params.distinguished_name.push(DnType::CommonName, name);
        Self(CertifiedIssuer::self_signed(params, key()).expect("an authority"))
    }

    /// What its clients trust, as PEM.
    pub(super) fn pem(&self) -> String {
        self.0.pem()
    }

    /// A certificate for a host or an address, and nothing else.
    pub(super) fn certificate(&self, host: &str) -> Certificate {
        let key = key();
        let params = CertificateParams::new([host.to_owned()]).expect("the name of a host");
        let certificate = params.signed_by(&key, &self.0).expect("a certificate");
        Certificate { certificate: certificate.pem(), key: key.serialize_pem() }
    }
}

fn key() -> KeyPair {
    KeyPair::generate().expect("a key")
}
