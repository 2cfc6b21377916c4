//! `orderly import`: orders from a file, through the same rules and the same commit as the API.

mod lines;
mod progress;
mod report;

use std::{process::ExitCode, time::Duration};

use futures_util::{StreamExt as _, stream};
use mainstay::metrics::Metrics;
use mainstay_context::{Context, Principal, RequestId};
use orders::{Orders, domain::TenantId, usecase::Done};
use orders_adapters::sqlite::Sqlite;
use orders_api::{
    http::Item,
    problem::{Code, Problem},
};
use tokio::time::Instant;

use self::{
    lines::{Line, Lines, Unreadable},
    progress::Progress,
    report::Report,
};
use crate::{
    cli::{Import, principal, tenant},
    config::{self, Auth, Config},
    console::{Failure, remark, say},
    keys,
    wired::{self, Wired},
};

/// Orders under way at a time: enough to fill the writer's batches.
const IN_FLIGHT: usize = 256;
/// How often a line is tried that was surely not written because the store was busy.
const TRIES: u32 = 20;

/// What became of a line.
enum Outcome {
    /// There was nothing in it.
    Blank,
    Accepted,
    Replayed,
    Refused(Box<Problem>),
}

/// Exit status when everything was read and some lines were refused; 2 is that of a mistyped flag.
const SOME_REFUSED: u8 = 3;

/// Places every line of the file and says what became of them.
pub(crate) fn run(options: &Import) -> Result<ExitCode, Failure> {
    let (tenant, principal) = (tenant(&options.tenant)?, principal(&options.principal)?);
    let config = config::load(&options.config)?.value;
    let lines = Lines::open(&options.file, options.skip, config.http.body_limit)?;
    // Before the report, whose file is emptied: a store in use must not cost the report of another run.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let orders = runtime.block_on(open(&config, options.create))?;
    say(&format!("store {}", wired::name(&config)));
    warn_of_closed_doors(&config.auth, &tenant);
    let mut report = Report::new(options.report.as_deref())?;
    let principal = Principal::new(tenant.as_str(), principal);
    let start = Instant::now();
    let done = runtime.block_on(place_all(&orders, lines, &principal, &mut report));
    let refused = report.has_refusals();
    // Also when it had to stop: what was done is told. Why it stopped is told before what that did
    // to the report.
    let finished = report.finish(start.elapsed());
    done?;
    finished.map_err(|error| format!("the orders are placed, the report is not whole: {error}"))?;
    Ok(if refused { ExitCode::from(SOME_REFUSED) } else { ExitCode::SUCCESS })
}

/// The use cases over the store, which must be there unless one is to be made: orders in a store that
/// nobody serves would be as good as lost.
async fn open(config: &Config, create: bool) -> Result<Orders<Wired>, Failure> {
    if config.postgres.is_none()
        && !create
        && let Err(error) = Sqlite::find(&config.store.path)
    {
        return Err(format!("{}, or make one with --create", wired::with_hint(error)).into());
    }
    wired::open(config, &Metrics::new("unread")).await
}

/// Warns when nobody will see the orders with the keys there are.
fn warn_of_closed_doors(auth: &Auth, tenant: &TenantId) {
    let Some(open) = keys::tenants(auth).filter(|open| !open.contains(tenant.as_str())) else {
        return;
    };
    let open: Vec<_> = open.into_iter().collect();
    let known = if open.is_empty() { "none".to_owned() } else { open.join(", ") };
    remark(&format!(
        "warning: no key opens the orders of tenant {tenant}; the tenants that have keys: {known}"
    ));
}

async fn place_all(
    orders: &Orders<Wired>,
    lines: Lines,
    principal: &Principal,
    report: &mut Report,
) -> Result<(), Failure> {
    let limit = lines.limit();
    let mut progress = Progress::new(lines.bytes());
    let mut lines = lines.read_ahead(IN_FLIGHT)?;
    let work = stream::poll_fn(move |task| lines.poll_recv(task))
        .map(|line| async { Ok::<_, Unreadable>(place(orders, line?, principal, limit).await) })
        .buffered(IN_FLIGHT);
    let mut work = std::pin::pin!(work);
    while let Some(done) = work.next().await {
        let (line, outcome) = done?;
        progress.advance(line.end);
        if let Outcome::Refused(problem) = &outcome
            && must_stop(problem.code)
        {
            progress.finish();
            return Err(format!(
                "{}: stopped at line {}; mend the cause and go on with --skip {}",
                problem.code.title(),
                line.number,
                line.number - 1,
            )
            .into());
        }
        report
            .count(&line, outcome)
            .map_err(|error| format!("{error}: stopped at line {}", line.number))?;
    }
    progress.finish();
    Ok(())
}

/// Places one line; tries again what was surely not written, or may have been.
async fn place(
    orders: &Orders<Wired>,
    line: Line,
    principal: &Principal,
    limit: usize,
) -> (Line, Outcome) {
    if line.is_blank() {
        return (line, Outcome::Blank);
    }
    if line.length > limit {
        let detail = format!("The line has more than {limit} bytes.");
        let problem = Problem::new(Code::PayloadTooLarge, detail);
        return (line, Outcome::Refused(Box::new(problem)));
    }
    let mut tries = 0;
    loop {
        match try_once(orders, &line, principal).await {
            Ok(done) if done.replayed => return (line, Outcome::Replayed),
            Ok(_) => return (line, Outcome::Accepted),
            Err(problem) if problem.code.retryable() && tries < TRIES => {
                tries += 1;
                tokio::time::sleep(Duration::from_millis(50) * tries).await;
            }
            Err(problem) => return (line, Outcome::Refused(Box::new(problem))),
        }
    }
}

async fn try_once(
    orders: &Orders<Wired>,
    line: &Line,
    principal: &Principal,
) -> Result<Done, Problem> {
    let request = RequestId::try_from(format!("import-{}", line.number).as_str())
        .map_err(|error| Problem::new(Code::Malformed, error.to_string()))?;
    let cx = Context::new(request).with_principal(principal.clone());
    Item::read(&line.text)?.place(orders, &cx, None).await
}

/// Whether the fault is the store's and not the line's: going on would fail every line.
fn must_stop(code: Code) -> bool {
    code.status().is_server_error()
}
