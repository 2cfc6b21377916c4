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
/// A window that lasted for so long is one in which hardly anybody asked.
const OVER_AFTER: Duration = Duration::from_secs(1);
/// After how long it is tried to refuse nobody: whoever asks again as soon as it is refused keeps the line
/// long that is made of such, and all of them might be served.
const TRY_AFTER: Duration = Duration::from_secs(30);
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
    /// When it began, or was tried last to refuse nobody.
    tried: Option<Instant>,
    window: Option<Window>,
    shares: Shares,
}

#[derive(Debug)]
struct Window {
    since: Instant,
    taken_up: usize,
    late: usize,
    long: usize,
    /// How many admission refused because of this.
    refused: usize,
}

impl Window {
    const fn begin(since: Instant) -> Self {
        Self { since, taken_up: 0, late: 0, long: 0, refused: 0 }
    }

    /// Whether the line is too long for what is done about it.
    const fn is_worse(&self, behind: Behind) -> bool {
        match behind {
            Behind::Not => self.taken_up >= LINE && 4 * self.long > self.taken_up,
            Behind::Somewhat => self.taken_up >= LINE && 2 * self.late > self.taken_up,
            Behind::Far => false,
        }
    }

    /// Whether less would do.
    const fn is_better(&self, behind: Behind) -> bool {
        match behind {
            Behind::Not => true,
            // Fewer are no line.
            Behind::Somewhat | Behind::Far if self.taken_up < LINE => true,
            Behind::Somewhat => 8 * self.late < self.taken_up && 50 * self.refused < self.taken_up,
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
            tried: None,
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
        let window = self.window.get_or_insert(Window::begin(now));
        window.taken_up += 1;
        window.late += usize::from(waited > LATE);
        window.long += usize::from(waited > LONG);
        if now.saturating_duration_since(window.since) >= WINDOW {
            let window = mem::replace(window, Window::begin(now));
            self.judge(&window, now);
        }
        self.behind == Behind::Far && self.is_too_much(waited, in_service)
    }

    fn judge(&mut self, window: &Window, now: Instant) {
        let took = now.saturating_duration_since(window.since);
        self.worse = if window.is_worse(self.behind) { self.worse + 1 } else { 0 };
        self.better = if window.is_better(self.behind) { self.better + 1 } else { 0 };
        let tried = *self.tried.get_or_insert(now);
        let (is_over, is_tried) =
            (took >= OVER_AFTER, now.saturating_duration_since(tried) >= TRY_AFTER);
        let next = match self.behind {
            // Nobody asked for so long that there is no line any more.
            Behind::Somewhat | Behind::Far if is_over || is_tried => Behind::Not,
            // First of all the line that there is by now has to go.
            Behind::Not if self.worse >= BEHIND_AFTER => Behind::Far,
            Behind::Somewhat if self.worse >= FAR_AFTER => Behind::Far,
            Behind::Somewhat if self.better >= BETTER_AFTER => Behind::Not,
            Behind::Far if self.better >= BETTER_AFTER => Behind::Somewhat,
            same @ (Behind::Not | Behind::Somewhat | Behind::Far) => same,
        };
        if next == self.behind {
            return;
        }
        if self.behind.min(next) == Behind::Not {
            self.tried = Some(now);
        }
        // A try is over with the first window that tells of long waits.
        let is_try = next == Behind::Not && !is_over && is_tried;
        let worse = if is_try { BEHIND_AFTER - 1 } else { 0 };
        (self.behind, self.worse, self.better) = (next, worse, 0);
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
        if let Some(window) = self.window.as_mut().filter(|_| refuses) {
            window.refused += 1;
        }
        refuses
    }

    /// Somebody was let in.
    pub(super) const fn lets_in(&mut self) {
        self.shares.now.served += 1;
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
mod tests;
