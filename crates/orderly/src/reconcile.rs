//! `orderly reconcile`: a provider's settlement list against what the store says of its payments.

mod found;
mod list;
mod matching;
mod show;

use std::{fs::File, io, path::Path, process::ExitCode};

use jiff::Timestamp;
use orders::ports::{AuditSource as _, Page};
use orders_adapters::AnySnapshot;

use self::{
    found::Report,
    list::{Line, Unreadable},
    matching::{Matching, Period},
};
use crate::{
    cli::Reconcile,
    config,
    console::{Failure, complain, say},
    wired,
};

/// Orders read at a time.
const PAGE: usize = 500;

/// Exit status when the list or the store cannot be read.
const UNREADABLE: u8 = 2;

/// Compares, and says what does not agree.
pub(crate) fn run(options: &Reconcile) -> ExitCode {
    match compare(options) {
        Ok(report) if report.found == 0 => ExitCode::SUCCESS,
        Ok(_) => ExitCode::FAILURE,
        Err(error) => {
            complain(&error);
            ExitCode::from(UNREADABLE)
        }
    }
}

fn compare(options: &Reconcile) -> Result<Report, Failure> {
    let period = period(options.from, options.to)?;
    let config = config::load(&options.config)?.value;
    let lines = read(&options.file)?;
    // After the list, which may take long: while it is held the service's log cannot be emptied.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let snapshot = runtime.block_on(wired::snapshot(&config))?;
    let store = wired::name(&config);
    let report = runtime.block_on(pass_by(&snapshot, Matching::new(lines, period)))?;
    if options.json {
        say(&show::as_json(&store, &report).to_string());
    } else {
        show::table(&store, &report);
    }
    Ok(report)
}

/// The period of the flags; what is left out is without end.
fn period(from: Option<Timestamp>, to: Option<Timestamp>) -> Result<Option<Period>, Failure> {
    if from.is_none() && to.is_none() {
        return Ok(None);
    }
    let (from, to) = (from.unwrap_or(Timestamp::MIN), to.unwrap_or(Timestamp::MAX));
    if from >= to {
        return Err("--from must be before --to".into());
    }
    Ok(Some(Period { from, to }))
}

fn read(file: &Path) -> Result<Vec<Line>, Unreadable> {
    if file == Path::new("-") {
        return list::read(io::stdin().lock());
    }
    let opened = File::open(file).map_err(|error| Unreadable::File(file.to_owned(), error))?;
    list::read(opened)
}

/// Lets every order of the store pass by the list.
async fn pass_by(snapshot: &AnySnapshot, mut matching: Matching) -> Result<Report, Failure> {
    let mut after = None;
    loop {
        let dossiers = snapshot.dossiers(Page { after, limit: PAGE }).await?;
        let Some(last) = dossiers.last() else { break };
        after = Some(last.id);
        for dossier in &dossiers {
            match &dossier.record {
                Ok(record) => matching.order(&record.order),
                Err(why) => {
                    let id = dossier.id;
                    let text = format!("order {id} cannot be read: {why}; see orderly audit");
                    return Err(text.into());
                }
            }
        }
    }
    Ok(matching.finish())
}
