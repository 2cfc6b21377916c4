//! The topics, made with what they need.

use rdkafka::{
    admin::{AdminClient, AdminOptions, NewTopic, TopicReplication},
    error::{KafkaError, RDKafkaErrorCode},
};

use super::{
    client::Logs,
    config::{Config, SetupError, dlq_of},
    sink::release,
};

/// Makes those topics of the configuration that do not exist; returns the names of the new ones. Those
/// that exist stay as they are.
///
/// The topic of orders is compacted, and dead letter topics keep their records for ever; the others keep
/// them as long as the cluster does by default. With three replicas or more, a record is taken once two
/// have it, so that neither the loss of one broker stops the topics nor a second one loses a record.
///
/// # Errors
/// [`CreateError`]; some may have been made.
pub async fn create_topics(config: &Config) -> Result<Vec<String>, CreateError> {
    let admin: AdminClient<Logs> =
        config.client()?.create_with_context(Logs).map_err(SetupError::Client)?;
    let replicas = if config.replicas == 0 { -1 } else { i32::from(config.replicas) };
    let partitions = i32::from(config.partitions.max(1));
    let make = |name| {
        let topic = NewTopic::new(name, partitions, TopicReplication::Fixed(replicas));
        if replicas >= 3 { topic.set("min.insync.replicas", "2") } else { topic }
    };
    let (events, shipped) = (&config.events_topic, &config.inbound.fulfillment_topic);
    let (events_dlq, shipped_dlq) = (dlq_of(events), dlq_of(shipped));
    let for_ever = |name| make(name).set("retention.ms", "-1").set("retention.bytes", "-1");
    let topics = [
        make(events),
        for_ever(&events_dlq),
        make(&config.state_topic).set("cleanup.policy", "compact"),
        make(shipped),
        for_ever(&shipped_dlq),
    ];
    let timeout = Some(config.request_timeout);
    let options = AdminOptions::new().request_timeout(timeout).operation_timeout(timeout);
    let answers = admin.create_topics(&topics, &options).await.map_err(CreateError::Asked)?;
    release(admin).await;
    let mut new = Vec::new();
    for topic in answers {
        match topic {
            Ok(topic) => new.push(topic),
            Err((_, RDKafkaErrorCode::TopicAlreadyExists)) => {}
            Err((topic, code)) => return Err(CreateError::Refused { topic, code }),
        }
    }
    Ok(new)
}

/// Why topics were not made.
#[derive(Debug, thiserror::Error)]
pub enum CreateError {
    /// A client cannot be made.
    #[error(transparent)]
    Setup(#[from] SetupError),
    /// The cluster did not answer.
    #[error("the cluster was not asked to make topics")]
    Asked(#[source] KafkaError),
    /// The cluster refuses a topic.
    #[error("the cluster does not make the topic {topic}")]
    Refused {
        /// Which.
        topic: String,
        /// Why.
        #[source]
        code: RDKafkaErrorCode,
    },
}
