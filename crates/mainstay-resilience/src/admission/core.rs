//! Who is in service, who waits, and whose turn it is. Time is passed in.

use super::{Config, Reason, lag::Lag};
use std::{
    collections::{HashMap, VecDeque},
    sync::Arc,
    time::{Duration, Instant},
};
use tokio::sync::oneshot;

/// Whose work it is: its tenant's, or that of all who are nobody's.
pub(super) type Owner = Arc<str>;

/// By what part a time of service moves the usual one.
const SHARE: u32 = 64;

#[derive(Debug)]
pub(super) struct Core {
    config: Config,
    in_service: usize,
    /// How many places each owner has that has any.
    places: HashMap<Owner, usize>,
    /// Each owner that waits, once, in the order of turns.
    turns: VecDeque<Owner>,
    lines: HashMap<Owner, VecDeque<Waiter>>,
    waiting: usize,
    /// How many have waited since the start: each has its number.
    numbers: u64,
    /// The usual time of service of late.
    usual: Option<Duration>,
    /// How long requests wait to be taken up.
    pub(super) lag: Lag,
}

#[derive(Debug)]
struct Waiter {
    number: u64,
    deadline: Instant,
    called: oneshot::Sender<()>,
}

/// How somebody came in.
#[derive(Debug)]
pub(super) enum Entry {
    /// A place was free.
    Served,
    /// In the queue: under this number, and called when a place is its own.
    Queued(u64, oneshot::Receiver<()>),
}

/// Somebody who asks to be served.
pub(super) struct Ask<'a> {
    pub(super) owner: &'a Owner,
    pub(super) deadline: Option<Instant>,
    /// How long it had waited when it was taken up.
    pub(super) waited: Duration,
    /// How long it would wait behind this, once it is served.
    pub(super) beyond: Duration,
}

impl Core {
    pub(super) fn new(config: Config, processors: usize) -> Self {
        Self {
            config: Config { in_service: config.in_service.max(1), ..config },
            in_service: 0,
            places: HashMap::new(),
            turns: VecDeque::new(),
            lines: HashMap::new(),
            waiting: 0,
            numbers: 0,
            usual: None,
            lag: Lag::new(processors),
        }
    }

    /// Serves, queues or refuses. Who is refused is told why, and how long it would have waited.
    pub(super) fn enter(
        &mut self,
        ask: &Ask<'_>,
        now: Instant,
    ) -> Result<Entry, (Reason, Duration)> {
        let is_free = self.in_service < self.config.in_service && !self.has_its_share(ask.owner);
        let wait = if is_free { Duration::ZERO } else { self.expected(ask.owner) };
        if self.lag.refuses(ask.owner, ask.waited, self.in_service, now) {
            return Err((Reason::Behind, wait.saturating_add(ask.waited)));
        }
        let wait = wait.saturating_add(ask.beyond);
        let left = ask.deadline.map(|at| at.saturating_duration_since(now));
        if left.is_some_and(|left| left < wait) {
            return Err((Reason::Late, wait));
        }
        if is_free {
            self.lag.lets_in();
            self.serve(ask.owner);
            return Ok(Entry::Served);
        }
        // Every wait has an end: who has none does not wait.
        let Some(deadline) = ask.deadline.filter(|_| self.waiting < self.config.queue) else {
            return Err((Reason::Full, wait));
        };
        if self.line(ask.owner) >= self.config.queue_per_tenant {
            return Err((Reason::Share, wait));
        }
        self.lag.lets_in();
        Ok(self.queue(ask.owner, deadline))
    }

    fn queue(&mut self, owner: &Owner, deadline: Instant) -> Entry {
        let (called, call) = oneshot::channel();
        self.waiting += 1;
        self.numbers += 1;
        let waiter = Waiter { number: self.numbers, deadline, called };
        if let Some(line) = self.lines.get_mut(owner) {
            line.push_back(waiter);
        } else {
            self.lines.insert(Arc::clone(owner), VecDeque::from([waiter]));
            self.turns.push_back(Arc::clone(owner));
        }
        Entry::Queued(self.numbers, call)
    }

    /// Gives the place that one of this owner left to the next, as [`more`](Self::more) does.
    pub(super) fn next(
        &mut self,
        left: &Owner,
        now: Instant,
    ) -> Option<(Owner, oneshot::Sender<()>)> {
        self.free(left);
        self.more(now)
    }

    /// Gives a free place to the next whose time is not spent: the longest waiting one of each owner in
    /// turn, of those who may have it.
    ///
    /// One that is left may be as good as two: when it goes to another, whoever left it has fewer than it
    /// may have.
    pub(super) fn more(&mut self, now: Instant) -> Option<(Owner, oneshot::Sender<()>)> {
        while self.in_service < self.config.in_service
            && let Some((owner, waiter)) = self.take()
        {
            if waiter.deadline > now {
                self.serve(&owner);
                return Some((owner, waiter.called));
            }
        }
        None
    }

    fn serve(&mut self, owner: &Owner) {
        self.in_service += 1;
        *self.places.entry(Arc::clone(owner)).or_default() += 1;
    }

    fn free(&mut self, owner: &Owner) {
        let Some(places) = self.places.get_mut(owner) else { return };
        *places -= 1;
        if *places == 0 {
            self.places.remove(owner);
        }
        self.in_service -= 1;
    }

    /// Whether an owner has as many places as it may.
    fn has_its_share(&self, owner: &Owner) -> bool {
        self.places.get(owner).is_some_and(|places| *places >= self.share(*places))
    }

    /// The most places of an owner that has so many now: three quarters of what the others leave, so that
    /// those whose requests take long, such as those whose bodies come slowly, leave some to whoever comes
    /// next, however many of them there are. It is the dynamic threshold of shared buffers in switches
    /// (Choudhury and Hahne, 1998).
    const fn share(&self, own: usize) -> usize {
        let left = self.config.in_service - (self.in_service - own);
        left - left / 4
    }

    /// Whose turn it is of those who may have another place; an owner that may not keeps its turn.
    fn take(&mut self) -> Option<(Owner, Waiter)> {
        let at = self.turns.iter().position(|owner| !self.has_its_share(owner))?;
        let owner = self.turns.remove(at)?;
        let line = self.lines.get_mut(&owner)?;
        let waiter = line.pop_front()?;
        self.waiting -= 1;
        if line.is_empty() {
            self.lines.remove(&owner);
        } else {
            self.turns.push_back(Arc::clone(&owner));
        }
        Some((owner, waiter))
    }

    /// Somebody waits no longer.
    pub(super) fn leave(&mut self, owner: &Owner, number: u64) {
        let Some(line) = self.lines.get_mut(owner) else { return };
        let Some(at) = line.iter().position(|waiter| waiter.number == number) else { return };
        line.remove(at);
        self.waiting -= 1;
        if line.is_empty() {
            self.lines.remove(owner);
            self.turns.retain(|turn| turn != owner);
        }
    }

    /// Learns from a service that took this long.
    pub(super) fn served(&mut self, took: Duration) {
        let usual = self.usual.unwrap_or(took);
        self.usual = Some((usual / SHARE).saturating_mul(SHARE - 1).saturating_add(took / SHARE));
    }

    /// How long a newcomer of this owner would wait for its place: one becomes free each time that
    /// the usual time of service is over for one of those in service. An owner that has its share of
    /// the places waits for its own.
    fn expected(&self, owner: &Owner) -> Duration {
        let wait = |before: usize, places: usize| {
            let places = u32::try_from(places).unwrap_or(u32::MAX);
            let turn = u32::try_from(before + 1).unwrap_or(u32::MAX);
            self.usual().saturating_mul(turn) / places
        };
        let all = wait(self.before(owner), self.config.in_service);
        match self.places.get(owner).map(|places| (*places, self.share(*places))) {
            Some((places, share)) if places >= share => all.max(wait(self.line(owner), share)),
            Some(_) | None => all,
        }
    }

    /// How many have their turn before a newcomer of this owner.
    fn before(&self, owner: &Owner) -> usize {
        let own = self.line(owner);
        if own == 0 {
            return self.turns.len();
        }
        let others = self.lines.iter().filter(|(other, _)| *other != owner);
        own + others.map(|(_, line)| line.len().min(own + 1)).sum::<usize>()
    }

    fn line(&self, owner: &Owner) -> usize {
        self.lines.get(owner).map_or(0, VecDeque::len)
    }

    pub(super) const fn in_service(&self) -> usize {
        self.in_service
    }

    pub(super) const fn waiting(&self) -> usize {
        self.waiting
    }

    /// How many owners wait.
    pub(super) fn owners(&self) -> usize {
        self.turns.len()
    }

    pub(super) fn usual(&self) -> Duration {
        self.usual.unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    fn start() -> Instant {
        tokio::time::Instant::now().into_std()
    }

    /// With one place, which is taken, and which is usually taken for 10 ms.
    fn busy() -> Core {
        let config = Config { in_service: 1, queue: 100, queue_per_tenant: 90 };
        let mut core = Core::new(config, 1);
        core.served(10 * MS);
        assert!(matches!(enter(&mut core, "first", 0, 0), Ok(Entry::Served)));
        core
    }

    /// Somebody with this many milliseconds left, who would wait this many behind.
    fn enter(
        core: &mut Core,
        owner: &str,
        left: u32,
        beyond: u32,
    ) -> Result<Entry, (Reason, Duration)> {
        let now = start();
        let (deadline, waited) = (Some(now + left * MS), Duration::ZERO);
        core.enter(&Ask { owner: &owner.into(), deadline, waited, beyond: beyond * MS }, now)
    }

    #[test]
    fn who_cannot_be_served_in_time_is_refused_by_what_waits_before_it() {
        let mut core = busy();
        for _ in 0..4 {
            assert!(matches!(enter(&mut core, "a", 1_000, 0), Ok(Entry::Queued(..))));
        }
        assert_eq!(enter(&mut core, "a", 49, 0).unwrap_err(), (Reason::Late, 50 * MS));
        assert!(matches!(enter(&mut core, "a", 50, 0), Ok(Entry::Queued(..))));
        // Only one of the others has its turn before this one.
        assert!(matches!(enter(&mut core, "b", 20, 0), Ok(Entry::Queued(..))));
        assert_eq!(enter(&mut core, "c", 29, 0).unwrap_err(), (Reason::Late, 30 * MS));
    }

    #[test]
    fn what_waits_behind_counts_as_well_also_where_a_place_is_free() {
        let mut core = Core::new(Config::default(), 1);
        assert_eq!(enter(&mut core, "a", 99, 100).unwrap_err(), (Reason::Late, 100 * MS));
        assert!(matches!(enter(&mut core, "a", 100, 100), Ok(Entry::Served)));
        assert_eq!((core.in_service(), core.waiting()), (1, 0));
        let mut core = busy();
        assert_eq!(enter(&mut core, "a", 19, 10).unwrap_err(), (Reason::Late, 20 * MS));
    }

    #[test]
    fn who_has_no_deadline_does_not_wait() {
        let mut core = busy();
        let ask = Ask {
            owner: &"a".into(),
            deadline: None,
            waited: Duration::ZERO,
            beyond: Duration::ZERO,
        };
        assert_eq!(core.enter(&ask, start()).unwrap_err().0, Reason::Full);
        core.next(&"first".into(), start());
        assert!(matches!(core.enter(&ask, start()), Ok(Entry::Served)));
    }

    #[test]
    fn a_tenant_that_has_its_share_of_the_places_leaves_the_rest_to_others() {
        let mut core = Core::new(Config { in_service: 8, queue: 100, queue_per_tenant: 90 }, 1);
        core.served(12 * MS);
        let serve = |core: &mut Core, owner: &str, count: usize| {
            let entries = (0..count).map(|_| enter(core, owner, 1_000, 0));
            entries.filter(|entry| matches!(entry, Ok(Entry::Served))).count()
        };
        assert_eq!((serve(&mut core, "a", 6), core.in_service()), (6, 6));
        let (_, mut first) = queued(&mut core, "a", 1_000);
        // Two in six places, of which one is left every two milliseconds.
        assert_eq!(enter(&mut core, "a", 3, 0).unwrap_err(), (Reason::Late, 4 * MS));
        assert_eq!((serve(&mut core, "b", 3), core.in_service(), core.waiting()), (2, 8, 2));
        // What another leaves is not for whoever has its share, though it has waited for longer.
        assert_eq!(&*core.next(&"b".into(), start()).unwrap().0, "b");
        assert!(core.next(&"b".into(), start()).is_none());
        assert_eq!((core.in_service(), core.waiting()), (7, 1));
        let (owner, called) = core.next(&"a".into(), start()).unwrap();
        called.send(()).unwrap();
        assert_eq!((&*owner, first.try_recv()), ("a", Ok(())));
        assert_eq!((core.in_service(), core.waiting()), (7, 0));
    }

    #[test]
    fn whatever_two_tenants_ask_for_a_third_finds_a_place() {
        let mut core = Core::new(Config { in_service: 16, queue: 100, queue_per_tenant: 90 }, 1);
        let mut ask = |owner: &str| {
            let entries = (0..40).map(|_| enter(&mut core, owner, 1_000, 0));
            entries.filter(|entry| matches!(entry, Ok(Entry::Served))).count()
        };
        assert_eq!([ask("a"), ask("b")], [12, 3]);
        // Who has more than its part of what is left now gives it up as its requests end.
        let places = |core: &Core| ["a", "b"].map(|owner| core.places[owner]);
        for _ in 0..3 {
            assert_eq!(&*core.next(&"a".into(), start()).unwrap().0, "b");
            assert!(core.more(start()).is_none());
        }
        assert_eq!((places(&core), core.in_service()), ([9, 6], 15));
        // And so it stays, however their requests end.
        for left in ["b", "a", "a", "b", "b", "b"] {
            let mut next = core.next(&left.into(), start());
            while next.is_some() {
                next = core.more(start());
            }
            assert!(core.in_service() < 16, "{:?}", places(&core));
            assert!(places(&core).iter().all(|places| *places > 4), "{:?}", places(&core));
        }
        assert!(matches!(enter(&mut core, "c", 1_000, 0), Ok(Entry::Served)));
    }

    #[test]
    fn a_place_that_goes_to_another_may_leave_one_for_whoever_left_it() {
        let mut core = Core::new(Config { in_service: 7, queue: 100, queue_per_tenant: 90 }, 1);
        let serve = |core: &mut Core, owner: &str| {
            let mut entries = (0..3).map(|_| enter(core, owner, 1_000, 0));
            assert!(entries.all(|entry| matches!(entry, Ok(Entry::Served))));
        };
        serve(&mut core, "a");
        serve(&mut core, "b");
        let _waiting = [queued(&mut core, "b", 1_000), queued(&mut core, "a", 1_000)];
        assert_eq!(&*core.next(&"a".into(), start()).unwrap().0, "b");
        assert_eq!(&*core.more(start()).unwrap().0, "a");
        assert!(core.more(start()).is_none());
        assert_eq!((core.in_service(), core.waiting()), (7, 0));
    }

    #[test]
    fn a_tenant_that_has_its_share_of_the_queue_leaves_the_rest_to_others() {
        let mut core = Core::new(Config { in_service: 1, queue: 100, queue_per_tenant: 90 }, 1);
        assert!(matches!(enter(&mut core, "a", 1, 0), Ok(Entry::Served)));
        let mut fill = |owner: &str, count: usize| {
            let entries = (0..count).map(|_| enter(&mut core, owner, 1, 0));
            entries.filter_map(Result::err).map(|(reason, _)| reason).collect::<Vec<_>>()
        };
        assert_eq!(fill("a", 91), [Reason::Share]);
        assert_eq!(fill("b", 11), [Reason::Full]);
        assert_eq!((core.waiting(), core.owners()), (100, 2));
    }

    #[test]
    fn whose_time_is_spent_is_passed_over() {
        let mut core = busy();
        let (_, mut spent) = queued(&mut core, "a", 20);
        let (_, mut called) = queued(&mut core, "b", 1_000);
        let (_, next) = core.next(&"first".into(), start() + 30 * MS).unwrap();
        next.send(()).unwrap();
        assert!(called.try_recv().is_ok());
        assert!(spent.try_recv().is_err());
        assert_eq!((core.in_service(), core.waiting()), (1, 0));
    }

    #[test]
    fn who_leaves_takes_nobody_along() {
        let mut core = busy();
        let (first, _call) = queued(&mut core, "a", 1_000);
        let (_, mut second) = queued(&mut core, "a", 1_000);
        let owner = "a".into();
        core.leave(&owner, first);
        core.leave(&owner, first);
        assert_eq!((core.waiting(), core.owners()), (1, 1));
        core.next(&"first".into(), start()).unwrap().1.send(()).unwrap();
        assert!(second.try_recv().is_ok());
        assert_eq!((core.waiting(), core.owners(), core.in_service()), (0, 0, 1));
        assert!(core.next(&owner, start()).is_none());
        assert_eq!(core.in_service(), 0);
    }

    #[test]
    fn the_usual_time_follows_the_times_of_service() {
        let mut core = Core::new(Config::default(), 1);
        core.served(64 * MS);
        assert_eq!(core.usual(), 64 * MS);
        core.served(128 * MS);
        assert_eq!(core.usual(), 65 * MS);
        for _ in 0..600 {
            core.served(MS);
        }
        assert!(core.usual() < 2 * MS, "{:?}", core.usual());
    }

    fn queued(core: &mut Core, owner: &str, left: u32) -> (u64, oneshot::Receiver<()>) {
        match enter(core, owner, left, 0) {
            Ok(Entry::Queued(number, call)) => (number, call),
            other => panic!("{other:?}"),
        }
    }
}
