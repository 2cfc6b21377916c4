//! What is heard over either protocol, in a form in which two answers can be held against each other.

use std::collections::{BTreeMap, HashMap};

use axum::{
    body::{Body, Bytes},
    http::Request,
};
use http_body_util::BodyExt as _;
use orders_api::grpc::pb::{self, batch_create_orders_response::Outcome};
use prost::Message as _;
use serde_json::Value;
use tonic::Status;
use tonic_types::{ErrorDetails, ErrorInfo, RpcStatusExt as _, StatusExt as _};

use super::row::Face;
use crate::shop::Shop;

/// A header that differs from answer to answer, and the details of a status, which are read.
const LEFT_OUT: [&str; 2] = ["traceparent", "grpc-status-details-bin"];
/// How long what stands before a message is.
const FRAME: usize = 5;

/// An answer.
#[derive(Debug)]
pub(super) struct Heard {
    /// The code of the problem, as HTTP spells it; empty when all is well.
    pub(super) code: String,
    /// The body.
    pub(super) text: String,
    /// All of it: status, headers, details, body.
    pub(super) whole: String,
}

impl Heard {
    /// The answer to a request. That to a batch of one order is the answer to its order.
    pub(super) async fn of(shop: &Shop, face: Face, request: Request<Body>) -> Self {
        let is_batch = request.uri().path().to_lowercase().contains("batch");
        let (head, body) = shop.open(request).await.into_parts();
        let body = body.collect().await.unwrap().to_bytes();
        // What goes well says so in its trailers.
        let status = Status::from_header_map(&head.headers);
        let told = match face {
            Face::Http if !head.status.is_success() => {
                http_code(&body, "/code").or_else(|| Some("none".to_owned()))
            }
            Face::Http => http_code(&body, "/results/0/problem/code"),
            Face::Grpc if is_batch && status.is_none() => order_code(&body),
            Face::Grpc => status.as_ref().map(|status| code(status.get_details_error_info())),
        };
        let headers = head.headers.iter();
        let headers = headers.map(|(name, value)| (name.as_str(), lossy(value.as_bytes())));
        let headers: BTreeMap<&str, String> =
            headers.filter(|(name, _)| !LEFT_OUT.contains(name)).collect();
        let details = status.map(|status| details(status.get_error_details())).unwrap_or_default();
        let text = match face {
            Face::Grpc if is_batch => refused_order(&body).unwrap_or_else(|| lossy(&body)),
            Face::Http | Face::Grpc => lossy(&body),
        };
        let whole = format!("{} {headers:?} {details} {text}", head.status);
        Self { code: told.unwrap_or_default(), text, whole }
    }

    pub(super) fn is_well(&self) -> bool {
        self.code.is_empty()
    }
}

fn lossy(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// The code at this place of a JSON body.
fn http_code(body: &Bytes, place: &str) -> Option<String> {
    let body: Value = serde_json::from_slice(body).ok()?;
    body.pointer(place)?.as_str().map(str::to_owned)
}

/// The code of the one order that a batch was asked for.
fn order_code(body: &Bytes) -> Option<String> {
    refusal(body).map(|status| code(status.get_details_error_info()))
}

/// What is said of the one order that a batch was asked for, if it was refused.
fn refused_order(body: &Bytes) -> Option<String> {
    let status = refusal(body)?;
    Some(format!("{} {} {}", status.code, status.message, details(status.get_error_details())))
}

fn refusal(body: &Bytes) -> Option<tonic_types::Status> {
    let answer = pb::BatchCreateOrdersResponse::decode(body.get(FRAME..)?).expect("an answer");
    match answer.outcome.expect("an outcome") {
        Outcome::Order(_) => None,
        Outcome::Problem(status) => Some(status),
    }
}

/// All details of a status. Its metadata are a map, which comes in any order.
fn details(mut details: ErrorDetails) -> String {
    let info = details.error_info().cloned();
    details.set_error_info("", "", HashMap::new());
    let Some(ErrorInfo { reason, domain, metadata }) = info else { return format!("{details:?}") };
    format!("{reason} {domain} {:?} {details:?}", BTreeMap::from_iter(metadata))
}

fn code(info: Option<ErrorInfo>) -> String {
    info.map_or_else(|| "none".to_owned(), |info| info.reason.to_lowercase().replace('_', "-"))
}
