//! Certificates of servers, by an authority that nobody knows.

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};

/// What a server and its clients need for TLS, as PEM.
#[derive(Debug)]
pub(super) struct Certificate {
    /// For 127.0.0.1 alone.
    pub(super) certificate: String,
    pub(super) key: String,
    /// Who signed it.
    pub(super) authority: String,
}

impl Certificate {
    pub(super) fn new() -> Self {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        // By default it would have the name of what it signs.
        params.distinguished_name.push(DnType::CommonName, "an authority of tests");
        let authority = CertifiedIssuer::self_signed(params, key()).expect("an authority");
        let key = key();
        let params = CertificateParams::new(["127.0.0.1".to_owned()]).expect("an address");
        let certificate = params.signed_by(&key, &authority).expect("a certificate");
        Self {
            certificate: certificate.pem(),
            key: key.serialize_pem(),
            authority: authority.pem(),
        }
    }
}

fn key() -> KeyPair {
    KeyPair::generate().expect("a key")
}
