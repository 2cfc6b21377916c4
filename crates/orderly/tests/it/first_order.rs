//! A newcomer's first minute: what the banner tells to try works as it stands.

use std::{
    os::{fd::OwnedFd, unix::net::UnixDatagram},
    process::{Command, Stdio},
    time::Duration,
};

use serde_json::Value;

use crate::support::{Home, Process, Service, get, text, until};

/// The commands of the banner, in their order.
fn commands(service: &Service) -> [String; 3] {
    let banner = service.banner();
    let blocks = banner.split("\n\n").filter_map(|block| block.strip_prefix("  # "));
    let commands = blocks.map(|block| block.split_once('\n').unwrap().1.to_owned());
    let commands: Vec<String> = commands.collect();
    commands.try_into().unwrap_or_else(|_| panic!("not three commands: {banner}"))
}

/// A command in a shell. One that needs curl fails where curl is not.
fn shell(command: &str) -> Process {
    let mut shell = Command::new("sh");
    shell.args(["-c", command]).stdin(Stdio::null());
    Process::start(shell)
}

/// What a command prints, as JSON.
async fn json(command: &str) -> Value {
    let ran = shell(command).end().await;
    assert_eq!(ran.code, Some(0), "is curl installed? {command}: {ran:?}");
    serde_json::from_str(&ran.out).unwrap_or_else(|_| panic!("{command}: {ran:?}"))
}

#[tokio::test]
async fn the_first_command_places_one_order_however_often_it_runs() {
    let service = Home::new().serve().await;
    let [place, list, _] = commands(&service);
    let order = json(&place).await;
    assert_eq!(order["state"], "PENDING");
    assert_eq!(order["totals"]["total"]["amount_minor"], "998");
    assert_eq!(json(&place).await["id"], order["id"]);
    let listed = json(&list).await;
    assert_eq!(listed["orders"].as_array().unwrap().len(), 1);
    assert_eq!(listed["orders"][0]["id"], order["id"]);
}

#[tokio::test]
async fn the_last_command_shows_what_happens() {
    let service = Home::new().serve().await;
    let [place, _, watch] = commands(&service);
    // The shell becomes curl, so that the end of the one is the end of the other.
    let watching = shell(&format!("exec {} --max-time 60", watch.trim_start()));
    let id = text(&json(&place).await["id"]);
    until("the order is shown", async || {
        let shown = watching.printed();
        let placed = shown.contains("event: orders.order.placed.v1") && shown.contains(&id);
        placed.then_some(())
    })
    .await;
}

#[tokio::test]
async fn the_addresses_in_the_banner_answer() {
    let service = Home::new().serve().await;
    let (api, admin) = (service.api, service.admin);
    for (at, path) in [(api, "/docs"), (admin, "/readyz"), (admin, "/metrics")] {
        let answer = get(at, path).await;
        assert!([200, 307, 308, 303].contains(&answer.status), "{path}: {answer:?}");
        assert!(service.banner().contains(&format!("http://{at}{path}")));
    }
}

#[tokio::test]
async fn the_banner_is_one_write_so_that_no_log_line_comes_between() {
    // On a datagram socket each write is a message of its own.
    let (ours, theirs) = UnixDatagram::pair().unwrap();
    ours.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    let home = Home::new();
    let arguments = ["serve", "--listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0"];
    let mut command = home.orderly(&arguments);
    command.stdout(OwnedFd::from(theirs)).stderr(Stdio::null());
    let mut child = command.spawn().unwrap();
    let mut buffer = [0; 8_192];
    let read = ours.recv(&mut buffer);
    child.kill().unwrap();
    child.wait().unwrap();
    let banner = String::from_utf8_lossy(&buffer[..read.unwrap()]).into_owned();
    assert!(banner.starts_with("orderly ") && banner.ends_with("stops the service.\n"), "{banner}");
}

#[tokio::test]
async fn the_key_in_the_banner_stays_the_same() {
    let home = Home::new();
    let first = home.serve().await;
    let key = first.client().key;
    first.stop().await;
    assert_eq!(home.serve().await.client().key, key);
}
