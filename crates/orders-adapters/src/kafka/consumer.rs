//! Carries out the records of a topic, as one of a group of consumers.
//!
//! - Records of one key are carried out one after the other, in order; those of other keys beside them.
//! - An offset is committed only when everything before it in its partition is done with. What was in
//!   hand when a process died comes again, so a handler has to recognise what it has seen.
//! - What may pass is tried again in its place. What will not, or had its time, goes to the dead letter
//!   topic, and so do later records of its key, in order, until they are handed out again from there.
//! - When the group gives partitions to others, what is being carried out may end within a bound, and
//!   progress is committed before they are given back.

mod hand;
mod lanes;
mod membership;
mod offsets;
mod session;

use std::{
    fmt,
    future::Future,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use mainstay::metrics::Metrics;
use serde_json::{Value, json};
use tokio::time::sleep;

use self::{hand::Hand, session::Session};
use super::{
    config::{Config, SetupError},
    delivery::Handler,
    dlq::Lot,
    instruments::Instruments,
    sink::Sink,
};

/// Carries out the records of a topic.
pub struct Consumer<H> {
    config: Config,
    topic: String,
    hand: Arc<Hand<H>>,
    last_error: Mutex<Option<String>>,
}

/// The wait before the group is joined anew.
const REJOIN: Duration = Duration::from_secs(1);

impl<H: Handler> Consumer<H> {
    /// A consumer of this topic. That no broker answers is no error: it waits until one does.
    ///
    /// # Errors
    /// [`SetupError`].
    pub fn new(
        config: &Config,
        topic: &str,
        handler: H,
        metrics: &Metrics,
    ) -> Result<Self, SetupError> {
        let instruments = Instruments::new(metrics);
        let lot = Lot::new(config, topic, Arc::new(Sink::new(config)?), instruments.clone())?;
        let retry_for = config.inbound.retry_for;
        Ok(Self {
            config: config.clone(),
            topic: topic.to_owned(),
            hand: Arc::new(Hand { handler, lot, instruments, retry_for }),
            last_error: Mutex::default(),
        })
    }

    /// Carries out records until told to stop; then what is in hand may end, within
    /// [`Inbound::drain_timeout`](super::Inbound::drain_timeout).
    pub async fn run(&self, stop: impl Future<Output = ()> + Send) {
        let mut stop = std::pin::pin!(stop);
        loop {
            let session = Session::join(&self.config, &self.topic, Arc::clone(&self.hand));
            let ended = match session {
                Ok(session) => {
                    session.run(&mut stop).await.map_err(|broken| session::told(&broken))
                }
                Err(error) => Err(super::dlq::cause_of(&error)),
            };
            let Err(error) = ended else { return };
            tracing::error!(kafka.topic = self.topic, error, "the group is joined anew");
            *self.last_error.lock().unwrap_or_else(PoisonError::into_inner) = Some(error);
            tokio::select! {
                biased;
                () = &mut stop => return,
                () = sleep(REJOIN) => {}
            }
        }
    }

    /// What it does now, for the admin page.
    pub fn status(&self) -> Value {
        json!({
            "topic": self.topic,
            "group": self.config.inbound.group,
            "parked_keys": self.hand.lot.parked_keys(),
            "last_error": *self.last_error.lock().unwrap_or_else(PoisonError::into_inner),
        })
    }
}

impl<H> fmt::Debug for Consumer<H> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Consumer").field("topic", &self.topic).finish_non_exhaustive()
    }
}
