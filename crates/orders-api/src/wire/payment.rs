//! Money of an order: what clients ask, and what they are shown.

use std::fmt;

use orders::{
    Violation,
    domain::{
        self, Attempt, AttemptId, AttemptState, Instrument, Means, PaymentId, PaymentOperation,
        Reason, Resolution,
    },
    usecase::{Action, Part},
};
use serde::{Deserialize, Serialize};
use utoipa::{ToSchema, openapi::Object};
use uuid::Uuid;

use super::{
    money::Money,
    one_of,
    verb::{Pieces, pieces},
};

/// How an order is paid.
#[derive(Clone, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(examples(json!({"instrument": "tok_ok"})))]
pub(crate) struct Pay {
    /// The provider's token for a payment instrument; never a card number.
    #[schema(min_length = 1, max_length = 255, pattern = r"^[!-~]+$")]
    pub(crate) instrument: String,
    /// How much to hold; all that is due when it is absent.
    #[schema(nullable = false)]
    #[serde(default, deserialize_with = "super::given")]
    pub(crate) amount: Option<Money>,
}

/// A token opens a purse.
impl fmt::Debug for Pay {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Pay(..)")
    }
}

/// Which money of an order; all of it when nothing is said.
#[derive(Clone, Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(examples(json!({"amount": {"amount_minor": "500", "currency": "EUR"}})))]
pub(crate) struct SomeMoney {
    /// Of which payment; the first that has something left when it is absent.
    #[schema(format = "uuid", nullable = false)]
    #[serde(default, deserialize_with = "super::given")]
    pub(crate) payment_id: Option<String>,
    /// How much; all that is left of it when it is absent.
    #[schema(nullable = false)]
    #[serde(default, deserialize_with = "super::given")]
    pub(crate) amount: Option<Money>,
}

/// Which money of an order goes back; all that was taken when nothing is said.
#[derive(Clone, Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(examples(json!({"lines": [{"line_no": 1, "quantity": 1}]})))]
pub(crate) struct BackMoney {
    /// Of which payment; the first that has enough left when it is absent.
    #[schema(format = "uuid", nullable = false)]
    #[serde(default, deserialize_with = "super::given")]
    pub(crate) payment_id: Option<String>,
    /// How much; what the lines come to, or else all that is left, when it is absent.
    #[schema(nullable = false)]
    #[serde(default, deserialize_with = "super::given")]
    pub(crate) amount: Option<Money>,
    /// For which pieces: what was paid for them goes back, and refunds by line of all of a line's
    /// pieces sum up to the line exactly. Not beside `amount`.
    #[schema(min_items = 1, max_items = 500, nullable = false)]
    #[serde(default, deserialize_with = "super::given")]
    pub(crate) lines: Option<Vec<Pieces>>,
}

/// What became of an operation that waits for a person.
#[derive(Clone, Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(examples(json!({
    "operation_id": "01936f5e-7c2a-7b3e-9a41-0c8f2d6e5b10",
    "outcome": "succeeded",
    "reason": "the provider's dashboard shows it as captured"
})))]
pub(crate) struct Resolve {
    /// Which one: the `id` of an operation whose `state` is `PARKED`.
    #[schema(format = "uuid")]
    pub(crate) operation_id: String,
    /// What became of it. `succeeded`: it happened. `declined`: it did not, and will not; what must go
    /// back is then asked for anew. `send-again`: the provider is asked, and sent it again if it knows
    /// nothing of it.
    #[schema(schema_with = resolution)]
    pub(crate) outcome: String,
    /// How that is known; in the history.
    #[schema(min_length = 1, max_length = 500, pattern = r"^[^\x00-\x1F\x7F-\x9F]+$")]
    pub(crate) reason: String,
}

/// Money that was taken elsewhere.
#[derive(Clone, Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(examples(json!({
    "amount": {"amount_minor": "1999", "currency": "EUR"},
    "reason": "bank transfer 2026-03-01"
})))]
pub(crate) struct TakenElsewhere {
    /// How much.
    pub(crate) amount: Money,
    /// How, and what shows it; in the history.
    #[schema(
        min_length = 1,
        max_length = 500,
        pattern = r"^[^\x00-\x1F\x7F-\x9F]+$",
        nullable = false
    )]
    pub(crate) reason: Option<String>,
}

/// The instrument of this token, or what is wrong with it.
pub(super) fn instrument(pointer: &str, token: &str) -> Result<Instrument, Vec<Violation>> {
    token.parse().map_err(|error: domain::InstrumentError| {
        let (pointer, detail) = (pointer.to_owned(), error.to_string());
        vec![Violation { pointer, code: "instrument", detail }]
    })
}

impl TryFrom<Pay> for Action {
    type Error = Vec<Violation>;

    fn try_from(pay: Pay) -> Result<Self, Vec<Violation>> {
        let instrument = instrument("/instrument", &pay.instrument);
        let amount = amount(pay.amount.as_ref());
        match (instrument, amount) {
            (Ok(instrument), Ok(amount)) => Ok(Self::Pay { instrument, amount }),
            (instrument, amount) => {
                let mut all = instrument.err().unwrap_or_default();
                all.extend(amount.err().unwrap_or_default());
                Err(all)
            }
        }
    }
}

impl TryFrom<SomeMoney> for Part {
    type Error = Vec<Violation>;

    fn try_from(some: SomeMoney) -> Result<Self, Vec<Violation>> {
        let payment = some.payment_id.map(|id| uuid("/payment_id", "payment", &id)).transpose()?;
        let amount = amount(some.amount.as_ref())?;
        Ok(Self { payment: payment.map(PaymentId), amount, lines: Vec::new() })
    }
}

impl TryFrom<BackMoney> for Part {
    type Error = Vec<Violation>;

    fn try_from(back: BackMoney) -> Result<Self, Vec<Violation>> {
        if back.amount.is_some() && back.lines.is_some() {
            return Err(vec![Violation {
                pointer: "/amount".to_owned(),
                code: "amount-or-lines",
                detail: "must not stand beside lines, which say how much".to_owned(),
            }]);
        }
        let lines = pieces(back.lines.as_deref())?;
        let some = SomeMoney { payment_id: back.payment_id, amount: back.amount };
        let part = Self::try_from(some)?;
        Ok(Self { lines, ..part })
    }
}

impl TryFrom<Resolve> for Action {
    type Error = Vec<Violation>;

    fn try_from(resolve: Resolve) -> Result<Self, Vec<Violation>> {
        let attempt = uuid("/operation_id", "operation", &resolve.operation_id)?;
        let resolution = Resolution::from_name(&resolve.outcome).ok_or_else(|| {
            vec![Violation {
                pointer: "/outcome".to_owned(),
                code: "outcome",
                detail: "must be succeeded, declined or send-again".to_owned(),
            }]
        })?;
        let reason = super::text::<Reason>("/reason", &resolve.reason);
        let reason = reason.map_err(|wrong| vec![wrong])?;
        Ok(Self::Resolve { attempt: AttemptId(attempt), resolution, reason })
    }
}

fn uuid(pointer: &str, code: &'static str, text: &str) -> Result<Uuid, Vec<Violation>> {
    Uuid::parse_str(text).map_err(|_| {
        let detail = format!("must be a UUID: the id of the {code}");
        vec![Violation { pointer: pointer.to_owned(), code, detail }]
    })
}

impl TryFrom<TakenElsewhere> for Action {
    type Error = Vec<Violation>;

    fn try_from(taken: TakenElsewhere) -> Result<Self, Vec<Violation>> {
        let read = |text: String| super::text::<Reason>("/reason", &text);
        let reason = taken.reason.map(read).transpose().map_err(|wrong| vec![wrong])?;
        Ok(Self::RecordPayment { amount: taken.amount.read("/amount")?, reason })
    }
}

fn amount(money: Option<&Money>) -> Result<Option<domain::Money>, Vec<Violation>> {
    money.map(|money| money.read("/amount")).transpose()
}

/// A payment of an order.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Payment {
    /// Our id of it, by which the provider knows it too.
    #[schema(format = "uuid")]
    id: String,
    /// What it is paid with: an `INSTRUMENT`, or money that was taken `ELSEWHERE`.
    #[schema(schema_with = means)]
    means: &'static str,
    /// Held at the provider in all.
    authorized: Money,
    /// Taken in all.
    captured: Money,
    /// Given back in all.
    refunded: Money,
    /// Let go of without being taken.
    voided: Money,
    /// Everything that was asked for, oldest first.
    operations: Vec<Operation>,
}

/// Something that was asked of a payment.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Operation {
    /// Our id of it: the reference at the provider.
    #[schema(format = "uuid")]
    id: String,
    /// What.
    #[schema(schema_with = operation)]
    #[serde(rename = "operation")]
    what: &'static str,
    /// How much.
    amount: Money,
    /// How far it is. `UNKNOWN`: it was sent and the answer is lost; the provider is being asked.
    /// `PARKED`: that came to nothing; an operator has to find out.
    #[schema(schema_with = progress)]
    state: &'static str,
    /// Why the provider declined, in its own words for programs.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    decline_code: Option<String>,
}

fn resolution() -> Object {
    one_of(Resolution::ALL.iter().map(|resolution| resolution.as_str()))
}

fn means() -> Object {
    one_of(["INSTRUMENT", "ELSEWHERE"])
}

fn operation() -> Object {
    one_of(PaymentOperation::ALL.iter().map(|operation| shown(*operation)))
}

fn progress() -> Object {
    one_of(["OPEN", "UNKNOWN", "PARKED", "SUCCEEDED", "DECLINED"])
}

const fn shown(operation: PaymentOperation) -> &'static str {
    match operation {
        PaymentOperation::Authorize => "AUTHORIZE",
        PaymentOperation::Capture => "CAPTURE",
        PaymentOperation::Void => "VOID",
        PaymentOperation::Refund => "REFUND",
    }
}

impl Payment {
    /// A payment in an order's currency.
    pub(super) fn of(payment: &domain::Payment, currency: domain::Currency) -> Self {
        let money = |minor| domain::Money::new(minor, currency).into();
        Self {
            id: payment.id.to_string(),
            means: match payment.means {
                Means::Instrument(_) => "INSTRUMENT",
                Means::Elsewhere => "ELSEWHERE",
            },
            authorized: money(payment.authorized()),
            captured: money(payment.captured()),
            refunded: money(payment.refunded()),
            voided: money(payment.voided()),
            operations: payment.attempts.iter().map(Into::into).collect(),
        }
    }
}

impl From<&Attempt> for Operation {
    fn from(attempt: &Attempt) -> Self {
        let (state, decline_code) = match &attempt.state {
            AttemptState::Open => ("OPEN", None),
            AttemptState::Unknown => ("UNKNOWN", None),
            AttemptState::Parked => ("PARKED", None),
            AttemptState::Succeeded => ("SUCCEEDED", None),
            AttemptState::Declined(code) => ("DECLINED", Some(code.to_string())),
        };
        Self {
            id: attempt.id.to_string(),
            what: shown(attempt.operation),
            amount: attempt.amount.into(),
            state,
            decline_code,
        }
    }
}
