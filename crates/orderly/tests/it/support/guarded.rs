//! A service over TLS that lets in whoever shows a certificate, and those who show one.

use std::{fs, io, net::SocketAddr, sync::Arc};

use orders_api::grpc::pb::order_service_client::OrderServiceClient;
use tokio::{net::TcpStream, task::JoinSet};
use tokio_rustls::{
    TlsConnector,
    client::TlsStream,
    rustls::{
        ClientConfig, RootCertStore,
        crypto::ring,
        pki_types::{CertificateDer, ServerName},
    },
};

use super::{
    Calls, Home, Line,
    authority::{Authority, Signed},
    calls, soon,
};

/// A home whose service has a certificate and asks for others. It looks often whether files changed.
pub(crate) struct Guarded {
    pub(crate) home: Home,
    /// Who signs the certificates of clients.
    pub(crate) clients: Authority,
    /// Who signs those of the service.
    servers: Authority,
    /// The key file as it is without peers.
    keys: String,
    /// The key in it, of the tenant `rival`.
    pub(crate) rival: String,
}

/// Somebody who connects to a service, with the certificate that was given or none.
pub(crate) struct Visitor {
    at: SocketAddr,
    client: ClientConfig,
}

impl Guarded {
    pub(crate) async fn new() -> Self {
        let home = Home::with_keys()
            .set("auth.reload_every=10ms")
            .set("http.tls.reload_every=10ms")
            .set("http.tls.cert_file=cert.pem")
            .set("http.tls.key_file=key.pem")
            .set("http.tls.client_ca_file=clients-ca.pem");
        let (servers, clients) = (Authority::new("of servers"), Authority::new("of clients"));
        servers.server().write(&home.path("."));
        fs::write(home.path("clients-ca.pem"), clients.pem()).unwrap();
        fs::write(home.path("servers-ca.pem"), servers.pem()).unwrap();
        let rival = home.new_key("rival", "till").await;
        let keys = fs::read_to_string(home.path("keys.toml")).unwrap();
        Self { home, clients, servers, keys, rival }
    }

    /// Lets in these peers of the tenant `shop`, each with its name and its scopes, and no others.
    pub(crate) fn let_in(&self, peers: &[(&str, &[&str])]) {
        let peer = |(name, scopes): &(&str, &[&str])| {
            let id = spiffe_id(name);
            format!(
                "\n[[peer]]\nspiffe_id = \"{id}\"\ntenant = \"shop\"\nprincipal = \"{name}\"\n\
                 scopes = {scopes:?}\n"
            )
        };
        let peers: String = peers.iter().map(peer).collect();
        fs::write(self.home.path("next.toml"), format!("{}{peers}", self.keys)).unwrap();
        fs::rename(self.home.path("next.toml"), self.home.path("keys.toml")).unwrap();
    }

    /// Replaces the certificate of the service and its key, each written beside the old one and renamed.
    pub(crate) fn renew(&self) -> Signed {
        let (next, beside) = (self.servers.server(), self.home.path("next"));
        fs::create_dir_all(&beside).unwrap();
        next.write(&beside);
        for name in ["cert.pem", "key.pem"] {
            fs::rename(beside.join(name), self.home.path(name)).unwrap();
        }
        next
    }

    /// The certificate of the peer of this name.
    pub(crate) fn certificate(&self, name: &str) -> Signed {
        self.clients.client(&[spiffe_id(name).as_str()])
    }

    pub(crate) fn visitor(&self, at: SocketAddr, shown: Option<&Signed>) -> Visitor {
        let mut roots = RootCertStore::empty();
        roots.add(self.servers.der()).unwrap();
        let builder = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots);
        let client = match shown {
            Some(shown) => builder.with_client_auth_cert(vec![shown.der()], shown.key()).unwrap(),
            None => builder.with_no_client_auth(),
        };
        Visitor { at, client }
    }
}

impl Visitor {
    /// A connection that speaks this protocol. The service may yet refuse it: a client has its say last.
    async fn connect(&self, protocol: &str) -> io::Result<Box<TlsStream<TcpStream>>> {
        let mut client = self.client.clone();
        client.alpn_protocols = vec![protocol.into()];
        let stream = soon(TcpStream::connect(self.at)).await?;
        let name = ServerName::try_from("localhost").unwrap();
        let connecting = Box::pin(TlsConnector::from(Arc::new(client)).connect(name, stream));
        soon(connecting).await.map(Box::new)
    }

    pub(crate) async fn line(&self) -> io::Result<Line> {
        Line::over(self.connect("http/1.1").await?).await
    }

    /// A client of gRPC, and what its connection ends with.
    pub(crate) async fn orders(&self) -> io::Result<(OrderServiceClient<Calls>, JoinSet<()>)> {
        let (calls, driver) = calls(self.connect("h2").await?).await.map_err(io::Error::other)?;
        let origin = hyper::Uri::from_static("https://localhost");
        Ok((OrderServiceClient::with_origin(calls, origin), driver))
    }

    /// The certificate that a new connection is shown by the service.
    pub(crate) async fn sees(&self) -> CertificateDer<'static> {
        let stream = self.connect("http/1.1").await.unwrap();
        stream.get_ref().1.peer_certificates().unwrap()[0].clone()
    }
}

fn spiffe_id(name: &str) -> String {
    format!("spiffe://shop.test/{name}")
}
