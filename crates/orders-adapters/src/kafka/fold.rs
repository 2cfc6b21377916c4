//! Lines of librdkafka that say the same, told once in a while.
//!
//! Every client tells of every broker that is away, by each name it knows it by, again and again. One of
//! them is enough to know it.

use std::{collections::HashMap, mem, time::Duration};

use tokio::time::Instant;

/// The kinds of lines that were told lately.
#[derive(Debug, Default)]
pub(super) struct Fold(HashMap<String, Told>);

#[derive(Debug)]
struct Told {
    at: Instant,
    left_out: u32,
}

/// How long lines like one that was told are left out.
const QUIET: Duration = Duration::from_secs(30);
/// How many kinds are remembered; when there are more, all begin anew.
const MOST: usize = 64;

impl Fold {
    /// Whether a line is to be told now: then how many like it were left out since the last.
    pub(super) fn tell(&mut self, facility: &str, message: &str, now: Instant) -> Option<u32> {
        let kind = kind(facility, message);
        if let Some(told) = self.0.get_mut(&kind) {
            if now.duration_since(told.at) < QUIET {
                told.left_out = told.left_out.saturating_add(1);
                return None;
            }
            return Some(mem::replace(told, Told { at: now, left_out: 0 }).left_out);
        }
        if self.0.len() >= MOST {
            self.0.clear();
        }
        self.0.insert(kind, Told { at: now, left_out: 0 });
        Some(0)
    }
}

/// What a line says, whatever broker it is about, and whenever: without the words that name one, which
/// hold a port or a number, and without how long it took.
fn kind(facility: &str, message: &str) -> String {
    let said = message.split(" (after ").next().unwrap_or(message);
    let names =
        |word: &&str| word.contains(|c: char| c.is_ascii_digit()) || word.contains("Coordinator");
    let words = said.split_whitespace().filter(|word| !names(word));
    std::iter::once(facility).chain(words).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(broker: &str, after: u32) -> String {
        format!(
            "[thrd:{broker}]: {broker}: Connect to ipv4#127.0.0.1:9092 failed: Connection refused \
             (after {after}ms in state CONNECT, {after} identical error(s) suppressed)"
        )
    }

    #[test]
    fn what_all_brokers_have_in_common_is_told_once_in_a_while_with_the_count_of_the_rest() {
        let (mut fold, begun) = (Fold::default(), Instant::now());
        let mut tell = |broker, seconds| {
            let at = begun + Duration::from_secs(seconds);
            fold.tell("FAIL", &refused(broker, 7), at)
        };
        assert_eq!(tell("127.0.0.1:9092/bootstrap", 0), Some(0));
        assert_eq!(tell("kafka-1:9092/1", 1), None);
        assert_eq!(tell("GroupCoordinator", 29), None);
        assert_eq!(tell("kafka-2:9092/2", 30), Some(2));
        assert_eq!(tell("kafka-2:9092/2", 59), None);
    }

    #[test]
    fn what_is_wrong_in_another_way_is_told_at_once() {
        let (mut fold, now) = (Fold::default(), Instant::now());
        let broker = "kafka-1:9092/1";
        assert_eq!(fold.tell("FAIL", &refused(broker, 0), now), Some(0));
        for other in ["Disconnected (after 3ms in state UP)", "SASL authentication error: no"] {
            assert_eq!(fold.tell("FAIL", &format!("{broker}: {other}"), now), Some(0), "{other}");
        }
        assert_eq!(fold.tell("REQTMOUT", &refused(broker, 0), now), Some(0));
    }

    #[test]
    fn only_so_many_kinds_are_remembered() {
        let (mut fold, now) = (Fold::default(), Instant::now());
        for length in 1..=10 * MOST {
            fold.tell("FAIL", &"x".repeat(length), now);
        }
        assert!(fold.0.len() <= MOST);
    }
}
