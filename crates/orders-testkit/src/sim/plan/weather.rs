//! The weather of a run: each seed draws which things go wrong, how often, and small limits.

use std::time::Duration;

use jiff::SignedDuration;
use orders::usecase::Policy;

use super::{Bus, Chaos, Courier, Heals, Provider, Reader, Worker};
use crate::{BusFaults, BusMode, Faults, GatewayFaults, GatewayMode, Stream, Webhooks};

const fn millis(number: u64) -> Duration {
    Duration::from_millis(number)
}

pub(super) fn store(draw: &mut Stream) -> Faults {
    let latency = Duration::from_micros(draw.pick(&[0, 500, 3_000, 3_000, 20_000]));
    if draw.chance(150) {
        return Faults { latency, ..Faults::default() };
    }
    let mut rate = |most: u64| if draw.chance(500) { draw.below(most) } else { 0 };
    Faults {
        latency,
        busy: rate(150),
        unavailable: rate(150),
        full: rate(60),
        lost: rate(300),
        late: rate(150),
        reads: rate(150),
    }
}

pub(super) fn policy(draw: &mut Stream, money: &mut Stream, heals: Heals) -> Policy {
    let remember = [7 * 86_400_000, 200, 60, 20, 5][[0, 0, 0, 1, 2, 3, 4][draw.index(7)]];
    let keep = [90 * 86_400_000, 90 * 86_400_000, 100, 20][draw.index(4)];
    // A store that stays slow needs leases that outlast it, else nobody ever ends anything.
    let lease = money.pick(&[30_000, 30_000, 5_000, 1_000, 200, 30]);
    let lease = if heals.store { lease } else { lease.max(5_000) };
    let pay_within = money.pick(&[0, 0, 0, 0, 0, 0, 600_000, 60_000, 2_000]);
    let tasks = Policy {
        lease: SignedDuration::from_millis(lease),
        pay_within: (pay_within > 0).then(|| SignedDuration::from_millis(pay_within)),
        ..Policy::default()
    };
    Policy {
        remember_keys: SignedDuration::from_millis(remember),
        keep_events: SignedDuration::from_millis(keep),
        ..tasks
    }
}

pub(super) fn heals(money: &mut Stream) -> Heals {
    let broken = [GatewayMode::Refusing, GatewayMode::Silent, GatewayMode::Mute];
    let (store, provider) = (money.chance(850), money.chance(150).then(|| money.pick(&broken)));
    Heals { store, provider, bus: None }
}

/// A provider that keeps to its contract: whatever is under way, and however late it arrives, the
/// key is known longer than that, and the service stays inside by half.
pub(super) fn provider(money: &mut Stream) -> Provider {
    let window = money.pick(&[86_400_000, 86_400_000, 60_000, 8_000, 1_000]);
    let late_by = money.pick(&[50, 2_000, 40_000]).min(window / 4);
    let mut rate = |often: u64, most: u64| {
        if money.chance(often) { money.below(most) } else { 0 }
    };
    let faults = GatewayFaults {
        latency: Duration::ZERO,
        hang: rate(250, 100),
        not_sent: rate(400, 300),
        lost: rate(600, 500),
        late_by: millis(late_by),
        declined: rate(500, 400),
        declined_later: rate(300, 200),
        look_ups: rate(400, 500),
    };
    let webhooks = Webhooks {
        told: rate(500, 1_000),
        twice: rate(500, 500),
        stray: rate(300, 200),
        delay: Duration::ZERO,
    };
    let delay = millis(money.pick(&[0, 20, 1_000, 60_000]));
    let latency = millis(money.pick(&[0, 5, 100, 2_000]).min(window / 8));
    let half = i64::try_from(window / 2).unwrap_or(i64::MAX);
    Provider {
        faults: GatewayFaults { latency, ..faults },
        webhooks: Webhooks { delay, ..webhooks },
        window: SignedDuration::from_millis(half * 2),
        margin: SignedDuration::from_millis(half),
    }
}

pub(super) fn processes(money: &mut Stream, heals: Heals) -> Vec<Vec<Worker>> {
    let least = millis(if heals.store { 0 } else { 2_000 });
    let count = 1 + usize::from(money.chance(400));
    let patience = money.pick(&[20_000, 20_000, 2_000, 200]);
    let worker = |money: &mut Stream| Worker {
        batch: money.pick(&[1, 1, 3, 20]),
        pause: millis(money.pick(&[20, 20, 100, 500])),
        patience: millis(patience).max(least),
    };
    let mut process = |_| {
        let workers = 1 + money.index(4);
        (0..workers).map(|_| worker(money)).collect()
    };
    (0..count).map(&mut process).collect()
}

pub(super) fn readers(draw: &mut Stream) -> Vec<Reader> {
    let count = 2 + draw.index(2);
    let reader = |index: usize| Reader {
        tenant: index % 2,
        limit: draw.pick(&[1, 3, 50]),
        starts: millis(draw.pick(&[0, 0, 40, 150])),
        pause: millis(draw.pick(&[1, 5, 30])),
    };
    (0..count).map(reader).collect()
}

pub(super) fn chaos(draw: &mut Stream) -> Vec<(Duration, Chaos)> {
    let count = draw.index(7);
    let within = draw.pick(&[30, 100, 400]);
    let mut at = Duration::ZERO;
    let happens = |_| {
        at += millis(draw.below(within));
        (at, one(draw))
    };
    (0..count).map(happens).collect()
}

fn one(draw: &mut Stream) -> Chaos {
    let far = draw.pick(&[5, 50, 1_000, 3_600_000, 315_360_000_000]);
    let far = SignedDuration::from_millis(far);
    match draw.below(6) {
        0..3 => Chaos::Crash(0),
        3 => Chaos::Forget,
        4 => Chaos::Jump(far),
        _ if draw.chance(500) => Chaos::Jump(-far),
        _ => Chaos::Forget,
    }
}

/// What happens while money moves: outages of the provider, an open breaker, crashes, a clock that
/// runs ahead.
pub(super) fn outages(
    money: &mut Stream,
    pace: Duration,
    processes: usize,
) -> Vec<(Duration, Chaos)> {
    let span = u64::try_from(pace.as_millis()).unwrap_or(0) * 40;
    let mut happens = Vec::new();
    for _ in 0..money.index(4) {
        let at = money.below(span);
        let mode = money.pick(&[GatewayMode::Refusing, GatewayMode::Silent, GatewayMode::Mute]);
        happens.push((millis(at), Chaos::Provider(mode)));
        let ends = millis(at + money.below(span));
        happens.push((ends, Chaos::Provider(GatewayMode::Up)));
    }
    for _ in 0..money.index(5) {
        happens.push((millis(money.below(span)), Chaos::Crash(money.index(processes))));
    }
    if money.chance(150) {
        let far = SignedDuration::from_millis(money.pick(&[2_000, 40_000, 4_000_000, 90_000_000]));
        happens.push((millis(money.below(span)), Chaos::Jump(far)));
    }
    happens
}

/// Of ten seeds two have no bus, and three a bus without faults.
pub(super) fn bus(carry: &mut Stream) -> Option<Bus> {
    if carry.chance(200) {
        return None;
    }
    let latency = millis(carry.pick(&[0, 0, 2, 20, 200]));
    let (partitions, couriers) = (carry.pick(&[1, 2, 7]), carry.pick(&[1, 2]));
    let is_small = carry.chance(500);
    let pages = if is_small { [1, 1, 4, 9] } else { [30, 100, 300, 1_000] };
    let courier = |_| Courier {
        page: carry.pick(&pages),
        patience: millis(carry.pick(&[60_000, 60_000, 2_000, 100])),
    };
    let couriers = (0..couriers).map(courier).collect();
    let is_calm = carry.chance(350);
    let mut rate = |often: u64, most: u64| {
        if !is_calm && carry.chance(often) { carry.below(most) } else { 0 }
    };
    // Of a large page something would always fail, and all of it be sent for ever.
    let most = if is_small { 200 } else { 25 };
    let faults = BusFaults {
        latency,
        failed: rate(500, most),
        lost: rate(500, most),
        late: rate(400, most),
        slow: rate(300, most),
        late_by: Duration::ZERO,
        fatal: rate(300, 60),
    };
    let faults = BusFaults { late_by: millis(carry.pick(&[50, 2_000, 90_000])), ..faults };
    Some(Bus { faults, partitions, couriers })
}

/// How the bus is when it never gets well.
pub(super) fn bus_stays(carry: &mut Stream) -> Option<BusMode> {
    carry.chance(100).then(|| carry.pick(&[BusMode::Refusing, BusMode::Silent]))
}

/// What happens while the feed is carried out: outages of the bus, and couriers that stand still.
pub(super) fn at_the_bus(carry: &mut Stream, bus: &Bus, pace: Duration) -> Vec<(Duration, Chaos)> {
    let pace = u64::try_from(pace.as_millis()).unwrap_or(0);
    let span = carry.pick(&[200, 2_000, pace * 40]);
    let mut happens = Vec::new();
    for _ in 0..carry.index(3) {
        let at = carry.below(span);
        let mode = carry.pick(&[BusMode::Refusing, BusMode::Silent]);
        happens.push((millis(at), Chaos::Bus(mode)));
        happens.push((millis(at + carry.below(span)), Chaos::Bus(BusMode::Up)));
    }
    if bus.couriers.len() > 1 {
        for _ in 0..carry.index(5) {
            let stands = millis(carry.pick(&[10, 300, 3_000, 30_000]));
            let unaware = millis(carry.pick(&[0, 100, 5_000]));
            happens.push((millis(carry.below(span)), Chaos::Stop { stands, unaware }));
        }
    }
    happens
}
