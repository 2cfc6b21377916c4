//! The certificate of the service is replaced while it is at work.

use std::cell::{Cell, RefCell};

use orders_api::grpc::pb;

use crate::{
    grpc,
    peers::{get, placing},
    support::{Answer, Guarded, Lost, Visitor, soon, until},
};

/// What is asked while something else happens, and what came of it.
struct Load {
    visitor: Visitor,
    over: Cell<bool>,
    /// Over connections that are kept: orders that were placed.
    over_lines: Cell<u32>,
    over_calls: Cell<u32>,
    /// Connections that were opened for one request, and closed.
    anew: Cell<u32>,
    failed: RefCell<Vec<String>>,
}

impl Load {
    fn of(visitor: Visitor) -> Self {
        Self {
            visitor,
            over: Cell::default(),
            over_lines: Cell::default(),
            over_calls: Cell::default(),
            anew: Cell::default(),
            failed: RefCell::default(),
        }
    }

    /// Asks again and again until it is over, or something fails.
    async fn repeat(&self, counted: &Cell<u32>, mut ask: impl AsyncFnMut(u32) -> Result<(), Lost>) {
        for number in 0.. {
            if self.over.get() {
                return;
            }
            if let Err(error) = ask(number).await {
                self.failed.borrow_mut().push(format!("number {number}: {error}"));
                return;
            }
            counted.set(counted.get() + 1);
        }
    }

    /// Places and lists orders over one connection of HTTP/1.
    async fn on_a_line(&self, name: &str) {
        let mut line = self.visitor.line().await.unwrap();
        self.repeat(&self.over_lines, async |number| -> Result<(), Lost> {
            let placed = line.send(placing(&format!("{name}-{number:012}"))).await?;
            is(&placed, 201)?;
            is(&line.send(get("/v1/orders?page_size=1")).await?, 200)
        })
        .await;
    }

    /// Places and lists orders over one connection of HTTP/2.
    async fn by_calls(&self, name: &str) {
        let (mut calls, _driver) = self.visitor.orders().await.unwrap();
        self.repeat(&self.over_calls, async |number| -> Result<(), Lost> {
            let order = pb::CreateOrderRequest {
                order: Some(grpc::order()),
                idempotency_key: format!("{name}-{number:012}"),
                ..pb::CreateOrderRequest::default()
            };
            drop(soon(calls.create_order(order)).await?);
            drop(soon(calls.list_orders(one())).await?);
            Ok(())
        })
        .await;
    }

    /// Lists orders over one new connection after the other, of both protocols in turn.
    async fn over_new_connections(&self) {
        self.repeat(&self.anew, async |number: u32| -> Result<(), Lost> {
            if number.is_multiple_of(2) {
                let mut line = self.visitor.line().await?;
                return is(&line.send(get("/v1/orders?page_size=1")).await?, 200);
            }
            let (mut calls, _driver) = self.visitor.orders().await?;
            drop(soon(calls.list_orders(one())).await?);
            Ok(())
        })
        .await;
    }

    /// Waits until all kinds of it have gone on for a while.
    async fn goes_on(&self) {
        let counts = || [&self.over_lines, &self.over_calls, &self.anew].map(Cell::get);
        let before = counts();
        until("everything goes on", async || {
            assert_eq!(*self.failed.borrow(), [""; 0]);
            let after = counts();
            before.iter().zip(&after).all(|(before, after)| after - before >= 20).then_some(())
        })
        .await;
    }
}

/// Whether an answer has this status, or else what it says.
fn is(answer: &Answer, status: u16) -> Result<(), Lost> {
    if answer.status == status { Ok(()) } else { Err(answer.text().into()) }
}

/// Asks for one order.
fn one() -> pb::ListOrdersRequest {
    pb::ListOrdersRequest { page_size: 1, ..pb::ListOrdersRequest::default() }
}

#[tokio::test]
async fn the_certificate_is_replaced_under_load_without_a_failed_request() {
    let guarded = Guarded::new().await;
    guarded.let_in(&[("warehouse", &["orders:read", "orders:write"])]);
    let service = guarded.home.serve().await;
    let shown = guarded.certificate("warehouse");
    let visitor = || guarded.visitor(service.api, Some(&shown));
    let (looks, load) = (visitor(), Load::of(visitor()));
    let replacing = async {
        for _ in 0..3 {
            load.goes_on().await;
            let next = guarded.renew();
            until("the new certificate is served", async || {
                (looks.sees().await == next.der()).then_some(())
            })
            .await;
            load.goes_on().await;
            for _ in 0..20 {
                assert!(looks.sees().await == next.der(), "the old one is served again");
            }
        }
        load.over.set(true);
    };
    tokio::join!(
        Box::pin(load.on_a_line("line-a")),
        Box::pin(load.on_a_line("line-b")),
        Box::pin(load.by_calls("call-a")),
        Box::pin(load.by_calls("call-b")),
        Box::pin(load.over_new_connections()),
        Box::pin(load.over_new_connections()),
        Box::pin(replacing),
    );
    assert_eq!(*load.failed.borrow(), [""; 0]);
    let placed = load.over_lines.get() + load.over_calls.get();
    service.stop().await;
    assert_eq!(guarded.home.sound().await["orders"], placed);
}
