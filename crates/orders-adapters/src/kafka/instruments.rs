//! What is measured of Kafka.

use mainstay::metrics::{Counter, Gauge, Metrics};

/// Where the publisher and the consumer report to.
#[derive(Clone, Debug)]
pub(super) struct Instruments {
    sent: Counter,
    parked: Counter,
    parked_keys: Gauge,
    handled: Counter,
    in_hand: Gauge,
}

impl Instruments {
    pub(super) fn new(metrics: &Metrics) -> Self {
        Self {
            sent: metrics.counter(
                "kafka_records_sent_total",
                "Records sent, by what came of it: kept, refused by the broker, or failed",
                &["topic", "outcome"],
            ),
            parked: metrics.counter(
                "kafka_records_parked_total",
                "Records of a topic that went to its dead letter topic",
                &["topic"],
            ),
            parked_keys: metrics.gauge(
                "kafka_parked_keys",
                "Keys of a topic that are parked, as far as this process knows",
                &["topic"],
            ),
            handled: metrics.counter(
                "kafka_records_handled_total",
                "Tries to carry out a record, by what came of it: done, later or refused",
                &["topic", "outcome"],
            ),
            in_hand: metrics.gauge(
                "kafka_records_in_hand",
                "Records of a topic that were taken and are not done with",
                &["topic"],
            ),
        }
    }

    /// Counts of these topics begin at 0, so that the first that is counted is seen as a rise.
    pub(super) fn publishes(&self, topics: [&str; 2]) {
        for topic in topics {
            for outcome in ["kept", "refused", "failed"] {
                self.sent.add(0, &[topic, outcome]);
            }
        }
    }

    /// As [`publishes`](Self::publishes), of a topic whose records are carried out.
    pub(super) fn consumes(&self, topic: &str) {
        for outcome in ["done", "later", "refused"] {
            self.handled.add(0, &[topic, outcome]);
        }
        self.in_hand(topic, 0);
    }

    /// As [`publishes`](Self::publishes), of a topic whose keys may be parked.
    pub(super) fn parks(&self, topic: &str) {
        self.parked.add(0, &[topic]);
        self.parked_keys(topic, 0);
    }

    pub(super) fn sent(&self, topic: &str, outcome: &str) {
        self.sent.inc(&[topic, outcome]);
    }

    pub(super) fn parked(&self, topic: &str) {
        self.parked.inc(&[topic]);
    }

    pub(super) fn parked_keys(&self, topic: &str, keys: usize) {
        self.parked_keys.set(gauge(keys), &[topic]);
    }

    pub(super) fn handled(&self, topic: &str, outcome: &str) {
        self.handled.inc(&[topic, outcome]);
    }

    pub(super) fn in_hand(&self, topic: &str, records: usize) {
        self.in_hand.set(gauge(records), &[topic]);
    }
}

fn gauge(count: usize) -> f64 {
    u32::try_from(count).map_or(f64::INFINITY, f64::from)
}
