use super::*;

const MS: Duration = Duration::from_millis(1);

/// A core and the time, which only tests move.
struct Bench {
    core: Core,
    now: Instant,
}

impl Bench {
    /// Jitter is off: the tests count exact open times. Each opening lasts 1 s and the growth.
    fn new(config: Config) -> Self {
        let now = tokio::time::Instant::now().into_std();
        Self { core: Core::new(config, Jitter::none(), now), now }
    }

    fn pass(&mut self, time: Duration) -> &mut Self {
        self.now += time;
        self
    }

    fn state(&mut self) -> State {
        self.core.snapshot(self.now).state
    }

    fn admit(&mut self) -> Option<Ticket> {
        self.core.admit(self.now).ok()
    }

    fn end(&mut self, ticket: &Ticket, outcome: Outcome) -> &mut Self {
        self.core.finish(ticket, outcome, self.now);
        self
    }

    /// A call that takes `time`; whether it was let through.
    fn call(&mut self, outcome: Outcome, time: Duration) -> bool {
        let Some(ticket) = self.admit() else { return false };
        self.pass(time).end(&ticket, outcome);
        true
    }

    fn calls(&mut self, count: usize, outcome: Outcome) -> usize {
        (0..count).filter(|_| self.call(outcome, Duration::ZERO)).count()
    }

    /// Fails it until it opens; returns for how long.
    fn trip(&mut self) -> Duration {
        self.calls(1_000, Outcome::FAILURE);
        self.core.snapshot(self.now).retry_in.unwrap()
    }
}

fn ratios_only() -> Config {
    Config { consecutive_failures: None, ..Config::default() }
}

#[test]
fn failures_in_a_row_open_it_and_a_success_between_them_does_not() {
    let mut bench = Bench::new(Config { least_calls: 1_000, ..Config::default() });
    for _ in 0..50 {
        bench.calls(4, Outcome::FAILURE);
        bench.calls(1, Outcome::Success);
    }
    assert_eq!(bench.state(), State::Closed);
    assert_eq!(bench.calls(10, Outcome::FAILURE), 5);
    assert_eq!(bench.state(), State::Open);
}

#[test]
fn a_ratio_of_failures_opens_it_once_there_are_enough_calls() {
    let mut bench = Bench::new(ratios_only());
    assert_eq!(bench.calls(19, Outcome::FAILURE), 19);
    assert_eq!(bench.state(), State::Closed);
    bench.calls(1, Outcome::FAILURE);
    assert_eq!(bench.state(), State::Open);

    let mut bench = Bench::new(ratios_only());
    bench.calls(60, Outcome::Success);
    assert_eq!(bench.calls(100, Outcome::FAILURE), 60, "half of 120");
}

#[test]
fn a_ratio_of_slow_calls_opens_it_though_all_succeed() {
    let mut bench = Bench::new(Config { window: Duration::from_mins(10), ..ratios_only() });
    for _ in 0..19 {
        bench.call(Outcome::Success, 1_000 * MS);
    }
    assert_eq!(bench.state(), State::Closed);
    bench.call(Outcome::Success, 1_000 * MS);
    assert_eq!(bench.state(), State::Open);
}

#[test]
fn calls_just_below_slow_never_open_it() {
    let mut bench = Bench::new(ratios_only());
    assert!((0..1_000).all(|_| bench.call(Outcome::Success, 999 * MS)));
}

#[test]
fn what_is_older_than_the_window_does_not_count() {
    let mut bench = Bench::new(ratios_only());
    bench.calls(19, Outcome::FAILURE);
    bench.pass(10_000 * MS);
    assert_eq!(bench.calls(19, Outcome::FAILURE), 19);
    assert_eq!(bench.state(), State::Closed);
}

#[test]
fn refusals_for_what_was_asked_and_callers_that_left_never_open_it() {
    let mut bench = Bench::new(Config::default());
    assert_eq!(bench.calls(1_000, Outcome::Declined), 1_000);
    assert_eq!(bench.calls(1_000, Outcome::Ignored), 1_000);
    assert!((0..1_000).all(|_| bench.call(Outcome::Ignored, 5_000 * MS)));
    assert_eq!(bench.state(), State::Closed);
}

#[test]
fn a_refused_call_does_not_end_a_row_of_failures() {
    let mut bench = Bench::new(Config::default());
    for _ in 0..4 {
        bench.calls(1, Outcome::FAILURE);
        bench.calls(1, Outcome::Declined);
    }
    bench.calls(1, Outcome::FAILURE);
    assert_eq!(bench.state(), State::Open);
}

fn up_to_a_minute() -> Config {
    Config { open_most: Duration::from_mins(1), ..Config::default() }
}

#[test]
fn open_times_grow_up_to_the_most_and_begin_anew_after_a_recovery() {
    let mut bench = Bench::new(up_to_a_minute());
    let mut times = vec![bench.trip()];
    for _ in 0..7 {
        let wait = *times.last().unwrap();
        bench.pass(wait).calls(1, Outcome::FAILURE);
        times.push(bench.core.snapshot(bench.now).retry_in.unwrap());
    }
    assert_eq!(times, [2, 3, 5, 9, 17, 33, 60, 60].map(Duration::from_secs));

    bench.pass(Duration::from_mins(1)).calls(3, Outcome::Success);
    assert_eq!(bench.state(), State::Closed);
    bench.pass(9_999 * MS);
    assert_eq!(bench.trip(), Duration::from_mins(1), "closed for less than a window");
    bench.pass(Duration::from_mins(1)).calls(3, Outcome::Success);
    bench.pass(10_000 * MS);
    assert_eq!(bench.trip(), Duration::from_secs(2));
}

#[test]
fn open_times_are_drawn_between_the_least_and_the_most() {
    let now = tokio::time::Instant::now().into_std();
    let jitter = Jitter::seeded(3);
    let mut times: Vec<_> = (0..200)
        .map(|_| {
            let core = Core::new(Config::default(), jitter.clone(), now);
            Bench { core, now }.trip().as_millis()
        })
        .collect();
    times.sort_unstable();
    assert!(times[0] >= 1_000 && times[199] <= 2_000, "{times:?}");
    assert!(times[0] < 1_050 && times[199] > 1_950, "{times:?}");
}

#[test]
fn a_retry_after_lengthens_the_open_time_up_to_the_most() {
    for (hint, time) in [(0, 2), (30, 30), (86_400, 60)] {
        let mut bench = Bench::new(up_to_a_minute());
        bench.calls(4, Outcome::FAILURE);
        let retry_after = Some(Duration::from_secs(hint));
        bench.calls(1, Outcome::Failure { retry_after });
        let left = bench.core.snapshot(bench.now).retry_in;
        assert_eq!(left, Some(Duration::from_secs(time)));
    }
}

#[test]
fn half_open_admits_its_probes_and_closes_when_all_succeed() {
    let mut bench = Bench::new(Config::default());
    let wait = bench.trip();
    bench.pass(wait.checked_sub(MS).unwrap());
    assert!(bench.admit().is_none());
    bench.pass(MS);
    let probes: Vec<_> = (0..100).filter_map(|_| bench.admit()).collect();
    assert_eq!(probes.len(), 3);
    bench.end(&probes[0], Outcome::Success).end(&probes[1], Outcome::Declined);
    assert_eq!(bench.state(), State::HalfOpen);
    assert!(bench.admit().is_none(), "two succeeded and one is out");
    bench.end(&probes[2], Outcome::Success);
    assert_eq!(bench.state(), State::Closed);
}

#[test]
fn one_failed_or_still_slow_probe_opens_it_again() {
    for (outcome, time) in [(Outcome::FAILURE, MS), (Outcome::Success, 1_000 * MS)] {
        let mut bench = Bench::new(Config::default());
        let wait = bench.trip();
        bench.pass(wait).call(outcome, time);
        assert_eq!(bench.state(), State::Open);
    }
}

#[test]
fn a_probe_without_a_result_frees_its_place_and_decides_nothing() {
    let mut bench = Bench::new(Config { probes: 1, ..Config::default() });
    let wait = bench.trip();
    bench.pass(wait);
    for _ in 0..10 {
        let probe = bench.admit().unwrap();
        assert!(bench.admit().is_none());
        bench.core.release(&probe);
        assert!(bench.call(Outcome::Ignored, MS));
        assert_eq!(bench.state(), State::HalfOpen);
    }
}

#[test]
fn a_probe_that_hangs_is_a_failure_and_its_late_success_changes_nothing() {
    let mut bench = Bench::new(Config { probes: 1, ..Config::default() });
    let wait = bench.trip();
    let hung = bench.pass(wait).admit().unwrap();
    bench.pass(4_999 * MS);
    assert_eq!(bench.state(), State::HalfOpen);
    bench.pass(MS);
    assert_eq!(bench.state(), State::Open);
    bench.end(&hung, Outcome::Success);
    assert_eq!(bench.state(), State::Open);

    bench.pass(3_000 * MS);
    assert!(bench.call(Outcome::Success, MS), "the second open time counts from the expiry");
    assert_eq!(bench.state(), State::Closed);
}

#[test]
fn results_of_an_older_generation_are_ignored() {
    let mut bench = Bench::new(Config::default());
    let old: Vec<_> = (0..100).filter_map(|_| bench.admit()).collect();
    let wait = bench.trip();
    bench.pass(wait);
    let probe = bench.admit().unwrap();
    for old in &old[..50] {
        bench.end(old, Outcome::FAILURE);
    }
    assert_eq!(bench.state(), State::HalfOpen);
    bench.end(&probe, Outcome::Success).calls(2, Outcome::Success);
    for old in &old[50..] {
        bench.end(old, Outcome::FAILURE);
    }
    assert_eq!(bench.state(), State::Closed);
    assert_eq!(bench.core.snapshot(bench.now).failures, 0);
}

#[test]
fn an_operator_overrules_the_results_and_hands_back_a_fresh_breaker() {
    let mut bench = Bench::new(Config::default());
    bench.core.force(Some(Forced::Open), bench.now);
    assert_eq!((bench.state(), bench.calls(10, Outcome::Success)), (State::Open, 0));
    bench.pass(Duration::from_hours(1));
    assert_eq!(bench.state(), State::Open, "time does not overrule an operator");

    bench.core.force(Some(Forced::Closed), bench.now);
    assert_eq!(bench.calls(1_000, Outcome::FAILURE), 1_000);
    assert_eq!(bench.state(), State::Closed);

    bench.core.force(None, bench.now);
    assert_eq!(bench.calls(10, Outcome::FAILURE), 5);
    assert_eq!(bench.state(), State::Open);
}

#[test]
fn every_change_is_told_once() {
    let mut bench = Bench::new(Config { probes: 1, ..Config::default() });
    let wait = bench.trip();
    bench.pass(wait).calls(1, Outcome::Success);
    let changes = bench.core.take_changes();
    let told: Vec<_> = changes.iter().map(|change| (change.from, change.to)).collect();
    let (closed, open, half) = (State::Closed, State::Open, State::HalfOpen);
    assert_eq!(told, [(closed, open), (open, half), (half, closed)]);
    assert!(bench.core.take_changes().is_empty());
}
