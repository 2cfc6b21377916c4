//! The crates that are held to the rows.

mod admissions;
mod breakers;
mod layers;
mod limits;
mod pools;
mod races;
mod retries;

use crate::{
    address,
    suite::{admission, breaker, hedge, layer, limit, ours, pool, race, retry, row::Row},
};

/// One part of one crate.
pub(crate) struct Subject {
    /// As the registry knows it.
    pub(crate) package: &'static str,
    /// Which of its types, where it has several.
    pub(crate) what: &'static str,
    pub(crate) rows: Vec<Row>,
}

fn of(package: &'static str, what: &'static str, rows: Vec<Row>) -> Subject {
    Subject { package, what, rows }
}

/// What is ours, part by part.
pub(crate) fn ours() -> Vec<Subject> {
    let package = "mainstay-resilience";
    vec![
        of(package, "", breaker::rows::<ours::Breaker>()),
        of(package, "", retry::rows::<ours::Retry>()),
        of(package, "", limit::rows::<ours::Limit>()),
        of("mainstay", "ClientAddr", address::rows::<address::Ours>()),
        of(package, "", admission::rows::<ours::Admission>()),
        of(package, "", pool::rows::<ours::Pool>()),
        of(package, "", race::rows::<ours::Race>()),
        of(package, "", hedge::rows::<ours::Hedge>()),
        of(package, "", layer::rows::<ours::Layer>()),
    ]
}

/// What others have published, part by part.
pub(crate) fn others() -> Vec<Subject> {
    let (tower, resilience) = ("tower", "tower-resilience");
    vec![
        of("failsafe", "success rate", breaker::rows::<breakers::Failsafe>()),
        of("recloser", "", breaker::rows::<breakers::Ring>()),
        of("tower-circuitbreaker", "", breaker::rows::<breakers::Earlier>()),
        of(resilience, "circuit breaker", breaker::rows::<breakers::Resilience>()),
        of("backoff", "", retry::rows::<retries::Backoff>()),
        of("backon", "", retry::rows::<retries::Backon>()),
        of(tower, "Retry, TpsBudget", retry::rows::<retries::Tower>()),
        of(resilience, "retry, token bucket", retry::rows::<retries::Resilience>()),
        of("governor", "keyed", limit::rows::<limits::Governor>()),
        of(tower, "RateLimit", limit::rows::<limits::Tower>()),
        of("tower_governor", "SmartIpKeyExtractor", address::rows::<address::Smart>()),
        of(tower, "GlobalConcurrencyLimit", admission::rows::<admissions::Tower>()),
        of(resilience, "adaptive, AIMD", admission::rows::<admissions::Additive>()),
        of(resilience, "adaptive, Vegas", admission::rows::<admissions::ByLatency>()),
        of("rayon", "", pool::rows::<pools::Rayon>()),
        of("threadpool", "", pool::rows::<pools::Threadpool>()),
        of("tokio", "spawn_blocking", pool::rows::<pools::Blocking>()),
        of("futures-util", "select_all", race::rows::<races::SelectAll>()),
        of("futures-util", "select_ok", race::rows::<races::SelectOk>()),
        of(tower, "Hedge", hedge::rows::<races::Tower>()),
        of(resilience, "hedge", hedge::rows::<races::Resilience>()),
        of(tower, "ConcurrencyLimit", layer::rows::<layers::Tower>()),
        of(tower, "GlobalConcurrencyLimit", layer::rows::<layers::Global>()),
        of(resilience, "bulkhead", layer::rows::<layers::Resilience>()),
    ]
}
