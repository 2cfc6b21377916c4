//! The simulator without its listeners: ledger, faults and events, and the routes over them.

use std::sync::Arc;

use axum::Router;
use jiff::Timestamp;
use mainstay::{
    config::Secret,
    http::Stack,
    metrics::{Counter, Metrics},
    tasks::Tasks,
};

use crate::{
    config::Config,
    faults::{Fault, Faults, Strike, Target},
    http,
    instrument::{Steer, UnknownFault},
    ledger::{Answer, Ledger, LedgerError, Marks},
    operation::{Command, Operation},
    sim::StartError,
    webhooks::{self, Sender},
};

/// The simulator, to be served by whoever has a listener; see [`Sim`](crate::Sim) for one that has.
#[derive(Debug)]
pub struct Gateway {
    secret: Secret<String>,
    webhooks: webhooks::Config,
    ledger: Arc<Ledger>,
    faults: Faults,
    sender: Option<Sender>,
    tasks: Tasks,
    decided: Counter,
    struck: Counter,
}

/// An operation on its way: what was asked, and what its instrument makes of it.
#[derive(Clone, Debug)]
pub(crate) struct Asked {
    pub(crate) command: Command,
    pub(crate) key: String,
    marks: Marks,
}

impl Gateway {
    /// Opens the ledger. `tasks` owns effects that come late.
    ///
    /// # Errors
    /// Fails when the ledger cannot be opened and when a setting cannot be used.
    pub fn open(
        config: &Config,
        tasks: &Tasks,
        metrics: &Metrics,
    ) -> Result<Arc<Self>, StartError> {
        crate::faults::check_rates(&config.faults.rates)?;
        let (target, key) = (config.webhooks.target()?, config.webhooks.key()?);
        let ledger = Arc::new(Ledger::open(&config.ledger)?);
        let sender =
            target.map(|target| Sender::new(&ledger, &config.webhooks, (target, key), metrics));
        let (operations, faults) = ("Operations decided", "Faults that struck");
        Ok(Arc::new(Self {
            secret: config.http.secret.clone(),
            webhooks: config.webhooks.clone(),
            ledger,
            faults: Faults::new(config.faults.clone()),
            sender,
            tasks: tasks.clone(),
            decided: metrics.counter("operations", operations, &["kind", "status"]),
            struck: metrics.counter("faults", faults, &["fault"]),
        }))
    }

    /// The contract's routes and those under `/sim/`, in the inbound stack.
    pub fn router(self: &Arc<Self>, stack: &Stack) -> Router {
        http::router(self, stack)
    }

    /// Sends events for as long as it is polled; without an address for them there is nothing to do.
    pub async fn send_webhooks(&self) {
        match &self.sender {
            Some(sender) => sender.run().await,
            None => std::future::pending().await,
        }
    }

    /// What goes wrong, to be changed at any time.
    pub fn faults(&self) -> &Faults {
        &self.faults
    }

    /// What really happened. It blocks; in async code put it on a blocking thread.
    pub fn ledger(&self) -> &Ledger {
        &self.ledger
    }

    pub(crate) fn secret(&self) -> &str {
        self.secret.expose()
    }

    pub(crate) fn sends_webhooks(&self) -> bool {
        self.sender.is_some()
    }

    /// What the ledger does, to its end even if nobody waits for it any more.
    pub(crate) async fn with_ledger<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Ledger) -> Result<T, LedgerError> + Send + 'static,
    ) -> Result<T, LedgerError> {
        Ledger::blocking(&self.ledger, work).await
    }

    /// What strikes a lookup.
    pub(crate) fn strike_lookup(&self) -> Strike {
        self.count(self.faults.strike(Target::Lookup, &[]))
    }

    /// What strikes this operation, and what its instrument makes of it.
    pub(crate) async fn strike(
        &self,
        command: Command,
        key: String,
        steer: Steer,
    ) -> Result<(Strike, Asked), LedgerError> {
        let (refusal, own) = match steer {
            Steer::Succeed => (None, Vec::new()),
            Steer::Decline(code) => (Some(code), Vec::new()),
            Steer::Fault(faults) => {
                let reference = command.reference;
                let first = self.with_ledger(move |ledger| ledger.first_try(reference)).await?;
                (None, if first { faults } else { Vec::new() })
            }
        };
        let strike = self.count(self.faults.strike(command.kind.into(), &own));
        let marks = Marks {
            refusal,
            forget_key: strike.has(Fault::KeyWindowExpired),
            delivery: self.webhooks.delivery(&strike),
        };
        Ok((strike, Asked { command, key, marks }))
    }

    /// Decides the operation, or finds what was decided.
    pub(crate) async fn apply(&self, asked: Asked) -> Result<Answer, LedgerError> {
        let Asked { command, key, marks } = asked;
        let apply = move |ledger: &Ledger| ledger.apply(&command, &key, marks, Timestamp::now());
        let answer = self.with_ledger(apply).await?;
        if let Answer::Decided(operation) = &answer {
            self.tell(operation);
        }
        Ok(answer)
    }

    /// Decides the operation later, with nobody waiting for it.
    pub(crate) fn apply_late(self: &Arc<Self>, asked: Asked) {
        let gateway = Arc::clone(self);
        self.tasks.spawn("late apply", async move {
            tokio::time::sleep(gateway.faults.config().late).await;
            if let Err(error) = gateway.apply(asked).await {
                tracing::error!(error = %error.0, "a late effect was not written");
            }
        });
    }

    fn tell(&self, operation: &Operation) {
        self.decided.inc(&[operation.kind.as_str(), operation.status.as_str()]);
        if let Some(sender) = &self.sender {
            sender.written.notify_one();
        }
    }

    fn count(&self, strike: Strike) -> Strike {
        for fault in strike.faults() {
            self.struck.inc(&[fault.as_str()]);
        }
        strike
    }
}

/// What a token asks of an operation.
pub(crate) fn steer(command: &Command) -> Result<Steer, UnknownFault> {
    command.instrument.as_deref().map_or(Ok(Steer::Succeed), Steer::of)
}
