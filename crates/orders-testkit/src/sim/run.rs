//! Executing a plan.

use std::sync::Arc;

use orders::{audit, domain::OrderId, ports::Clock as _};
use tokio::{runtime, task::JoinSet, time};

use super::{
    book::{Asked, Book, Feed},
    client::{self, Client},
    cuts::Cuts,
    judge, live,
    plan::{Chaos, Plan},
    process::{FOR_EVER, Stage},
    reader, worker,
};
use crate::{Bug, Engine, World};

/// What came of a seed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Run {
    /// The seed.
    pub seed: u64,
    /// A hash over everything that happened.
    pub hash: u64,
    /// What must not be; empty when all held.
    pub violations: Vec<String>,
    /// How many orders were made.
    pub orders: u64,
    /// How many requests were sent.
    pub requests: u64,
    /// How many changes were committed.
    pub changes: u64,
    /// How often a process crashed.
    pub crashes: u64,
    /// What the provider did.
    pub effects: u64,
    /// Attempts that wait for a person at the end.
    pub parked: u64,
    /// Events that are on the bus.
    pub published: u64,
    /// How often one came there again.
    pub repeats: u64,
    /// What happened, line by line; empty unless asked for.
    pub log: Vec<String>,
}

/// Runs a seed with about this many orders, in a world with or without a planted bug.
///
/// # Panics
/// When there can be no runtime.
pub fn run(seed: u64, orders: usize, bug: Option<Bug>) -> Run {
    run_without(seed, orders, bug, &Cuts::default())
}

/// The run of what is left of a seed's plan without these.
///
/// # Panics
/// When there can be no runtime.
pub fn run_without(seed: u64, orders: usize, bug: Option<Bug>, cuts: &Cuts) -> Run {
    let plan = cuts.apply(Plan::new(seed, orders));
    start(plan, &move || world(seed, bug), false)
}

/// The same over another store than the tables in memory.
///
/// # Panics
/// When there can be no runtime.
pub fn run_over(
    engine: &dyn Fn() -> Box<dyn Engine>,
    seed: u64,
    orders: usize,
    cuts: &Cuts,
) -> Run {
    let plan = cuts.apply(Plan::new(seed, orders));
    start(plan, &move || World::over(seed, engine()), false)
}

/// The same run, with a log of the plan, of all that clients were told and of all that the store has.
///
/// # Panics
/// When there can be no runtime.
pub fn trace(seed: u64, orders: usize, bug: Option<Bug>, cuts: &Cuts) -> Run {
    let plan = cuts.apply(Plan::new(seed, orders));
    start(plan, &move || world(seed, bug), true)
}

fn world(seed: u64, bug: Option<Bug>) -> World {
    bug.map_or_else(|| World::new(seed), |bug| World::with_bug(seed, bug))
}

fn start(plan: Plan, world: &dyn Fn() -> World, log: bool) -> Run {
    let runtime = runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .expect("a runtime");
    runtime.block_on(async { execute(plan, world(), log).await })
}

async fn execute(mut plan: Plan, world: World, log: bool) -> Run {
    world.clock().run();
    world.ids().number_space(plan.number_space);
    world.set_faults(plan.faults.clone());
    world.set_gateway_faults(plan.provider.faults.clone());
    world.set_webhooks(plan.provider.webhooks);
    world.set_key_window(plan.provider.window, plan.provider.margin);
    if let Some(bus) = &plan.bus {
        world.start_bus(bus.partitions);
        world.set_bus_faults(bus.faults.clone());
    }
    let mut book = Book::new(plan.seed);
    if log {
        book.log = Some(plan.lines());
    }
    let stage = Arc::new(Stage::new(world, book, &plan));
    let mut readers = JoinSet::new();
    for reader in &plan.readers {
        readers.spawn(reader::follow(Arc::clone(&stage), *reader));
    }
    let mut post = JoinSet::new();
    post.spawn(worker::post(Arc::clone(&stage)));
    stage.start_workers();
    let mut clients = JoinSet::new();
    for (index, script) in std::mem::take(&mut plan.scripts).into_iter().enumerate() {
        clients.spawn(Client::new(Arc::clone(&stage), plan.seed, index).play(script));
    }
    chaos(&stage, &plan).await;
    // In the order of completion, which follows from the seed like all else.
    let open: Vec<Asked> = clients.join_all().await.into_iter().flatten().collect();
    live::on(&stage, &plan, &open).await;
    stage.drain();
    post.join_all().await;
    if !stage.rest().await {
        stage.book().violation("a worker never ends".to_owned());
    }
    stage.end();
    let feeds = time::timeout(FOR_EVER, readers.join_all()).await;
    if !stage.carried().await {
        stage.book().violation("the feed is never carried out".to_owned());
    }
    let run = finish(stage, &plan, feeds.ok()).await;
    Run { seed: plan.seed, ..run }
}

async fn chaos(stage: &Arc<Stage>, plan: &Plan) {
    let start = time::Instant::now();
    for (at, what) in &plan.chaos {
        time::sleep_until(start + *at).await;
        stage.note(|| format!("{what:?}"));
        match what {
            Chaos::Crash(process) => {
                stage.crash(*process);
                check(stage).await;
                stage.book().crashes += 1;
            }
            Chaos::Jump(by) => {
                let mut book = stage.book();
                book.furthest = book.furthest.max(stage.world.clock().now());
                book.turned_back |= by.is_negative();
                stage.world.clock().jump(*by);
            }
            Chaos::Forget => forget(stage).await,
            Chaos::Provider(mode) => stage.world.set_gateway_mode(*mode),
            Chaos::Bus(mode) => stage.world.set_bus_mode(*mode),
            Chaos::Stop { stands, unaware } => stage.lead().stop(*stands, *unaware),
        }
    }
}

async fn forget(stage: &Arc<Stage>) {
    let (before, jumps) = (stage.world.clock().now(), stage.world.clock().jumps());
    let cx = stage.context(0, 0, 0);
    stage.request(|orders| async move { orders.forget(&cx).await }).await;
    let mut book = stage.book();
    book.forgets.extend([before, stage.world.clock().now()]);
    if stage.world.clock().jumps() != jumps {
        book.forgets.push(jiff::Timestamp::MAX);
    }
}

/// The store is sound at every instant, and so after every crash.
pub(super) async fn check(stage: &Stage) {
    stage.look_at_the_bus();
    let report = audit::audit(&stage.world).await.expect("a world can be audited");
    let mut book = stage.book();
    for finding in report.findings {
        book.violation(format!("audit: {finding}"));
    }
}

async fn finish(stage: Arc<Stage>, plan: &Plan, feeds: Option<Vec<Feed>>) -> Run {
    check(&stage).await;
    if !stage.rest().await {
        stage.book().violation("a request is left alive".to_owned());
    }
    for tenant in [0, 1] {
        let Some(mut listed) = client::walk(&stage, tenant, 7).await else {
            stage.book().violation("orders cannot be listed when all is well".to_owned());
            continue;
        };
        listed.sort_unstable();
        let book = stage.book();
        let missing: Vec<OrderId> = book.known[tenant]
            .iter()
            .filter(|order| listed.binary_search(order).is_err())
            .copied()
            .collect();
        drop(book);
        for order in missing {
            stage.book().violation(format!("{order}: acknowledged and not listed"));
        }
    }
    let mut book = std::mem::replace(&mut *stage.book(), Book::new(0));
    match feeds {
        Some(feeds) => book.feeds = feeds,
        None => book.violation("a reader never reaches the head".to_owned()),
    }
    judge::judge(&stage.world, &mut book, plan).await;
    report(&stage, book).await
}

async fn report(stage: &Stage, mut book: Book) -> Run {
    let census = orders::ports::AuditSource::census(&stage.world).await.expect("a world counts");
    // The world's own handle here, and one of each process that runs.
    let (handles, expected) = (stage.world.handles(), 1 + stage.processes());
    if handles != expected {
        book.violation(format!("{handles} handles to the store where {expected} are expected"));
    }
    Run {
        seed: 0,
        hash: book.hash(),
        violations: std::mem::take(&mut book.violations),
        orders: census.orders,
        requests: book.tries.len() as u64,
        changes: census.history,
        crashes: book.crashes,
        effects: stage.world.charges().len() as u64,
        parked: book.parked,
        published: book.published,
        repeats: book.repeats,
        log: book.log.unwrap_or_default(),
    }
}
