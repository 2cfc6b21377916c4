//! An event of the gateway contract, as far as it is read here.

use orders::{
    domain::{AttemptId, Currency, DeclineCode, Money, Outcome, PaymentId, PaymentOperation},
    usecase::Notification,
};
use serde::Deserialize;
use utoipa::ToSchema;
use uuid::Uuid;

use crate::problem::{FieldError, Problem};

/// An event of the gateway contract (`Event` in `api/gateway.yaml`). Other fields may be there.
#[derive(Debug, Deserialize, ToSchema)]
#[schema(examples(json!({
    "id": "evt-1",
    "type": "operation.succeeded",
    "created_at": "2026-03-01T12:00:00Z",
    "operation": {
        "reference": "01936f5e-7c2a-7b3e-9a41-0c8f2d6e5b10",
        "payment": "01936f5e-7c2a-7b3e-9a41-0c8f2d6e5b11",
        "kind": "authorization",
        "status": "succeeded",
        "amount": { "amount_minor": "1999", "currency": "EUR" }
    }
})))]
pub(super) struct GatewayEvent {
    #[serde(rename = "type")]
    kind: EventType,
    operation: GatewayOperation,
}

/// What an event tells; the same as its operation's status.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, ToSchema)]
#[schema(as = GatewayEventType)]
enum EventType {
    #[serde(rename = "operation.succeeded")]
    Succeeded,
    #[serde(rename = "operation.declined")]
    Declined,
}

/// An operation as it was decided.
#[derive(Debug, Deserialize, ToSchema)]
struct GatewayOperation {
    /// The id of the attempt, as it was asked for.
    #[schema(value_type = String, format = "uuid")]
    reference: Uuid,
    /// The id of the payment.
    #[schema(value_type = String, format = "uuid")]
    payment: Uuid,
    kind: OperationKind,
    status: OperationStatus,
    amount: GatewayAmount,
    /// Why it was declined, and only then.
    #[serde(default)]
    decline_code: Option<String>,
}

/// What was asked for.
#[derive(Clone, Copy, Debug, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
#[schema(as = GatewayOperationKind)]
enum OperationKind {
    Authorization,
    Capture,
    Void,
    Refund,
}

/// What became of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
#[schema(as = GatewayOperationStatus)]
enum OperationStatus {
    Succeeded,
    Declined,
}

/// An amount of the gateway contract.
#[derive(Debug, Deserialize, ToSchema)]
struct GatewayAmount {
    /// A whole number of minor units, as text.
    #[schema(pattern = "^(0|[1-9][0-9]{0,17})$")]
    amount_minor: String,
    /// ISO 4217; `XXX` beside the 0 of a void that was declined.
    #[schema(pattern = "^[A-Z]{3}$")]
    currency: String,
}

impl GatewayEvent {
    /// What it says of an attempt.
    pub(super) fn notification(self) -> Result<Notification, Problem> {
        let GatewayOperation { reference, payment, kind, status, amount, decline_code } =
            self.operation;
        let (type_, outcome) = match status {
            OperationStatus::Succeeded => (EventType::Succeeded, Outcome::Succeeded),
            OperationStatus::Declined => {
                (EventType::Declined, Outcome::Declined(code(decline_code.as_deref())?))
            }
        };
        if self.kind != type_ {
            let detail = "must tell the same as /operation/status";
            return Err(Problem::malformed(FieldError::at("/type", "contradiction", detail)));
        }
        Ok(Notification {
            attempt: AttemptId(reference),
            payment: PaymentId(payment),
            operation: kind.into(),
            amount: amount.read()?,
            outcome,
        })
    }
}

/// A decline is one whatever its code is.
fn code(text: Option<&str>) -> Result<DeclineCode, Problem> {
    let named = text.and_then(|text| text.parse().ok());
    let unnamed = || {
        "declined".parse().map_err(|error: orders::domain::TextError| {
            Problem::malformed(FieldError::at(
                "/operation/decline_code",
                "shape",
                error.to_string(),
            ))
        })
    };
    named.map_or_else(unnamed, Ok)
}

impl GatewayAmount {
    /// The amount; `None` when it is in no currency that is known here.
    fn read(&self) -> Result<Option<Money>, Problem> {
        let wrong = |field: &str, detail: &str| {
            Problem::malformed(FieldError::at(
                format!("/operation/amount/{field}"),
                "shape",
                detail,
            ))
        };
        let text = &self.amount_minor;
        let is_whole = text.bytes().all(|byte| byte.is_ascii_digit())
            && (text == "0" || !text.starts_with('0'))
            && text.len() <= 18;
        let minor = text.parse::<i64>().ok().filter(|_| is_whole);
        let minor = minor.ok_or_else(|| {
            wrong("amount_minor", "must be a whole number in a string, of 18 digits at most")
        })?;
        let is_code =
            self.currency.len() == 3 && self.currency.bytes().all(|b| b.is_ascii_uppercase());
        if !is_code {
            return Err(wrong("currency", "must be a code of ISO 4217, such as EUR"));
        }
        let currency: Option<Currency> = self.currency.parse().ok();
        Ok(currency.map(|currency| Money::new(minor, currency)))
    }
}

impl From<OperationKind> for PaymentOperation {
    fn from(kind: OperationKind) -> Self {
        match kind {
            OperationKind::Authorization => Self::Authorize,
            OperationKind::Capture => Self::Capture,
            OperationKind::Void => Self::Void,
            OperationKind::Refund => Self::Refund,
        }
    }
}
