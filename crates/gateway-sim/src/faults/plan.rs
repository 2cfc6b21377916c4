//! What is planned to go wrong, as it is told and set over HTTP.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::Fault;
use crate::operation::Kind;

/// What is in force: `GET` and `PUT /sim/faults`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Plan {
    /// Begins the draws of all rates anew; never told.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub seed: Option<u64>,
    /// How likely each fault strikes an operation, from 0 to 1.
    pub rates: BTreeMap<Fault, f64>,
    /// What strikes the next requests: of each, the first entry that is for it, which counts down.
    pub next: Vec<Next>,
    /// How the API is down, if it is.
    pub down: Option<Down>,
}

/// Faults for the next requests.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Next {
    /// What strikes them, all together.
    pub faults: Vec<Fault>,
    /// Which requests; operations of any kind, and no lookups, when it is left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kind: Option<Target>,
    /// How many.
    pub count: u32,
}

/// What a request asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Target {
    /// An authorization.
    Authorization,
    /// A capture.
    Capture,
    /// A void.
    Void,
    /// A refund.
    Refund,
    /// What became of an operation.
    Lookup,
}

/// The API is down.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Down {
    /// How it shows.
    pub mode: DownMode,
    /// For how long; until it is lifted when it is left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub for_ms: Option<u64>,
}

/// How an API that is down shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum DownMode {
    /// Everything is answered with 503.
    Refuse,
    /// Nothing is answered, and connections are closed after the time of `hang`.
    Hang,
}

impl Next {
    /// One fault for the next so many operations.
    pub fn new(fault: Fault, count: u32) -> Self {
        Self { faults: vec![fault], kind: None, count }
    }

    pub(super) fn is_for(&self, target: Target) -> bool {
        self.kind.map_or(target != Target::Lookup, |kind| kind == target)
    }
}

impl From<Kind> for Target {
    fn from(kind: Kind) -> Self {
        match kind {
            Kind::Authorization => Self::Authorization,
            Kind::Capture => Self::Capture,
            Kind::Void => Self::Void,
            Kind::Refund => Self::Refund,
        }
    }
}
