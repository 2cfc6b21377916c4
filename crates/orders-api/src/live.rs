//! The live feed, for both protocols: it never skips an event, and says where to go on when it ends.

mod watchers;

use std::{
    collections::VecDeque,
    hash::{DefaultHasher, Hash as _, Hasher as _},
    time::Duration,
};

use futures_util::{Stream, stream};
use mainstay::lifecycle::Phase;
use mainstay_context::Context;
use orders::{
    domain::Position,
    ports::{Event, FeedPage, Page, Ports},
};
use tokio::{
    sync::watch,
    time::{Instant, sleep, sleep_until},
};

pub use watchers::Watchers;

use self::watchers::Watcher;
use crate::{
    api::{Api, use_case},
    problem::{Code, Problem},
};

/// How long a feed is silent at most, so that proxies do not take it for dead.
const KEEP_ALIVE: Duration = Duration::from_secs(15);
/// The least time between a wake and the read that follows: one read tells of several commits.
const PACE: Duration = Duration::from_millis(20);
/// How often the time is doubled when a wake was for nothing, to 640 ms: other tenants' events
/// wake a feed too, and feeds that have nothing to tell must not take the reads of the others.
const SLOWEST: u32 = 5;
/// Events read at a time.
pub(crate) const PAGE: usize = 100;
/// The least time until a store that was busy is asked again, which goes on for [`KEEP_ALIVE`].
const REST: Duration = Duration::from_millis(250);
/// How soon a client connects again after an end, at the earliest.
const RETRY: Duration = Duration::from_secs(1);

/// What a client is told at a time.
pub(crate) struct Told {
    /// Where the client goes on from after this.
    pub(crate) position: Position,
    pub(crate) what: What,
}

/// What there is to tell.
pub(crate) enum What {
    Event(Event),
    /// Nothing, and that has lasted.
    Alive,
    /// The service stops, so that the feed ends; what to wait before the next one.
    Draining(Duration),
    /// The feed cannot go on; what to wait before the next one.
    Failed(Problem, Duration),
}

/// A page of the feed, in the time of one step.
pub(crate) async fn page<P: Ports>(
    api: &Api<P>,
    cx: &Context,
    page: Page<Position>,
) -> Result<FeedPage, Problem> {
    let step = api.step(cx);
    api.in_time(use_case("feed", api.orders.feed(&step, page))).await
}

/// The position after which a client wants to be told.
pub(crate) fn after(number: u64) -> Result<Position, Problem> {
    let wrong = || Problem::unreadable("after", "must be a position of the feed");
    position(number).ok_or_else(wrong)
}

/// A position that a store can hold.
pub(crate) fn position(number: u64) -> Option<Position> {
    (i64::try_from(number).is_ok()).then_some(Position(number))
}

/// One client's live feed.
pub(crate) struct Live<P> {
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
    pub(crate) fn new(api: Api<P>, cx: Context, page: FeedPage) -> Self {
        let phase = api.config.phase.clone();
        let beat = Instant::now() + KEEP_ALIVE;
        let told =
            page.events.first().map_or(page.next, |e| Position(e.position.0.saturating_sub(1)));
        let told = api.config.watchers.add(told);
        let (queue, seen, ended) = (page.events.into(), page.next, false);
        Self { api, cx, phase, queue, told, seen, beat, busy: None, idle: 0, draws: 0, ended }
    }

    /// All that the client is told, until the feed ends.
    pub(crate) fn told(self) -> impl Stream<Item = Told> + Send {
        stream::unfold(self, Self::next)
    }

    async fn next(mut self) -> Option<(Told, Self)> {
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
                    return Some((self.fail(problem), self));
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
        let page = self::page(&self.api, &self.cx, page).await?;
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

    fn tell(&mut self, event: Event) -> Told {
        self.told.tell(event.position);
        self.say(What::Event(event))
    }

    /// The position goes along, so that a client that is told nothing for long does not fall too far
    /// back.
    fn keep_alive(&mut self) -> Told {
        self.say(What::Alive)
    }

    fn drain(&mut self) -> Told {
        let retry = self.spread(RETRY);
        self.say(What::Draining(retry))
    }

    fn fail(&mut self, problem: Problem) -> Told {
        problem.log();
        let retry = self.spread(RETRY);
        self.say(What::Failed(problem, retry))
    }

    fn say(&mut self, what: What) -> Told {
        self.beat = Instant::now() + KEEP_ALIVE;
        Told { position: self.told.told(), what }
    }
}
