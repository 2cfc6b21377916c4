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
mod lag;
mod lanes;
mod membership;
mod offsets;
mod session;
mod standing;

use std::{fmt, future::Future, sync::Arc, time::Duration};

use mainstay::metrics::Metrics;
use rdkafka::error::KafkaError;
use serde_json::{Value, json};
use tokio::{task, time::sleep};
use uuid::Uuid;

use self::{
    hand::Hand,
    lag::Lag,
    session::{Broken, Session},
    standing::{Now, Standing},
};
use super::{
    config::{Config, SetupError},
    delivery::Handler,
    dlq::{ClaimError, LOOK_EVERY, Lot},
    instruments::Instruments,
    sink::Sink,
};

/// Carries out the records of a topic.
pub struct Consumer<H> {
    config: Config,
    topic: String,
    hand: Arc<Hand<H>>,
    lag: Arc<Lag>,
}

/// The wait before the group is joined anew.
const REJOIN: Duration = Duration::from_secs(1);

/// Why no records are taken.
#[derive(Debug, thiserror::Error)]
enum Idle {
    #[error(transparent)]
    Claim(#[from] ClaimError),
    #[error(transparent)]
    Setup(#[from] SetupError),
    #[error(transparent)]
    Broken(#[from] Broken),
}

impl<H: Handler> Consumer<H> {
    /// A consumer of this topic, of the store of this id. That no broker answers is no error: it waits
    /// until one does, and while the topic is missing or belongs to another store.
    ///
    /// # Errors
    /// [`SetupError`].
    pub fn new(
        config: &Config,
        store: Uuid,
        topic: &str,
        handler: H,
        metrics: &Metrics,
    ) -> Result<Self, SetupError> {
        let instruments = Instruments::new(metrics);
        instruments.consumes(topic);
        let sink = Arc::new(Sink::new(config)?);
        let lot = Lot::new(config, store, topic, sink, instruments.clone())?;
        let lag = Arc::new(Lag::new(config, topic, lot.logs())?);
        let standing = Standing::new(topic, lot.logs());
        let retry_for = config.inbound.retry_for;
        Ok(Self {
            config: config.clone(),
            topic: topic.to_owned(),
            hand: Arc::new(Hand { handler, lot, instruments, standing, retry_for }),
            lag,
        })
    }

    /// Carries out records until told to stop; then what is in hand may end, within
    /// [`Inbound::drain_timeout`](super::Inbound::drain_timeout). It logs nothing of its brokers after
    /// that.
    pub async fn run(&self, stop: impl Future<Output = ()> + Send) {
        tokio::select! {
            biased;
            () = self.take_part(stop) => {}
            () = self.look_around() => {}
        }
        self.hand.lot.logs().close();
    }

    /// Is a member of the group, again and again, until told to stop.
    async fn take_part(&self, stop: impl Future<Output = ()> + Send) {
        let mut stop = std::pin::pin!(stop);
        loop {
            let joined = tokio::select! {
                biased;
                () = &mut stop => break,
                joined = self.join() => joined,
            };
            let ended = match joined {
                Ok(session) => session.run(&mut stop).await.map_err(Idle::from),
                Err(error) => Err(error),
            };
            let Err(error) = ended else { break };
            self.hand.standing.idle(&error);
            tokio::select! {
                biased;
                () = &mut stop => break,
                () = sleep(REJOIN) => {}
            }
        }
    }

    /// Joins the group, once it is sure that the topic is there and this store's: a member that takes
    /// nothing would keep partitions from the others.
    async fn join(&self) -> Result<Session<H>, Idle> {
        self.hand.lot.claim().await?;
        Ok(Session::join(&self.config, &self.topic, Arc::clone(&self.hand))?)
    }

    /// Learns, for ever, what changes without a record that comes: what others parked and released, and
    /// how much there is to do.
    async fn look_around(&self) {
        loop {
            self.hand.standing.behind(self.behind().await);
            if self.hand.lot.look().await {
                // A broker answered, after whatever was heard of before.
                self.hand.lot.logs().forget();
            }
            sleep(LOOK_EVERY).await;
        }
    }

    /// How many records of its partitions are not done with, if it has some and that can be told.
    async fn behind(&self) -> Option<i64> {
        let partitions = self.hand.standing.now().partitions;
        let lag = Arc::clone(&self.lag);
        let asked = task::spawn_blocking(move || lag.of(partitions.as_deref())).await;
        let behind = asked.unwrap_or(Err(KafkaError::Canceled));
        behind
            .inspect_err(|error| {
                tracing::debug!(kafka.topic = self.topic, %error, "the lag cannot be told");
            })
            .unwrap_or_default()
    }

    /// What it does now, for the admin page.
    pub fn status(&self) -> Value {
        let Now { partitions, lag, in_hand, last_error, last_error_at, .. } =
            self.hand.standing.now();
        json!({
            "topic": self.topic,
            "group": self.config.inbound.group,
            "state": if partitions.is_some() { "member" } else { "joining" },
            "partitions": partitions,
            "lag": lag,
            "in_hand": in_hand,
            "parked_keys": self.hand.lot.parked_keys(),
            "last_error": last_error,
            "last_error_at": last_error_at,
        })
    }
}

impl<H> fmt::Debug for Consumer<H> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Consumer").field("topic", &self.topic).finish_non_exhaustive()
    }
}
