//! The idempotency table of the contract, over HTTP against the real binary.
//!
//! Every row has a service and a store of its own, which three keys open that `orderly key new`
//! made: two of the tenant `acme`, one of `rival`. How time passes in a row:
//!
//! | row | retention.keys | `advance` |
//! |---|---|---|
//! | no time passes | 7 days, the default | |
//! | less than 7 days pass | 7 days | ages the store by that much, while no service runs on it |
//! | more than 7 days pass | 300 ms | waits until a key that was used last of all has expired |

use std::{
    cell::{Cell, RefCell},
    collections::BTreeMap,
};

use http_body_util::Full;
use orders_testkit::idempotency::{Call, IdempotencyDriver, Outcome, Request, Row, run, table};
use rusqlite::Connection;

use crate::support::{Answer, Client, Home, Service, order, text, until};

/// The default of `retention.keys`, in hours.
const REMEMBERED: i64 = 7 * 24;

/// How time passes in a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Time {
    Stands,
    PassesInPart,
    RunsOut,
}

impl Time {
    fn of(row: &Row) -> Self {
        match row.given.iter().filter(|step| step.action == "advance").map(|step| step.hours).max()
        {
            None => Self::Stands,
            Some(hours) if hours < REMEMBERED => Self::PassesInPart,
            Some(_) => Self::RunsOut,
        }
    }
}

/// A service for one row.
struct Driver {
    home: Home,
    time: Time,
    service: RefCell<Option<Service>>,
    keys: BTreeMap<(String, String), String>,
    probes: Cell<usize>,
}

impl Driver {
    async fn new(home: &Home, keys: &BTreeMap<(String, String), String>, at: usize) -> Self {
        let time = Time::of(&table()[at]);
        let mut home = home.clone().with_store(&format!("row-{at}.db"));
        if time == Time::RunsOut {
            // What has expired is forgotten, too, while the row goes on.
            home = home.set("retention.keys=1s").set("retention.every=50ms");
            home = home.set("http.largest_deadline=1s").set("http.default_deadline=1s");
        }
        let service = RefCell::new(Some(home.serve().await));
        Self { home, time, service, keys: keys.clone(), probes: Cell::new(0) }
    }

    fn client(&self, tenant: &str, principal: &str) -> Client {
        let key = &self.keys[&(tenant.to_owned(), principal.to_owned())];
        self.service.borrow().as_ref().unwrap().client_with(key)
    }

    /// Waits until a key has expired that is used now, and so all that were used before.
    async fn wait(&self) {
        let client = self.client("acme", "till-1");
        let probe = format!("probe-{:016}", self.probes.replace(self.probes.get() + 1));
        until("a key expires", async || {
            let answer = client.send(client.placing(&probe, &order())).await;
            if answer.status != 409 {
                answer.placed();
                return None;
            }
            answer.refused(409, "idempotency-key-expired");
            Some(())
        })
        .await;
    }

    /// Stops the service, lets every key expire sooner, and starts it again.
    async fn age(&self, hours: i64) {
        let service = self.service.take().unwrap();
        service.stop().await;
        let store = Connection::open(self.home.store()).unwrap();
        let micros = hours * 3_600_000_000;
        // The guard lets nobody edit orders; the service makes it anew.
        let edit = format!(
            "DROP TRIGGER orders_guard;
             UPDATE orders SET create_key_expires_at = create_key_expires_at - {micros};
             UPDATE receipts SET expires_at = expires_at - {micros};"
        );
        store.execute_batch(&edit).unwrap();
        drop(store);
        let service = self.home.serve().await;
        self.service.replace(Some(service));
    }
}

impl IdempotencyDriver for Driver {
    async fn send(&self, request: Request) -> Outcome {
        let client = self.client(&request.tenant, &request.principal);
        let path = match &request.call {
            Call::Create => "/v1/orders".to_owned(),
            Call::Confirm(id) => format!("/v1/orders/{id}/confirm"),
            Call::Cancel(id) => format!("/v1/orders/{id}/cancel"),
            Call::AddNote(id) => format!("/v1/orders/{id}/notes"),
        };
        let mut http = client.request("POST", &path).header("content-type", "application/json");
        if let Some(key) = &request.key {
            http = http.header("idempotency-key", key);
        }
        if let Some(version) = request.if_match {
            http = http.header("if-match", format!("\"v{version}\""));
        }
        let answer = client.send(http.body(Full::from(request.body.to_string())).unwrap()).await;
        outcome(&answer, &request.call)
    }

    async fn advance(&self, hours: i64) {
        match self.time {
            Time::Stands => panic!("no time passes in this row"),
            Time::PassesInPart => self.age(hours).await,
            Time::RunsOut => self.wait().await,
        }
    }
}

fn outcome(answer: &Answer, call: &Call) -> Outcome {
    let body = answer.json();
    let replayed = answer.header("idempotent-replayed") == "true";
    if answer.status >= 400 {
        let order = body["order"].as_str().map(|link| link.replace("/v1/orders/", ""));
        return Outcome { code: text(&body["code"]), replayed, order, ..Outcome::default() };
    }
    let (status, code) = if *call == Call::Create { (201, "created") } else { (200, "ok") };
    assert_eq!(answer.status, status, "a replay has the same status: {body}");
    Outcome {
        code: if replayed { "replayed" } else { code }.to_owned(),
        replayed,
        order: Some(text(&body["id"])),
        state: Some(text(&body["state"])),
        version: body["version"].as_u64(),
    }
}

#[tokio::test]
async fn the_service_keeps_the_idempotency_table() {
    let home = Home::with_keys();
    let mut keys = BTreeMap::new();
    for (tenant, principal) in [("acme", "till-1"), ("acme", "till-2"), ("rival", "till-1")] {
        let key = home.new_key(tenant, principal).await;
        keys.insert((tenant.to_owned(), principal.to_owned()), key);
    }
    // The table asks for a driver for each row, in its order.
    let row = Cell::new(0);
    run(async || Driver::new(&home, &keys, row.replace(row.get() + 1)).await).await;
    assert_eq!(row.get(), table().len(), "every row ran");
}

#[test]
fn the_table_has_rows_of_each_kind() {
    for time in [Time::Stands, Time::PassesInPart, Time::RunsOut] {
        assert!(table().iter().any(|row| Time::of(row) == time), "{time:?}");
    }
}
