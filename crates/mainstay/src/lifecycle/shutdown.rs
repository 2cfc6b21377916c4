//! The shutdown, top to bottom.

use super::{Config, End, Lifecycle, Phase, Report, Signals, signals::Stops};
use crate::{
    admin::serve_on_thread,
    server::{DrainReport, Mode, Server},
    tasks::Tasks,
};
use axum::Router;
use std::time::Duration;
use tokio::{
    sync::{oneshot, watch},
    time::{Instant, sleep, timeout},
};

/// The budgets once a part has failed: they fit [`FAILED_LIMIT`] with the cuts.
const FAILED: Config = Config {
    lame_duck: Duration::ZERO,
    drain: Duration::from_millis(250),
    flush: Duration::from_millis(250),
};

/// How long after a failure the process ends, in whatever phase it was.
const FAILED_LIMIT: Duration = Duration::from_secs(1);

/// How long the admin server may take to end; nothing depends on its answers any more.
const ADMIN_DRAIN: Duration = Duration::from_millis(100);

impl Lifecycle {
    /// Serves the admin listener from now on and until everything else has ended: on a thread of its
    /// own, so that it answers even when every worker of this runtime is busy. When it cannot be
    /// served the process [fails](Self::fail).
    ///
    /// # Panics
    ///
    /// Panics outside a Tokio runtime.
    pub fn serve_admin(&self, server: Server, router: Router) {
        let (modes, lifecycle) = (self.0.admin_mode.subscribe(), self.clone());
        self.0.servers.spawn("admin server", async move {
            if let Err(error) = serve_on_thread(server, router, modes).await {
                lifecycle.fail(format!("cannot run the admin server: {error}"));
            }
        });
    }

    /// Declares the process ready and serves `app` until a signal, a [`stop`](Self::stop) or a
    /// [`fail`](Self::fail), then shuts down in order.
    ///
    /// A second stop ends the wait at once; so does a second signal, unless it comes within 500 ms
    /// of the first: both may be one Ctrl-C. SIGTERM, SIGINT and SIGHUP are taken over for the rest
    /// of the process's life.
    pub async fn run(&self, server: Server, app: Router) -> Report {
        self.run_beside(move |modes| server.run_by(app, modes)).await
    }

    /// As [`run`](Self::run), for a process that serves nothing but its admin listener.
    pub async fn run_tasks(&self) -> Report {
        let idle = |mut modes: watch::Receiver<Mode>| async move {
            let draining = modes.wait_for(|mode| matches!(mode, Mode::Draining(_)));
            let _until = draining.await.is_ok();
            DrainReport::default()
        };
        self.run_beside(idle).await
    }

    async fn run_beside<F>(&self, serve: impl FnOnce(watch::Receiver<Mode>) -> F) -> Report
    where
        F: Future<Output = DrainReport> + Send + 'static,
    {
        let mut signals = match Signals::listen() {
            Ok(signals) => signals,
            Err(error) => {
                self.fail(format!("cannot listen for signals: {error}"));
                return self.run_until_stopped(serve).await;
            }
        };
        let mut stops = Stops::default();
        let forward = async {
            loop {
                let signal = signals.next().await;
                if stops.counts() {
                    tracing::info!(signal, "asked to stop");
                    self.stop();
                } else {
                    tracing::info!(signal, "asked to stop once more at once; it counts as one");
                }
            }
        };
        tokio::select! {
            report = self.run_until_stopped(serve) => report,
            () = forward => Report::new(),
        }
    }

    async fn run_until_stopped<F>(&self, serve: impl FnOnce(watch::Receiver<Mode>) -> F) -> Report
    where
        F: Future<Output = DrainReport> + Send + 'static,
    {
        let servers = Servers(self.0.servers.clone());
        let (mode, modes) = watch::channel(Mode::Open);
        let (drained_to, drained) = oneshot::channel();
        let served = serve(modes);
        servers.0.spawn("server", async move {
            // Nobody waits for the report of a forced end.
            let _unread = drained_to.send(served.await);
        });
        let beating = self.clone();
        servers.0.spawn("heartbeat", async move { beating.beat().await });
        self.advance(Phase::Ready);

        let mut report = Report::new();
        let forced = tokio::select! {
            () = self.shut_down(&mode, drained, &mut report) => false,
            () = self.asked_to_stop_twice() => true,
            () = self.failed_a_while_ago() => false,
        };
        report.end = match (forced, self.failure()) {
            (_, Some(reason)) => End::Failed(reason),
            (true, None) => End::Forced,
            (false, None) => End::Stopped,
        };
        self.advance(Phase::Stopped);
        report.log();
        report
    }

    /// Waits for the stop, then goes through the phases.
    async fn shut_down(
        &self,
        mode: &watch::Sender<Mode>,
        mut drained: oneshot::Receiver<DrainReport>,
        report: &mut Report,
    ) {
        let ended_early = tokio::select! {
            () = self.asked_to_stop() => None,
            ended = &mut drained => Some(ended),
        };
        if ended_early.is_some() {
            self.fail("the server ended by itself");
        }

        let lame_duck = Timed::enter(self, Phase::LameDuck);
        mode.send_replace(Mode::Closing);
        let _failed = timeout(self.budgets().lame_duck, self.failed()).await;
        lame_duck.leave(report);

        let draining = Timed::enter(self, Phase::Draining);
        mode.send_replace(Mode::Draining(self.budgets().drain));
        let drain = async {
            match ended_early {
                Some(ended) => ended,
                None => drained.await,
            }
        };
        let work = timeout(self.budgets().drain, self.work_ended());
        let (ended, _in_time) = tokio::join!(drain, work);
        report.drained(ended.unwrap_or_default());
        draining.leave(report);

        let flushing = Timed::enter(self, Phase::Flushing);
        report.flushed(self.tasks().close_and_wait(self.budgets().flush).await);
        flushing.leave(report);

        self.advance(Phase::Stopped);
        self.0.admin_mode.send_replace(Mode::Draining(ADMIN_DRAIN));
        self.0.servers.close_and_wait(2 * ADMIN_DRAIN).await;
    }

    fn budgets(&self) -> &Config {
        if self.failure().is_some() { &FAILED } else { &self.0.config }
    }

    async fn asked_to_stop(&self) {
        let mut stops = self.0.stops.subscribe();
        tokio::select! {
            _ = stops.wait_for(|stops| *stops >= 1) => {}
            () = self.failed() => {}
        }
    }

    async fn asked_to_stop_twice(&self) {
        let _asked = self.0.stops.subscribe().wait_for(|stops| *stops >= 2).await.is_ok();
    }

    async fn failed_a_while_ago(&self) {
        self.failed().await;
        sleep(FAILED_LIMIT).await;
    }

    async fn failed(&self) {
        let _failed = self.0.failure.subscribe().wait_for(Option::is_some).await.is_ok();
    }
}

/// Aborts the servers when the shutdown is left early.
struct Servers(Tasks);

impl Drop for Servers {
    fn drop(&mut self) {
        self.0.abort_all();
    }
}

/// A phase and when it began.
struct Timed(Phase, Instant);

impl Timed {
    fn enter(lifecycle: &Lifecycle, phase: Phase) -> Self {
        lifecycle.advance(phase);
        Self(phase, Instant::now())
    }

    fn leave(self, report: &mut Report) {
        report.phases.push((self.0, self.1.elapsed()));
    }
}
