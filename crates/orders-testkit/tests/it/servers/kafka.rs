use orders_testkit::servers::Kafka;

use super::processes_in;

// One test and not one for each fact, since brokers cost seconds to start.
#[test]
fn a_cluster_keeps_its_topics_over_a_lost_broker_and_is_gone_when_dropped() {
    let kafka = Kafka::start(3);
    kafka.create_topic("orders", 2, 3, &[("min.insync.replicas", "2")]);
    kafka.kill_broker(0);
    assert_eq!(kafka.topics(), ["orders"]);
    kafka.start_broker(0);
    kafka.stop_broker(1);
    kafka.start_broker(1);
    assert_eq!(kafka.topics(), ["orders"]);

    let directory = kafka.directory().to_owned();
    assert_eq!(processes_in(&directory).len(), 3);
    drop(kafka);
    assert_eq!(processes_in(&directory), Vec::<String>::new());
    assert!(!directory.exists());
}
