//! What is known of a service from its answers, and what a step asks by that.

use serde_json::{Value, json};

use super::{
    asked::{Asked, Operation},
    drafts,
    steps::{Draft, What, Words},
    words,
};
use crate::who::{Credential, Whose};

/// The id of no order, payment or operation.
pub(super) const NOBODYS: &str = "019acc1e-0000-7000-8000-000000000000";

#[derive(Debug, Default)]
pub(super) struct Known {
    /// Each order as it was last told whole, and whose it is: newest last.
    orders: Vec<(Whose, Value)>,
    /// All that was asked.
    asked: Vec<Asked>,
    /// Where the last lists and histories went on.
    list_token: String,
    history_token: String,
    /// How many keys were drawn.
    drawn: u32,
}

impl Known {
    /// What a step asks.
    pub(super) fn asks(&mut self, whose: Whose, what: &What) -> Asked {
        let mut asked = match what {
            What::Create { key, draft, validate_only, wait } => Asked {
                key: self.key(*key),
                body: drafts::order(draft),
                validate_only: *validate_only,
                wait: u32::from(*wait),
                ..nothing(Operation::Create)
            },
            What::Batch { key, items } => self.batch(*key, items),
            What::Verb { verb, words } => self.verb(whose, *verb, *words),
            What::Get { order, name } => {
                Asked { order: self.name(whose, *order, *name), ..nothing(Operation::Get) }
            }
            What::List { filter, size, token } => {
                let body = self.list(*filter, *size, *token);
                Asked { body, ..nothing(Operation::List) }
            }
            What::History { order, size, token } => {
                let order = self.name(whose, *order, 0);
                let body = self.history(*size, *token);
                Asked { order, body, ..nothing(Operation::History) }
            }
            What::Feed { after, limit } => {
                Asked { body: feed(*after, *limit), ..nothing(Operation::Feed) }
            }
        };
        asked.whose = whose;
        self.numbered(asked)
    }

    /// Something that was asked before, for the same tenant.
    pub(super) fn asks_again(&mut self, asked: u8) -> Option<Asked> {
        let at = usize::from(asked).checked_rem(self.asked.len())?;
        let before = self.asked[self.asked.len() - 1 - at].clone();
        Some(self.numbered(before))
    }

    fn numbered(&mut self, asked: Asked) -> Asked {
        let asked = Asked { number: self.asked.len() as u64, ..asked };
        self.asked.push(asked.clone());
        asked
    }

    /// Takes note of what an answer tells.
    pub(super) fn learn(&mut self, asked: &Asked, answer: &Value) {
        let body = &answer["body"];
        self.meet(asked.whose, body);
        for result in body["results"].as_array().into_iter().flatten() {
            self.meet(asked.whose, &result["order"]);
        }
        if let Some(token) = body["next_page_token"].as_str() {
            let history = asked.operation == Operation::History;
            let kept = if history { &mut self.history_token } else { &mut self.list_token };
            token.clone_into(kept);
        }
    }

    fn meet(&mut self, whose: Whose, order: &Value) {
        if !order["payments"].is_array() {
            return;
        }
        match self.orders.iter_mut().find(|(_, known)| known["id"] == order["id"]) {
            Some((_, known)) => *known = order.clone(),
            None => self.orders.push((whose, order.clone())),
        }
    }

    /// The order of this place, newest first, among those of the tenant.
    fn order(&self, whose: Whose, place: u8) -> Option<&Value> {
        let own = self.orders.iter().rev().filter(|(of, _)| *of == whose);
        let own: Vec<&Value> = own.map(|(_, order)| order).collect();
        own.get(usize::from(place).checked_rem(own.len())?).copied()
    }

    fn name(&self, whose: Whose, place: u8, name: u8) -> String {
        let stranger = self.orders.iter().find(|(of, _)| *of != whose);
        let order = self.order(whose, place);
        let text = |order: Option<&Value>, field: &str| {
            order.and_then(|order| order[field].as_str()).unwrap_or(NOBODYS).to_owned()
        };
        match name {
            0 => text(order, "id"),
            1 => text(order, "number"),
            2 => text(order, "number").to_lowercase(),
            3 => text(stranger.map(|(_, order)| order), "id"),
            4 => "no order/at all?".to_owned(),
            _ => NOBODYS.to_owned(),
        }
    }

    /// 0 is a fresh one, the next few are met again, then there is none, then odd ones.
    fn key(&mut self, key: u8) -> String {
        self.drawn += 1;
        match key {
            0 => format!("fresh-{:016}", self.drawn),
            1..=4 => format!("common-{key}-0123456789"),
            5 => String::new(),
            6 => "\"begins-with-a-quote\\".to_owned(),
            7 => "short".to_owned(),
            8 => "with spaces inside of it".to_owned(),
            _ => "k".repeat(129),
        }
    }

    fn verb(&mut self, whose: Whose, verb: Operation, words: Words) -> Asked {
        let order = self.order(whose, words.order).cloned().unwrap_or_default();
        Asked {
            order: self.name(whose, words.order, words.name),
            key: self.key(words.key),
            etag: words::etag(&order, words.etag),
            body: words::body(verb, &order, words),
            wait: u32::from(words.wait),
            ..nothing(verb)
        }
    }

    /// The key of a batch can be read: what cannot is told of the whole batch over HTTP, and of each
    /// order over gRPC.
    fn batch(&mut self, key: u8, items: &[(u8, Draft)]) -> Asked {
        let mut orders = Vec::new();
        for (key, draft) in items {
            let mut item = json!({ "order": drafts::order(draft) });
            // Most have none of their own.
            let own = match key {
                0..=3 => String::new(),
                4 | 5 => self.key(0),
                6 => self.key(1),
                _ => self.key(7),
            };
            if !own.is_empty() {
                item["idempotency_key"] = own.into();
            }
            orders.push(item);
        }
        let key = self.key(key.min(5));
        Asked { key, body: json!({ "orders": orders }), ..nothing(Operation::Batch) }
    }

    fn list(&self, filter: u8, size: u8, token: u8) -> Value {
        let mut query = match filter {
            0 => json!({ "state": "PENDING" }),
            1 => json!({ "state": "COMPLETED", "payment_state": "CAPTURED" }),
            2 => json!({ "state": "NOWHERE" }),
            3 => json!({ "payment_state": "NONE" }),
            4 => json!({ "payment_state": "nowhere", "customer_id": "" }),
            5 => json!({ "customer_id": "c-1" }),
            6 => json!({ "customer_id": "x".repeat(129) }),
            7 => json!({ "created_after": "2025-12-31T23:59:59.5Z" }),
            8 => json!({ "created_after": "2026-01-01T01:00:00+01:00" }),
            9 => json!({ "created_after": "yesterday" }),
            10 => json!({ "external_reference": "reference-1" }),
            11 => json!({ "external_reference": "" }),
            _ => json!({}),
        };
        page(&mut query, ([1, 2, 3, 100, 101], size), (self.list_token.as_str(), token));
        query
    }

    fn history(&self, size: u8, token: u8) -> Value {
        let mut query = json!({});
        page(&mut query, ([1, 2, 3, 1000, 1001], size), (self.history_token.as_str(), token));
        query
    }
}

fn nothing(operation: Operation) -> Asked {
    Asked {
        operation,
        whose: Whose::Own,
        credential: Credential::Key,
        order: String::new(),
        key: String::new(),
        etag: String::new(),
        body: json!({}),
        validate_only: false,
        wait: 0,
        number: 0,
    }
}

/// Says how large a page is and where it starts, or leaves it to the service.
fn page(query: &mut Value, (sizes, size): ([u32; 5], u8), (known, token): (&str, u8)) {
    if let Some(size) = size.checked_sub(1) {
        query["page_size"] = sizes[usize::from(size) % sizes.len()].into();
    }
    match token {
        1 | 2 if !known.is_empty() => query["page_token"] = known.into(),
        3 => query["page_token"] = "x.y".into(),
        4 => query["page_token"] = "0".into(),
        _ => {}
    }
}

fn feed(after: u8, limit: u8) -> Value {
    let mut query = json!({});
    match after {
        0..=99 => {}
        100..=199 => query["after"] = (after - 100).into(),
        200..=229 => query["after"] = (after / 10).into(),
        _ => query["after"] = u64::MAX.into(),
    }
    if limit > 0 {
        query["limit"] = limit.into();
    }
    query
}
