//! `orderly events`: the topics, what is parked behind them, and handing it out again.

use std::process::ExitCode;

use crate::{
    cli::EventsCommand,
    config::{self, Config},
    console::Failure,
};

/// Does what was asked of the topics.
pub(crate) fn run(command: &EventsCommand) -> Result<ExitCode, Failure> {
    let options = match command {
        EventsCommand::Topics(options) => &options.config,
        EventsCommand::Claim(options) => &options.config,
        EventsCommand::Dlq(options) => &options.config,
        EventsCommand::Replay(options) => &options.config,
    };
    let config = config::load(options)?.value;
    if config.kafka.is_none() {
        return Err(
            "kafka is not set: name the brokers with --set 'kafka.brokers=[\"HOST:9092\"]'".into(),
        );
    }
    on_kafka::run(command, &config)
}

#[cfg(not(feature = "kafka"))]
mod on_kafka {
    use super::{Config, EventsCommand, ExitCode, Failure, config};

    pub(super) fn run(_: &EventsCommand, _: &Config) -> Result<ExitCode, Failure> {
        Err(config::LEFT_OUT.into())
    }
}

#[cfg(feature = "kafka")]
mod on_kafka {
    use std::sync::Arc;

    use mainstay::{metrics::Metrics, telemetry::error_chain};
    use orders::ports::Ports as _;
    use orders_adapters::{
        kafka::{
            Republisher, Shipments, WeakTopic, create_topics,
            dlq::{self, Keys, Replayed},
            weak_topics,
        },
        settings::Kafka,
        sqlite::Sqlite,
    };
    use serde_json::{Value, json};

    use super::{Config, EventsCommand, ExitCode, Failure};
    use crate::{
        cli::{Dlq, Replay, Topic},
        console::{many, say},
        wired,
    };

    pub(super) fn run(command: &EventsCommand, config: &Config) -> Result<ExitCode, Failure> {
        let Some(kafka) = config.kafka.clone() else { return Ok(ExitCode::FAILURE) };
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
        runtime.block_on(async {
            match command {
                EventsCommand::Topics(_) => topics(&kafka).await,
                EventsCommand::Claim(_) => claim(config, &kafka).await,
                EventsCommand::Dlq(options) => list(&kafka, options).await,
                EventsCommand::Replay(options) => replay(config, &kafka, options).await,
            }
        })
    }

    fn name(kafka: &Kafka, topic: Topic) -> &str {
        match topic {
            Topic::Fulfillment => &kafka.inbound.fulfillment_topic,
            Topic::Events => &kafka.events_topic,
        }
    }

    async fn topics(kafka: &Kafka) -> Result<ExitCode, Failure> {
        let made = create_topics(kafka).await?;
        for topic in &made {
            say(&format!("made {topic}"));
        }
        if made.is_empty() {
            say("every topic was there");
        }
        match weak_topics(kafka).await {
            Ok(weak) => weak.iter().for_each(warn),
            Err(error) => say(&format!(
                "warning: it cannot be told how many brokers keep a record: {}",
                error_chain(&error)
            )),
        }
        Ok(ExitCode::SUCCESS)
    }

    fn warn(weak: &WeakTopic) {
        let WeakTopic { topic, replicas, in_sync } = weak;
        say(&format!(
            "warning: {topic} takes a record as kept when one broker has it \
             ({replicas} replicas, min.insync.replicas {in_sync})"
        ));
    }

    async fn claim(config: &Config, kafka: &Kafka) -> Result<ExitCode, Failure> {
        if config.postgres.is_none() {
            // Not for a store that would be made by this.
            Sqlite::find(&config.store.path).map_err(wired::with_hint)?;
        }
        let orders = wired::open(config, &Metrics::new("unread")).await?;
        let store = wired::store_id(orders.ports().store());
        orders.ports().store().close().await;
        for (topic, before) in dlq::take_over(kafka, store).await? {
            let before = match before {
                Some(before) if before == store => "as before".to_owned(),
                Some(before) => format!("and before to {before}"),
                None => "and before to none".to_owned(),
            };
            say(&format!("{topic} belongs to this store, {store}, {before}"));
        }
        Ok(ExitCode::SUCCESS)
    }

    async fn list(kafka: &Kafka, options: &Dlq) -> Result<ExitCode, Failure> {
        let topic = name(kafka, options.topic);
        let keys = dlq::list(kafka, topic).await?;
        if options.json {
            say(&as_json(topic, &keys).to_string());
            return Ok(ExitCode::SUCCESS);
        }
        let records = keys.values().map(|entries| entries.len() as u64).sum();
        say(&format!(
            "{topic}: {} of {} parked",
            many(records, "record"),
            many(keys.len() as u64, "key")
        ));
        for (key, entries) in &keys {
            let Some(first) = entries.first() else { continue };
            say(&format!(
                "  {}  {}, since {}: {}",
                String::from_utf8_lossy(key),
                many(entries.len() as u64, "record"),
                first.at,
                first.cause,
            ));
        }
        Ok(ExitCode::SUCCESS)
    }

    fn as_json(topic: &str, keys: &Keys) -> Value {
        let records = keys.iter().flat_map(|(key, entries)| {
            entries.iter().map(|entry| {
                json!({
                    "key": String::from_utf8_lossy(key),
                    "at": entry.at,
                    "cause": entry.cause,
                    "tries": entry.tries,
                    "partition": entry.partition,
                    "offset": entry.offset,
                    "value": entry.delivery.value.as_deref().map(String::from_utf8_lossy),
                })
            })
        });
        json!({ "topic": topic, "parked": records.collect::<Vec<_>>() })
    }

    async fn replay(config: &Config, kafka: &Kafka, options: &Replay) -> Result<ExitCode, Failure> {
        let metrics = Metrics::new("unread");
        let topic = name(kafka, options.topic);
        let key = options.key.as_deref().map(str::as_bytes);
        let replayed = match options.topic {
            Topic::Fulfillment => {
                let orders = Arc::new(wired::open(config, &metrics).await?);
                let handler = Shipments::new(Arc::clone(&orders), &kafka.inbound);
                let replayed = dlq::replay(kafka, topic, key, &handler).await;
                orders.ports().store().close().await;
                replayed?
            }
            Topic::Events => {
                let handler = Republisher::new(kafka)?;
                dlq::replay(kafka, topic, key, &handler).await?
            }
        };
        show(topic, &replayed);
        Ok(if replayed.stuck.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
    }

    fn show(topic: &str, replayed: &Replayed) {
        let Replayed { passed, released, stuck } = replayed;
        say(&format!(
            "{topic}: {} carried out, {} released",
            many(*passed as u64, "record"),
            many(*released as u64, "key"),
        ));
        for (entry, cause) in stuck {
            say(&format!("  {} stays: {cause}", String::from_utf8_lossy(&entry.key)));
        }
    }
}
