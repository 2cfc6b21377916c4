//! How long requests wait for a thread to take them up, and which are refused because of it. Time is
//! passed in.
//!
//! Where the processor is what is short, requests wait before anybody has seen them: in their sockets,
//! and in the line of tasks that are ready to run. Nothing is gained by a long line there, and whoever
//! stands in it is served too late, if at all. So when many have waited for long, for several windows in a
//! row, the threads count as behind. Then what has waited for longer than a short line takes is refused, and
//! what would be more in service than keeps the processors busy, until the line stays short: what is served
//! is then served in time, and a refusal comes as early. It is CoDel's idea (Nichols and Jacobson, 2012; RFC
//! 8289) as servers use it: a wait in the line that stays tells of overload; one that comes and goes does
//! not, and the time of service, which a slow disk makes long, has no part in it.

use super::core::Owner;
use std::{
    collections::HashMap,
    mem,
    sync::Arc,
    time::{Duration, Instant},
};

/// The time after which it is judged how long requests have waited.
const WINDOW: Duration = Duration::from_millis(200);
/// How many windows in a row have to tell of long waits: threads may be held up by what is no fault of
/// what is asked, such as other processes, and a herd may come and go.
const BEHIND_AFTER: u32 = 3;
/// How many have to tell that refusing as usual does not make the line short.
const FAR_AFTER: u32 = 2;
/// How many have to tell that less would do. Otherwise each short line would let in a herd that makes it
/// long.
const BETTER_AFTER: u32 = 5;
/// After how many windows, 30 s, it is tried to refuse nobody: whoever asks again as soon as it is refused
/// keeps the line long that is made of such, and all of them might be served.
const TRY_AFTER: u32 = 150;
/// What is a long wait, in the eyes of whoever waits for the answer.
const LONG: Duration = Duration::from_millis(100);
/// How long the line may be once the threads are behind.
const LATE: Duration = Duration::from_millis(2);
/// How many may be in service for each processor once the threads are behind: what is let in makes its work
/// later, when its turn in the store comes, and all that came meanwhile would wait for it.
const BUSY: usize = 16;
/// Fewer in a window are no line: it would get no shorter by refusing some.
const LINE: usize = 16;

/// How far the threads are behind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Behind {
    /// They are not.
    #[default]
    Not,
    /// Who asks for more than its part is refused, which takes of the processor too.
    Somewhat,
    /// Whoever waited is refused before anything is known of it, because the line stayed long.
    Far,
}

impl Behind {
    /// Its name, for people.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Not => "not",
            Self::Somewhat => "somewhat",
            Self::Far => "far",
        }
    }
}

#[derive(Debug)]
pub(super) struct Lag {
    /// So many in service keep the processors busy.
    busy: usize,
    behind: Behind,
    /// How many windows in a row said that it is worse, and that it is better.
    worse: u32,
    better: u32,
    /// How many windows ago it was tried last to refuse nobody.
    tried: u32,
    window: Option<Window>,
    shares: Shares,
}

#[derive(Debug)]
struct Window {
    since: Instant,
    taken_up: usize,
    late: usize,
    long: usize,
}

impl Window {
    /// Whether the line is too long for what is done about it.
    const fn is_worse(&self, behind: Behind) -> bool {
        match behind {
            Behind::Not => self.taken_up >= LINE && 4 * self.long > self.taken_up,
            Behind::Somewhat => 2 * self.late > self.taken_up,
            Behind::Far => false,
        }
    }

    /// Whether less would do.
    const fn is_better(&self, behind: Behind) -> bool {
        match behind {
            Behind::Not => true,
            Behind::Somewhat => 8 * self.late < self.taken_up,
            Behind::Far => 4 * self.late < self.taken_up,
        }
    }
}

impl Lag {
    /// Nobody waits yet; `processors` do the work.
    pub(super) fn new(processors: usize) -> Self {
        let busy = processors.saturating_mul(BUSY);
        Self {
            busy,
            behind: Behind::Not,
            worse: 0,
            better: 0,
            tried: 0,
            window: None,
            shares: Shares::default(),
        }
    }

    pub(super) const fn behind(&self) -> Behind {
        self.behind
    }

    /// A request is taken up that has waited for so long, while so many are in service; says whether to
    /// refuse it before anything is known of it.
    pub(super) fn takes_up(&mut self, waited: Duration, in_service: usize, now: Instant) -> bool {
        let begin = Window { since: now, taken_up: 0, late: 0, long: 0 };
        let window = self.window.get_or_insert(begin);
        window.taken_up += 1;
        window.late += usize::from(waited > LATE);
        window.long += usize::from(waited > LONG);
        if now.saturating_duration_since(window.since) >= WINDOW
            && let Some(window) = self.window.take()
        {
            self.judge(&window, now);
        }
        self.behind == Behind::Far && self.is_too_much(waited, in_service)
    }

    fn judge(&mut self, window: &Window, now: Instant) {
        let took = now.saturating_duration_since(window.since);
        self.worse = if window.is_worse(self.behind) { self.worse + 1 } else { 0 };
        self.better = if window.is_better(self.behind) { self.better + 1 } else { 0 };
        self.tried += 1;
        let next = match self.behind {
            // Nobody asked for so long that there is no line any more.
            _ if took >= WINDOW * BETTER_AFTER => Behind::Not,
            Behind::Somewhat | Behind::Far if self.tried >= TRY_AFTER => Behind::Not,
            // First of all the line that there is by now has to go.
            Behind::Not if self.worse >= BEHIND_AFTER => Behind::Far,
            Behind::Somewhat if self.worse >= FAR_AFTER => Behind::Far,
            Behind::Somewhat if self.better >= BETTER_AFTER => Behind::Not,
            Behind::Far if self.better >= BETTER_AFTER => Behind::Somewhat,
            same @ (Behind::Not | Behind::Somewhat | Behind::Far) => same,
        };
        if next != self.behind {
            // Whatever ended it, one window is enough to begin it anew if it was too early.
            let worse = if next == Behind::Not { BEHIND_AFTER - 1 } else { 0 };
            if self.behind.min(next) == Behind::Not {
                self.tried = 0;
            }
            (self.behind, self.worse, self.better) = (next, worse, 0);
        }
    }

    const fn is_too_much(&self, waited: Duration, in_service: usize) -> bool {
        waited.as_nanos() > LATE.as_nanos() || in_service >= self.busy
    }

    /// Whether to refuse somebody of this owner who has waited for so long, while so many are in service.
    pub(super) fn refuses(
        &mut self,
        owner: &Owner,
        waited: Duration,
        in_service: usize,
        now: Instant,
    ) -> bool {
        let is_small = self.shares.asked(owner, now);
        let refuses =
            self.behind > Behind::Not && self.is_too_much(waited, in_service) && !is_small;
        self.shares.now.served += usize::from(!refuses);
        refuses
    }
}

/// What each owner asked for, and how much was served to all.
#[derive(Debug, Default)]
struct Shares {
    since: Option<Instant>,
    now: Asked,
    before: Asked,
}

#[derive(Debug, Default)]
struct Asked {
    by: HashMap<Owner, usize>,
    served: usize,
}

impl Shares {
    /// Counts somebody who asks; says whether its owner asks for less than its even part of what is served.
    fn asked(&mut self, owner: &Owner, now: Instant) -> bool {
        let since = *self.since.get_or_insert(now);
        if now.saturating_duration_since(since) >= WINDOW {
            self.since = Some(now);
            self.before = mem::take(&mut self.now);
        }
        let lately = self.now.by.entry(Arc::clone(owner)).or_default();
        *lately += 1;
        let Asked { by, served } = &self.before;
        let (own, others) = match by.get(owner) {
            Some(own) => (*own, by.len() - 1),
            None => (0, by.len()),
        };
        // Of one owner alone nothing is small.
        others > 0 && own.max(*lately) * (others + 1) <= *served
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::VecDeque;

    const MS: Duration = Duration::from_millis(1);

    fn start() -> Instant {
        tokio::time::Instant::now().into_std()
    }

    /// Takes up a request every 2 ms in so many windows, each of which has waited for so long.
    fn windows(lag: &mut Lag, mut now: Instant, count: u32, waited: Duration) -> Instant {
        for _ in 0..count * 101 {
            lag.takes_up(waited, 0, now);
            now += 2 * MS;
        }
        now
    }

    fn behind() -> (Lag, Instant) {
        let mut lag = Lag::new(1);
        let now = windows(&mut lag, start(), BEHIND_AFTER, LONG + MS);
        assert_eq!(lag.behind(), Behind::Far);
        (lag, now)
    }

    fn refuses(lag: &mut Lag, waited: Duration, now: Instant) -> bool {
        lag.refuses(&"a".into(), waited, 0, now)
    }

    #[test]
    fn threads_that_stay_behind_refuse_what_waited() {
        let mut lag = Lag::new(1);
        let now = windows(&mut lag, start(), BEHIND_AFTER - 1, LONG + MS);
        assert_eq!(lag.behind(), Behind::Not);
        assert!(!refuses(&mut lag, 9 * LONG, now));
        let (mut lag, now) = behind();
        assert!(lag.takes_up(LATE + MS, 0, now) && refuses(&mut lag, LATE + MS, now));
        assert!(!lag.takes_up(LATE, 0, now) && !refuses(&mut lag, LATE, now));
    }

    #[test]
    fn what_is_late_and_no_overload_refuses_nothing() {
        let mut lag = Lag::new(1);
        let mut now = windows(&mut lag, start(), 20, LONG);
        // One stall after the other, and threads that others hold up while hardly anybody asks.
        for _ in 0..5 {
            now = windows(&mut lag, now, 2, 30 * LONG);
            now = windows(&mut lag, now, 1, Duration::ZERO);
        }
        for _ in 0..100 {
            lag.takes_up(3 * LONG, 0, now);
            now += WINDOW / 8;
        }
        assert_eq!(lag.behind(), Behind::Not);
    }

    #[test]
    fn more_in_service_than_keeps_the_processors_busy_is_refused_while_behind() {
        let (mut lag, now) = behind();
        assert!(!lag.takes_up(MS, BUSY - 1, now));
        assert!(lag.takes_up(MS, BUSY, now));
        assert!(!Lag::new(2).takes_up(MS, BUSY, now));
    }

    #[test]
    fn it_is_over_when_the_line_stays_short_or_nobody_asks() {
        let (mut lag, now) = behind();
        let now = windows(&mut lag, now, BETTER_AFTER + 1, LATE);
        assert_eq!(lag.behind(), Behind::Somewhat);
        assert!(!lag.takes_up(LATE + MS, 0, now) && refuses(&mut lag, LATE + MS, now));
        let now = windows(&mut lag, now, BETTER_AFTER, LATE);
        assert_eq!(lag.behind(), Behind::Not);
        assert!(!refuses(&mut lag, LATE + MS, now));
        let (mut lag, now) = behind();
        lag.takes_up(9 * LONG, 0, now);
        lag.takes_up(9 * LONG, 0, now + BETTER_AFTER * WINDOW);
        assert_eq!(lag.behind(), Behind::Not);
    }

    #[test]
    fn callers_who_ask_again_at_once_do_not_keep_it_up_for_ever() {
        // All of them together wait for less than is long.
        let (mut lag, now) = behind();
        let now = windows(&mut lag, now, TRY_AFTER + 9, LONG / 2);
        assert_eq!(lag.behind(), Behind::Not);
        windows(&mut lag, now, 2 * TRY_AFTER, LONG / 2);
        assert_eq!(lag.behind(), Behind::Not);
        // Where they wait for longer, the try is over at once.
        let mut lag = Lag::new(1);
        let mut now = windows(&mut lag, start(), 2 * TRY_AFTER, MS);
        let mut tries = 0;
        for _ in 0..3 * TRY_AFTER {
            now = windows(&mut lag, now, 1, LONG + MS);
            tries += u32::from(lag.behind() == Behind::Not);
        }
        // Those before it began, and the tries.
        assert_eq!(tries, BEHIND_AFTER - 1 + 2, "{tries}");
    }

    #[test]
    fn where_refusing_as_usual_leaves_the_line_long_the_cheaper_way_is_taken_again() {
        let (mut lag, now) = behind();
        let now = windows(&mut lag, now, BETTER_AFTER + 1, LATE);
        assert_eq!(lag.behind(), Behind::Somewhat);
        windows(&mut lag, now, FAR_AFTER + 1, LATE + MS);
        assert_eq!(lag.behind(), Behind::Far);
    }

    #[test]
    fn who_asks_for_less_than_its_even_part_is_not_refused() {
        let (mut lag, now) = behind();
        let ask = |lag: &mut Lag, now, waited| {
            let large = (0..9).filter(|_| lag.refuses(&"large".into(), waited, 0, now)).count();
            (large, lag.refuses(&"small".into(), waited, 0, now))
        };
        // Nothing is known of them yet.
        assert_eq!(ask(&mut lag, now, 9 * MS), (9, true));
        assert_eq!(ask(&mut lag, now, MS), (0, false));
        // Of 20 that asked 10 were served: an even part is 5, of which one asked for 18 and one for 2.
        assert_eq!(ask(&mut lag, now + WINDOW, 9 * MS), (9, false));
    }

    #[test]
    fn of_one_that_asks_alone_nothing_is_small() {
        let (mut lag, now) = behind();
        for windows in 0..4 {
            assert!(refuses(&mut lag, 9 * MS, now + windows * WINDOW));
        }
    }

    /// What one processor does with `rate` requests a second that come to one line, of which each costs
    /// 300 us in two parts, between which it waits for a store, and a refusal 50 or 100. Told of the second
    /// half: how many a second are served within a second, and the longest wait in the line.
    fn simulate(rate: u32, time: Duration) -> (f64, Duration) {
        let (start, every) = (start(), Duration::from_secs(1) / rate);
        let (part, store) = (Duration::from_micros(150), 2 * MS);
        let (mut lag, mut now, mut next) = (Lag::new(1), start, start);
        // When each became ready, and when it came if it is half done.
        let mut line: VecDeque<(Instant, Option<Instant>)> = VecDeque::new();
        let mut stored: VecDeque<(Instant, Instant)> = VecDeque::new();
        let (mut in_service, mut served, mut longest) = (0, 0_u32, Duration::ZERO);
        while now < start + time {
            while next <= now {
                line.push_back((next, None));
                next += every;
            }
            while let Some((ready, came)) = stored.pop_front_if(|(ready, _)| *ready <= now) {
                line.push_back((ready, Some(came)));
            }
            let Some((came, half_done)) = line.pop_front() else {
                now = stored.front().map_or(next, |(ready, _)| next.min(*ready));
                continue;
            };
            let (waited, counts) = (now - came, now > start + time / 2);
            if let Some(came) = half_done {
                now += part;
                in_service -= 1;
                served += u32::from(counts && now - came < Duration::from_secs(1));
                continue;
            }
            longest = longest.max(if counts { waited } else { Duration::ZERO });
            if lag.takes_up(waited, in_service, now) {
                now += Duration::from_micros(50);
            } else if lag.refuses(&"a".into(), waited, in_service, now) {
                now += Duration::from_micros(100);
            } else {
                in_service += 1;
                now += part;
                stored.push_back((now + store, came));
            }
        }
        (f64::from(served) / (time / 2).as_secs_f64(), longest)
    }

    #[test]
    fn an_overloaded_processor_does_what_refusing_leaves_it() {
        let peak = 1e6 / 300.0;
        // A refusal costs a third of what is served; where that would leave nothing, it costs a sixth.
        for (times, rate, cost) in
            [(1.5, 5_000_u32, 1.0 / 3.0), (2.0, 6_666, 1.0 / 3.0), (4.0, 13_333, 1.0 / 6.0)]
        {
            let (served, longest) = simulate(rate, Duration::from_secs(20));
            let left = (1.0 - times * cost) / (1.0 - cost) * peak;
            assert!(served >= 0.8 * left, "{times} x: {served} of {left} a second");
            assert!(longest <= 20 * MS, "{times} x: {longest:?}");
        }
        let (served, _) = simulate(3_000, Duration::from_secs(20));
        assert!(served >= 2_999.0, "{served}");
    }
}
