//! A raw HTTP client, a service to talk to, and waiting on conditions.

pub(crate) mod authority;

use axum::Router;
use mainstay::{
    admin::Admin,
    lifecycle::{self, Lifecycle, Phase, Report},
    metrics::Metrics,
    server::{Config, Server},
    tasks::Tasks,
};
use std::{io::ErrorKind, net::SocketAddr, time::Duration};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    sync::oneshot,
};

/// Longer than anything here takes; only a broken test waits that long.
const PATIENCE: Duration = Duration::from_secs(20);

/// `work`, or a failed test when it hangs.
pub(crate) async fn soon<T>(work: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, work).await.unwrap()
}

/// Waits until `condition` holds.
pub(crate) async fn until(mut condition: impl FnMut() -> bool) {
    soon(async {
        while !condition() {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    })
    .await;
}

/// A service under a lifecycle, with budgets that tests can wait for.
pub(crate) struct Service {
    pub(crate) lifecycle: Lifecycle,
    pub(crate) addr: SocketAddr,
    pub(crate) admin: SocketAddr,
    report: oneshot::Receiver<Report>,
    _tasks: Tasks,
}

impl Service {
    pub(crate) async fn start(app: Router, lame_duck_ms: u64, drain_ms: u64) -> Self {
        Self::start_with(app, lame_duck_ms, drain_ms, Config::default()).await
    }

    pub(crate) async fn start_with(
        app: Router,
        lame_duck_ms: u64,
        drain_ms: u64,
        config: Config,
    ) -> Self {
        let lifecycle = Lifecycle::new(lifecycle::Config {
            lame_duck: Duration::from_millis(lame_duck_ms),
            drain: Duration::from_millis(drain_ms),
            flush: Duration::from_millis(200),
        });
        Self::run(app, config, lifecycle, Admin::new).await
    }

    /// A service whose admin listener is made by `admin`.
    pub(crate) async fn start_admin(
        app: Router,
        admin: impl FnOnce(&Lifecycle, &Metrics) -> Admin,
    ) -> Self {
        let budgets = lifecycle::Config {
            lame_duck: Duration::ZERO,
            drain: Duration::from_secs(1),
            flush: Duration::from_millis(200),
        };
        Self::run(app, Config::default(), Lifecycle::new(budgets), admin).await
    }

    async fn run(
        app: Router,
        config: Config,
        lifecycle: Lifecycle,
        admin: impl FnOnce(&Lifecycle, &Metrics) -> Admin,
    ) -> Self {
        let metrics = Metrics::new("test");
        let routes = admin(&lifecycle, &metrics).router();
        let server = Server::bind("127.0.0.1:0", config).await.unwrap();
        let admin = Server::bind("127.0.0.1:0", Config::default()).await.unwrap();
        let (addr, admin_addr) = (server.local_addr().unwrap(), admin.local_addr().unwrap());
        lifecycle.serve_admin(admin, routes);
        let (sender, report) = oneshot::channel();
        let (tasks, running) = (Tasks::new(), lifecycle.clone());
        tasks.spawn("service under test", async move {
            sender.send(running.run(server, app).await).unwrap();
        });
        lifecycle.reached(Phase::Ready).await;
        Self { lifecycle, addr, admin: admin_addr, report, _tasks: tasks }
    }

    pub(crate) async fn report(self) -> Report {
        soon(self.report).await.unwrap()
    }
}

/// A connection that sends what it is told.
pub(crate) struct Client(TcpStream);

impl From<TcpStream> for Client {
    fn from(stream: TcpStream) -> Self {
        Self(stream)
    }
}

impl Client {
    pub(crate) async fn connect(addr: SocketAddr) -> Self {
        Self(soon(TcpStream::connect(addr)).await.unwrap())
    }

    pub(crate) async fn send(&mut self, text: &str) {
        self.0.write_all(text.as_bytes()).await.unwrap();
    }

    /// Sends a `GET` with more header lines, each ended by `\r\n`.
    pub(crate) async fn get(&mut self, path: &str, headers: &str) -> Answer {
        self.send(&format!("GET {path} HTTP/1.1\r\nhost: localhost\r\n{headers}\r\n")).await;
        self.answer().await
    }

    /// Reads one answer whose length is told.
    pub(crate) async fn answer(&mut self) -> Answer {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(soon(self.0.read_u8()).await.unwrap());
        }
        let head = String::from_utf8(head).unwrap().to_lowercase();
        let mut answer = Answer { head, body: String::new() };
        let length = answer.header("content-length").map_or(0, |text| text.parse().unwrap());
        let mut body = vec![0; length];
        soon(self.0.read_exact(&mut body)).await.unwrap();
        answer.body = String::from_utf8(body).unwrap();
        answer
    }

    /// Everything until the server closes the connection, or resets it.
    pub(crate) async fn rest(&mut self) -> String {
        let mut rest = Vec::new();
        match soon(self.0.read_to_end(&mut rest)).await {
            Ok(_) => {}
            Err(error) if error.kind() == ErrorKind::ConnectionReset => {}
            Err(error) => panic!("{error}"),
        }
        String::from_utf8_lossy(&rest).into_owned()
    }
}

pub(crate) async fn get(addr: SocketAddr, path: &str, headers: &str) -> Answer {
    Client::connect(addr).await.get(path, headers).await
}

/// An answer; names and values of headers in lower case.
#[derive(Debug)]
pub(crate) struct Answer {
    head: String,
    pub(crate) body: String,
}

impl Answer {
    pub(crate) fn status(&self) -> u16 {
        self.head.split(' ').nth(1).unwrap().parse().unwrap()
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.head.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "))
    }

    pub(crate) fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.body).unwrap()
    }
}

/// Serves `app` until the tasks are dropped with the test.
pub(crate) async fn serve(app: Router, config: Config, metrics: &Metrics) -> (SocketAddr, Tasks) {
    serve_with(app, config, |server| server.with_metrics(metrics)).await
}

pub(crate) async fn serve_with(
    app: Router,
    config: Config,
    with: impl FnOnce(Server) -> Server,
) -> (SocketAddr, Tasks) {
    let server = with(Server::bind("127.0.0.1:0", config).await.unwrap());
    let (addr, tasks) = (server.local_addr().unwrap(), Tasks::new());
    tasks.spawn("server", async {
        server.run(app, std::future::pending()).await;
    });
    (addr, tasks)
}
