//! Each fault of the proxy, on real sockets.

use std::{io::ErrorKind, net::SocketAddr, time::Duration};

use orders_testkit::proxy::{Counts, Fault, Proxy, Way};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    time::{Instant, sleep},
};

/// A listening server, a proxy before it, and one connection through both.
struct Pair {
    server: TcpListener,
    proxy: Proxy,
    client: TcpStream,
    peer: TcpStream,
}

impl Pair {
    async fn new() -> Self {
        let server = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let proxy = Proxy::start(server.local_addr().unwrap(), 1);
        let (client, peer) = connect(proxy.address(), &server).await;
        Self { server, proxy, client, peer }
    }
}

async fn connect(proxy: SocketAddr, server: &TcpListener) -> (TcpStream, TcpStream) {
    let (client, peer) = tokio::join!(TcpStream::connect(proxy), server.accept());
    (client.unwrap(), peer.unwrap().0)
}

async fn until(holds: impl Fn() -> bool) {
    while !holds() {
        sleep(Duration::from_millis(1)).await;
    }
}

async fn read(stream: &mut TcpStream, count: usize) -> Vec<u8> {
    let mut bytes = vec![0; count];
    stream.read_exact(&mut bytes).await.unwrap();
    bytes
}

/// What comes before the end, and whether the end is in order.
async fn read_to_end(stream: &mut TcpStream) -> (Vec<u8>, Result<(), ErrorKind>) {
    let mut bytes = Vec::new();
    let end = stream.read_to_end(&mut bytes).await;
    (bytes, end.map(|_| ()).map_err(|error| error.kind()))
}

/// Sends something each way and sees it arrive.
async fn is_sound(client: &mut TcpStream, peer: &mut TcpStream) {
    client.write_all(b"ask").await.unwrap();
    assert_eq!(read(peer, 3).await, b"ask");
    peer.write_all(b"answer").await.unwrap();
    assert_eq!(read(client, 6).await, b"answer");
}

#[tokio::test]
async fn without_faults_all_passes_and_is_counted() {
    let Pair { proxy, mut client, mut peer, .. } = Pair::new().await;
    is_sound(&mut client, &mut peer).await;
    client.shutdown().await.unwrap();
    assert_eq!(read_to_end(&mut peer).await, (vec![], Ok(())));
    peer.write_all(b"late").await.unwrap();
    drop(peer);
    assert_eq!(read_to_end(&mut client).await, (b"late".to_vec(), Ok(())));
    let all = Counts { connections: 1, to_server: 3, to_client: 10, lost: 0, resets: 0 };
    until(|| proxy.counts() == all).await;
}

#[tokio::test]
async fn latency_delays_one_way() {
    let Pair { proxy, mut client, mut peer, .. } = Pair::new().await;
    let delay = Duration::from_millis(40);
    proxy.set(Fault::Latency { way: Way::ToServer, delay, jitter: delay });
    let start = Instant::now();
    is_sound(&mut client, &mut peer).await;
    assert!(start.elapsed() >= delay);
    proxy.heal();
    is_sound(&mut client, &mut peer).await;
}

#[tokio::test]
async fn a_rate_holds_bytes_back() {
    let Pair { proxy, mut client, mut peer, .. } = Pair::new().await;
    proxy.set(Fault::Rate { way: Way::ToServer, bytes_per_second: 10_000 });
    let start = Instant::now();
    client.write_all(&[7; 2_000]).await.unwrap();
    assert_eq!(read(&mut peer, 2_000).await, [7; 2_000]);
    // All but the last piece of 500 bytes was paid for by waiting.
    assert!(start.elapsed() >= Duration::from_millis(150));
}

#[tokio::test]
async fn what_goes_into_a_black_hole_is_lost_and_the_connection_stays() {
    let Pair { proxy, mut client, mut peer, .. } = Pair::new().await;
    proxy.set(Fault::Blackhole { way: Way::ToServer });
    client.write_all(b"lost").await.unwrap();
    peer.write_all(b"seen").await.unwrap();
    assert_eq!(read(&mut client, 4).await, b"seen");
    until(|| proxy.counts().lost == 4).await;
    proxy.heal();
    client.write_all(b"next").await.unwrap();
    assert_eq!(read(&mut peer, 4).await, b"next");
}

#[tokio::test]
async fn what_was_sent_in_a_pause_arrives_after_it() {
    let Pair { proxy, mut client, mut peer, .. } = Pair::new().await;
    proxy.set(Fault::Pause { way: Way::ToClient });
    peer.write_all(b"kept").await.unwrap();
    client.write_all(b"ask").await.unwrap();
    assert_eq!(read(&mut peer, 3).await, b"ask");
    assert_eq!(proxy.counts().to_client, 0);
    proxy.heal();
    assert_eq!(read(&mut client, 4).await, b"kept");
}

#[tokio::test]
async fn connections_are_refused_until_healed_and_open_ones_go_on() {
    let Pair { server, proxy, mut client, mut peer } = Pair::new().await;
    for _ in 0..3 {
        proxy.set(Fault::Refuse);
        let refused = TcpStream::connect(proxy.address()).await.unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::ConnectionRefused);
        is_sound(&mut client, &mut peer).await;
        proxy.heal();
        let (mut client, mut peer) = connect(proxy.address(), &server).await;
        is_sound(&mut client, &mut peer).await;
    }
}

#[tokio::test]
async fn a_reset_now_is_seen_by_both_sides() {
    let Pair { server, proxy, mut client, mut peer } = Pair::new().await;
    proxy.set(Fault::ResetNow);
    assert_eq!(read_to_end(&mut client).await.1, Err(ErrorKind::ConnectionReset));
    assert_eq!(read_to_end(&mut peer).await.1, Err(ErrorKind::ConnectionReset));
    until(|| proxy.counts().resets == 1).await;
    let (mut client, mut peer) = connect(proxy.address(), &server).await;
    is_sound(&mut client, &mut peer).await;
}

#[tokio::test]
async fn a_reset_comes_after_so_many_bytes_of_an_answer_and_once() {
    let Pair { server, proxy, mut client, mut peer } = Pair::new().await;
    is_sound(&mut client, &mut peer).await;
    proxy.set(Fault::ResetAfter { way: Way::ToClient, bytes: 5 });
    peer.write_all(b"ans").await.unwrap();
    assert_eq!(read(&mut client, 3).await, b"ans");
    peer.write_all(b"wer").await.unwrap();
    assert_eq!(read_to_end(&mut client).await, (b"we".to_vec(), Err(ErrorKind::ConnectionReset)));
    let (mut client, mut peer) = connect(proxy.address(), &server).await;
    is_sound(&mut client, &mut peer).await;
}

#[tokio::test]
async fn what_is_waited_for_reaches_the_server_and_its_answer_never_comes() {
    let Pair { server, proxy, mut client, mut peer } = Pair::new().await;
    proxy.set(Fault::ResetOn { way: Way::ToServer, seen: b"COMMIT".to_vec() });
    client.write_all(b"COM").await.unwrap();
    assert_eq!(read(&mut peer, 3).await, b"COM");
    client.write_all(b"MIT;").await.unwrap();
    assert_eq!(read_to_end(&mut client).await, (vec![], Err(ErrorKind::ConnectionReset)));
    assert_eq!(read_to_end(&mut peer).await, (b"MIT;".to_vec(), Ok(())));
    peer.write_all(b"done").await.unwrap();
    drop(peer);
    assert_eq!(
        proxy.counts(),
        Counts { connections: 1, to_server: 7, to_client: 0, lost: 0, resets: 1 }
    );
    let (mut client, mut peer) = connect(proxy.address(), &server).await;
    client.write_all(b"COMMIT").await.unwrap();
    assert_eq!(read(&mut peer, 6).await, b"COMMIT");
    is_sound(&mut client, &mut peer).await;
}

#[tokio::test]
async fn a_close_comes_in_order_after_so_many_bytes() {
    let Pair { proxy, mut client, mut peer, .. } = Pair::new().await;
    proxy.set(Fault::CloseAfter { way: Way::ToServer, bytes: 2 });
    client.write_all(b"ask").await.unwrap();
    assert_eq!(read_to_end(&mut peer).await, (b"as".to_vec(), Ok(())));
    assert_eq!(read_to_end(&mut client).await, (vec![], Ok(())));
    assert_eq!(proxy.counts().resets, 0);
}

#[tokio::test]
async fn a_half_closed_connection_goes_on_the_other_way() {
    let Pair { server, proxy, mut client, mut peer } = Pair::new().await;
    proxy.set(Fault::HalfClose { way: Way::ToClient });
    assert_eq!(read_to_end(&mut client).await, (vec![], Ok(())));
    client.write_all(b"ask").await.unwrap();
    assert_eq!(read(&mut peer, 3).await, b"ask");
    peer.write_all(b"answer").await.unwrap();
    until(|| proxy.counts().lost == 6).await;
    let (mut client, mut peer) = connect(proxy.address(), &server).await;
    is_sound(&mut client, &mut peer).await;
}

#[tokio::test]
async fn a_server_that_is_gone_is_a_reset() {
    let Pair { server, proxy, .. } = Pair::new().await;
    drop(server);
    let mut client = TcpStream::connect(proxy.address()).await.unwrap();
    assert_eq!(read_to_end(&mut client).await.1, Err(ErrorKind::ConnectionReset));
}

#[tokio::test(start_paused = true)]
async fn one_seed_draws_one_jitter() {
    let mut taken = Vec::new();
    for _ in 0..2 {
        let Pair { proxy, mut client, mut peer, .. } = Pair::new().await;
        let second = Duration::from_secs(1);
        proxy.set(Fault::Latency { way: Way::ToServer, delay: second, jitter: second });
        let start = Instant::now();
        is_sound(&mut client, &mut peer).await;
        taken.push(start.elapsed());
    }
    assert!(taken[0] > Duration::from_millis(1_001));
    assert_eq!(taken[0], taken[1]);
}

#[tokio::test]
async fn connections_end_with_the_proxy() {
    let Pair { proxy, mut client, mut peer, .. } = Pair::new().await;
    is_sound(&mut client, &mut peer).await;
    let address = proxy.address();
    drop(proxy);
    assert_eq!(read_to_end(&mut client).await, (vec![], Ok(())));
    assert_eq!(read_to_end(&mut peer).await, (vec![], Ok(())));
    until_refused(address).await;
}

async fn until_refused(address: SocketAddr) {
    while TcpStream::connect(address).await.is_ok() {}
}
