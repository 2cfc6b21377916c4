//! The bodies to send, held in memory.

use crate::{Trouble, args::Common, check::Money, rng::Rng};
use bytes::{BufMut as _, Bytes, BytesMut};
use serde::Deserialize;
use serde_json::{Map, Value, json};
use std::{
    fs::File,
    io::{BufRead as _, BufReader},
    path::Path,
};

const SYNTHETIC_BASKETS: u64 = 1000;

/// One order to send, over and over.
#[derive(Debug)]
pub(crate) struct Basket {
    text: Bytes,
    pub(crate) expected: Option<Money>,
}

/// What is sent in this run.
#[derive(Debug)]
pub(crate) struct Baskets {
    pub(crate) all: Vec<Basket>,
    /// Left out because they have no `expected_total`: they break a rule of the service.
    pub(crate) skipped: usize,
}

#[derive(Deserialize)]
struct Line {
    order: Map<String, Value>,
}

impl Basket {
    fn new(mut order: Map<String, Value>, keep_reference: bool) -> Result<Self, Trouble> {
        let expected = order.get("expected_total").map(Money::deserialize).transpose()?;
        if !keep_reference {
            order.remove("external_reference");
        }
        if order.is_empty() {
            return Err("an order without fields".into());
        }
        Ok(Self { text: serde_json::to_vec(&order)?.into(), expected })
    }

    /// The body as it is, or with this reference.
    pub(crate) fn body(&self, reference: Option<&str>) -> Bytes {
        let Some(reference) = reference else { return self.text.clone() };
        let open = self.text.strip_suffix(b"}").unwrap_or(&self.text);
        let mut body = BytesMut::with_capacity(self.text.len() + reference.len() + 32);
        body.put_slice(open);
        body.put_slice(b",\"external_reference\":\"");
        // Plain by construction: a run id and a number, so nothing has to be escaped.
        body.put_slice(reference.as_bytes());
        body.put_slice(b"\"}");
        body.freeze()
    }
}

impl Baskets {
    pub(crate) fn load(common: &Common) -> Result<Self, Trouble> {
        let baskets = match &common.baskets {
            Some(path) => {
                Self::read(path, common).map_err(|error| format!("{}: {error}", path.display()))?
            }
            None => Self::synthetic(common)?,
        };
        if baskets.all.is_empty() {
            return Err(format!("no basket to send ({} skipped)", baskets.skipped).into());
        }
        Ok(baskets)
    }

    pub(crate) fn mean_bytes(&self) -> usize {
        self.all.iter().map(|basket| basket.text.len()).sum::<usize>() / self.all.len()
    }

    fn read(path: &Path, common: &Common) -> Result<Self, Trouble> {
        let mut baskets = Self { all: Vec::new(), skipped: 0 };
        for line in BufReader::new(File::open(path)?).lines() {
            if baskets.all.len() == common.limit {
                break;
            }
            let line: Line = serde_json::from_str(&line?)?;
            let basket = Basket::new(line.order, common.keep_references)?;
            if basket.expected.is_none() && !common.all_baskets {
                baskets.skipped += 1;
            } else {
                baskets.all.push(basket);
            }
        }
        Ok(baskets)
    }

    fn synthetic(common: &Common) -> Result<Self, Trouble> {
        let count = SYNTHETIC_BASKETS.min(common.limit as u64);
        let all = (0..count)
            .map(|n| Basket::new(small_order(&mut Rng::derived(common.seed, n)), false))
            .collect::<Result<_, _>>()?;
        Ok(Self { all, skipped: 0 })
    }
}

/// One to four lines at whole cents.
fn small_order(rng: &mut Rng) -> Map<String, Value> {
    let euros = |minor: u64| json!({"amount_minor": minor.to_string(), "currency": "EUR"});
    let mut total = 0;
    let lines: Vec<Value> = (0..=rng.below(4))
        .map(|_| {
            let (sku, quantity, price) = (rng.below(1_000_000), 1 + rng.below(3), rng.below(5000));
            total += quantity * price;
            json!({
                "sku": format!("{sku:06}"), "name": format!("PRODUCT {sku}"),
                "quantity": quantity, "unit_price": euros(price),
            })
        })
        .collect();
    let mut order = Map::new();
    order.insert("customer_id".to_owned(), rng.below(100_000).to_string().into());
    order.insert("lines".to_owned(), lines.into());
    order.insert("expected_total".to_owned(), euros(total));
    order
}

#[cfg(test)]
mod tests {
    use super::Basket;
    use serde_json::{Value, json};

    fn basket(keep_reference: bool) -> Basket {
        let order = json!({"external_reference": "old", "customer_id": "1", "lines": [],
            "expected_total": {"amount_minor": "5", "currency": "EUR"}});
        Basket::new(order.as_object().unwrap().clone(), keep_reference).unwrap()
    }

    #[test]
    fn a_body_carries_the_fresh_reference_only() {
        let body: Value = serde_json::from_slice(&basket(false).body(Some("new"))).unwrap();
        assert_eq!(body["external_reference"], "new");
        assert_eq!(body["expected_total"]["amount_minor"], "5");
    }

    #[test]
    fn a_kept_reference_is_sent() {
        let body: Value = serde_json::from_slice(&basket(true).body(None)).unwrap();
        assert_eq!(body["external_reference"], "old");
    }
}
