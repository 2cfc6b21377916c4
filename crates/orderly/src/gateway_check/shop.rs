//! What the checks ask for: short ways to make operations, and to read their answers.

use serde_json::{Value, json};
use uuid::Uuid;

use super::{
    caller::Caller,
    exchange::{Ask, Exchange},
    facts::Checked,
    watch::minor,
};

/// What is authorized, in minor units, where nothing else is said.
pub(super) const AMOUNT: i64 = 1_000;

/// A caller with instruments to pay with.
#[derive(Debug)]
pub(super) struct Shop {
    pub(super) caller: Caller,
    pub(super) instrument: String,
    pub(super) declined_instrument: String,
    pub(super) currency: String,
}

/// A random id.
pub(super) fn id() -> Uuid {
    // Without random numbers every reference is in use already, which is then told.
    let half = || getrandom::u64().unwrap_or_default();
    let random = Uuid::from_u64_pair(half(), half());
    uuid::Builder::from_random_bytes(random.into_bytes()).into_uuid()
}

/// A key that was never used.
pub(super) fn key() -> String {
    format!("orderly-check-{}", id())
}

/// The sums of a payment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Totals {
    pub(super) authorized: i64,
    pub(super) captured: i64,
    pub(super) voided: i64,
    pub(super) refunded: i64,
}

impl Totals {
    pub(super) const fn new(authorized: i64, captured: i64, voided: i64, refunded: i64) -> Self {
        Self { authorized, captured, voided, refunded }
    }

    fn of(operation: &Value) -> Option<Self> {
        let sum = |name: &str| operation.pointer(&format!("/totals/{name}")).and_then(minor);
        Some(Self::new(sum("authorized")?, sum("captured")?, sum("voided")?, sum("refunded")?))
    }
}

impl Shop {
    pub(super) fn money(&self, minor: i64) -> Value {
        json!({ "amount_minor": minor.to_string(), "currency": self.currency })
    }

    /// An authorization of this payment by the approved instrument, under a new reference and key.
    pub(super) fn authorize(&self, payment: Uuid) -> Ask {
        let body = json!({
            "reference": id().to_string(),
            "payment": payment.to_string(),
            "amount": self.money(AMOUNT),
            "instrument": self.instrument,
        });
        self.caller.post("/v1/authorizations", &key(), &body)
    }

    /// One that is declined.
    pub(super) fn decline(&self) -> Ask {
        let instrument = self.declined_instrument.clone();
        self.authorize(id()).changed(|body| body["instrument"] = json!(instrument))
    }

    pub(super) fn capture(&self, payment: Uuid, minor: i64) -> Ask {
        self.amounted("/v1/captures", payment, minor)
    }

    pub(super) fn refund(&self, payment: Uuid, minor: i64) -> Ask {
        self.amounted("/v1/refunds", payment, minor)
    }

    pub(super) fn void(&self, payment: Uuid) -> Ask {
        let body = json!({ "reference": id().to_string(), "payment": payment.to_string() });
        self.caller.post("/v1/voids", &key(), &body)
    }

    fn amounted(&self, path: &str, payment: Uuid, minor: i64) -> Ask {
        let body = json!({
            "reference": id().to_string(),
            "payment": payment.to_string(),
            "amount": self.money(minor),
        });
        self.caller.post(path, &key(), &body)
    }

    pub(super) fn look_up(&self, reference: &str) -> Ask {
        self.caller.get(&format!("/v1/operations/{reference}"))
    }

    pub(super) async fn send(&self, ask: Ask) -> Exchange {
        self.caller.send(ask).await
    }

    /// A payment of which [`AMOUNT`] is held, for another fact to be looked at.
    pub(super) async fn authorized(&self) -> Checked<Uuid> {
        let payment = id();
        let exchange = self.send(self.authorize(payment)).await;
        let held = Totals::new(AMOUNT, 0, 0, 0);
        exchange.comes_to(held).map_err(|trouble| trouble.before("an authorized payment"))?;
        Ok(payment)
    }

    /// A payment of which [`AMOUNT`] is held and this much of it is taken.
    pub(super) async fn captured(&self, minor: i64) -> Checked<Uuid> {
        let payment = self.authorized().await?;
        let exchange = self.send(self.capture(payment, minor)).await;
        let taken = Totals::new(AMOUNT, minor, 0, 0);
        exchange.comes_to(taken).map_err(|trouble| trouble.before("a captured payment"))?;
        Ok(payment)
    }
}

impl Exchange {
    /// Whether it took effect, and the payment's sums are these afterwards.
    pub(super) fn comes_to(&self, totals: Totals) -> Checked {
        if self.status().is_some_and(|status| status == http::StatusCode::OK)
            && self.json()["status"] == "succeeded"
            && Totals::of(&self.json()) == Some(totals)
        {
            return Ok(());
        }
        let Totals { authorized, captured, voided, refunded } = totals;
        self.miss(format!(
            "200, succeeded, and totals of authorized {authorized}, captured {captured}, voided \
             {voided}, refunded {refunded}"
        ))
    }

    /// Whether it was declined, for this reason if one is named.
    pub(super) fn is_declined(&self, code: Option<&str>) -> Checked {
        let told = self.json();
        let fits = code.is_none_or(|code| told["decline_code"] == code);
        if self.status().is_some_and(|status| status == http::StatusCode::OK)
            && told["status"] == "declined"
            && fits
        {
            return Ok(());
        }
        let code = code.map_or_else(String::new, |code| format!(" with the code {code}"));
        self.miss(format!("200, declined{code}"))
    }

    /// Whether it is the same operation that an earlier answer told, decided then.
    pub(super) fn replays(&self, first: &Self) -> Checked {
        if self.json() == first.json() && self.is_replayed() {
            return Ok(());
        }
        let operation = first.json();
        self.miss(format!(
            "Idempotent-Replayed: true, and the operation as it was told: {operation}"
        ))
    }
}
