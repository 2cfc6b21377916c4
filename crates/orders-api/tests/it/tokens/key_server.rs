//! A key server over HTTP that comes and goes, and time that passes no faster than its sockets.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering::Relaxed},
        mpsc,
    },
    time::Duration,
};

use orders_api::auth::KeysUrl;
use serde_json::Value;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpSocket, TcpStream},
    task::{JoinSet, spawn_blocking, yield_now},
    time::{Instant, advance},
};

/// So much time passes at once: a part of the shortest limit that a request to the server has.
const STEP: Duration = Duration::from_millis(250);
/// So many turns its sockets have before more of it passes. On one machine what is written is there
/// to be read at once, so that in a limit of one second there is room for many requests.
const TURNS: u32 = 10;
/// Longer than anything here takes; only a broken test waits that long.
const PATIENCE: Duration = Duration::from_mins(1);

/// A server on one address, whether it is there or not.
pub(super) struct KeyServer {
    address: SocketAddr,
    asked: Arc<AtomicU32>,
    tasks: JoinSet<()>,
    /// Bound and never listened on, so that nobody else gets the address.
    _place: TcpSocket,
}

/// How it is away.
#[derive(Clone, Copy, Debug)]
pub(super) enum Away {
    /// Nobody listens.
    Closed,
    /// Every request is answered with 500.
    Failing,
    /// Every request is read, and none answered.
    Hanging,
}

impl KeyServer {
    /// One that is not there yet.
    pub(super) fn new() -> Self {
        let place = bound(SocketAddr::from(([127, 0, 0, 1], 0)));
        let address = place.local_addr().unwrap();
        Self { address, asked: Arc::default(), tasks: JoinSet::new(), _place: place }
    }

    pub(super) fn url(&self) -> KeysUrl {
        format!("http://{}/certs", self.address).parse().unwrap()
    }

    /// How many requests have come.
    pub(super) fn asked(&self) -> u32 {
        self.asked.load(Relaxed)
    }

    /// It is there, and tells these keys.
    pub(super) async fn tell(&mut self, keys: &Value) {
        self.listen(Some(answer("200 OK", &keys.to_string()))).await;
    }

    /// It goes away.
    pub(super) async fn leave(&mut self, away: Away) {
        match away {
            Away::Closed => self.tasks.shutdown().await,
            Away::Failing => self.listen(Some(answer("500 Internal Server Error", "{}"))).await,
            Away::Hanging => self.listen(None).await,
        }
    }

    /// Answers every request like this, or never.
    async fn listen(&mut self, answer: Option<String>) {
        self.tasks.shutdown().await;
        let listener = bound(self.address).listen(64).unwrap();
        let asked = Arc::clone(&self.asked);
        self.tasks.spawn(async move {
            let mut connections = JoinSet::new();
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                connections.spawn(serve(stream, answer.clone(), Arc::clone(&asked)));
            }
        });
    }
}

/// A socket of this address, which others may have that do not listen.
fn bound(address: SocketAddr) -> TcpSocket {
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_reuseaddr(true).unwrap();
    socket.bind(address).unwrap();
    socket
}

fn answer(status: &str, body: &str) -> String {
    let length = body.len();
    format!("HTTP/1.1 {status}\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n{body}")
}

/// Reads one request, which has no body, and answers it if there is an answer.
async fn serve(mut stream: TcpStream, answer: Option<String>, asked: Arc<AtomicU32>) {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let count = stream.read_buf(&mut head).await.unwrap_or(0);
        if count == 0 {
            return;
        }
    }
    asked.fetch_add(1, Relaxed);
    match answer {
        // Whoever asked may have gone.
        Some(answer) => drop(stream.write_all(answer.as_bytes()).await),
        None => std::future::pending().await,
    }
}

/// Lets so much of the paused time pass, and sockets have their turns meanwhile. If the runtime moved
/// its time by itself, it would do so whenever it waits for a socket.
pub(super) async fn pass(time: Duration) {
    let end = Instant::now() + time;
    while Instant::now() < end {
        for _ in 0..TURNS {
            yield_now().await;
        }
        advance(STEP).await;
    }
}

/// What comes of `work` while the paused time stands still, however long its sockets take.
pub(super) async fn still<T>(work: impl Future<Output = T>) -> T {
    let (over, wait) = mpsc::channel::<()>();
    // The runtime does not move its time by itself while a thread is at work for it.
    let thread = spawn_blocking(move || wait.recv_timeout(PATIENCE).is_ok());
    let done = tokio::select! {
        done = work => done,
        _ = thread => panic!("it hangs"),
    };
    drop(over);
    done
}
