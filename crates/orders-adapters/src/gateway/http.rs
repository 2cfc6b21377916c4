//! A payment provider behind the gateway contract (`api/gateway.yaml`), over HTTP.
//!
//! An answer counts only when it is of the operation that was asked for: the same reference, payment,
//! kind and amount, under our key. Anything else, a lie included, is no answer, and the outcome stays
//! unknown until a look-up finds one that counts.

use std::{path::PathBuf, time::Duration};

use bytes::Bytes;
use http::{Request, Response, StatusCode, header};
use jiff::SignedDuration;
use mainstay::{
    client::http::{self as client, Client, Safety, TlsError, Tries},
    config::{Secret, duration},
    metrics::Metrics,
    telemetry::error_chain,
};
use mainstay_context::Context;
use orders::{
    domain::{Money, Outcome, PaymentOperation},
    ports::{Found, Gateway, Instruction, Sent},
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// Where the gateway is, and how it is called.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// The file with the secret that the gateway knows us by, relative to the working directory.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(example = "gateway-secret")]
    pub secret_file: Option<PathBuf>,
    /// The file with the secrets that the gateway signs its webhooks with, relative to the working
    /// directory: `whsec_` and base64, one a line, several while one is replaced; read at the start.
    /// The gateway sends them to `/webhooks/gateway`. Default: none, and no webhook is taken.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(example = "gateway-webhook-secret")]
    pub webhook_secret_file: Option<PathBuf>,
    /// How long the gateway remembers a key, as its `/v1/capabilities` tells. Default 1 day.
    #[serde(with = "duration::Text")]
    pub key_window: Duration,
    /// How it is called.
    pub client: client::Config,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            secret_file: None,
            webhook_secret_file: None,
            key_window: Duration::from_hours(24),
            client: client::Config::default(),
        }
    }
}

/// The gateway port over HTTP.
#[derive(Clone, Debug)]
pub struct HttpGateway {
    client: Client,
    secret: Secret<String>,
    key_window: SignedDuration,
}

/// What clocks, and requests that are under way, may be off: a tenth of a window, within these.
const MARGIN: (SignedDuration, SignedDuration) =
    (SignedDuration::from_mins(1), SignedDuration::from_hours(1));

impl HttpGateway {
    /// A client of the gateway there, with its secret.
    ///
    /// # Errors
    /// Fails when the certificates that an `https` address needs cannot be read.
    pub fn new(
        config: &Config,
        secret: Secret<String>,
        metrics: &Metrics,
    ) -> Result<Self, TlsError> {
        let window = SignedDuration::try_from(config.key_window).unwrap_or(SignedDuration::MAX);
        let key_window = window.saturating_sub((window / 10).clamp(MARGIN.0, MARGIN.1));
        let client = Client::new("gateway", &config.client, metrics)?;
        Ok(Self { client, secret, key_window })
    }

    /// What calls come through, to be shown and measured.
    pub const fn client(&self) -> &Client {
        &self.client
    }

    async fn call(
        &self,
        cx: &Context,
        safety: Safety,
        request: http::request::Builder,
        body: Bytes,
    ) -> Result<Response<Bytes>, Trouble> {
        let bearer = format!("Bearer {}", self.secret.expose());
        let request = request
            .header(header::AUTHORIZATION, bearer)
            .body(body)
            .map_err(|error| Trouble::NotSent(error.to_string()))?;
        self.client.call(cx, safety, request).await.map_err(|error| {
            let why = error_chain(&error);
            if error.is_not_sent() { Trouble::NotSent(why) } else { Trouble::Unknown(why) }
        })
    }
}

/// Why there is no answer.
enum Trouble {
    NotSent(String),
    Unknown(String),
}

impl Gateway for HttpGateway {
    async fn send(&self, cx: &Context, order: &Instruction) -> Sent {
        let request = Request::post(path(order.operation))
            .header("idempotency-key", key(order))
            .header(header::CONTENT_TYPE, "application/json");
        match self.call(cx, Safety::Keyed, request, body(order)).await {
            Ok(answer) => match answer.status() {
                StatusCode::OK => match counted(order, answer.body()) {
                    Ok(outcome) => Sent::Answered(outcome),
                    Err(NotCounted::Unreadable(why) | NotCounted::Another(why)) => {
                        Sent::Unknown(why)
                    }
                },
                status => not_ok(status, answer.extensions().get() == Some(&Tries(1))),
            },
            Err(Trouble::NotSent(why)) => Sent::NotSent(why),
            Err(Trouble::Unknown(why)) => Sent::Unknown(why),
        }
    }

    async fn look_up(&self, cx: &Context, order: &Instruction) -> Found {
        let request = Request::get(format!("/v1/operations/{}", order.attempt));
        match self.call(cx, Safety::Safe, request, Bytes::new()).await {
            Ok(answer) => match answer.status() {
                StatusCode::OK => match counted(order, answer.body()) {
                    Ok(outcome) => Found::Answered(outcome),
                    Err(NotCounted::Unreadable(why)) => Found::Unknown(why),
                    Err(NotCounted::Another(why)) => Found::Contradicted(why),
                },
                StatusCode::NOT_FOUND if is_not_found(answer.body()) => Found::Absent,
                status => Found::Unknown(format!("the gateway answers {status}")),
            },
            Err(Trouble::NotSent(why) | Trouble::Unknown(why)) => Found::Unknown(why),
        }
    }

    fn key_window(&self) -> SignedDuration {
        self.key_window
    }
}

/// What an answer other than 200 to sending an operation says. By the contract a request that is
/// answered with 4xx changed nothing; but an earlier try of it may have.
fn not_ok(status: StatusCode, only_try: bool) -> Sent {
    let why = format!("the gateway answers {status}");
    match status {
        StatusCode::BAD_REQUEST
        | StatusCode::PAYLOAD_TOO_LARGE
        | StatusCode::UNSUPPORTED_MEDIA_TYPE
            if only_try =>
        {
            "request-refused".parse().map_or(Sent::Unknown(why), Sent::Refused)
        }
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN if only_try => Sent::NotSent(why),
        _ => Sent::Unknown(why),
    }
}

const fn path(operation: PaymentOperation) -> &'static str {
    match operation {
        PaymentOperation::Authorize => "/v1/authorizations",
        PaymentOperation::Capture => "/v1/captures",
        PaymentOperation::Void => "/v1/voids",
        PaymentOperation::Refund => "/v1/refunds",
    }
}

const fn kind(operation: PaymentOperation) -> &'static str {
    match operation {
        PaymentOperation::Authorize => "authorization",
        PaymentOperation::Capture => "capture",
        PaymentOperation::Void => "void",
        PaymentOperation::Refund => "refund",
    }
}

/// The gateway's key of an attempt: ours, never a client's.
fn key(order: &Instruction) -> String {
    format!("orderly-{}", order.attempt)
}

#[derive(Serialize)]
struct Asked<'a> {
    reference: Uuid,
    payment: Uuid,
    #[serde(skip_serializing_if = "Option::is_none")]
    amount: Option<Amount>,
    #[serde(skip_serializing_if = "Option::is_none")]
    instrument: Option<&'a str>,
}

#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Amount {
    amount_minor: String,
    currency: String,
}

impl From<Money> for Amount {
    fn from(money: Money) -> Self {
        let currency = money.currency.code().to_owned();
        Self { amount_minor: money.minor.to_string(), currency }
    }
}

fn body(order: &Instruction) -> Bytes {
    let is = |operation| order.operation == operation;
    let asked = Asked {
        reference: order.attempt.0,
        payment: order.payment.0,
        // A void lets go of all there is, which is what was asked for.
        amount: (!is(PaymentOperation::Void)).then(|| order.amount.into()),
        instrument: order
            .instrument
            .as_ref()
            .filter(|_| is(PaymentOperation::Authorize))
            .map(orders::domain::Instrument::as_str),
    };
    serde_json::to_vec(&asked).unwrap_or_default().into()
}

/// What an answer says of an operation. Fields that are not read may be there.
#[derive(Deserialize)]
struct Answered {
    reference: Uuid,
    payment: Uuid,
    kind: String,
    status: String,
    amount: Amount,
    #[serde(default)]
    decline_code: Option<String>,
    idempotency_key: String,
}

/// Why an answer does not count.
enum NotCounted {
    /// It is not of the contract.
    Unreadable(String),
    /// It is of another operation.
    Another(String),
}

/// The outcome that an answer tells of this operation.
fn counted(order: &Instruction, body: &[u8]) -> Result<Outcome, NotCounted> {
    let told: Answered = serde_json::from_slice(body).map_err(|_| {
        NotCounted::Unreadable("the gateway's answer is not of the contract".to_owned())
    })?;
    let declined = told.status == "declined";
    for (what, agrees) in [
        ("reference", told.reference == order.attempt.0),
        ("payment", told.payment == order.payment.0),
        ("kind", told.kind == kind(order.operation)),
        ("key", told.idempotency_key == key(order)),
        // Of a void that was declined there is no amount to speak of.
        ("amount", told.amount == order.amount.into() || (declined && is_void(order))),
        ("status", declined || told.status == "succeeded"),
    ] {
        if !agrees {
            return Err(NotCounted::Another(format!("the gateway answers with another {what}")));
        }
    }
    if !declined {
        return Ok(Outcome::Succeeded);
    }
    let code = told.decline_code.as_deref().and_then(|code| code.parse().ok());
    let unnamed =
        || "declined".parse().map_err(|_| NotCounted::Unreadable("no decline code".to_owned()));
    code.map_or_else(unnamed, Ok).map(Outcome::Declined)
}

fn is_void(order: &Instruction) -> bool {
    order.operation == PaymentOperation::Void
}

/// Whether a 404 is the contract's, and not that of a wrong address.
fn is_not_found(body: &[u8]) -> bool {
    #[derive(Deserialize)]
    struct Problem {
        code: String,
    }
    serde_json::from_slice::<Problem>(body).is_ok_and(|problem| problem.code == "not-found")
}
