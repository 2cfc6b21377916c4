//! What every benchmark of a store does alike: the orders, the callers, the figures.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use mainstay_context::TraceContext;
use orders::{
    codec,
    domain::{ChangeId, Draft, DraftLine, Money, Order, OrderId, Placement, Stamp, UnitPrice},
    ports::{
        Answer, Change, Clock as _, Decision, Expects, Ids as _, NewEvent, Operation, Receipt,
        ReceiptKey, Unique, Write,
    },
};
use orders_adapters::{SystemClock, SystemIds};
use serde_json::{Value, json};
use tokio::{runtime::Runtime, task::JoinSet, time::Instant};

/// Until the log is as long as it gets: appending to it costs more than writing over it.
pub(crate) const WARM_UP: Duration = Duration::from_secs(2);

pub(crate) fn options() -> BTreeMap<String, String> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    words
        .chunks(2)
        .map(|pair| (pair[0].trim_start_matches("--").to_owned(), pair[1].clone()))
        .collect()
}

pub(crate) fn runtime() -> Runtime {
    tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap()
}

/// One side's time: what is done before `from` warms up and is not counted.
#[derive(Clone, Copy)]
pub(crate) struct Turn {
    from: Instant,
    until: Instant,
}

impl Turn {
    pub(crate) fn begin(span: Duration) -> Self {
        let from = Instant::now() + WARM_UP;
        Self { from, until: from + span }
    }

    pub(crate) fn counts(self) -> impl Iterator<Item = usize> {
        (0..).take_while(move |_| Instant::now() < self.until)
    }

    pub(crate) fn keep(self, latencies: &mut Vec<Duration>, start: Instant, answer: &Answer) {
        // Among millions of orders a random number meets another; the use case draws again, and
        // so does this.
        if matches!(answer, Answer::Taken(Unique::Number, _)) {
            return;
        }
        assert_eq!(*answer, Answer::Committed);
        if start >= self.from {
            latencies.push(start.elapsed());
        }
    }
}

/// Callers, each a task, that commit one change after another until the time is up.
pub(crate) async fn drive<C, F>(commit: C, callers: usize, span: Duration) -> Vec<Duration>
where
    C: Fn(Change) -> F + Clone + Send + 'static,
    F: Future<Output = Answer> + Send + 'static,
{
    let (placement, turn) = (Arc::new(placement()), Turn::begin(span));
    let mut calls = JoinSet::new();
    for caller in 0..callers {
        let (commit, placement) = (commit.clone(), Arc::clone(&placement));
        calls.spawn(async move {
            let mut latencies = Vec::new();
            for count in turn.counts() {
                let change = change(&placement, caller, count);
                let start = Instant::now();
                let answer = commit(change).await;
                turn.keep(&mut latencies, start, &answer);
            }
            latencies
        });
    }
    calls.join_all().await.concat()
}

pub(crate) fn figures(mut latencies: Vec<Duration>, span: Duration) -> Value {
    latencies.sort_unstable();
    let at = |part: f64| {
        let index = ((latencies.len() - 1) as f64 * part) as usize;
        latencies[index].as_secs_f64() * 1e6
    };
    json!({
        "orders": latencies.len(),
        "orders_per_second": latencies.len() as f64 / span.as_secs_f64(),
        "p50_us": at(0.5),
        "p99_us": at(0.99),
        "p999_us": at(0.999),
        "max_us": at(1.0),
    })
}

/// Nine lines, as the average real basket has.
pub(crate) fn placement() -> Placement {
    let usd = "USD".parse().unwrap();
    let line = |at: i64| DraftLine {
        sku: (1_000_000 + at * 7919).to_string(),
        name: Some("SOUP: CONDENSED, CANNED".to_owned()),
        quantity: 1 + at % 3,
        unit_price: UnitPrice::parse("133.333333", usd).unwrap(),
        discount: (at % 2 == 0).then(|| Money::new(10, usd)),
        tax: None,
    };
    let draft = Draft {
        customer_id: "c-1".to_owned(),
        lines: (0..9).map(line).collect(),
        metadata: BTreeMap::from([("store".to_owned(), "330".to_owned())]),
        ..Draft::default()
    };
    draft.check().unwrap()
}

pub(crate) fn change(placement: &Placement, caller: usize, count: usize) -> Change {
    let at = SystemClock.now();
    let stamp = Stamp {
        change: ChangeId(SystemIds.uuid(at)),
        at,
        actor: "bench".into(),
        request_id: "bench".parse().unwrap(),
        trace: TraceContext::default(),
    };
    let id = OrderId(SystemIds.uuid(at));
    let tenant: orders::domain::TenantId = "bench".parse().unwrap();
    let applied = Order::place(id, SystemIds.number(), tenant.clone(), placement, &stamp);
    let key = format!("bench-key-{caller:04}-{count:08}").parse().unwrap();
    let receipt = Receipt {
        key: ReceiptKey { tenant: tenant.clone(), operation: Operation::Create, key },
        fingerprint: codec::create_fingerprint(placement),
        order: id,
        decision: Decision::Accepted { version: applied.order.version },
        expires_at: at + Duration::from_hours(7 * 24),
    };
    let data = codec::event_data(&applied.order, &applied.entry);
    let event = NewEvent { kind: applied.event, data };
    Change {
        id: stamp.change,
        tenant,
        at,
        expects: Expects::New,
        write: Some(Box::new(Write {
            order: applied.order,
            entry: applied.entry,
            event,
            note: None,
            personal: None,
        })),
        receipt: Some(receipt),
        lease: None,
        plans: Vec::new(),
    }
}
