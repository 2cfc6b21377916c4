//! The cells of a row: what comes of it when its owner asks, a stranger, nobody, or who lacks the scope.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write as _,
};

use axum::{
    body::Body,
    http::{HeaderValue, Request, header},
};
use orders::ports::{AuditSource as _, Dossier, Page};
use orders_api::auth::{Entry, Scope};
use orders_testkit::World;
use serde_json::{Value, json};

use super::{
    heard::Heard,
    row::{self, Face, Row, What},
};
use crate::{
    grpc::rows::Asked,
    shop::{FOREIGN, OWN, SECRET, Shop, entry, get, long, opening},
    webhook::{self, paying, signed},
};

/// The tenants of the owner and of the stranger.
const OWNERS: &str = "shop";
const STRANGERS: &str = "rival";
/// The id of no order, payment or operation.
const NOBODYS: &str = "019acc1e-0000-7000-8000-000000000000";
/// Every request says this of itself, so that answers differ in nothing that they need not.
const TRACE: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
/// More orders than there are.
const MANY: usize = 1_000;

/// Who asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Case {
    /// Nobody: there is no credential.
    None,
    /// Somebody of the owner's tenant, who has every scope but the one.
    Scope,
    /// Somebody of another tenant, who has every scope.
    Foreign,
    /// The owner. It is the last, and so shows that what was asked was good.
    Own,
}

impl Case {
    pub(super) const ALL: [Self; 4] = [Self::None, Self::Scope, Self::Foreign, Self::Own];
}

/// A planted fault of the service, put between it and what asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Breach {
    /// What would stop this one is skipped: it is taken for the owner.
    Skipped(Case),
    /// A stranger is told a little more of what is there than of what is not.
    Told,
}

/// What came of an operation over a protocol for somebody.
#[derive(Debug)]
pub(super) struct Cell {
    operation: &'static str,
    face: Face,
    pub(super) case: Case,
    /// Why it does not hold.
    pub(super) fault: Option<String>,
}

impl Cell {
    pub(super) fn report(&self) -> Value {
        json!({
            "operation": self.operation,
            "face": format!("{:?}", self.face).to_lowercase(),
            "case": format!("{:?}", self.case).to_lowercase(),
            "fault": self.fault,
        })
    }
}

/// The cells of a row, in a service that nobody has used yet.
pub(super) async fn cells(shop: &Shop, row: &Row, face: Face, breach: Option<Breach>) -> Vec<Cell> {
    shop.auth.replace_keys(opening(keys(), Vec::new()));
    let owners = Given::of(shop, row, face, OWN).await;
    let strangers = Given::of(shop, row, face, FOREIGN).await;
    let play = Play { shop, row, face, breach, owners, strangers };
    let mut cells = Vec::new();
    for case in Case::ALL {
        let fault = Box::pin(play.case(case)).await.err();
        cells.push(Cell { operation: row.call, face, case, fault });
    }
    cells
}

/// The owner's key, the stranger's, and for each scope one of the owner's that lacks it.
fn keys() -> Vec<Entry> {
    let lacking = |scope: Scope| {
        let others = Scope::ALL.into_iter().filter(|other| *other != scope).collect();
        Entry { scopes: Some(others), ..entry(&lacks(scope), OWNERS) }
    };
    let whole = [entry("own", OWNERS), entry("foreign", STRANGERS)];
    whole.into_iter().chain(Scope::ALL.map(lacking)).collect()
}

/// The id of the key that lacks this scope.
fn lacks(scope: Scope) -> String {
    format!("lacks-{}", scope.as_str().replace(':', "-"))
}

/// The same request by whoever has this token; by nobody without one.
fn by(token: Option<&str>, mut request: Request<Body>) -> Request<Body> {
    let headers = request.headers_mut();
    headers.remove(header::AUTHORIZATION);
    if let Some(token) = token {
        headers.insert(header::AUTHORIZATION, token.parse().unwrap());
    }
    headers.insert("x-request-id", HeaderValue::from_static("isolation"));
    headers.insert("traceparent", HeaderValue::from_static(TRACE));
    request
}

/// What a tenant has before anything is asked, and what is asked of it.
#[derive(Default)]
struct Given {
    asked: Asked,
    /// Its order's number and first payment, where the row is of an order.
    number: String,
    payment: String,
    /// What the provider tells of its payment, where the row is that.
    event: String,
}

impl Given {
    async fn of(shop: &Shop, row: &Row, face: Face, token: &str) -> Self {
        let key = long(&format!("{}-{}", row.call, token.trim_start_matches("Bearer ")));
        let request = match &row.what {
            What::OfOrder(of) => {
                let asked = Box::pin(of.ready_as(shop, token)).await;
                let order = get(&format!("/v1/orders/{}", asked.order));
                let order = shop.send(by(Some(token), order.body(Body::empty()).unwrap())).await;
                let order = order.json();
                let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
                let (number, payment) = (text(&order["number"]), text(&order["payments"][0]["id"]));
                return Self { asked, number, payment, ..Self::default() };
            }
            What::Webhook if token == OWN => {
                let (_, event) = Box::pin(paying(shop)).await;
                return Self { event: event.to_string(), ..Self::default() };
            }
            What::Batch => row::batch(face, &key),
            What::Create | What::List | What::Feed | What::Webhook => row::create(face, &key),
        };
        let placed = Heard::of(shop, face, by(Some(token), request)).await;
        assert!(placed.is_well(), "{placed:?}");
        Self { asked: Asked { key, ..Asked::default() }, ..Self::default() }
    }
}

struct Play<'p> {
    shop: &'p Shop,
    row: &'p Row,
    face: Face,
    breach: Option<Breach>,
    owners: Given,
    strangers: Given,
}

impl Play<'_> {
    /// Whether a case holds, or why it does not.
    async fn case(&self, case: Case) -> Result<(), String> {
        match (case, &self.row.what) {
            (Case::Own, _) => self.owner().await,
            // No key opens it, so all others are who signs nothing, or not with the secret.
            (Case::None | Case::Scope | Case::Foreign, What::Webhook) => {
                self.shut(case, "webhook-unsigned").await
            }
            (Case::None, _) => self.shut(case, "unauthenticated").await,
            (Case::Scope, _) => self.shut(case, "insufficient-scope").await,
            (Case::Foreign, _) => self.stranger().await,
        }
    }

    /// The owner is let in: a change changes something, all else tells of what is the owner's.
    async fn owner(&self) -> Result<(), String> {
        let before = stored(&self.shop.world).await;
        let mut asked = self.owners.asked.clone();
        if matches!(self.row.what, What::Create | What::Batch) {
            // What is there under the other key would be replayed.
            asked.key = format!("another-{}", asked.key);
        }
        let heard = self.ask(Case::Own, &asked).await;
        ensure(heard.is_well(), || format!("the owner is refused: {heard:?}"))?;
        if self.row.is_change() {
            let after = stored(&self.shop.world).await;
            return ensure(before != after, || format!("nothing came of it: {heard:?}"));
        }
        let told = marks(&self.shop.world).await.iter().any(|mark| heard.text.contains(mark));
        ensure(told, || format!("the owner is told nothing: {heard:?}"))
    }

    /// It is refused with this code, and nothing comes of it.
    async fn shut(&self, case: Case, code: &str) -> Result<(), String> {
        let before = stored(&self.shop.world).await;
        let heard = self.ask(case, &self.owners.asked).await;
        ensure(heard.code == code, || format!("not {code}: {heard:?}"))?;
        let after = stored(&self.shop.world).await;
        ensure(before == after, || format!("it is refused, and changes something: {heard:?}"))
    }

    /// For a stranger, what is the owner's is not there, and stays as it is.
    async fn stranger(&self) -> Result<(), String> {
        let before = stored(&self.shop.world).await;
        match &self.row.what {
            What::OfOrder(_) => {
                self.order_is_nobodys().await?;
                self.part_is_nobodys().await?;
            }
            What::Create | What::Batch | What::List | What::Feed | What::Webhook => {
                let heard = self.ask(Case::Foreign, &self.owners.asked).await;
                self.is_free_of_the_owners(&heard).await?;
            }
        }
        let after = stored(&self.shop.world).await;
        let same = before.get(OWNERS) == after.get(OWNERS);
        ensure(same, || "what is the owner's has changed".to_owned())?;
        if matches!(self.row.what, What::List) {
            self.page_is_nobodys().await?;
        }
        self.nothing_is_seen().await
    }

    /// The owner's order, by its id and by its number, is answered as one that nobody has.
    async fn order_is_nobodys(&self) -> Result<(), String> {
        let before = stored(&self.shop.world).await;
        let named = |name: &str| Asked { order: name.to_owned(), ..self.owners.asked.clone() };
        let nobodys = self.send(Some(FOREIGN), &named(NOBODYS)).await;
        for name in [&self.owners.asked.order, &self.owners.number] {
            let heard = self.ask(Case::Foreign, &named(name)).await;
            ensure(heard.code == "not-found", || format!("not not-found: {heard:?}"))?;
            is_same(name, &heard, &nobodys)?;
        }
        let after = stored(&self.shop.world).await;
        ensure(before == after, || "it is refused, and changes something".to_owned())
    }

    /// Within an order of the stranger's own, the owner's payment or operation is one that nobody has.
    async fn part_is_nobodys(&self) -> Result<(), String> {
        let is_payment = matches!(self.row.call, "CaptureOrder" | "RefundOrder");
        if !is_payment && self.row.call != "ResolvePayment" {
            return Ok(());
        }
        let named = |part: &str| {
            let strangers = self.strangers.asked.clone();
            let key = format!("{}-{part}", strangers.key);
            if is_payment {
                Asked { payment: Some(part.to_owned()), key, ..strangers }
            } else {
                Asked { operation: part.to_owned(), key, ..strangers }
            }
        };
        let theirs = if is_payment { &self.owners.payment } else { &self.owners.asked.operation };
        let heard = self.send(Some(FOREIGN), &named(theirs)).await;
        ensure(!heard.is_well(), || format!("it is done: {heard:?}"))?;
        is_same(theirs, &heard, &self.send(Some(FOREIGN), &named(NOBODYS)).await)
    }

    /// The token of the owner's next page is to a stranger as one that was never given out.
    async fn page_is_nobodys(&self) -> Result<(), String> {
        // Another order, so that there is a next page.
        let key = long("for-a-page-of-its-own");
        let placed = by(Some(OWN), row::create(Face::Http, &key));
        assert!(Heard::of(self.shop, Face::Http, placed).await.is_well());
        let page = get("/v1/orders?page_size=1").body(Body::empty()).unwrap();
        let page = self.shop.send(page).await.json();
        let token = page["next_page_token"].as_str().expect("a next page");
        let ask = async |token: &str| {
            let request = by(Some(FOREIGN), row::list(self.face, token));
            Heard::of(self.shop, self.face, request).await
        };
        let (heard, nobodys) = (ask(token).await, ask("e30.AAAA").await);
        ensure(heard.code == "invalid-page-token", || format!("it is taken: {heard:?}"))?;
        is_same(token, &heard, &nobodys)
    }

    /// Neither list, feed nor history of the stranger has anything of the owner's.
    async fn nothing_is_seen(&self) -> Result<(), String> {
        let mut views = vec![row::list(self.face, ""), row::feed(self.face)];
        if self.row.is_of_an_order() {
            views.push(row::history(self.face, &self.strangers.asked.order));
        }
        for view in views {
            let heard = Heard::of(self.shop, self.face, by(Some(FOREIGN), view)).await;
            self.is_free_of_the_owners(&heard).await?;
        }
        Ok(())
    }

    /// A stranger was answered, and told nothing of the owner's.
    async fn is_free_of_the_owners(&self, heard: &Heard) -> Result<(), String> {
        ensure(heard.is_well(), || format!("it is refused: {heard:?}"))?;
        let marks = marks(&self.shop.world).await;
        let told = marks.iter().find(|mark| heard.whole.contains(*mark));
        ensure(told.is_none(), || format!("it tells of the owner's {told:?}: {heard:?}"))
    }

    /// Asks as who is in this case, as far as there is no breach.
    async fn ask(&self, case: Case, asked: &Asked) -> Heard {
        let taken_for = match self.breach {
            Some(Breach::Skipped(skipped)) if skipped == case => Case::Own,
            Some(Breach::Skipped(_) | Breach::Told) | None => case,
        };
        let mut heard = if matches!(self.row.what, What::Webhook) {
            Heard::of(self.shop, self.face, self.webhook(taken_for)).await
        } else {
            self.send(self.token(taken_for).as_deref(), asked).await
        };
        if self.breach == Some(Breach::Told) && case == Case::Foreign {
            heard.whole.push_str(" of another tenant");
        }
        heard
    }

    async fn send(&self, token: Option<&str>, asked: &Asked) -> Heard {
        let request = by(token, self.row.request(self.face, asked));
        Heard::of(self.shop, self.face, request).await
    }

    fn token(&self, case: Case) -> Option<String> {
        match case {
            Case::None => None,
            Case::Scope => Some(format!("Bearer {}.secret", lacks(self.row.scope()))),
            Case::Foreign => Some(FOREIGN.to_owned()),
            Case::Own => Some(OWN.to_owned()),
        }
    }

    /// What the provider tells, signed by it, by a stranger or not at all; or a key in the place of that.
    fn webhook(&self, case: Case) -> Request<Body> {
        let event = &self.owners.event;
        let unsigned =
            Request::post(webhook::PATH).header(header::CONTENT_TYPE, "application/json");
        let (request, token) = match case {
            Case::None => (unsigned, None),
            Case::Scope => (unsigned, Some(OWN)),
            Case::Foreign => (signed(self.shop, webhook::OTHER, 0, event), None),
            Case::Own => (signed(self.shop, SECRET, 0, event), None),
        };
        by(token, request.body(Body::from(event.clone())).unwrap())
    }
}

fn ensure(holds: bool, fault: impl FnOnce() -> String) -> Result<(), String> {
    if holds { Ok(()) } else { Err(fault()) }
}

/// Two answers are the same, but for the name that each was asked for.
fn is_same(name: &str, heard: &Heard, nobodys: &Heard) -> Result<(), String> {
    let same = heard.whole.replace(name, NOBODYS) == nobodys.whole;
    ensure(same, || format!("of what is there {heard:#?}\nof what is not {nobodys:#?}"))
}

async fn dossiers(world: &World) -> Vec<Dossier> {
    world.dossiers(Page { after: None, limit: MANY }).await.expect("the dossiers")
}

/// All that is stored, by tenant; and how much it is.
async fn stored(world: &World) -> BTreeMap<String, String> {
    let census = world.census().await.expect("a census");
    let mut stored = BTreeMap::from([("all".to_owned(), format!("{census:?}"))]);
    for dossier in dossiers(world).await {
        let record = dossier.record.as_ref().expect("an order that can be read");
        let of = stored.entry(record.order.tenant.to_string()).or_default();
        write!(of, "{dossier:?}").expect("a string takes all");
    }
    stored
}

/// What something of the owner's is known by: the ids of its orders and changes, and their numbers.
async fn marks(world: &World) -> BTreeSet<String> {
    let mut marks = BTreeSet::new();
    for Dossier { id, record, history, .. } in dossiers(world).await {
        let order = record.expect("an order that can be read").order;
        if order.tenant.as_str() == OWNERS {
            marks.extend([id.to_string(), order.number.to_string()]);
            marks.extend(history.iter().map(|told| told.entry.change.to_string()));
        }
    }
    marks
}
