//! What the payment gateway tells unasked (`webhooks` in `api/gateway.yaml`).
//!
//! No key of a client opens this: an event counts by its signature. It is taken in once, and only
//! if it is of what was asked for; all else is answered so that an honest sender knows what to do.
//! Deliberately absent: a list of events that were seen. An attempt has one outcome, and says so.

mod event;
mod secrets;

use ::orders::{
    ports::{Clock as _, Ports},
    usecase::Heard,
};
use axum::extract::{Request, State};
use http::StatusCode;
use mainstay::{
    http::Cx,
    metrics::{Counter, Metrics},
};
use mainstay_context::Context;

pub use self::secrets::{InvalidSecrets, Secrets};

use self::{event::GatewayEvent, secrets::Signed};
use super::{
    body::{collect, is_json, read, unsupported},
    openapi::{SignatureHeaders, WebhookProblems},
};
use crate::{
    api::{Api, use_case},
    problem::{Code, Problem},
};

/// The largest event that is read, in bytes.
const BODY_LIMIT: usize = 64 * 1024;

/// What webhooks are checked with and counted in.
#[derive(Debug)]
pub struct Webhooks {
    secrets: Secrets,
    counted: Counter,
}

impl Webhooks {
    /// Takes in what is signed with one of these secrets.
    pub fn new(secrets: Secrets, metrics: &Metrics) -> Self {
        let help = "Webhooks of the payment gateway, by what came of them: news, no_news, misfit, \
                    unsigned (its signature does not hold), malformed, failed";
        Self { secrets, counted: metrics.counter("gateway_webhooks_total", help, &["outcome"]) }
    }
}

/// Tell of an operation on a payment
///
/// For the payment gateway: the webhook of the gateway contract, `api/gateway.yaml`. It opens with
/// the signature and with no key. An event may come at any time, in any order and several times. What
/// is of no attempt that waits for its outcome is answered 204 too, and changes nothing; after any
/// other status, tell it again later.
#[utoipa::path(
    post,
    path = "/webhooks/gateway",
    operation_id = "hearGateway",
    tag = "gateway",
    security(()),
    params(SignatureHeaders),
    request_body = GatewayEvent,
    responses((status = 204, description = "It is kept, or no news."), WebhookProblems)
)]
pub(super) async fn hear<P: Ports>(
    State(api): State<Api<P>>,
    Cx(cx): Cx,
    request: Request,
) -> Result<StatusCode, Problem> {
    let Some(webhooks) = &api.config.webhooks else {
        return Err(Problem::no_address(
            "No webhooks are taken: gateway.webhook_secret_file is not set.",
        ));
    };
    let heard = take_in(&api, &cx, &webhooks.secrets, request).await;
    webhooks.counted.inc(&[outcome(&heard)]);
    heard.map(|_| StatusCode::NO_CONTENT)
}

async fn take_in<P: Ports>(
    api: &Api<P>,
    cx: &Context,
    secrets: &Secrets,
    request: Request,
) -> Result<Heard, Problem> {
    let (parts, body) = request.into_parts();
    let signed = Signed::read(&parts.headers).map_err(unsigned)?;
    signed.is_recent(api.orders.ports().clock().now()).map_err(unsigned)?;
    if !is_json(&parts.headers) {
        return Err(unsupported("application/json"));
    }
    let body = collect(body, BODY_LIMIT).await?;
    secrets.verify(&signed, &body).map_err(unsigned)?;
    let told = read::<GatewayEvent>(&body)?.notification()?;
    match use_case("hear", api.orders.hear(cx, &told)).await? {
        Heard::Misfit { what } => {
            let attempt = told.attempt;
            tracing::warn!(%attempt, what, "the gateway tells of something that was not asked for");
            let detail = format!("The {what} is not the one that was asked for under {attempt}.");
            Err(Problem::new(Code::WebhookMisfit, detail))
        }
        heard @ (Heard::News | Heard::NoNews) => Ok(heard),
    }
}

fn unsigned(detail: &'static str) -> Problem {
    Problem::new(Code::WebhookUnsigned, detail)
}

/// What is counted.
fn outcome(heard: &Result<Heard, Problem>) -> &'static str {
    match heard {
        Ok(Heard::News) => "news",
        Ok(Heard::NoNews) => "no_news",
        Ok(Heard::Misfit { .. }) => "misfit",
        Err(problem) if problem.code == Code::WebhookMisfit => "misfit",
        Err(problem) if problem.code == Code::WebhookUnsigned => "unsigned",
        Err(problem) if problem.code == Code::Contended => "failed",
        Err(problem) if problem.code.status().is_client_error() => "malformed",
        Err(_) => "failed",
    }
}
