/// Who is at the other end of a connection, as the certificate says that it was opened with.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Peer {
    /// The SPIFFE id, the one URI of the certificate: `spiffe://TRUST-DOMAIN/PATH`.
    pub spiffe_id: std::sync::Arc<str>,
}
