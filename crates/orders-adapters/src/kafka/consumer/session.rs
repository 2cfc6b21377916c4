//! One membership in the group, from joining to leaving.

use std::{collections::HashMap, future::Future, sync::Arc, time::Duration};

use rdkafka::{
    Offset, TopicPartitionList,
    consumer::{CommitMode, Consumer as _},
    error::{KafkaError, RDKafkaErrorCode},
    topic_partition_list::TopicPartitionListElem,
};
use tokio::{
    task::{self, JoinError, JoinSet},
    time::{MissedTickBehavior, interval, timeout},
};

use super::{
    hand::Hand,
    lanes::Lanes,
    membership::{Change, Member},
    offsets::Offsets,
};
use crate::kafka::{
    config::{Config, Inbound, SetupError},
    delivery::{Delivery, Handler},
    dlq::{ClaimError, cause_of},
    sink::release,
};

/// How often progress is committed.
const COMMIT_EVERY: Duration = Duration::from_secs(1);
/// How long what is parked may take to be read before partitions are taken.
const CATCH_UP: Duration = Duration::from_secs(30);

pub(super) struct Session<H> {
    member: Member,
    hand: Arc<Hand<H>>,
    topic: String,
    limits: Inbound,
    lanes: Lanes,
    running: JoinSet<Delivery>,
    offsets: HashMap<i32, Offsets>,
    paused: bool,
}

/// Why a session ended before it was told to.
#[derive(Debug, thiserror::Error)]
pub(super) enum Broken {
    #[error(transparent)]
    Claim(#[from] ClaimError),
    #[error("it takes too long to read what is parked")]
    Late,
    #[error("the brokers do not hand the topic out")]
    Denied(#[source] KafkaError),
    #[error("the consumer failed for good")]
    Consumer(#[source] KafkaError),
    #[error(
        "partition {partition} goes on at {offset}, before what was read: it was cut, or made anew"
    )]
    Backwards { partition: i32, offset: i64 },
    #[error("carrying a record out panicked")]
    Panicked(#[source] JoinError),
}

impl<H: Handler> Session<H> {
    pub(super) fn join(
        config: &Config,
        topic: &str,
        hand: Arc<Hand<H>>,
    ) -> Result<Self, SetupError> {
        Ok(Self {
            member: Member::join(config, topic, hand.lot.logs())?,
            hand,
            topic: topic.to_owned(),
            limits: config.inbound.clone(),
            lanes: Lanes::default(),
            running: JoinSet::new(),
            offsets: HashMap::new(),
            paused: false,
        })
    }

    /// Takes part until it is told to stop; then what is in hand may end, and progress is committed.
    pub(super) async fn run(mut self, stop: impl Future<Output = ()>) -> Result<(), Broken> {
        let ended = self.take_part(stop).await;
        self.hand.standing.revoked();
        self.drain().await;
        self.hand.has_in_hand(&self.topic, 0);
        release(self.member).await;
        ended
    }

    async fn take_part(&mut self, stop: impl Future<Output = ()>) -> Result<(), Broken> {
        let mut stop = std::pin::pin!(stop);
        let mut commits = interval(COMMIT_EVERY);
        commits.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                biased;
                () = &mut stop => return Ok(()),
                change = self.member.context().next() => {
                    // Bounded by itself, so that a stop waits for it.
                    self.change(change).await?;
                }
                Some(done) = self.running.join_next() => self.done(done)?,
                _ = commits.tick() => self.commit(),
                received = received(&self.member) => match received {
                    Ok(delivery) => self.take(delivery)?,
                    Err(error @ KafkaError::MessageConsumptionFatal(_)) => {
                        return Err(Broken::Consumer(error));
                    }
                    Err(error) if is_denied(&error) => {
                        // What is done with may be of a topic that is made anew meanwhile.
                        self.offsets.clear();
                        return Err(Broken::Denied(error));
                    }
                    Err(error) => {
                        // The client goes on by itself.
                        self.hand.standing.failed(&cause_of(&error));
                        tracing::debug!(%error, "nothing was received");
                    }
                },
            }
            self.pause_or_resume()?;
            self.hand.has_in_hand(&self.topic, self.lanes.len());
        }
    }

    async fn change(&mut self, change: Change) -> Result<(), Broken> {
        let answered = match change {
            Change::Assigned(partitions) => {
                // Others may have parked keys of these partitions, or taken the topic over.
                let ours = timeout(CATCH_UP, self.hand.lot.claim()).await;
                ours.map_err(|_elapsed| Broken::Late)??;
                tracing::info!(
                    kafka.topic = self.topic,
                    partitions = partitions.count(),
                    "assigned"
                );
                let assigned = self.member.assign(&partitions);
                if assigned.is_ok() {
                    self.hand.standing.works(numbers(&partitions));
                }
                assigned
            }
            Change::Revoked => {
                self.hand.standing.revoked();
                self.drain().await;
                self.member.unassign()
            }
        };
        self.paused = false;
        answered.map_err(Broken::Consumer)
    }

    fn take(&mut self, delivery: Delivery) -> Result<(), Broken> {
        let Delivery { partition, offset, .. } = delivery;
        if !self.offsets.entry(partition).or_default().take(offset) {
            return Err(Broken::Backwards { partition, offset });
        }
        if let Some(delivery) = self.lanes.put(delivery) {
            self.begin(delivery);
        }
        Ok(())
    }

    fn begin(&mut self, delivery: Delivery) {
        let hand = Arc::clone(&self.hand);
        self.running.spawn(async move {
            hand.carry_out(&delivery).await;
            delivery
        });
    }

    /// A record is done with, unless its task was cut. One that panicked blocks its key as long as
    /// this session lasts.
    fn done(&mut self, done: Result<Delivery, JoinError>) -> Result<(), Broken> {
        let delivery = match done {
            Ok(delivery) => delivery,
            Err(error) if error.is_panic() => return Err(Broken::Panicked(error)),
            Err(_cut) => return Ok(()),
        };
        if let Some(offsets) = self.offsets.get_mut(&delivery.partition) {
            offsets.done(delivery.offset);
        }
        if let Some(next) = self.lanes.next(&delivery.lane()) {
            self.begin(next);
        }
        Ok(())
    }

    /// Lets what is being carried out end, within a bound, forgets the rest, and commits.
    async fn drain(&mut self) {
        self.lanes.forget_waiting();
        let ended = timeout(self.limits.drain_timeout, async {
            while let Some(done) = self.running.join_next().await {
                if let Err(broken) = self.done(done) {
                    tracing::error!(error = cause_of(&broken), "the record comes again");
                }
            }
        });
        if ended.await.is_err() {
            tracing::warn!(
                kafka.topic = self.topic,
                records = self.running.len(),
                "records were cut"
            );
            self.running.shutdown().await;
        }
        if let Some(progress) = self.progress(|offsets| offsets.position()) {
            let member = self.member.shared();
            let committed =
                task::spawn_blocking(move || member.commit(&progress, CommitMode::Sync)).await;
            if let Ok(Err(error)) = committed {
                tracing::warn!(%error, "offsets were not committed; the records come again");
            }
        }
        self.lanes = Lanes::default();
        self.offsets.clear();
    }

    /// Commits progress, without waiting for it.
    fn commit(&mut self) {
        let progress = self.progress(Offsets::advance);
        let committed = progress.map(|progress| self.member.commit(&progress, CommitMode::Async));
        if let Some(Err(error)) = committed {
            tracing::warn!(%error, "offsets were not committed; the records come again");
        }
    }

    fn progress(
        &mut self,
        position: impl Fn(&mut Offsets) -> Option<i64>,
    ) -> Option<TopicPartitionList> {
        let mut list = TopicPartitionList::new();
        for (partition, offsets) in &mut self.offsets {
            let Some(at) = position(offsets) else { continue };
            if let Err(error) =
                list.add_partition_offset(&self.topic, *partition, Offset::Offset(at))
            {
                tracing::error!(%error, "an offset cannot be committed");
            }
        }
        (list.count() > 0).then_some(list)
    }

    /// Takes no more while enough is in hand. The group is still heard of meanwhile.
    fn pause_or_resume(&mut self) -> Result<(), Broken> {
        let (in_hand, most) = (self.lanes.len(), self.limits.in_hand.max(1));
        let pause = in_hand >= most;
        if pause == self.paused || (self.paused && in_hand > most / 2) {
            return Ok(());
        }
        let partitions = self.member.assignment().map_err(Broken::Consumer)?;
        let changed =
            if pause { self.member.pause(&partitions) } else { self.member.resume(&partitions) };
        changed.map_err(Broken::Consumer)?;
        self.paused = pause;
        Ok(())
    }
}

/// Whether the topic is not there, or not for this user. The client would ask again once a minute.
fn is_denied(error: &KafkaError) -> bool {
    matches!(
        error.rdkafka_error_code(),
        Some(
            RDKafkaErrorCode::UnknownTopicOrPartition
                | RDKafkaErrorCode::UnknownTopic
                | RDKafkaErrorCode::TopicAuthorizationFailed
                | RDKafkaErrorCode::GroupAuthorizationFailed
        )
    )
}

fn numbers(partitions: &TopicPartitionList) -> Vec<i32> {
    let mut numbers: Vec<_> =
        partitions.elements().iter().map(TopicPartitionListElem::partition).collect();
    numbers.sort_unstable();
    numbers
}

async fn received(member: &Member) -> Result<Delivery, KafkaError> {
    member.recv().await.map(|message| Delivery::of(&message))
}

impl<H> std::fmt::Debug for Session<H> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Session").field("topic", &self.topic).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::future::pending;

    use mainstay::metrics::Metrics;
    use uuid::Uuid;

    use super::*;
    use crate::kafka::{
        consumer::standing::Standing, delivery::Verdict, dlq::Lot, instruments::Instruments,
        sink::Sink,
    };

    struct Nothing;

    impl Handler for Nothing {
        async fn handle(&self, _: &Delivery) -> Verdict {
            Verdict::Done
        }
    }

    #[tokio::test]
    async fn a_session_in_which_carrying_out_panics_ends() {
        let config = Config { brokers: vec!["127.0.0.1:1".to_owned()], ..Config::default() };
        let instruments = Instruments::new(&Metrics::new("test"));
        let sink = Arc::new(Sink::new(&config).unwrap());
        let lot = Lot::new(&config, Uuid::nil(), "in", sink, instruments.clone()).unwrap();
        let (standing, retry_for) = (Standing::new("in", lot.logs()), Duration::ZERO);
        let hand = Hand { handler: Nothing, lot, instruments, standing, retry_for };
        let mut session = Session::join(&config, "in", Arc::new(hand)).unwrap();
        session.running.spawn(async { panic!("beside the handler") });
        let ended = session.run(pending()).await.unwrap_err();
        assert!(cause_of(&ended).contains("beside the handler"), "{ended:?}");
    }
}
