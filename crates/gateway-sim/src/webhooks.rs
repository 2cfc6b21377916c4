//! Events to the caller: signed by the Standard Webhooks scheme, at least once, in any order.
//!
//! Events stand in the ledger with their operations, so none is lost with the process. One is sent
//! at a time, so that order changes only where a fault or a failed delivery changes it. Plain HTTP
//! only: the simulator and its caller are on one machine or in one private network.

mod send;
mod sign;

pub use self::sign::{InvalidSecret, Key};

use std::{sync::Arc, time::Duration};

use http::Uri;
use jiff::Timestamp;
use mainstay::{
    config::{Secret, duration},
    metrics::{Counter, Metrics},
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tokio::sync::Notify;

use crate::{
    faults::{Fault, Strike},
    ledger::{Delivery, Ledger, LedgerError},
};

/// The secret where none is set: on one machine only, and no secret at all.
pub const DEVELOPMENT_SECRET: &str = "whsec_Z2F0ZXdheS1zaW0tZGV2ZWxvcG1lbnQtc2VjcmV0";

/// How often an event is delivered under `webhook-duplicate`.
const DUPLICATES: u32 = 3;

/// The longest wait between two looks at what is due: an event may become due by time.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// Where events go.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// The address that events are posted to, such as http://127.0.0.1:8080/hooks. Default: none,
    /// and no events are made.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(example = "http://127.0.0.1:8080/hooks")]
    pub url: Option<String>,
    /// What events are signed with: `whsec_` and 24 to 64 bytes as base64. Default: a key for
    /// development that everybody knows.
    pub secret: Secret<String>,
    /// How long an answer is waited for. Default 5 s.
    #[serde(with = "duration::Text")]
    pub timeout: Duration,
    /// The pause after the first delivery that failed; it doubles with each. Default 200 ms.
    #[serde(with = "duration::Text")]
    pub first_retry: Duration,
    /// The longest such pause. Default 1 min.
    #[serde(with = "duration::Text")]
    pub longest_retry: Duration,
    /// How late an event is under `webhook-late`, and how long one waits at most under
    /// `webhook-out-of-order`. Default 5 s.
    #[serde(with = "duration::Text")]
    pub late: Duration,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            url: None,
            secret: Secret::new(DEVELOPMENT_SECRET.to_owned()),
            timeout: Duration::from_secs(5),
            first_retry: Duration::from_millis(200),
            longest_retry: Duration::from_mins(1),
            late: Duration::from_secs(5),
        }
    }
}

/// The address cannot be posted to.
#[derive(Debug, thiserror::Error)]
#[error("it must be an address such as http://127.0.0.1:8080/hooks, with http and not https")]
pub struct InvalidUrl;

impl Config {
    /// Where to post, if events are wanted.
    ///
    /// # Errors
    /// Fails when the address is not of plain HTTP.
    pub fn target(&self) -> Result<Option<Uri>, InvalidUrl> {
        let Some(url) = &self.url else { return Ok(None) };
        let uri: Uri = url.parse().map_err(|_| InvalidUrl)?;
        if uri.scheme_str() == Some("http") && uri.host().is_some() {
            Ok(Some(uri))
        } else {
            Err(InvalidUrl)
        }
    }

    /// The key of [`secret`](Self::secret).
    ///
    /// # Errors
    /// Fails when it is not in its form.
    pub fn key(&self) -> Result<Key, InvalidSecret> {
        self.secret.expose().parse()
    }

    /// How the event of an operation with these faults is delivered.
    pub(crate) fn delivery(&self, strike: &Strike) -> Option<Delivery> {
        self.url.as_ref()?;
        let held = strike.has(Fault::WebhookOutOfOrder);
        let waits = held || strike.has(Fault::WebhookLate);
        Some(Delivery {
            copies: if strike.has(Fault::WebhookDuplicate) { DUPLICATES } else { 1 },
            delay: if waits { self.late } else { Duration::ZERO },
            held,
        })
    }

    /// The pause after so many deliveries that failed.
    fn pause(&self, failed: u32) -> Duration {
        let doubled = 2_u32.saturating_pow(failed.min(20));
        self.first_retry.saturating_mul(doubled).min(self.longest_retry)
    }
}

/// Sends what is due.
#[derive(Debug)]
pub(crate) struct Sender {
    ledger: Arc<Ledger>,
    config: Config,
    target: Uri,
    key: Key,
    /// Told when an event was written.
    pub(crate) written: Arc<Notify>,
    sent: Counter,
}

impl Sender {
    pub(crate) fn new(
        ledger: &Arc<Ledger>,
        config: &Config,
        (target, key): (Uri, Key),
        metrics: &Metrics,
    ) -> Self {
        let help = "Deliveries of events: taken by their receiver, or failed";
        Self {
            ledger: Arc::clone(ledger),
            config: config.clone(),
            target,
            key,
            written: Arc::default(),
            sent: metrics.counter("webhook_deliveries", help, &["outcome"]),
        }
    }

    /// Sends for as long as it is polled.
    pub(crate) async fn run(&self) {
        loop {
            match self.send_next().await {
                Ok(true) => {}
                Ok(false) => {
                    // Either way it is looked again.
                    let written = self.written.notified();
                    let _elapsed = tokio::time::timeout(LOOK_EVERY, written).await.is_err();
                }
                Err(error) => {
                    tracing::error!(error = %error.0, "cannot read the events to send");
                    tokio::time::sleep(LOOK_EVERY).await;
                }
            }
        }
    }

    /// Sends one event, if one is due.
    async fn send_next(&self) -> Result<bool, LedgerError> {
        let Some(due) = self.ledger(|ledger| ledger.due(Timestamp::now())).await? else {
            return Ok(false);
        };
        let post = self.key.post(&self.target, &due.id, due.body, Timestamp::now());
        let sent = tokio::time::timeout(self.config.timeout, send::post(&self.target, post)).await;
        let failure = match sent {
            Ok(Ok(status)) if status.is_success() => None,
            Ok(Ok(status)) => Some(status.to_string()),
            Ok(Err(error)) => Some(error.to_string()),
            Err(_elapsed) => Some("no answer in time".to_owned()),
        };
        self.sent.inc(&[if failure.is_none() { "taken" } else { "failed" }]);
        let id = due.id;
        match failure {
            None => self.ledger(move |ledger| ledger.delivered(&id)).await?,
            Some(reason) => {
                let pause = self.config.pause(due.tries);
                tracing::debug!(event = id, reason, "event not delivered; trying again");
                let again =
                    move |ledger: &Ledger| ledger.not_delivered(&id, Timestamp::now(), pause);
                self.ledger(again).await?;
            }
        }
        Ok(true)
    }

    async fn ledger<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Ledger) -> Result<T, LedgerError> + Send + 'static,
    ) -> Result<T, LedgerError> {
        Ledger::blocking(&self.ledger, work).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_pause_doubles_up_to_its_limit() {
        let config = Config::default();
        let pauses: Vec<u128> = (0..4).map(|failed| config.pause(failed).as_millis()).collect();
        assert_eq!(pauses, [200, 400, 800, 1_600]);
        assert_eq!(config.pause(u32::MAX), Duration::from_mins(1));
    }

    #[test]
    fn only_plain_http_is_posted_to() {
        let target = |url: &str| Config { url: Some(url.to_owned()), ..Config::default() }.target();
        assert!(target("http://127.0.0.1:8080/hooks").is_ok());
        for wrong in ["https://shop.example/hooks", "/hooks", "shop", "", "ftp://shop/"] {
            assert!(target(wrong).is_err(), "{wrong}");
        }
    }
}
