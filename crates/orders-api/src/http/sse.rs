//! The live feed: server-sent events that never skip one, and say where to go on when they end.

use std::{
    collections::VecDeque,
    convert::Infallible,
    hash::{DefaultHasher, Hash as _, Hasher as _},
    time::Duration,
};

use ::orders::{
    domain::Position,
    ports::{Event, FeedPage, Page, Ports},
};
use axum::response::{IntoResponse, Response, sse};
use futures_util::stream;
use mainstay::lifecycle::Phase;
use mainstay_context::Context;
use tokio::{
    sync::watch,
    time::{Instant, sleep, sleep_until},
};

use super::watchers::Watcher;
use crate::{
    api::{Api, use_case},
    problem::{Code, Problem},
    wire::event::CloudEvent,
};

/// How long a feed is silent at most, so that proxies do not take it for dead.
const KEEP_ALIVE: Duration = Duration::from_secs(15);
/// The least time between a wake and the read that follows: one read tells of several commits.
const PACE: Duration = Duration::from_millis(20);
/// How often the time is doubled when a wake was for nothing, to 640 ms: other tenants' events
/// wake a feed too, and feeds that have nothing to tell must not take the reads of the others.
const SLOWEST: u32 = 5;
/// Events read at a time.
const PAGE: usize = 100;
/// The least time until a store that was busy is asked again, which goes on for [`KEEP_ALIVE`].
const REST: Duration = Duration::from_millis(250);
/// How soon a client connects again after an end, at the earliest.
const RETRY: Duration = Duration::from_secs(1);

/// One client's live feed.
pub(super) struct Live<P> {
    api: Api<P>,
    cx: Context,
    phase: watch::Receiver<Phase>,
    queue: VecDeque<Event>,
    /// The last position the client knows of.
    told: Watcher,
    /// Everything up to here was looked at.
    seen: Position,
    /// When the feed was silent for too long.
    beat: Instant,
    /// Since when the store has been too busy for this feed.
    busy: Option<Instant>,
    /// How often in a row a read found nothing.
    idle: u32,
    /// How often a wait was drawn.
    draws: u64,
    ended: bool,
}

/// Why a waiting feed goes on.
enum Woken {
    /// There may be more to read, or a busy store had its rest.
    Grew,
    Silent,
    Draining,
    CallerGone,
}

impl<P: Ports> Live<P> {
    /// A feed that goes on from this page.
    pub(super) fn new(api: Api<P>, cx: Context, page: FeedPage) -> Self {
        let phase = api.config.phase.clone();
        let beat = Instant::now() + KEEP_ALIVE;
        let told =
            page.events.first().map_or(page.next, |e| Position(e.position.0.saturating_sub(1)));
        let told = api.config.watchers.add(told);
        let (queue, seen, ended) = (page.events.into(), page.next, false);
        Self { api, cx, phase, queue, told, seen, beat, busy: None, idle: 0, draws: 0, ended }
    }

    async fn next(mut self) -> Option<(sse::Event, Self)> {
        while !self.ended {
            if *self.phase.borrow() >= Phase::Draining {
                self.ended = true;
                return Some((self.drain(), self));
            }
            if let Some(event) = self.queue.pop_front() {
                return Some((self.tell(event), self));
            }
            self.told.tell(self.seen);
            match self.read().await {
                Ok(()) if !self.queue.is_empty() => continue,
                Ok(()) => {}
                Err(problem) if self.bears(&problem) => {}
                Err(problem) => {
                    self.ended = true;
                    return Some((self.fail(&problem), self));
                }
            }
            match self.wait().await {
                Woken::Grew => sleep(self.pace()).await,
                Woken::Draining => {}
                Woken::CallerGone => self.ended = true,
                Woken::Silent => return Some((self.keep_alive(), self)),
            }
        }
        None
    }

    async fn read(&mut self) -> Result<(), Problem> {
        let page = Page { after: Some(self.seen), limit: PAGE };
        let step = self.api.step(&self.cx);
        let page = self.api.in_time(use_case("feed", self.api.orders.feed(&step, page))).await?;
        self.busy = None;
        self.seen = page.next;
        self.queue = page.events.into();
        self.idle = if self.queue.is_empty() { self.idle.saturating_add(1) } else { 0 };
        if self.queue.is_empty() {
            self.told.tell(self.seen);
        }
        Ok(())
    }

    /// Whether to ask again in spite of this problem. To end would not help a store with too much
    /// to do: the client would only connect again.
    fn bears(&mut self, problem: &Problem) -> bool {
        let busy = problem.code == Code::StoreBusy;
        busy && self.busy.get_or_insert_with(Instant::now).elapsed() < KEEP_ALIVE
    }

    /// A time between this and its double, so that feeds that one commit wakes do not all read at
    /// once.
    fn spread(&mut self, least: Duration) -> Duration {
        self.draws += 1;
        let mut hasher = DefaultHasher::new();
        (self.cx.request_id(), self.told.told().0, self.draws).hash(&mut hasher);
        let per_mille = u32::try_from(hasher.finish() % 1_000).unwrap_or_default();
        least + least * per_mille / 1_000
    }

    /// The time between a wake and the read: longer, the more wakes were for nothing. The first
    /// empty read in a row only says that everything was told.
    fn pace(&mut self) -> Duration {
        let doubled = self.idle.saturating_sub(1).min(SLOWEST);
        self.spread(PACE * 2_u32.pow(doubled))
    }

    async fn wait(&mut self) -> Woken {
        let (rest, busy) = (self.spread(REST), self.busy.is_some());
        tokio::select! {
            biased;
            // A sender that is gone means that the process ends.
            _ = self.phase.wait_for(|phase| *phase >= Phase::Draining) => Woken::Draining,
            _ = self.cx.cancelled() => Woken::CallerGone,
            () = sleep_until(self.beat) => Woken::Silent,
            () = sleep(rest), if busy => Woken::Grew,
            () = self.api.orders.feed_grows(self.seen), if !busy => Woken::Grew,
        }
    }

    fn tell(&mut self, event: Event) -> sse::Event {
        self.told.tell(event.position);
        let event = CloudEvent::from(event);
        let data = serde_json::to_string(&event).unwrap_or_default();
        self.frame().event(event.kind).data(data)
    }

    /// The id goes along, so that a client that is told nothing for long does not fall too far back.
    fn keep_alive(&mut self) -> sse::Event {
        self.frame().comment("keep-alive")
    }

    fn drain(&mut self) -> sse::Event {
        let data = serde_json::json!({ "next": self.told.told().to_string() }).to_string();
        let retry = self.spread(RETRY);
        self.frame().retry(retry).event("drain").data(data)
    }

    fn fail(&mut self, problem: &Problem) -> sse::Event {
        problem.log();
        let data = serde_json::to_string(&problem.body(&self.cx)).unwrap_or_default();
        let retry = self.spread(RETRY);
        self.frame().retry(retry).event("problem").data(data)
    }

    fn frame(&mut self) -> sse::Event {
        self.beat = Instant::now() + KEEP_ALIVE;
        sse::Event::default().id(self.told.told().to_string())
    }
}

impl<P: Ports> IntoResponse for Live<P> {
    fn into_response(self) -> Response {
        let next = async |live: Self| {
            live.next().await.map(|(event, live)| (Ok::<_, Infallible>(event), live))
        };
        sse::Sse::new(stream::unfold(self, next)).into_response()
    }
}
