//! The simulator with a listener, inside a test or another program.

use std::{fmt, io, net::SocketAddr, sync::Arc, time::Duration};

use mainstay::{
    http::Stack,
    metrics::{Format, Metrics},
    server::Server,
    tasks::Tasks,
};
use tokio::{sync::watch, time::Instant};

use crate::{
    config::Config,
    faults::{Faults, InvalidRate},
    gateway::Gateway,
    ledger::{Ledger, OpenError},
    webhooks::{InvalidSecret, InvalidUrl},
};

/// How long a stop waits for requests in flight; one that hangs does so by a fault.
const PATIENCE: Duration = Duration::from_millis(500);

/// The longest wait for what still writes when everything else has ended.
const CLOSING: Duration = Duration::from_secs(5);

/// Why the simulator does not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The address is taken, or not ours.
    #[error("cannot listen on {0}")]
    Listen(SocketAddr, #[source] io::Error),
    /// The ledger cannot be opened.
    #[error("cannot open the ledger")]
    Ledger(#[from] OpenError),
    /// A rate is no probability.
    #[error("faults.rates cannot be used")]
    Rate(#[from] InvalidRate),
    /// Events cannot be sent there.
    #[error("webhooks.url cannot be used")]
    Url(#[from] InvalidUrl),
    /// Events cannot be signed with that.
    #[error("webhooks.secret cannot be used")]
    Secret(#[from] InvalidSecret),
}

/// A running simulator. It is killed when this is dropped.
pub struct Sim {
    address: SocketAddr,
    gateway: Arc<Gateway>,
    metrics: Metrics,
    tasks: Tasks,
    stop: watch::Sender<bool>,
}

impl Sim {
    /// Opens the ledger and serves at [`Http::listen`](crate::Http::listen), on the runtime that
    /// runs now.
    ///
    /// # Errors
    /// Fails when the address or the ledger cannot be had and when a setting cannot be used.
    pub async fn start(config: Config) -> Result<Self, StartError> {
        let (metrics, tasks) = (Metrics::new("gateway_sim"), Tasks::new());
        let listen = config.http.listen;
        let failed = |error| StartError::Listen(listen, error);
        let server = Server::bind(listen, config.server.clone()).await.map_err(failed)?;
        let address = server.local_addr().map_err(failed)?;
        let gateway = Gateway::open(&config, &tasks, &metrics)?;
        let app = gateway.router(&Stack::new(&metrics));
        let stop = watch::Sender::new(false);
        let (drain, end) = (stop.subscribe(), stop.subscribe());
        tasks.spawn("gateway-sim server", async move {
            server.run(app, stopped(drain)).await;
        });
        let events = Arc::clone(&gateway);
        tasks.spawn("gateway-sim webhooks", async move {
            tokio::select! {
                () = events.send_webhooks() => {}
                () = stopped(end) => {}
            }
        });
        Ok(Self { address, gateway, metrics, tasks, stop })
    }

    /// Where it listens.
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// The same as the start of an address: `http://127.0.0.1:8090`.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// What goes wrong, to be changed at any time.
    pub fn faults(&self) -> &Faults {
        self.gateway.faults()
    }

    /// What really happened. It blocks for as long as an effect takes to be written.
    pub fn ledger(&self) -> &Ledger {
        self.gateway.ledger()
    }

    /// Its metrics as Prometheus text.
    pub fn metrics(&self) -> String {
        self.metrics.render(Format::Text)
    }

    /// Stops, and lets go of the ledger: waits half a second for requests in flight, and cuts the
    /// rest.
    pub async fn stop(self) {
        self.stop.send_replace(true);
        let _report = self.tasks.close_and_wait(PATIENCE).await;
        let (began, ledger) = (Instant::now(), Arc::downgrade(&self.gateway));
        drop(self);
        while ledger.strong_count() > 0 && began.elapsed() < CLOSING {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    }
}

async fn stopped(mut stop: watch::Receiver<bool>) {
    // Ends also when nobody can tell any more.
    let _told = stop.wait_for(|stop| *stop).await.is_ok();
}

impl Drop for Sim {
    fn drop(&mut self) {
        self.tasks.abort_all();
    }
}

impl fmt::Debug for Sim {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sim").field("address", &self.address).finish_non_exhaustive()
    }
}
