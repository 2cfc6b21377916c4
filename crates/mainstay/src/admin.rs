//! What operators and their tools ask a process, on a listener of its own.
//!
//! `GET /livez` (the process answers), `/readyz` (200, or 503 with the reasons as JSON),
//! `/startupz` (503 until the start has succeeded), `/metrics` (Prometheus text, or OpenMetrics
//! if accepted). What is running is the metric `build_info`, see
//! [`Metrics::build_info`](crate::metrics::Metrics::build_info).
//!
//! Deliberately absent: authentication. Bind it to loopback, or to a network only operators
//! reach.

use crate::{
    lifecycle::{Lifecycle, Phase},
    metrics::{Format, Metrics},
};
use axum::{Json, Router, response::IntoResponse, routing::get};
use http::{HeaderMap, StatusCode, header};
use serde_json::json;

/// The routes of the admin listener.
pub fn router(lifecycle: &Lifecycle, metrics: &Metrics) -> Router {
    let (ready, startup) = (lifecycle.clone(), lifecycle.clone());
    let metrics = metrics.clone();
    Router::new()
        .route("/livez", get(async || "ok\n"))
        .route("/readyz", get(async move || readyz(&ready)))
        .route("/startupz", get(async move || startupz(&startup)))
        .route("/metrics", get(async move |headers: HeaderMap| render(&metrics, &headers)))
}

fn readyz(lifecycle: &Lifecycle) -> impl IntoResponse + use<> {
    let reasons = lifecycle.unready_reasons();
    let status = status(reasons.is_empty());
    (status, Json(json!({ "ready": reasons.is_empty(), "reasons": reasons })))
}

fn startupz(lifecycle: &Lifecycle) -> impl IntoResponse + use<> {
    let phase = lifecycle.phase();
    (status(phase > Phase::Starting), Json(json!({ "phase": phase.to_string() })))
}

fn status(well: bool) -> StatusCode {
    if well { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE }
}

fn render(metrics: &Metrics, headers: &HeaderMap) -> impl IntoResponse + use<> {
    let accept = headers.get(header::ACCEPT).and_then(|accept| accept.to_str().ok());
    let format = Format::from_accept(accept);
    ([(header::CONTENT_TYPE, format.content_type())], metrics.render(format))
}
