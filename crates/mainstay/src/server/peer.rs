//! Who is at the other end of a connection, and for how long that holds.
//!
//! Looked at once per connection, after the handshake has verified the certificate; see
//! [`tls`](super::tls) for what that means.

use std::{sync::Arc, time::Duration};
use tokio_rustls::rustls::pki_types::{CertificateDer, UnixTime};
use webpki::{EndEntityCert, Error, KeyUsage};

/// The longest SPIFFE id, in bytes.
const LONGEST: usize = 2_048;

/// The longest name of a trust domain, in bytes.
const LONGEST_DOMAIN: usize = 255;

/// Who is at the other end of a connection, as the certificate says that it was opened with.
///
/// In the extensions of every request of the connection, unless it has no certificate, or one that
/// names nobody.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Peer {
    /// The SPIFFE id, the one URI of the certificate: `spiffe://TRUST-DOMAIN/PATH`.
    pub spiffe_id: Arc<str>,
}

impl Peer {
    /// The peer of this SPIFFE id; `None` when it is none that a certificate could name somebody by.
    pub fn of(spiffe_id: &str) -> Option<Self> {
        let fits = spiffe_id.len() <= LONGEST && names_somebody(spiffe_id);
        fits.then(|| Self { spiffe_id: spiffe_id.into() })
    }
}

/// What the certificate of a client says; nothing when there is none.
#[derive(Default)]
pub(super) struct Identity {
    pub(super) peer: Option<Peer>,
    /// How long the certificate is still valid, to the second.
    pub(super) left: Option<Duration>,
}

impl Identity {
    /// Reads the client's own certificate, the first of a chain that was verified.
    pub(super) fn read(chain: Option<&[CertificateDer<'static>]>) -> Self {
        let own = chain.and_then(<[_]>::first);
        let Some(own) = own.and_then(|own| EndEntityCert::try_from(own).ok()) else {
            return Self::default();
        };
        let peer = match named(own.valid_uri_names()) {
            Ok(peer) => Some(peer),
            Err(why) => {
                tracing::debug!(why, "the certificate of a client names nobody");
                None
            }
        };
        Self { peer, left: left(&own) }
    }
}

/// How long a certificate is still valid, by the clock that the handshake went by.
fn left(own: &EndEntityCert<'_>) -> Option<Duration> {
    // What is verified first is the time, and at the end of all time that says when the certificate's
    // own ends. Nothing else tells, and nothing else of this is looked at.
    let late = UnixTime::since_unix_epoch(Duration::MAX);
    match own.verify_for_usage(&[], &[], &[], late, KeyUsage::client_auth(), None, None) {
        Err(Error::CertExpired { not_after, .. }) => {
            let now = UnixTime::now();
            Some(Duration::from_secs(not_after.as_secs().saturating_sub(now.as_secs())))
        }
        Ok(_) | Err(_) => None,
    }
}

/// Whom the one URI names, if there is one only and it is a SPIFFE id of somebody.
fn named<'a>(mut uris: impl Iterator<Item = &'a str>) -> Result<Peer, &'static str> {
    let Some(uri) = uris.next() else { return Err("it has no URI") };
    if uris.next().is_some() {
        return Err("it has more than one URI");
    }
    Peer::of(uri).ok_or("its URI is no SPIFFE id with a path")
}

/// Whether it is `spiffe://TRUST-DOMAIN/PATH` by the letters that the standard of SPIFFE ids allows,
/// which leave no room for a user, a port, a query, a fragment or an escape.
fn names_somebody(uri: &str) -> bool {
    let parts = uri.strip_prefix("spiffe://").and_then(|rest| rest.split_once('/'));
    parts.is_some_and(|(domain, path)| is_domain(domain) && path.split('/').all(is_segment))
}

fn is_domain(domain: &str) -> bool {
    let is_letter = |byte: u8| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'.' | b'-' | b'_');
    (1..=LONGEST_DOMAIN).contains(&domain.len()) && domain.bytes().all(is_letter)
}

fn is_segment(segment: &str) -> bool {
    let is_letter = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_');
    !matches!(segment, "" | "." | "..") && segment.bytes().all(is_letter)
}

#[cfg(test)]
mod tests {
    use super::*;
    use rcgen::{CertificateParams, ExtendedKeyUsagePurpose, KeyPair};

    #[test]
    fn a_spiffe_id_is_a_trust_domain_and_a_path() {
        let domain = "d".repeat(LONGEST_DOMAIN);
        let longest = format!("spiffe://{domain}/{}", "p".repeat(LONGEST - 10 - LONGEST_DOMAIN));
        assert_eq!(longest.len(), LONGEST);
        let long = longest.as_str();
        for id in ["spiffe://shop.test/till", "spiffe://a-b_c.1/ns/Shop/sa/..web_1-2", long] {
            assert_eq!(named([id].into_iter()), Ok(Peer { spiffe_id: id.into() }));
        }
        let (too_long, long_domain) = (format!("{longest}p"), format!("spiffe://d{domain}/till"));
        for id in [
            "",
            "https://shop.test/till",
            "SPIFFE://shop.test/till",
            "spiffe:/shop.test/till",
            "spiffe://",
            "spiffe:///till",
            "spiffe://shop.test",
            "spiffe://shop.test/",
            "spiffe://shop.test/till/",
            "spiffe://shop.test//till",
            "spiffe://shop.test/./till",
            "spiffe://shop.test/a/../till",
            "spiffe://Shop.test/till",
            "spiffe://me@shop.test/till",
            "spiffe://shop.test:443/till",
            "spiffe://shop.test/till?a=b",
            "spiffe://shop.test/till#a",
            "spiffe://shop.test/t%69ll",
            "spiffe://shop.test/kässe",
            too_long.as_str(),
            long_domain.as_str(),
        ] {
            assert_eq!(Peer::of(id), None, "{id}");
            assert!(named([id].into_iter()).is_err(), "{id}");
        }
    }

    #[test]
    fn one_of_several_uris_is_nobody() {
        let id = "spiffe://shop.test/till";
        assert!(named([id, id].into_iter()).is_err());
        assert!(named([id, "https://shop.test/"].into_iter()).is_err());
        assert!(named([].into_iter()).is_err());
    }

    #[test]
    fn how_long_a_certificate_is_valid_is_read_from_it_whatever_it_is_for() {
        let now = UnixTime::now().as_secs();
        let mut params = CertificateParams::default();
        params.not_after = rcgen::date_time_ymd(1970, 1, 1) + Duration::from_secs(now + 3_600);
        for usages in [vec![], vec![ExtendedKeyUsagePurpose::ServerAuth]] {
            params.extended_key_usages = usages;
            let made = params.self_signed(&KeyPair::generate().unwrap()).unwrap();
            let own = EndEntityCert::try_from(made.der()).unwrap();
            let left = left(&own).unwrap().as_secs();
            assert!((3_500..=3_600).contains(&left), "{left}");
        }
    }
}
