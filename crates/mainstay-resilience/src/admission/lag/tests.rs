use super::*;
use std::collections::VecDeque;

const MS: Duration = Duration::from_millis(1);

fn start() -> Instant {
    tokio::time::Instant::now().into_std()
}

/// Takes up a request every 2 ms in so many windows, each of which has waited for so long.
fn windows(lag: &mut Lag, mut now: Instant, count: u32, waited: Duration) -> Instant {
    for _ in 0..=count * 100 {
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
    const TRY: u32 = 150;
    assert_eq!(WINDOW * TRY, TRY_AFTER);
    // All of them together wait for less than is long.
    let (mut lag, now) = behind();
    let now = windows(&mut lag, now, TRY + 9, LONG / 2);
    assert_eq!(lag.behind(), Behind::Not);
    windows(&mut lag, now, 2 * TRY, LONG / 2);
    assert_eq!(lag.behind(), Behind::Not);
    // Where they wait for longer, the try is over at once.
    let mut lag = Lag::new(1);
    let mut now = windows(&mut lag, start(), 2 * TRY, MS);
    let mut tries = 0;
    for _ in 0..3 * TRY {
        now = windows(&mut lag, now, 1, LONG + MS);
        tries += u32::from(lag.behind() == Behind::Not);
    }
    assert_eq!(tries, BEHIND_AFTER - 1 + 2, "before it began, and twice");
}

#[test]
fn few_requests_do_not_keep_it_up_however_late_they_are() {
    for every in [20, 100, 500, 2_000] {
        let (mut lag, mut now) = behind();
        let end = now + 10 * OVER_AFTER;
        while now < end {
            now += every * MS;
            lag.takes_up(9 * MS, 0, now);
        }
        assert_eq!(lag.behind(), Behind::Not, "one in {every} ms");
    }
}

#[test]
fn after_a_silence_it_takes_as_much_as_ever_to_begin() {
    let (mut lag, now) = behind();
    let now = windows(&mut lag, now + 3_600 * OVER_AFTER, 1, MS);
    let now = windows(&mut lag, now, BEHIND_AFTER - 1, 3 * LONG);
    assert_eq!(lag.behind(), Behind::Not);
    windows(&mut lag, now, 2, 3 * LONG);
    assert_eq!(lag.behind(), Behind::Far);
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
    let refuses = |lag: &mut Lag, owner: &str, waited, now| {
        let refuses = lag.refuses(&owner.into(), waited, 0, now);
        if !refuses {
            lag.lets_in();
        }
        refuses
    };
    let ask = |lag: &mut Lag, now, waited| {
        let large = (0..9).filter(|_| refuses(lag, "large", waited, now)).count();
        (large, refuses(lag, "small", waited, now))
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

/// What became of a simulated load.
struct Simulated {
    /// Served within a second of when they came, in a second.
    served: f64,
    /// The longest wait in the line.
    longest: Duration,
    /// How often the way of refusing changed.
    changes: u32,
}

/// A random number in (0, 1], by a generator of Lehmer's.
fn random(state: &mut u64) -> f64 {
    *state = *state * 48_271 % 0x7fff_ffff;
    f64::from(u32::try_from(*state).unwrap()) / f64::from(0x7fff_ffff_u32)
}

/// What one processor does with `rate` requests a second, which come at random to one line. Each that is
/// served costs 300 us in two parts, between which a store commits all that wait for it, in 2 ms; a refusal
/// costs 50 or 100. Served and longest are told of the second half.
fn simulate(rate: u32, time: Duration) -> Simulated {
    let (start, part, store) = (start(), Duration::from_micros(150), 2 * MS);
    let (mut lag, mut now, mut next, mut state) = (Lag::new(1), start, start, 7);
    // When each became ready, and when it came if it is half done.
    let mut line: VecDeque<(Instant, Option<Instant>)> = VecDeque::new();
    let (mut waiting, mut stored) = (Vec::new(), None::<(Instant, Vec<Instant>)>);
    let (mut in_service, mut served) = (0, 0_u32);
    let mut found = Simulated { served: 0.0, longest: Duration::ZERO, changes: 0 };
    while now < start + time {
        while next <= now {
            line.push_back((next, None));
            next += Duration::from_secs_f64(-random(&mut state).ln() / f64::from(rate));
        }
        if let Some((at, batch)) = stored.take_if(|(at, _)| *at <= now) {
            line.extend(batch.into_iter().map(|came| (at, Some(came))));
        }
        if stored.is_none() && !waiting.is_empty() {
            stored = Some((now + store, mem::take(&mut waiting)));
        }
        let Some((came, half_done)) = line.pop_front() else {
            now = stored.as_ref().map_or(next, |(at, _)| next.min(*at));
            continue;
        };
        let (waited, counts) = (now - came, now > start + time / 2);
        if let Some(came) = half_done {
            now += part;
            in_service -= 1;
            served += u32::from(counts && now - came < Duration::from_secs(1));
            continue;
        }
        found.longest = found.longest.max(if counts { waited } else { Duration::ZERO });
        let before = lag.behind();
        let is_shed = lag.takes_up(waited, in_service, now);
        found.changes += u32::from(lag.behind() != before);
        if is_shed {
            now += Duration::from_micros(50);
        } else if lag.refuses(&"a".into(), waited, in_service, now) {
            now += Duration::from_micros(100);
        } else {
            lag.lets_in();
            in_service += 1;
            now += part;
            waiting.push(came);
        }
    }
    Simulated { served: f64::from(served) / (time / 2).as_secs_f64(), ..found }
}

#[test]
fn an_overloaded_processor_does_what_refusing_leaves_it() {
    let peak = 1e6 / 300.0;
    // A refusal costs a third of what is served; where that would leave nothing, it costs a sixth.
    for (times, rate, cost) in
        [(1.5, 5_000_u32, 1.0 / 3.0), (2.0, 6_666, 1.0 / 3.0), (4.0, 13_333, 1.0 / 6.0)]
    {
        let Simulated { served, longest, .. } = simulate(rate, Duration::from_secs(20));
        let left = (1.0 - times * cost) / (1.0 - cost) * peak;
        assert!(served >= 0.8 * left, "{times} x: {served} of {left} a second");
        assert!(longest <= 20 * MS, "{times} x: {longest:?}");
    }
    let Simulated { served, changes, .. } = simulate(2_700, Duration::from_secs(20));
    assert!((2_600.0..=2_800.0).contains(&served) && changes == 0, "{served}, {changes}");
}

#[test]
fn a_little_above_the_peak_it_does_not_come_and_go() {
    for rate in [3_500, 3_667, 4_000] {
        let Simulated { served, changes, .. } = simulate(rate, Duration::from_secs(90));
        // It begins, becomes less, and is tried twice, each of which begins it anew.
        assert!(changes <= 12, "{rate}: {changes} changes");
        assert!(served >= 2_000.0, "{rate}: {served}");
    }
}
