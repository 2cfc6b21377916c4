//! A request, what came of it, and how both are told.

use bytes::Bytes;
use http::{HeaderMap, Method, StatusCode, header};
use mainstay::config::Secret;
use serde_json::Value;

use super::facts::{Checked, Evidence, Trouble};

/// The most that is shown of a body, in characters.
const SHOWN: usize = 300;

/// A request.
#[derive(Clone, Debug)]
pub(super) struct Ask {
    pub(super) method: Method,
    pub(super) path: String,
    pub(super) key: Option<String>,
    /// `None` sends no secret at all.
    pub(super) secret: Option<Secret<String>>,
    pub(super) content_type: &'static str,
    pub(super) body: Bytes,
}

impl Ask {
    /// With another secret, or none.
    pub(super) fn with_secret(mut self, secret: Option<&str>) -> Self {
        self.secret = secret.map(|secret| Secret::new(secret.to_owned()));
        self
    }

    pub(super) fn with_key(mut self, key: Option<&str>) -> Self {
        self.key = key.map(str::to_owned);
        self
    }

    pub(super) fn to(mut self, path: &str) -> Self {
        path.clone_into(&mut self.path);
        self
    }

    pub(super) fn with_type(mut self, content_type: &'static str) -> Self {
        self.content_type = content_type;
        self
    }

    /// With this text as its body.
    pub(super) fn saying(mut self, body: impl Into<Bytes>) -> Self {
        self.body = body.into();
        self
    }

    /// What is sent, if it is JSON.
    pub(super) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_default()
    }

    /// With its JSON changed.
    pub(super) fn changed(self, change: impl FnOnce(&mut Value)) -> Self {
        let mut json = self.json();
        change(&mut json);
        self.saying(json.to_string())
    }

    pub(super) fn path(&self) -> &str {
        &self.path
    }

    /// The request in a line; a secret is never shown.
    fn told(&self) -> String {
        let mut told = vec![format!("{} {}", self.method, self.path)];
        match (&self.secret, self.key.as_deref()) {
            (None, _) => told.push("no secret".to_owned()),
            (Some(_), Some(key)) => {
                told.push(format!("Idempotency-Key: {}", shown(key.as_bytes())));
            }
            (Some(_), None) if self.method == Method::POST => {
                told.push("no Idempotency-Key".to_owned());
            }
            (Some(_), None) => {}
        }
        if self.content_type != JSON {
            told.push(format!("Content-Type: {}", self.content_type));
        }
        if !self.body.is_empty() {
            told.push(shown(&self.body));
        }
        told.join(", ")
    }
}

pub(super) const JSON: &str = "application/json";

/// The beginning of a body, on one line.
fn shown(body: &[u8]) -> String {
    let text = String::from_utf8_lossy(body);
    let visible = |c: char| if c.is_control() { ' ' } else { c };
    let shown: String = text.chars().take(SHOWN).map(visible).collect();
    let more = text.chars().nth(SHOWN).is_some();
    if more { format!("{shown}... ({} bytes)", body.len()) } else { shown }
}

/// A request and what came of it.
#[derive(Clone, Debug)]
pub(super) struct Exchange {
    pub(super) ask: Ask,
    pub(super) came: Came,
}

#[derive(Clone, Debug)]
pub(super) enum Came {
    Answer(StatusCode, HeaderMap, Bytes),
    /// There is none, for this reason.
    Nothing(Silence, String),
}

/// How it came that there is no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Silence {
    /// The request surely did not leave: nobody is there.
    NotSent,
    /// The answer is longer than the contract allows.
    TooLong,
    /// It was sent, and no answer came.
    Lost,
}

impl Exchange {
    /// The answer's JSON; null where there is none.
    pub(super) fn json(&self) -> Value {
        match &self.came {
            Came::Answer(_, _, body) => serde_json::from_slice(body).unwrap_or_default(),
            Came::Nothing(..) => Value::Null,
        }
    }

    pub(super) fn status(&self) -> Option<StatusCode> {
        match &self.came {
            Came::Answer(status, ..) => Some(*status),
            Came::Nothing(..) => None,
        }
    }

    pub(super) fn header(&self, name: &str) -> Option<&str> {
        match &self.came {
            Came::Answer(_, headers, _) => headers.get(name)?.to_str().ok(),
            Came::Nothing(..) => None,
        }
    }

    /// Whether it says that it was decided by an earlier request.
    pub(super) fn is_replayed(&self) -> bool {
        self.header("idempotent-replayed") == Some("true")
    }

    /// What was sent, what came, and what was wanted.
    pub(super) fn evidence(&self, wanted: impl Into<String>) -> Evidence {
        let came = match &self.came {
            Came::Nothing(_, why) => format!("no answer: {why}"),
            Came::Answer(status, headers, body) => {
                let kind = headers.get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok());
                let replayed = if self.is_replayed() { ", Idempotent-Replayed: true" } else { "" };
                let kind = kind.unwrap_or("no Content-Type");
                format!("{}, {kind}{replayed}, {}", status.as_u16(), shown(body))
            }
        };
        Evidence { sent: self.ask.told(), came, wanted: wanted.into() }
    }

    /// It is not what the contract says.
    pub(super) fn miss<T>(&self, wanted: impl Into<String>) -> Checked<T> {
        match &self.came {
            Came::Nothing(_, why) => {
                Err(Trouble::Unclear(format!("{} has no answer: {why}", self.ask.told())))
            }
            Came::Answer(..) => Err(Trouble::Missing(Box::new(self.evidence(wanted)))),
        }
    }

    /// Whether it is this problem.
    pub(super) fn is_problem(&self, status: u16, code: &str) -> Checked {
        let told = self.json();
        let is = self.status().is_some_and(|told| told.as_u16() == status);
        if is && told.get("code").and_then(Value::as_str) == Some(code) {
            return Ok(());
        }
        self.miss(format!("{status} with the code {code}"))
    }
}
