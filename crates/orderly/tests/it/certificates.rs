//! The commands that call a service which asks its clients for certificates.

use std::fs;

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa,
    KeyPair, SanType,
};
use serde_json::{Value, json};

use crate::support::{Home, Process, order, until};

/// Whom the certificate of the client names.
const WAREHOUSE: &str = "spiffe://shop.test/warehouse";

/// Who signs the certificates of both sides.
struct Authority(CertifiedIssuer<'static, KeyPair>);

impl Authority {
    fn new() -> Self {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        // By default it would have the name of what it signs.
        params.distinguished_name.push(DnType::CommonName, "authority");
        Self(CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap())
    }

    /// Writes a certificate for this name, and its key.
    fn sign(
        &self,
        usage: ExtendedKeyUsagePurpose,
        name: SanType,
        (home, [cert, key]): (&Home, [&str; 2]),
    ) {
        let mut params = CertificateParams::default();
        params.extended_key_usages = vec![usage];
        params.subject_alt_names = vec![name];
        let pair = KeyPair::generate().unwrap();
        fs::write(home.path(cert), params.signed_by(&pair, &self.0).unwrap().pem()).unwrap();
        fs::write(home.path(key), pair.serialize_pem()).unwrap();
    }
}

/// A service that nobody reaches without a certificate, and that has one order of the tenant `acme`.
struct Closed {
    home: Home,
    url: String,
    _process: Process,
}

impl Closed {
    async fn start() -> Self {
        let home = Home::with_keys();
        home.new_key("acme", "till").await;
        let keys = fs::read_to_string(home.path("keys.toml")).unwrap();
        let peer = format!("spiffe_id = \"{WAREHOUSE}\"\ntenant = \"acme\"\nprincipal = \"w\"");
        fs::write(home.path("keys.toml"), format!("{keys}\n[[peer]]\n{peer}\n")).unwrap();
        certify(&home);
        let line = json!({ "idempotency_key": "before-the-start-0", "order": order() });
        fs::write(home.path("orders.ndjson"), line.to_string()).unwrap();
        let import = ["import", "orders.ndjson", "--create", "--tenant", "acme"];
        let ran = home.run(&import).await;
        assert_eq!(ran.code, Some(0), "{ran:?}");

        let home = home
            .set("http.tls.cert_file=cert.pem")
            .set("http.tls.key_file=key.pem")
            .set("http.tls.client_ca_file=ca.pem");
        let arguments = ["serve", "--listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0"];
        let mut process = Process::start(home.orderly(&arguments));
        let port = until("the service says where it is", async || {
            assert!(!process.has_ended(), "the service ended: {}", process.log());
            let banner = process.printed();
            let rest = banner.split_once("listening on https://127.0.0.1:")?.1;
            Some(rest.split_once('\n')?.0.to_owned())
        });
        let url = format!("https://localhost:{}", port.await);
        Self { home, url, _process: process }
    }

    /// The arguments of a command that calls it, with or without a certificate.
    fn call<'a>(&'a self, command: &[&'a str], shows: bool) -> Vec<&'a str> {
        let own = ["--cert-file", "client.pem", "--cert-key-file", "client-key.pem"];
        let own = if shows { &own[..] } else { &[] };
        [command, &["--url", self.url.as_str(), "--ca-file", "ca.pem"], own].concat()
    }
}

/// Gives both sides certificates.
fn certify(home: &Home) {
    let authority = Authority::new();
    fs::write(home.path("ca.pem"), authority.0.pem()).unwrap();
    let server = SanType::DnsName("localhost".try_into().unwrap());
    let files = (home, ["cert.pem", "key.pem"]);
    authority.sign(ExtendedKeyUsagePurpose::ServerAuth, server, files);
    let client = SanType::URI(WAREHOUSE.try_into().unwrap());
    let files = (home, ["client.pem", "client-key.pem"]);
    authority.sign(ExtendedKeyUsagePurpose::ClientAuth, client, files);
}

#[tokio::test]
async fn health_is_told_to_whom_the_service_lets_in() {
    let service = Closed::start().await;
    let with = service.call(&["health"], true);
    let ran = until("it serves", async || {
        let ran = service.home.run_alone(&with).await;
        (ran.code == Some(0)).then_some(ran)
    });
    assert_eq!(ran.await.out, "serving\n");
    let ran = service.home.run_alone(&service.call(&["health"], false)).await;
    assert_eq!((ran.code, ran.out.as_str()), (Some(1), ""), "{ran:?}");
}

#[tokio::test]
async fn events_are_told_to_whom_the_certificate_names() {
    let service = Closed::start().await;
    let watch = service.call(&["events", "watch"], true);
    let watching = Process::start(service.home.alone(&watch));
    let line = until("the event is printed", async || {
        serde_json::from_str::<Value>(watching.printed().lines().next()?).ok()
    });
    assert_eq!(line.await["tenantid"], "acme");
}

#[tokio::test]
async fn a_certificate_is_shown_with_its_key_and_over_tls_only() {
    let home = Home::new();
    let url = ["--url", "http://127.0.0.1:1"];
    let pair = ["--cert-file", "client.pem", "--cert-key-file", "client-key.pem"];
    for command in [&["health"][..], &["events", "watch"]] {
        let ran = home.run_alone(&[command, &url, &pair].concat()).await;
        assert_eq!(ran.code, Some(1), "{ran:?}");
        assert!(ran.err.contains("--url is not https"), "{ran:?}");
        let ran = home.run_alone(&[command, &url, &pair[..2]].concat()).await;
        assert_eq!(ran.code, Some(2), "{ran:?}");
        assert!(ran.err.contains("--cert-key-file"), "{ran:?}");
    }
    let ran = home.run_alone(&["events", "watch"]).await;
    assert_eq!(ran.code, Some(2), "{ran:?}");
    assert!(ran.err.contains("--key-file"), "nobody is named: {ran:?}");
}
