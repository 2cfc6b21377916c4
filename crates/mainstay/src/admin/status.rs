//! What the process tells about itself now.

use super::Admin;
use crate::http::InFlightRequest;
use futures_util::future::join_all;
use serde_json::{Map, Value, json};
use std::{sync::Arc, time::Duration};

impl InFlightRequest {
    pub(super) fn told(&self) -> Value {
        json!({
            "request_id": self.request_id,
            "method": self.method,
            "route": self.route,
            "principal": self.principal,
            "activity": self.activity,
            "age_ms": self.age.as_millis(),
            "remaining_ms": self.remaining.map(|left| left.as_millis()),
        })
    }
}

/// What the process tells about itself at one moment.
pub(super) struct Status {
    pub(super) name: String,
    pub(super) build: Vec<(&'static str, String)>,
    pub(super) phase: String,
    pub(super) phase_age: Duration,
    pub(super) uptime: Duration,
    /// Why it is not ready; empty when it is.
    pub(super) reasons: Vec<String>,
    /// Of the chassis and of the service, by name.
    pub(super) sections: Vec<(String, Value)>,
    pub(super) log_level: Option<String>,
    pub(super) config: Option<Arc<str>>,
}

impl Admin {
    /// Asks everything at once.
    pub(super) async fn status(&self) -> Status {
        let told = join_all(self.sections.iter().map(async |section| {
            let tell = Arc::clone(&section.tell);
            let value = section.asking.ask(move || tell()).await;
            (section.name.clone(), value.unwrap_or_else(|| json!("gave no answer within 1 s")))
        }));
        let level = async { self.log_level.as_ref()?.read().await };
        let (sections, log_level, reasons) = tokio::join!(told, level, self.unready_reasons());
        Status {
            name: self.metrics.namespace().to_owned(),
            build: self.metrics.build(),
            phase: self.lifecycle.phase().to_string(),
            phase_age: self.lifecycle.phase_age(),
            uptime: self.lifecycle.uptime(),
            reasons,
            sections,
            log_level,
            config: self.config.clone(),
        }
    }
}

impl Status {
    /// As tools read it: the sections stand by their names beside what every service tells.
    pub(super) fn json(self) -> Value {
        let build: Map<_, _> =
            self.build.into_iter().map(|(fact, value)| (fact.to_owned(), value.into())).collect();
        let mut all: Map<_, _> = self.sections.into_iter().collect();
        let own = [
            ("service", json!(self.name)),
            ("build", build.into()),
            ("phase", json!(self.phase)),
            ("phase_seconds", json!(self.phase_age.as_secs_f64())),
            ("uptime_seconds", json!(self.uptime.as_secs_f64())),
            ("ready", json!(self.reasons.is_empty())),
            ("reasons", json!(self.reasons)),
            ("log_level", json!(self.log_level)),
            ("config", json!(self.config.as_deref())),
        ];
        all.extend(own.map(|(key, value)| (key.to_owned(), value)));
        all.into()
    }
}
