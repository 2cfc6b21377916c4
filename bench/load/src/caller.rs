//! One caller: a connection and what goes over it.

use crate::{
    arrivals::Arrivals,
    check::{self, Placed, Wrong},
    client::{Client, Lost},
    plan::Plan,
    tally::{Asked, End, Operation, Times},
};
use bytes::Bytes;
use http::{Request, Response};
use http_body_util::Full;
use std::{fmt::Display, io, sync::Arc, time::Duration};
use tokio::time::{Instant, sleep};

/// Keeps a closed loop from spinning while the service is away.
const AFTER_NO_CONNECTION: Duration = Duration::from_millis(20);

#[derive(Debug)]
pub(crate) struct Caller {
    client: Client,
    plan: Arc<Plan>,
}

impl Caller {
    pub(crate) fn new(client: Client, plan: Arc<Plan>) -> Self {
        Self { client, plan }
    }

    /// Sends the next request when the last one is answered.
    pub(crate) async fn closed(mut self, until: Instant) {
        loop {
            let now = Instant::now();
            if now >= until {
                break;
            }
            self.perform(self.plan.next_sequence(), now).await;
        }
        self.finish();
    }

    /// Takes arrivals as they come due, or late when it was busy.
    pub(crate) async fn open(mut self, arrivals: Arc<Arrivals>) -> io::Result<()> {
        while let Some(intended) = arrivals.next(&self.plan).await? {
            self.perform(self.plan.next_sequence(), intended).await;
        }
        self.finish();
        Ok(())
    }

    /// Reads one order back and says whether it is the one acknowledged.
    pub(crate) async fn read(&mut self, placed: &Placed, intended: Instant) -> bool {
        let request = self.plan.read(placed);
        let (times, answer) = self.exchange(request, intended).await;
        let end = self.judged(answer, |answer| check::read(answer, placed));
        let right = matches!(end, End::Right);
        self.count(self.asked(Operation::Read, placed.sequence), times, end, &placed.id).await;
        right
    }

    fn finish(&mut self) {
        self.plan.tally().reconnects += self.client.take_reconnects();
    }

    async fn perform(&mut self, sequence: u64, intended: Instant) {
        let mut work = self.plan.work(sequence);
        let known = if work.read { self.plan.tally().orders.pick(&mut work.rng) } else { None };
        if let Some(placed) = known {
            self.read(&placed, intended).await;
        } else if let Some(placed) = self.create(sequence, intended).await {
            if work.replay {
                self.replay(sequence, &placed).await;
            }
            self.plan.tally().acknowledge(placed);
        }
    }

    async fn create(&mut self, sequence: u64, intended: Instant) -> Option<Placed> {
        let (times, answer) = self.exchange(self.plan.create(sequence), intended).await;
        let basket = self.plan.basket(sequence);
        let (end, placed) = match answer {
            Ok(answer) => match self.plan.refusal(&answer, Some(basket)) {
                Some(code) => (End::Refused(code), None),
                None => match check::created(&answer, basket.expected.as_ref(), sequence) {
                    Ok(placed) => (End::Right, Some(placed)),
                    Err(wrong) => (End::Wrong(wrong), None),
                },
            },
            Err(lost) => (End::Lost(lost), None),
        };
        let asked = self.asked(Operation::Create, sequence);
        self.count(asked, times, end, &self.plan.key(sequence)).await;
        placed
    }

    async fn replay(&mut self, sequence: u64, placed: &Placed) {
        let request = self.plan.create(sequence);
        let (times, answer) = self.exchange(request, Instant::now()).await;
        let end = self.judged(answer, |answer| check::replayed(answer, placed));
        let asked = self.asked(Operation::Replay, sequence);
        self.count(asked, times, end, &self.plan.key(sequence)).await;
    }

    async fn exchange(
        &mut self,
        request: Request<Full<Bytes>>,
        intended: Instant,
    ) -> (Times, Result<Response<Bytes>, Lost>) {
        let sent = Instant::now();
        let answer = self.client.send(request).await;
        (Times { intended, sent, done: Instant::now() }, answer)
    }

    /// How a request ended whose answer had to be as `check` says.
    fn judged(
        &self,
        answer: Result<Response<Bytes>, Lost>,
        check: impl FnOnce(&Response<Bytes>) -> Result<(), Wrong>,
    ) -> End {
        match answer {
            Ok(answer) => match self.plan.refusal(&answer, None) {
                Some(code) => End::Refused(code),
                None => check(&answer).into(),
            },
            Err(lost) => End::Lost(lost),
        }
    }

    fn asked(&self, operation: Operation, sequence: u64) -> Asked<'_> {
        Asked { operation, group: self.plan.group(sequence) }
    }

    async fn count(&self, asked: Asked<'_>, times: Times, end: End, about: &(dyn Display + Sync)) {
        let away = matches!(end, End::Lost(Lost::Connect(_)));
        self.plan.tally().count(asked, times, end, &about);
        if away {
            sleep(AFTER_NO_CONNECTION).await;
        }
    }
}

impl From<Result<(), Wrong>> for End {
    fn from(checked: Result<(), Wrong>) -> Self {
        checked.map_or_else(Self::Wrong, |()| Self::Right)
    }
}
