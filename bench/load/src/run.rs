//! One run from the first connection to the record.

use crate::{
    Trouble,
    args::{Args, Common, Mode},
    arrivals::Arrivals,
    baskets::Baskets,
    caller::Caller,
    client::{Client, Lost, Target},
    costs::Used,
    machine,
    plan::Plan,
    process::Usage,
    record::{ReadBack, Record},
    rng::Rng,
    strace::Strace,
    tally::Tally,
};
use jiff::Timestamp;
use std::{fs, io, path::Path, sync::Arc, time::Duration};
use tokio::{
    task::JoinSet,
    time::{Instant, sleep_until, timeout},
};

const READ_BACK_LIMIT: Duration = Duration::from_secs(30);
/// Its own stream of randomness, apart from the mix and the arrivals.
const SAMPLE: u64 = u64::MAX - 1;

pub(crate) async fn run(args: &Args) -> Result<Record<'_>, Trouble> {
    let common = args.common();
    let at = Timestamp::now();
    let baskets = Baskets::load(common)?;
    let target = Target::new(&common.url, common.timeout.0)?;
    let callers = match &args.mode {
        Mode::Closed(closed) => closed.callers,
        Mode::Open(open) => open.in_flight,
    };
    let clients = connect(&target, callers, common.timeout.0).await?;
    let strace = match common.pid.filter(|_| common.count_fsyncs) {
        Some(pid) => Some(Strace::attach(pid).await?),
        None => None,
    };

    let start = Instant::now();
    let measured_from = start + common.warmup.0;
    let tally = Tally::new(common, measured_from, Rng::derived(common.seed, SAMPLE));
    let run_id = common.run_id.clone().unwrap_or_else(|| fresh_run_id(at));
    let plan = Arc::new(Plan::new(common, run_id, baskets, tally)?);
    let mut tasks = start_callers(args, clients, &plan, start)?;
    sleep_until(measured_from).await;
    let before = usage(common)?;
    while let Some(ended) = tasks.join_next().await {
        ended??;
    }
    let after = match usage(common) {
        Ok(after) => after,
        Err(error) => {
            plan.tally().error("service gone", || error.to_string());
            (Usage::of_self()?, None)
        }
    };
    let fsyncs = match strace {
        Some(strace) => Some(strace.stop().await?),
        None => None,
    };

    if let Some(path) = &common.acknowledged {
        write_acknowledged(path, &plan).map_err(|error| format!("{}: {error}", path.display()))?;
    }
    let read_back = read_back(&target, &plan).await;
    let commit = match &common.commit {
        Some(commit) => Some(commit.clone()),
        None => machine::commit().await,
    };
    Ok(Record::new(args, at, commit, &plan, Used { before, after, fsyncs, read_back }))
}

async fn connect(target: &Target, count: usize, limit: Duration) -> Result<Vec<Client>, Trouble> {
    let all = async {
        let mut clients = Vec::with_capacity(count);
        for _ in 0..count {
            clients.push(Client::connect(target).await?);
        }
        Ok(clients)
    };
    match timeout(limit, all).await {
        Ok(clients) => clients.map_err(|lost: Lost| lost.detail().into()),
        Err(_) => Err(format!("{count} connections were not made in {limit:?}").into()),
    }
}

fn start_callers(
    args: &Args,
    clients: Vec<Client>,
    plan: &Arc<Plan>,
    start: Instant,
) -> io::Result<JoinSet<io::Result<()>>> {
    let common = args.common();
    let end = start + common.warmup.0 + common.duration.0;
    let callers = clients.into_iter().map(|client| Caller::new(client, Arc::clone(plan)));
    let mut tasks = JoinSet::new();
    match &args.mode {
        Mode::Closed(_) => {
            for caller in callers {
                tasks.spawn(async move {
                    caller.closed(end).await;
                    Ok(())
                });
            }
        }
        Mode::Open(open) => {
            let arrivals = Arc::new(Arrivals::new(open, start, end)?);
            for caller in callers {
                tasks.spawn(caller.open(Arc::clone(&arrivals)));
            }
        }
    }
    Ok(tasks)
}

/// The generator's and the service's.
fn usage(common: &Common) -> io::Result<(Usage, Option<Usage>)> {
    Ok((Usage::of_self()?, common.pid.map(Usage::of).transpose()?))
}

fn write_acknowledged(path: &Path, plan: &Plan) -> io::Result<()> {
    let named = plan.tally().named.take().unwrap_or_default();
    let lines = named.iter().map(|(sequence, id)| format!("{} {id}\n", plan.key(*sequence)));
    fs::write(path, lines.collect::<Vec<_>>().concat())
}

/// Reads the sample of acknowledged orders. Its times count for nothing: they lie after the run.
async fn read_back(target: &Target, plan: &Arc<Plan>) -> ReadBack {
    let sample = plan.tally().orders.kept.clone();
    let mut result = ReadBack { sampled: sample.len(), matched: 0 };
    let mut client = match Client::connect(target).await {
        Ok(client) => Caller::new(client, Arc::clone(plan)),
        Err(lost) => {
            plan.tally().error("read back: no connection", || lost.detail());
            return result;
        }
    };
    let before_the_run = plan.tally().measured_from - Duration::from_nanos(1);
    let all = async {
        for placed in &sample {
            result.matched += usize::from(client.read(placed, before_the_run).await);
        }
    };
    if timeout(READ_BACK_LIMIT, all).await.is_err() {
        plan.tally().error("read back unfinished", || format!("in {READ_BACK_LIMIT:?}"));
    }
    result
}

fn fresh_run_id(at: Timestamp) -> String {
    format!("{:x}-{:x}", at.as_microsecond(), std::process::id())
}
