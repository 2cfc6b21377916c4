//! The breaker as a state machine: no lock, no clock.

use super::{
    Change, Config, Forced, Outcome, Refused, Snapshot, State,
    window::{Counts, Window},
};
use crate::Jitter;
use std::{
    mem,
    time::{Duration, Instant},
};

/// A growth beyond this many doublings is beyond any maximum.
const MOST_DOUBLINGS: u32 = 16;

#[derive(Debug)]
pub(super) struct Core {
    config: Config,
    jitter: Jitter,
    phase: Phase,
    forced: Option<Forced>,
    /// Counts the phases: a result of an older one says nothing about this one.
    generation: u64,
    /// How many openings in a row; decides how long the next one lasts.
    streak: u32,
    opened: u64,
    tickets: u64,
    /// What nobody was told yet.
    changes: Vec<Change>,
}

#[derive(Debug)]
enum Phase {
    /// `failing` counts the failures since the last success.
    Closed {
        since: Instant,
        failing: u32,
        window: Box<Window>,
    },
    Open {
        until: Instant,
    },
    /// Calls are tried: those that succeeded, and those that still run.
    HalfOpen {
        succeeded: u32,
        probes: Vec<Probe>,
    },
}

#[derive(Debug)]
struct Probe {
    id: u64,
    expires: Instant,
}

/// A call that was admitted.
#[derive(Debug)]
pub(super) struct Ticket {
    generation: u64,
    id: u64,
    started: Instant,
}

impl Core {
    pub(super) fn new(config: Config, jitter: Jitter, now: Instant) -> Self {
        let phase = Phase::closed(&config, now);
        let (generation, tickets, changes) = (0, 0, Vec::new());
        Self {
            config,
            jitter,
            phase,
            forced: None,
            generation,
            streak: 0,
            opened: 0,
            tickets,
            changes,
        }
    }

    pub(super) fn admit(&mut self, now: Instant) -> Result<Ticket, Refused> {
        self.settle(now);
        match (self.forced, &mut self.phase) {
            (Some(Forced::Open), _) => Err(Refused { retry_in: None }),
            (Some(Forced::Closed), _) | (None, Phase::Closed { .. }) => Ok(self.ticket(now)),
            (None, Phase::Open { until }) => {
                Err(Refused { retry_in: Some(until.saturating_duration_since(now)) })
            }
            (None, Phase::HalfOpen { .. }) => self.probe(now),
        }
    }

    /// Admits a probe when one is wanted.
    fn probe(&mut self, now: Instant) -> Result<Ticket, Refused> {
        let ticket = self.ticket(now);
        let expires = now + self.config.probe_timeout;
        let Phase::HalfOpen { succeeded, probes } = &mut self.phase else { return Ok(ticket) };
        let running = u32::try_from(probes.len()).unwrap_or(u32::MAX);
        if succeeded.saturating_add(running) >= self.config.probes.max(1) {
            return Err(Refused { retry_in: None });
        }
        probes.push(Probe { id: ticket.id, expires });
        Ok(ticket)
    }

    fn ticket(&mut self, now: Instant) -> Ticket {
        self.tickets += 1;
        Ticket { generation: self.generation, id: self.tickets, started: now }
    }

    pub(super) fn finish(&mut self, ticket: &Ticket, outcome: Outcome, now: Instant) {
        self.settle(now);
        if ticket.generation != self.generation || self.forced.is_some() {
            return;
        }
        let slow = now.saturating_duration_since(ticket.started) >= self.config.slow_call;
        match &mut self.phase {
            Phase::Closed { .. } => self.count(outcome, slow, now),
            Phase::Open { .. } => {}
            Phase::HalfOpen { probes, .. } => {
                probes.retain(|probe| probe.id != ticket.id);
                self.judge(outcome, slow, now);
            }
        }
    }

    /// Takes back a ticket whose call has no result.
    pub(super) fn release(&mut self, ticket: &Ticket) {
        if let (true, Phase::HalfOpen { probes, .. }) =
            (ticket.generation == self.generation, &mut self.phase)
        {
            probes.retain(|probe| probe.id != ticket.id);
        }
    }

    /// A call ended while calls flow.
    fn count(&mut self, outcome: Outcome, slow: bool, now: Instant) {
        let Phase::Closed { failing, window, .. } = &mut self.phase else { return };
        let failure = match outcome {
            Outcome::Success => {
                *failing = 0;
                false
            }
            Outcome::Failure { .. } => {
                *failing = failing.saturating_add(1);
                true
            }
            Outcome::Declined | Outcome::Ignored => return,
        };
        window.add(Counts::one(failure, slow), now);
        let in_a_row = failure && self.config.consecutive_failures.is_some_and(|n| *failing >= n);
        // Only bad news can trip it, so that the sum is not made for each good call.
        if in_a_row || (failure || slow) && self.config.is_too_much(window.total(now)) {
            self.open(now, outcome.retry_after());
        }
    }

    /// A probe ended.
    fn judge(&mut self, outcome: Outcome, slow: bool, now: Instant) {
        let still_slow = slow && self.config.slow_ratio <= 1.0;
        match outcome {
            Outcome::Failure { retry_after } => self.open(now, retry_after),
            Outcome::Success if still_slow => self.open(now, None),
            Outcome::Success | Outcome::Declined => self.succeed(now),
            Outcome::Ignored => {}
        }
    }

    fn succeed(&mut self, now: Instant) {
        let Phase::HalfOpen { succeeded, .. } = &mut self.phase else { return };
        *succeeded += 1;
        if *succeeded >= self.config.probes.max(1) {
            self.enter(Phase::closed(&self.config, now));
        }
    }

    /// Refuses calls from `at` on, for longer than the last time when that was not long ago.
    fn open(&mut self, at: Instant, hint: Option<Duration>) {
        let recovered = matches!(&self.phase, Phase::Closed { since, .. }
            if at.saturating_duration_since(*since) >= self.config.window);
        self.streak = if recovered { 1 } else { self.streak.saturating_add(1) };
        self.opened += 1;
        let time = self.open_time().max(hint.unwrap_or_default()).min(self.config.open_most);
        self.enter(Phase::Open { until: at + time });
    }

    /// Full jitter over what grows; the least time is never undercut.
    fn open_time(&self) -> Duration {
        let doublings = (self.streak - 1).min(MOST_DOUBLINGS);
        let range = self.config.open_least.saturating_mul(1 << doublings);
        self.config.open_least + self.jitter.up_to(range.min(self.config.open_most))
    }

    /// Does what time alone decides.
    fn settle(&mut self, now: Instant) {
        if self.forced.is_some() {
            return;
        }
        // It hung: from then on calls are refused again, whenever somebody looks.
        if let Some(hung) = self.first_expiry().filter(|at| *at <= now) {
            self.open(hung, None);
        }
        if matches!(self.phase, Phase::Open { until } if until <= now) {
            self.enter(Phase::HalfOpen { succeeded: 0, probes: Vec::new() });
        }
    }

    fn first_expiry(&self) -> Option<Instant> {
        match &self.phase {
            Phase::HalfOpen { probes, .. } => probes.iter().map(|probe| probe.expires).min(),
            Phase::Closed { .. } | Phase::Open { .. } => None,
        }
    }

    fn enter(&mut self, phase: Phase) {
        let from = self.state();
        self.phase = phase;
        self.generation += 1;
        self.changes.push(Change { from, to: self.state(), forced: self.forced });
    }

    /// `None` lets the results decide again, beginning with none.
    pub(super) fn force(&mut self, forced: Option<Forced>, now: Instant) {
        let from = self.state();
        self.forced = forced;
        self.phase = Phase::closed(&self.config, now);
        self.generation += 1;
        self.streak = 0;
        self.changes.push(Change { from, to: self.state(), forced });
    }

    fn state(&self) -> State {
        match (self.forced, &self.phase) {
            (Some(Forced::Open), _) | (None, Phase::Open { .. }) => State::Open,
            (Some(Forced::Closed), _) | (None, Phase::Closed { .. }) => State::Closed,
            (None, Phase::HalfOpen { .. }) => State::HalfOpen,
        }
    }

    pub(super) fn snapshot(&mut self, now: Instant) -> Snapshot {
        self.settle(now);
        let (counts, retry_in) = match &self.phase {
            Phase::Closed { window, .. } => (window.total(now), None),
            Phase::Open { until } => {
                (Counts::default(), Some(until.saturating_duration_since(now)))
            }
            Phase::HalfOpen { .. } => (Counts::default(), None),
        };
        Snapshot {
            state: self.state(),
            forced: self.forced,
            calls: counts.calls,
            failures: counts.failures,
            slow: counts.slow,
            retry_in,
            opened: self.opened,
        }
    }

    pub(super) fn take_changes(&mut self) -> Vec<Change> {
        mem::take(&mut self.changes)
    }
}

impl Phase {
    fn closed(config: &Config, now: Instant) -> Self {
        let window = Box::new(Window::new(config.window, now));
        Self::Closed { since: now, failing: 0, window }
    }
}

impl Config {
    fn is_too_much(&self, counts: Counts) -> bool {
        let part = |count| f64::from(count) / f64::from(counts.calls.max(1));
        counts.calls >= self.least_calls.max(1)
            && (part(counts.failures) >= self.failure_ratio || part(counts.slow) >= self.slow_ratio)
    }
}

#[cfg(test)]
mod tests;
