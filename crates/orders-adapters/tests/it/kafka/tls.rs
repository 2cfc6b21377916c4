//! Brokers behind TLS that ask who is there: what they let in, and what is refused and why.

use std::{fs, sync::OnceLock, time::Duration};

use mainstay::telemetry::error_chain;
use orders::{ports::Publisher as _, usecase::relay};
use orders_adapters::kafka::{Config, Mechanism, Security, create_topics, dlq};
use orders_testkit::{
    World,
    servers::{Kafka, KafkaTls},
};
use tempfile::NamedTempFile;
use tokio::{task, time::Instant};

use super::{
    PATIENCE, names_at,
    published::{orders, publisher},
    request, seen,
};

/// The broker of these tests. The first call starts it.
fn kafka() -> &'static Kafka {
    static SHARED: OnceLock<Kafka> = OnceLock::new();
    SHARED.get_or_init(Kafka::start_with_tls)
}

/// Topics of its own before they are made, read where nobody is asked who is there.
async fn names() -> Config {
    names_at(task::spawn_blocking(|| kafka().bootstrap()).await.unwrap())
}

/// The same topics for everybody who trusts the broker's authority.
fn over_tls(config: &Config) -> Config {
    let tls = kafka().tls();
    Config {
        brokers: vec![tls.for_all()],
        security: Some(Security::Tls),
        ca_file: Some(tls.ca_file().to_owned()),
        ..config.clone()
    }
}

/// The same topics for the user.
fn as_user(config: &Config) -> Config {
    let tls = kafka().tls();
    Config {
        brokers: vec![tls.for_users()],
        security: Some(Security::SaslTls),
        user: Some(KafkaTls::USER.to_owned()),
        password_file: Some(tls.password_file().to_owned()),
        ..over_tls(config)
    }
}

/// Makes the topics and publishes there what is found where nobody is asked.
async fn is_let_in(config: &Config, plain: &Config) {
    assert_eq!(create_topics(config).await.unwrap().len(), 5, "{config:?}");
    let world = World::new(1);
    orders(&world, 2).await;
    let publisher = publisher(config);
    assert_eq!(relay(&request(), &world, &publisher, 100).await.unwrap().events, 6);
    assert!(publisher.status()["last_error"].is_null(), "{}", publisher.status());
    assert_eq!(seen(plain, &plain.events_topic).await.len(), 6, "{config:?}");
    assert_eq!(seen(plain, &plain.state_topic).await.len(), 2, "{config:?}");
    assert!(dlq::list(config, &config.events_topic).await.unwrap().is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_user_publishes_events_and_states_by_each_mechanism() {
    for mechanism in [Mechanism::ScramSha512, Mechanism::ScramSha256, Mechanism::Plain] {
        let plain = names().await;
        is_let_in(&Config { mechanism, ..as_user(&plain) }, &plain).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_need_be_a_user_where_tls_is_enough() {
    let plain = names().await;
    is_let_in(&over_tls(&plain), &plain).await;
}

/// Asks again until the answer has this in it: the first may have come before the broker's.
async fn says(reason: &str, mut ask: impl AsyncFnMut() -> String) -> String {
    let begun = Instant::now();
    loop {
        let told = ask().await;
        if told.contains(reason) {
            return told;
        }
        assert!(begun.elapsed() < PATIENCE, "it does not say {reason:?}: {told}");
    }
}

/// Neither makes topics nor publishes, and says why; returns all that it says.
async fn is_refused(config: Config, plain: &Config, reason: &str) -> String {
    let config = Config { request_timeout: Duration::from_secs(1), ..config };
    let topics = says(reason, async || {
        let error = create_topics(&config).await.unwrap_err();
        format!("{} {error:?}", error_chain(&error))
    })
    .await;

    let parked = says(reason, async || {
        error_chain(&dlq::list(&config, &config.events_topic).await.unwrap_err())
    })
    .await;
    assert!(parked.contains(&config.brokers[0]), "which broker: {parked}");

    // The topics are there, so that only the refusal is in the way.
    create_topics(plain).await.unwrap();
    let world = World::new(1);
    orders(&world, 1).await;
    let publisher = publisher(&config);
    let status = says(reason, async || {
        relay(&request(), &world, &publisher, 100).await.unwrap_err();
        publisher.status()["last_error"].to_string()
    })
    .await;
    assert!(status.contains(&config.brokers[0]), "which broker: {status}");
    let error = publisher.ready(&request()).await.unwrap_err();
    assert_eq!(seen(plain, &plain.events_topic).await.len(), 0);
    assert_eq!(seen(plain, &plain.state_topic).await.len(), 0);
    format!("{topics} {parked} {status} {} {error:?} {publisher:?} {config:?}", error_chain(&error))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_wrong_password_is_refused_and_not_repeated() {
    let wrong = NamedTempFile::new().unwrap();
    fs::write(wrong.path(), "wrong-canary").unwrap();
    let plain = names().await;
    let config = Config { password_file: Some(wrong.path().to_owned()), ..as_user(&plain) };
    let reason = "SASL authentication error: Authentication failed during authentication due to \
                  invalid credentials with SASL mechanism SCRAM-SHA-512";
    let told = is_refused(config, &plain, reason).await;
    assert!(!told.contains("canary"), "{told}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_user_who_is_not_known_is_refused() {
    let plain = names().await;
    let config = Config { user: Some("nobody".to_owned()), ..as_user(&plain) };
    let told = is_refused(config, &plain, "invalid credentials").await;
    assert!(!told.contains(KafkaTls::PASSWORD), "{told}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_broker_of_another_authority_is_refused() {
    for is_another in [true, false] {
        let plain = names().await;
        let another = kafka().tls().other_ca_file().to_owned();
        // Without one, those of the system count.
        let config = Config { ca_file: is_another.then_some(another), ..as_user(&plain) };
        let told = is_refused(config, &plain, "certificate verify failed").await;
        assert!(!told.contains(KafkaTls::PASSWORD), "{told}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn plain_text_where_tls_is_spoken_is_refused() {
    let plain = names().await;
    let config = Config { brokers: vec![kafka().tls().for_all()], ..plain.clone() };
    // In the client's words it was hung up on, or was answered with what it does not understand.
    is_refused(config.clone(), &plain, &config.brokers[0]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_broker_with_the_certificate_of_another_host_is_refused() {
    let plain = names().await;
    let config = Config { brokers: vec![kafka().tls().misnamed()], ..over_tls(&plain) };
    is_refused(config, &plain, "certificate verify failed").await;
}
