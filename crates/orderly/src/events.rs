//! `orderly events`: the topics, whose they are, what is parked behind them, and handing it out again
//! or dropping it.

use std::process::ExitCode;

use crate::{
    cli::TopicsCommand,
    config::{self, Config},
    console::Failure,
};

/// Does what was asked of the topics.
pub(crate) fn run(command: &TopicsCommand) -> Result<ExitCode, Failure> {
    let options = match command {
        TopicsCommand::Topics(options) => &options.config,
        TopicsCommand::Claim(options) => &options.config,
        TopicsCommand::Dlq(options) => &options.config,
        TopicsCommand::Replay(options) => &options.config,
        TopicsCommand::Drop(options) => &options.config,
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
    use super::{Config, ExitCode, Failure, TopicsCommand, config};

    pub(super) fn run(_: &TopicsCommand, _: &Config) -> Result<ExitCode, Failure> {
        Err(config::LEFT_OUT.into())
    }
}

#[cfg(feature = "kafka")]
mod on_kafka {
    use std::sync::Arc;

    use mainstay::{config::duration, metrics::Metrics, telemetry::error_chain};
    use orders::ports::Ports as _;
    use orders_adapters::{
        kafka::{
            CreateError, Misfit, Republisher, Shipments, WeakTopic, create_topics,
            dlq::{self, Contents, DlqError, Dropped, Entry, Replayed, Which},
            misfits, weak_topics,
        },
        settings::Kafka,
        sqlite::Sqlite,
    };
    use serde_json::{Value, json};

    use super::{Config, ExitCode, Failure, TopicsCommand};
    use crate::{
        cli::topics::{Dlq, DropParked, Replay, Topic},
        console::{many, say},
        wired,
    };

    pub(super) fn run(command: &TopicsCommand, config: &Config) -> Result<ExitCode, Failure> {
        let Some(kafka) = config.kafka.clone() else { return Ok(ExitCode::FAILURE) };
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
        runtime.block_on(async {
            match command {
                TopicsCommand::Topics(_) => topics(config, &kafka).await,
                TopicsCommand::Claim(_) => claim(config, &kafka).await,
                TopicsCommand::Dlq(options) => list(&kafka, options).await,
                TopicsCommand::Replay(options) => replay(config, &kafka, options).await,
                TopicsCommand::Drop(options) => let_go(&kafka, options).await,
            }
        })
    }

    fn name(kafka: &Kafka, topic: Topic) -> &str {
        match topic {
            Topic::Fulfillment => &kafka.inbound.fulfillment_topic,
            Topic::Events => &kafka.events_topic,
        }
    }

    async fn topics(config: &Config, kafka: &Kafka) -> Result<ExitCode, Failure> {
        let made = create_topics(kafka).await?;
        for topic in &made {
            say(&format!("made {topic}"));
        }
        if made.is_empty() {
            say("every topic was there");
        }
        match weak_topics(kafka).await {
            Ok(weak) => weak.iter().for_each(warn),
            Err(error) => unknown("how many brokers keep a record", &error),
        }
        let remembered = config.retention.keys;
        match misfits(kafka, remembered).await {
            Ok(misfits) => {
                for misfit in &misfits {
                    say(&format!("warning: {}", told(misfit, &duration::format(remembered))));
                }
            }
            Err(error) => unknown("how long the topics keep a record", &error),
        }
        Ok(ExitCode::SUCCESS)
    }

    fn unknown(what: &str, error: &CreateError) {
        say(&format!("warning: it cannot be told {what}: {}", error_chain(error)));
    }

    fn warn(weak: &WeakTopic) {
        let WeakTopic { topic, replicas, in_sync } = weak;
        say(&format!(
            "warning: {topic} takes a record as kept when one broker has it \
             ({replicas} replicas, min.insync.replicas {in_sync})"
        ));
    }

    fn told(misfit: &Misfit, remembered: &str) -> String {
        match misfit {
            Misfit::Loses { topic, setting } => {
                format!("{topic} may lose records that nobody has dealt with ({setting})")
            }
            Misfit::Outlives { topic, kept } => {
                let kept = kept.map_or_else(
                    || "for ever".to_owned(),
                    |kept| format!("for up to {}", duration::format(kept)),
                );
                format!(
                    "{topic} keeps records {kept} (retention.ms and segment.ms), and retention.keys \
                     is {remembered}: a shipment that is read again later than that is carried out \
                     again"
                )
            }
        }
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
        let contents = dlq::read(kafka, topic).await?;
        if options.json {
            say(&as_json(topic, &contents).to_string());
            return Ok(ExitCode::SUCCESS);
        }
        let Contents { keys, dropped } = &contents;
        let records = keys.values().map(|entries| entries.len() as u64).sum();
        say(&format!(
            "{topic}: {} of {} parked",
            many(records, "record"),
            many(keys.len() as u64, "key")
        ));
        for (key, entries) in keys {
            let Some(first) = entries.first() else { continue };
            say(&format!(
                "  {}  {}, since {}: {}\n    the first is {}",
                String::from_utf8_lossy(key),
                many(entries.len() as u64, "record"),
                first.at,
                first.cause,
                place(first),
            ));
        }
        let gone: u64 = dropped.iter().map(|dropped| dropped.entries.len() as u64).sum();
        if gone > 0 {
            say(&format!("{} dropped so far; --json tells which", many(gone, "record")));
        }
        Ok(ExitCode::SUCCESS)
    }

    /// Which record this is, for people.
    fn place(entry: &Entry) -> String {
        let event = entry.delivery.event_id();
        let event = event.map_or_else(|| "without an id".to_owned(), |id| format!("event {id}"));
        let was = &entry.delivery;
        let from = if was.offset < 0 {
            was.topic.clone()
        } else {
            format!("{}, partition {}, offset {}", was.topic, was.partition, was.offset)
        };
        format!("{event} at offset {}; it came from {from}", entry.offset)
    }

    fn as_json(topic: &str, contents: &Contents) -> Value {
        let parked = contents.keys.values().flatten().map(record);
        let dropped = contents.dropped.iter().map(|Dropped { key, entries, word }| {
            json!({
                "key": String::from_utf8_lossy(key),
                "by": word.by,
                "reason": word.reason,
                "at": word.at,
                "records": entries.iter().map(record).collect::<Vec<_>>(),
            })
        });
        json!({
            "topic": topic,
            "parked": parked.collect::<Vec<_>>(),
            "dropped": dropped.collect::<Vec<_>>(),
        })
    }

    fn record(entry: &Entry) -> Value {
        let was = &entry.delivery;
        // What this service was to tell stood nowhere before.
        let source = (was.offset >= 0).then_some((was.partition, was.offset));
        json!({
            "key": String::from_utf8_lossy(&entry.key),
            "ce_id": was.event_id(),
            "at": entry.at,
            "cause": entry.cause,
            "tries": entry.tries,
            "partition": entry.partition,
            "offset": entry.offset,
            "source": {
                "topic": was.topic,
                "partition": source.map(|(partition, _)| partition),
                "offset": source.map(|(_, offset)| offset),
            },
            "value": was.value.as_deref().map(String::from_utf8_lossy),
        })
    }

    async fn let_go(kafka: &Kafka, options: &DropParked) -> Result<ExitCode, Failure> {
        let DropParked { key, reason, by, .. } = options;
        let topic = name(kafka, options.topic);
        let which = match options.offset {
            Some(offset) => Which::At(offset),
            None if options.all => Which::All,
            None => Which::First,
        };
        let done = dlq::let_go(kafka, topic, key.as_bytes(), which, (by, reason)).await;
        let (dropped, left) = done.map_err(|error| with_hint(error, key))?;
        let records = many(dropped.entries.len() as u64, "record");
        say(&format!("{topic}: dropped {records} of {key}, by {by}: {reason}"));
        for entry in &dropped.entries {
            say(&format!("  {}", place(entry)));
        }
        if left == 0 {
            say("none of it is left: later ones pass");
        } else {
            let left = many(left as u64, "record");
            say(&format!("{left} of it left: orderly events replay --key {key} hands out again"));
        }
        Ok(ExitCode::SUCCESS)
    }

    /// What can be done about a record that was not dropped.
    fn with_hint(error: DlqError, key: &str) -> Failure {
        let DlqError::Untried(offset) = error else { return error.into() };
        format!("{error}; try orderly events replay --key {key}, or drop it with --offset {offset}")
            .into()
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
