//! The bus at the end: what is in its partitions against the feed of the store.

use std::collections::BTreeMap;

use orders::domain::{OrderId, Version};

use super::{book::Book, judge::Truth};
use crate::{World, world::Topic};

/// Judges what was published. The bus is well, or never will be.
pub(super) fn judge(
    world: &World,
    truth: &Truth,
    is_well: bool,
    book: &mut Book,
    wrong: &mut Vec<String>,
) {
    world.deliver_all();
    wrong.extend(world.wrong_on_the_bus());
    world.read_bus(|topic| {
        book.repeats = topic.repeats();
        for (partition, log) in topic.partitions().iter().enumerate() {
            for event in log {
                book.mix((event.position.0 << 8) ^ partition as u64);
            }
        }
        let seen = events(topic, truth, wrong);
        book.published = seen.values().map(|last| last.get()).sum();
        if is_well {
            all(topic, truth, &seen, wrong);
        }
    });
    let (published, head) = world.published_of();
    if is_well && published != head {
        wrong.push(format!("published up to {published} of {head}, and all is well"));
    }
}

/// Every event is what was committed, and of each order the first copies come one after the other;
/// answers the last version of each.
fn events(topic: &Topic, truth: &Truth, wrong: &mut Vec<String>) -> BTreeMap<OrderId, Version> {
    let mut seen: BTreeMap<OrderId, Version> = BTreeMap::new();
    for event in topic.partitions().iter().flatten() {
        let order = event.order;
        let place = truth.rows.binary_search_by_key(&event.position.0, |row| row.position);
        let committed = place.is_ok_and(|place| {
            let row = &truth.rows[place];
            let entry = &row.entry;
            (row.order, entry.version, entry.change, entry.at)
                == (order, event.version, event.id, event.at)
        });
        if !committed {
            wrong.push(format!("{order}: version {} on the bus was not committed", event.version));
        }
        let last = seen.get(&order).copied();
        let next = last.map_or(Version::FIRST, Version::next);
        if event.version == next {
            seen.insert(order, next);
        } else if event.version > next {
            wrong.push(format!("{order}: on the bus {} comes before {next}", event.version));
        }
    }
    seen
}

/// Everything is there: each order's last event, and its last state.
fn all(topic: &Topic, truth: &Truth, seen: &BTreeMap<OrderId, Version>, wrong: &mut Vec<String>) {
    for order in truth.orders.keys() {
        let last = truth.version(*order);
        if seen.get(order).copied() != last {
            wrong.push(format!("{order}: not all of its events are on the bus"));
        }
        if topic.state_of(*order) != last {
            wrong.push(format!("{order}: its last state is not on the bus"));
        }
    }
}
