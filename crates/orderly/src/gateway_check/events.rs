//! Events: listening to them, and what must hold of each.

use std::{
    net::SocketAddr,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use axum::{Router, body::Bytes, extract::State, routing::any};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use hmac::{Hmac, KeyInit as _, Mac as _};
use http::{HeaderMap, StatusCode};
use jiff::Timestamp;
use mainstay::{
    config::Secret,
    server::{self, Server},
    tasks::Tasks,
};
use serde_json::Value;
use sha2::Sha256;
use tokio::{sync::Notify, time::timeout};

use super::{
    access,
    exchange::Ask,
    facts::{Checked, Evidence, Part, Report, Trouble},
    shop::{Shop, id},
};
use crate::console::Failure;

/// How long an event is waited for.
const PATIENCE: Duration = Duration::from_secs(30);
/// How far its timestamp may be off, in seconds.
const LEEWAY: i64 = 5 * 60;
/// Deliveries that are kept; others than ours may come to the same address.
const MOST: usize = 10_000;

/// One delivery, as it came.
#[derive(Clone, Debug)]
struct Delivery {
    headers: HeaderMap,
    body: Bytes,
    at: Timestamp,
}

impl Delivery {
    fn header(&self, name: &str) -> &str {
        self.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
    }

    fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_default()
    }

    fn is_of(&self, reference: &str) -> bool {
        self.json().pointer("/operation/reference").and_then(Value::as_str) == Some(reference)
    }

    fn miss(&self, wanted: &str) -> Checked {
        let header = |name: &str| format!("{name}: {}", self.header(name));
        let headers =
            ["webhook-id", "webhook-timestamp", "webhook-signature", "content-type"].map(header);
        let body: String = String::from_utf8_lossy(&self.body).chars().take(300).collect();
        Err(Trouble::Missing(Box::new(Evidence {
            sent: "an operation, whose event was waited for".to_owned(),
            came: format!("{}, {body}", headers.join(", ")),
            wanted: wanted.to_owned(),
        })))
    }
}

#[derive(Debug, Default)]
struct Inbox {
    deliveries: Mutex<Vec<Delivery>>,
    arrived: Notify,
    /// A reference whose first delivery is refused.
    refuse: Mutex<Option<String>>,
}

/// Takes events for as long as it lives.
#[derive(Debug)]
pub(super) struct Listener {
    inbox: Arc<Inbox>,
    key: Hmac<Sha256>,
    tasks: Tasks,
}

impl Drop for Listener {
    fn drop(&mut self) {
        self.tasks.abort_all();
    }
}

impl Listener {
    pub(super) async fn start(at: SocketAddr, secret: &Secret<String>) -> Result<Self, Failure> {
        let bytes =
            secret.expose().strip_prefix("whsec_").and_then(|key| STANDARD.decode(key).ok());
        let bytes = bytes.ok_or("the webhook secret must be whsec_ and base64")?;
        let key = Hmac::new_from_slice(&bytes)?;
        let server = Server::bind(at, server::Config::default())
            .await
            .map_err(|error| format!("cannot listen for events on {at}: {error}"))?;
        let (inbox, tasks) = (Arc::new(Inbox::default()), Tasks::new());
        let app = Router::new().fallback(any(take)).with_state(Arc::clone(&inbox));
        tasks.spawn("events", async move {
            server.run(app, std::future::pending()).await;
        });
        Ok(Self { inbox, key, tasks })
    }

    /// The deliveries of this operation's event, once there are so many.
    async fn of(&self, reference: &str, count: usize) -> Option<Vec<Delivery>> {
        let waiting = async {
            loop {
                let arrived = self.inbox.arrived.notified();
                let found: Vec<Delivery> = {
                    let all = self.inbox.deliveries.lock().unwrap_or_else(PoisonError::into_inner);
                    all.iter().filter(|one| one.is_of(reference)).cloned().collect()
                };
                if found.len() >= count {
                    return found;
                }
                arrived.await;
            }
        };
        timeout(PATIENCE, waiting).await.ok()
    }

    fn is_signed(&self, delivery: &Delivery) -> bool {
        let (id, at) = (delivery.header("webhook-id"), delivery.header("webhook-timestamp"));
        let signed =
            self.key.clone().chain_update(format!("{id}.{at}.")).chain_update(&delivery.body);
        delivery.header("webhook-signature").split(' ').any(|one| {
            let signature = one.strip_prefix("v1,").and_then(|one| STANDARD.decode(one).ok());
            signature.is_some_and(|signature| signed.clone().verify_slice(&signature).is_ok())
        })
    }
}

async fn take(State(inbox): State<Arc<Inbox>>, headers: HeaderMap, body: Bytes) -> StatusCode {
    let delivery = Delivery { headers, body, at: Timestamp::now() };
    let refused = {
        let mut refuse = inbox.refuse.lock().unwrap_or_else(PoisonError::into_inner);
        refuse.take_if(|reference| delivery.is_of(reference)).is_some()
    };
    {
        let mut all = inbox.deliveries.lock().unwrap_or_else(PoisonError::into_inner);
        if all.len() < MOST {
            all.push(delivery);
        }
    }
    inbox.arrived.notify_waiters();
    if refused { StatusCode::INTERNAL_SERVER_ERROR } else { StatusCode::NO_CONTENT }
}

pub(super) async fn check(shop: &Shop, listener: &Listener, report: &mut Report) {
    let mut part = report.part("events");
    let sends = access::sends_events(shop).await;
    part.fact(
        "the capabilities say that events are sent",
        "schema Capabilities: webhooks: whether events are sent",
        if sends { Ok(()) } else { Err(no_events()) },
    );
    match first_event(shop, listener, shop.authorize(id())).await {
        Ok((delivery, told)) => of_one(listener, &delivery, &told, &mut part),
        Err(trouble) => part.fact("an operation's event arrives", EACH, Err(trouble)),
    }
    let declined = first_event(shop, listener, shop.decline()).await;
    part.fact(
        "a decline has its event too",
        "type: operation.succeeded or operation.declined",
        declined.and_then(|(delivery, _)| {
            let is = delivery.json()["type"] == "operation.declined";
            if is { Ok(()) } else { delivery.miss("the type operation.declined") }
        }),
    );
    part.fact(
        "an event that was not taken is sent again under the same id",
        "An answer other than 2xx [...] are tried again with a growing pause for at least a day.",
        again(shop, listener).await,
    );
}

const EACH: &str = "For each operation one event, sent to the configured address at least once";

fn no_events() -> Trouble {
    Trouble::Missing(Box::new(Evidence {
        sent: "GET /v1/capabilities".to_owned(),
        came: "webhooks that is not true".to_owned(),
        wanted: "webhooks true, because --webhook-listen was given".to_owned(),
    }))
}

/// An operation's first event, with the operation as it was answered.
async fn first_event(shop: &Shop, listener: &Listener, ask: Ask) -> Checked<(Delivery, Value)> {
    let (reference, answer) = (reference(&ask), shop.send(ask).await);
    if answer.json()["reference"] != reference {
        return answer.miss("an operation").map_err(|trouble| trouble.before("an operation"));
    }
    match listener.of(&reference, 1).await.and_then(|all| all.first().cloned()) {
        Some(delivery) => Ok((delivery, answer.json())),
        None => answer.miss(format!("its event within {PATIENCE:?}")),
    }
}

fn reference(ask: &Ask) -> String {
    ask.json()["reference"].as_str().unwrap_or_default().to_owned()
}

/// What must hold of an event.
fn of_one(listener: &Listener, delivery: &Delivery, told: &Value, part: &mut Part<'_>) {
    let event = delivery.json();
    let holds = |holds: bool, wanted: &str| if holds { Ok(()) } else { delivery.miss(wanted) };
    part.fact("an operation's event arrives", EACH, Ok(()));
    part.fact(
        "an event is signed by the Standard Webhooks scheme",
        "`v1,` and the base64 of HMAC-SHA256 over `{webhook-id}.{webhook-timestamp}.{raw body}`",
        holds(listener.is_signed(delivery), "a webhook-signature that the secret made"),
    );
    let stamped = delivery.header("webhook-timestamp").parse::<i64>();
    let near = stamped.is_ok_and(|at| (at - delivery.at.as_second()).abs() <= LEEWAY);
    part.fact(
        "an event says when it was sent",
        "The receiver [...] refuses a timestamp that is more than five minutes off",
        holds(near, "a webhook-timestamp of now, in seconds since the Unix epoch"),
    );
    let id = delivery.header("webhook-id");
    part.fact(
        "an event has an id, the same in its header and its body",
        "id: the same as the header `webhook-id`",
        holds(!id.is_empty() && event["id"] == id, "a webhook-id, and the same as the body's id"),
    );
    let dated = event["created_at"].as_str().is_some_and(|at| at.parse::<Timestamp>().is_ok());
    part.fact(
        "an event tells the operation as it was answered",
        "schema Event: id, type, created_at, operation",
        holds(
            dated && event["type"] == "operation.succeeded" && event["operation"] == *told,
            "type operation.succeeded, created_at, and the operation as it was answered",
        ),
    );
}

async fn again(shop: &Shop, listener: &Listener) -> Checked {
    let ask = shop.authorize(id());
    let reference = reference(&ask);
    {
        let mut refuse = listener.inbox.refuse.lock().unwrap_or_else(PoisonError::into_inner);
        *refuse = Some(reference.clone());
    }
    let answer = shop.send(ask).await;
    let Some(all) = listener.of(&reference, 2).await else {
        return answer
            .miss(format!("its event twice within {PATIENCE:?}: the first was answered 500"));
    };
    let id = |at: usize| all.get(at).map(|one| one.header("webhook-id").to_owned());
    if id(0) == id(1) { Ok(()) } else { all[1].miss("the webhook-id of the first delivery") }
}
