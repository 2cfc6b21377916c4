//! Writers that keep placing orders, each under a key of its own, until they are told to stop.

use std::{
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use orders::{Error, domain::OrderId, ports::OrderRef};
use orders_testkit::builders;
use tokio::{task::JoinSet, time::sleep};

use super::{beside::until, process::Process};

/// Writers under way.
pub(crate) struct Load {
    writers: JoinSet<()>,
    told: Arc<Told>,
}

#[derive(Default)]
struct Told {
    acknowledged: Mutex<Vec<OrderId>>,
    is_over: AtomicBool,
}

impl Told {
    fn acknowledged(&self) -> Vec<OrderId> {
        self.acknowledged.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn acknowledge(&self, order: OrderId) {
        self.acknowledged.lock().unwrap_or_else(PoisonError::into_inner).push(order);
    }
}

impl Load {
    /// Starts so many.
    pub(crate) fn start(orders: &Process, writers: usize) -> Self {
        let told = Arc::<Told>::default();
        let mut tasks = JoinSet::new();
        for writer in 0..writers {
            tasks.spawn(write(Arc::clone(orders), Arc::clone(&told), writer));
        }
        Self { writers: tasks, told }
    }

    /// Waits until so many more orders were acknowledged.
    pub(crate) async fn more(&self, count: usize) {
        let before = self.told.acknowledged().len();
        until(async || self.told.acknowledged().len() >= before + count).await;
    }

    /// Lets each writer get its last order acknowledged; says which orders were.
    pub(crate) async fn stop(self) -> Vec<OrderId> {
        self.told.is_over.store(true, Ordering::Relaxed);
        self.writers.join_all().await;
        self.told.acknowledged()
    }
}

async fn write(orders: Process, told: Arc<Told>, writer: usize) {
    let cx = builders::context("shop");
    let mut number = 0;
    while !told.is_over.load(Ordering::Relaxed) {
        number += 1;
        let key = builders::key(&format!("writer-{writer}-order-{number}"));
        let order = loop {
            match orders.create(&cx, builders::draft(), key.clone()).await {
                Ok(done) => break done.record.order.id,
                Err(Error::Unavailable(_) | Error::OutcomeUnknown | Error::NotWritten(_)) => {
                    sleep(Duration::from_millis(10)).await;
                }
                Err(error) => panic!("{key}: {error}"),
            }
        };
        told.acknowledge(order);
    }
}

/// Fails unless each of these orders can be read.
pub(crate) async fn all_there(orders: &Process, acknowledged: &[OrderId]) {
    let cx = builders::context("shop");
    for order in acknowledged {
        orders.get(&cx, OrderRef::Id(*order)).await.unwrap();
    }
}
