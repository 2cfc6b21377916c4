//! Sockets: passed in by a service manager, which is told how far the service is, and over TLS.

use std::{
    fs,
    net::TcpListener,
    os::{fd::OwnedFd, unix::net::UnixDatagram},
    process::{Command, Stdio},
    time::Duration,
};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};

use crate::support::{Home, Process, Service, soon, until};

/// `command` as a service manager starts it, with `socket` as its first one.
fn with_socket(command: &Command, socket: TcpListener) -> Command {
    let mut parent = Command::new("/bin/sh");
    let script = "exec 3<&0 </dev/null; LISTEN_FDS=1 LISTEN_PID=$$ exec \"$@\"";
    parent.args(["-c", script, "sh"]).arg(command.get_program()).args(command.get_args());
    parent.current_dir(command.get_current_dir().unwrap()).env_clear();
    parent.stdin(Stdio::from(OwnedFd::from(socket)));
    parent
}

#[tokio::test]
async fn a_socket_that_was_passed_in_is_served_and_what_waited_in_it_too() {
    let socket = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = socket.local_addr().unwrap();
    let mut early = TcpStream::connect(address).await.unwrap();
    early
        .write_all(b"GET /v1/orders HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n")
        .await
        .unwrap();

    let home = Home::new();
    // The address that is set is not bound: the socket is there already.
    let arguments = ["serve", "--listen", "127.0.0.1:1", "--admin-listen", "127.0.0.1:0"];
    let service =
        Service::start(Process::start(with_socket(&home.orderly(&arguments), socket)), false).await;
    assert_eq!(service.api, address);

    let mut answer = String::new();
    soon(early.read_to_string(&mut answer)).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 401 "), "{answer}");
    service.stop().await;
}

#[tokio::test]
async fn what_comes_between_a_stop_and_the_next_start_is_served_by_the_successor() {
    let socket = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = socket.local_addr().unwrap();
    let home = Home::new();
    let arguments = ["serve", "--admin-listen", "127.0.0.1:0"];
    let start = || {
        let socket = socket.try_clone().unwrap();
        Service::start(Process::start(with_socket(&home.orderly(&arguments), socket)), false)
    };
    start().await.stop().await;

    let mut between = soon(TcpStream::connect(address)).await.unwrap();
    between
        .write_all(b"GET /v1/orders HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n")
        .await
        .unwrap();
    let successor = start().await;
    let mut answer = String::new();
    soon(between.read_to_string(&mut answer)).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 401 "), "{answer}");
    successor.stop().await;
}

#[tokio::test]
async fn a_socket_that_others_reach_needs_keys_like_any_other() {
    let home = Home::new();
    let socket = TcpListener::bind("0.0.0.0:0").unwrap();
    let command = home.orderly(&["serve", "--admin-listen", "127.0.0.1:0"]);
    let ran = Process::start(with_socket(&command, socket)).end().await;
    assert_eq!(ran.code, Some(1), "{ran:?}");
    assert!(ran.err.contains("auth.keys_file is not set"), "{}", ran.err);
    assert!(!home.store().exists());
}

#[tokio::test]
async fn the_service_manager_is_told_of_the_start_and_the_end() {
    let home = Home::new();
    let manager = UnixDatagram::bind(home.path("notify")).unwrap();
    manager.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    let told = || {
        let mut buffer = [0; 64];
        let count = manager.recv(&mut buffer).unwrap();
        String::from_utf8_lossy(&buffer[..count]).into_owned()
    };
    let arguments = ["serve", "--listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0"];
    let mut command = home.orderly(&arguments);
    command.env("NOTIFY_SOCKET", home.path("notify"));
    let service = Service::start(Process::start(command), false).await;
    assert_eq!(told(), "READY=1");
    service.stop().await;
    assert_eq!(told(), "STOPPING=1");
}

/// The same with a certificate that signs itself.
fn with_tls(home: Home) -> Home {
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let (cert, key) = (home.path("cert.pem"), home.path("key.pem"));
    fs::write(&cert, made.cert.pem()).unwrap();
    fs::write(&key, made.signing_key.serialize_pem()).unwrap();
    home.set(&format!("http.tls.cert_file={}", cert.display()))
        .set(&format!("http.tls.key_file={}", key.display()))
}

#[tokio::test]
async fn a_certificate_makes_the_api_tls_only() {
    let home = with_tls(Home::new());
    let arguments = ["serve", "--listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0"];
    let process = Process::start(home.orderly(&arguments));
    let address = until("the service says where it is", async || {
        let banner = process.printed();
        let rest = banner.split_once("listening on https://")?.1;
        Some(rest.split_once('\n')?.0.to_owned())
    })
    .await;
    let mut plain = TcpStream::connect(address).await.unwrap();
    plain.write_all(b"GET /v1/orders HTTP/1.1\r\nhost: a\r\n\r\n").await.unwrap();
    let mut answer = Vec::new();
    // Whether the end is a close or a reset depends on what was unread.
    let _end = soon(plain.read_to_end(&mut answer)).await;
    // An alert of TLS, if anything.
    assert!(answer.is_empty() || answer[0] == 21, "{answer:?}");
}

#[tokio::test]
async fn plain_text_that_others_reach_is_warned_of() {
    let home = Home::with_keys();
    home.new_key("acme", "till").await;
    let check = &["config", "check", "--listen", "0.0.0.0:0", "--admin-listen", "127.0.0.1:0"];
    let warning = "without TLS on an address that other machines reach";
    assert!(home.run(check).await.out.contains(warning));
    let home = with_tls(home);
    let ran = home.run(check).await;
    assert_eq!(ran.code, Some(0), "{ran:?}");
    assert!(!ran.out.contains(warning), "{}", ran.out);

    fs::write(home.path("key.pem"), "no key").unwrap();
    let ran = home.run(check).await;
    assert_eq!(ran.code, Some(1), "{ran:?}");
    assert!(ran.err.contains("key.pem is not a private key in PEM"), "{}", ran.err);
}

#[tokio::test]
async fn clients_are_asked_for_certificates_only_where_they_can_be_verified() {
    let check = &["config", "check", "--listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0"];
    let ran = Home::new().set("http.tls.client_auth=required").run(check).await;
    assert_eq!(ran.code, Some(1), "{ran:?}");
    assert!(ran.err.contains("cert_file"), "{}", ran.err);

    let home = with_tls(Home::new());
    let ran = home.clone().set("http.tls.client_auth=required").run(check).await;
    assert_eq!(ran.code, Some(1), "{ran:?}");
    assert!(ran.err.contains("client_auth is set and client_ca_file is not"), "{}", ran.err);

    let home = home.set("http.tls.client_ca_file=clients-ca.pem");
    for (text, fault) in [
        (None, "cannot read clients-ca.pem"),
        (Some("no authority"), "clients-ca.pem is not a bundle of authorities in PEM"),
    ] {
        if let Some(text) = text {
            fs::write(home.path("clients-ca.pem"), text).unwrap();
        }
        let ran = home.run(check).await;
        assert_eq!(ran.code, Some(1), "{ran:?}");
        assert!(ran.err.contains(fault), "{}", ran.err);
    }
    fs::copy(home.path("cert.pem"), home.path("clients-ca.pem")).unwrap();
    let ran = home.set("http.tls.client_auth=optional").run(check).await;
    assert_eq!(ran.code, Some(0), "{ran:?}");
}

#[tokio::test]
async fn the_gateway_is_called_with_a_certificate_and_its_key_or_with_neither() {
    let check = &["config", "check", "--listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0"];
    let home = with_tls(Home::new()).set("gateway.secret_file=gateway-secret");
    fs::write(home.path("gateway-secret"), "0123456789abcdef0123456789abcdef").unwrap();
    let home = home
        .set("gateway.client.base_url=https://gateway.test")
        .set("gateway.client.ca_file=cert.pem")
        .set("gateway.client.cert_file=cert.pem");
    let ran = home.run(check).await;
    assert_eq!(ran.code, Some(1), "{ran:?}");
    assert!(ran.err.contains("cert_file and key_file belong together"), "{}", ran.err);
    let ran = home.clone().set("gateway.client.key_file=cert.pem").run(check).await;
    assert!(ran.err.contains("cert.pem is not a private key in PEM"), "{}", ran.err);
    let ran = home.set("gateway.client.key_file=key.pem").run(check).await;
    assert_eq!(ran.code, Some(0), "{ran:?}");
}
