//! The simulated processes: use cases over one store, and what each is working on.

use std::{
    future::Future,
    pin::pin,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use mainstay_context::{Context, Principal};
use orders::{Orders, ports::Clock as _, usecase::Policy};
use tokio::{
    sync::{Notify, oneshot},
    task::{JoinError, JoinSet},
    time,
};

use super::{book::Book, courier, lead::Lead, plan, worker};
use crate::World;

/// What has not happened by then never will.
pub(super) const FOR_EVER: Duration = Duration::from_hours(1);

/// What all parts of a run share.
#[derive(Debug)]
pub(super) struct Stage {
    pub(super) world: World,
    pub(super) policy: Policy,
    pub(super) patience: Duration,
    pub(super) deadline: Duration,
    principals: [[Principal; 2]; 2],
    book: Mutex<Book>,
    processes: Vec<Mutex<Process>>,
    lead: Mutex<Lead>,
    /// Wakes whoever leads, to see whether that is over.
    lead_changes: Notify,
    bus_is_gone: bool,
    /// Counts requests, to spread them.
    asked: AtomicUsize,
    /// Whether the clients are done, so that nobody needs to hurry.
    calm: AtomicBool,
    /// Whether workers are to take nothing new.
    drains: AtomicBool,
    /// A plain flag, looked at: tokio's watch channel wakes in an order of its own.
    ends: AtomicBool,
}

#[derive(Debug)]
struct Process {
    orders: Arc<Orders<World>>,
    plan: Vec<plan::Worker>,
    couriers: Vec<(usize, plan::Courier)>,
    /// Its requests and its workers.
    tasks: JoinSet<()>,
    /// Those that carry the feed out, who go on when the workers are done.
    carrying: JoinSet<()>,
}

impl Stage {
    pub(super) fn new(world: World, book: Book, plan: &plan::Plan) -> Self {
        let process = |(number, workers): (usize, &Vec<plan::Worker>)| {
            Mutex::new(Process {
                orders: Arc::new(world.orders_with(plan.policy)),
                plan: workers.clone(),
                couriers: plan.couriers(number),
                tasks: JoinSet::new(),
                carrying: JoinSet::new(),
            })
        };
        let processes = plan.processes.iter().enumerate().map(process).collect();
        let tenants = [0, 1].map(|tenant: usize| book.tenants[tenant].as_str().to_owned());
        let principals = tenants
            .map(|tenant| ["till-0", "till-1"].map(|till| Principal::new(tenant.as_str(), till)));
        Self {
            world,
            policy: plan.policy,
            patience: plan.patience,
            deadline: plan.deadline,
            principals,
            book: Mutex::new(book),
            processes,
            lead: Mutex::default(),
            lead_changes: Notify::new(),
            bus_is_gone: plan.heals.bus.is_some(),
            asked: AtomicUsize::new(0),
            calm: AtomicBool::new(false),
            drains: AtomicBool::new(false),
            ends: AtomicBool::new(false),
        }
    }

    /// Nothing happens any more that readers do not see yet.
    pub(super) fn end(&self) {
        self.ends.store(true, Ordering::Relaxed);
    }

    pub(super) fn ends(&self) -> bool {
        self.ends.load(Ordering::Relaxed)
    }

    /// The clients are done.
    pub(super) fn calm_down(&self) {
        self.calm.store(true, Ordering::Relaxed);
    }

    pub(super) fn calm(&self) -> bool {
        self.calm.load(Ordering::Relaxed)
    }

    /// Workers are to take nothing new.
    pub(super) fn drain(&self) {
        self.drains.store(true, Ordering::Relaxed);
    }

    pub(super) fn drains(&self) -> bool {
        self.drains.load(Ordering::Relaxed)
    }

    pub(super) fn lead(&self) -> MutexGuard<'_, Lead> {
        self.lead.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A courier waits for something; it may be stopped at that, and another take over.
    pub(super) fn waits(&self, courier: usize) -> bool {
        let is_stopped = self.lead().waits(courier);
        if is_stopped {
            self.lead_changes.notify_waiters();
        }
        is_stopped
    }

    /// Waits until the courier whose turn this is hears that it is over.
    pub(super) async fn lead_is_lost(&self, turn: u64) {
        loop {
            // Listen first, then look: a change in between still wakes this listener.
            let mut changes = pin!(self.lead_changes.notified());
            changes.as_mut().enable();
            let lost = self.lead().is_lost(turn);
            if let Some(at) = lost {
                return time::sleep_until(at).await;
            }
            changes.await;
        }
    }

    /// Whether the bus stays broken when other things get well.
    pub(super) const fn bus_is_gone(&self) -> bool {
        self.bus_is_gone
    }

    /// Notes what is wrong with what was published.
    pub(super) fn look_at_the_bus(&self) {
        for what in self.world.wrong_on_the_bus() {
            self.book().violation(what);
        }
    }

    /// How many processes there are.
    pub(super) fn processes(&self) -> usize {
        self.processes.len()
    }

    pub(super) fn book(&self) -> MutexGuard<'_, Book> {
        self.book.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Writes a line into the log, when there is one.
    pub(super) fn note(&self, line: impl FnOnce() -> String) {
        let mut book = self.book();
        if let Some(log) = &mut book.log {
            let at = self.world.clock().now();
            log.push(format!("{at:.6} {}", line()));
        }
    }

    fn process(&self, number: usize) -> MutexGuard<'_, Process> {
        self.processes[number].lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Starts the workers of every process.
    pub(super) fn start_workers(self: &Arc<Self>) {
        for number in 0..self.processes.len() {
            self.start(number);
        }
    }

    fn start(self: &Arc<Self>, number: usize) {
        let mut process = self.process(number);
        for plan in process.plan.clone() {
            let (stage, orders) = (Arc::clone(self), Arc::clone(&process.orders));
            process.tasks.spawn(worker::work(stage, orders, plan));
        }
        for (number, plan) in process.couriers.clone() {
            let (stage, orders) = (Arc::clone(self), Arc::clone(&process.orders));
            process.carrying.spawn(courier::carry(stage, orders, number, plan));
        }
    }

    /// The context of a request.
    pub(super) fn context(&self, tenant: usize, principal: usize, request: usize) -> Context {
        let id = format!("{request:x}").parse().expect("a request id");
        let deadline = self.world.clock().instant() + self.deadline;
        Context::new(id)
            .with_principal(self.principals[tenant][principal].clone())
            .with_deadline(deadline)
    }

    /// Has a process work on a request; nothing comes back when it crashes or the client's
    /// patience ends. The request itself goes on in the latter case.
    pub(super) async fn request<T, F>(
        &self,
        work: impl FnOnce(Arc<Orders<World>>) -> F,
    ) -> Option<T>
    where
        T: Send + 'static,
        F: Future<Output = T> + Send + 'static,
    {
        let (answer, answered) = oneshot::channel();
        {
            let number = self.asked.fetch_add(1, Ordering::Relaxed) % self.processes.len();
            let mut process = self.process(number);
            while let Some(ended) = process.tasks.try_join_next() {
                self.no_panic(ended);
            }
            // On the heap: it is large, and a task is moved several times before it runs.
            let work = Box::pin(work(Arc::clone(&process.orders)));
            process.tasks.spawn(async move {
                // Who hung up does not want to know.
                drop(answer.send(work.await));
            });
        }
        time::timeout(self.patience, answered).await.ok()?.ok()
    }

    fn no_panic(&self, ended: Result<(), JoinError>) {
        if ended.is_err_and(|error| error.is_panic()) {
            self.book().violation("a request panics".to_owned());
        }
    }

    /// A process ends here and now with all it was doing, and a new one starts on its store.
    pub(super) fn crash(self: &Arc<Self>, number: usize) {
        let orders = Arc::new(self.world.orders_with(self.policy));
        {
            let mut process = self.process(number);
            process.tasks.abort_all();
            process.carrying.abort_all();
            self.world.crash();
            process.tasks = JoinSet::new();
            process.carrying = JoinSet::new();
            process.orders = orders;
            for (courier, _) in &process.couriers {
                self.lead().died(*courier);
            }
        }
        self.start(number);
    }

    /// Waits until no process works on anything; false when one never ends.
    pub(super) async fn rest(&self) -> bool {
        self.join(|process| &mut process.tasks).await
    }

    /// Waits until all is carried out that can be; false when that never ends.
    pub(super) async fn carried(&self) -> bool {
        self.join(|process| &mut process.carrying).await
    }

    async fn join(&self, of: fn(&mut Process) -> &mut JoinSet<()>) -> bool {
        for number in 0..self.processes.len() {
            let mut tasks = std::mem::take(of(&mut self.process(number)));
            let all = async {
                while let Some(ended) = tasks.join_next().await {
                    self.no_panic(ended);
                }
            };
            if time::timeout(FOR_EVER, all).await.is_err() {
                return false;
            }
        }
        true
    }
}
