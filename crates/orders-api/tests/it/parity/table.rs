//! The idempotency table of the contract, over each protocol and over both in turn.

use std::cell::Cell;

use jiff::SignedDuration;
use orders_testkit::idempotency::{Call, IdempotencyDriver, Outcome, Request, run};
use serde_json::Value;

use super::{
    asked::{Asked, Operation},
    run::Face,
};
use crate::{
    shop::Shop,
    who::{self, Credential, Whose},
};

/// A service of its own for each row of the table.
struct Driver {
    shop: Shop,
    /// The protocols that are used in turn.
    faces: [Face; 2],
    /// What the second principal of a tenant shows.
    other: Credential,
    sent: Cell<u64>,
}

impl IdempotencyDriver for Driver {
    async fn send(&self, request: Request) -> Outcome {
        let number = self.sent.replace(self.sent.get() + 1);
        let asked = asked(request, self.other, number);
        let face = self.faces[usize::from(number % 2 == 1)];
        outcome(asked.operation, &face.send(&self.shop, &asked).await)
    }

    async fn advance(&self, hours: i64) {
        self.shop.world.clock().jump(SignedDuration::from_hours(hours));
    }
}

fn asked(request: Request, other: Credential, number: u64) -> Asked {
    let (operation, order) = match request.call {
        Call::Create => (Operation::Create, String::new()),
        Call::Confirm(order) => (Operation::Confirm, order),
        Call::Cancel(order) => (Operation::Cancel, order),
        Call::AddNote(order) => (Operation::Note, order),
    };
    let whose = match request.tenant.as_str() {
        "acme" => Whose::Own,
        "rival" => Whose::Foreign,
        tenant => panic!("{tenant} has no key"),
    };
    let credential = match request.principal.as_str() {
        "till-1" => Credential::Key,
        "till-2" => other,
        principal => panic!("{principal} has no key"),
    };
    Asked {
        operation,
        whose,
        credential,
        order,
        key: request.key.unwrap_or_default(),
        etag: request.if_match.map(|version| format!("\"v{version}\"")).unwrap_or_default(),
        body: request.body,
        validate_only: false,
        wait: 0,
        number,
    }
}

fn outcome(operation: Operation, answer: &Value) -> Outcome {
    let (body, replayed) = (&answer["body"], answer["replayed"] == true);
    let text = |value: &Value| value.as_str().map(str::to_owned);
    if let Some(code) = text(&body["code"]) {
        let order = text(&body["order"]).map(|link| link.replace("/v1/orders/", ""));
        return Outcome { code, replayed, order, ..Outcome::default() };
    }
    assert_eq!(answer["status"], operation.done(), "a replay has the same status: {answer}");
    let done = if operation == Operation::Create { "created" } else { "ok" };
    Outcome {
        code: if replayed { "replayed" } else { done }.to_owned(),
        replayed,
        order: text(&body["id"]),
        state: text(&body["state"]),
        version: body["version"].as_u64(),
    }
}

#[tokio::test]
async fn both_protocols_keep_the_idempotency_table() {
    for (faces, other) in [
        ([Face::Http, Face::Http], Credential::Token),
        ([Face::Grpc, Face::Grpc], Credential::Token),
        ([Face::Http, Face::Grpc], Credential::Token),
        ([Face::Grpc, Face::Http], Credential::Token),
        ([Face::Http, Face::Grpc], Credential::OtherKey),
        ([Face::Grpc, Face::Http], Credential::OtherKey),
    ] {
        run(async || Driver { shop: who::shop(), faces, other, sent: Cell::new(0) }).await;
    }
}
