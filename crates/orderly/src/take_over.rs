//! `orderly move`: a grown embedded store, taken over by the shared one.

use std::process::ExitCode;

use crate::{
    cli::Move,
    config::{self, Config, LEFT_OUT},
    console::Failure,
};

/// Takes a store over and says what was written.
pub(crate) fn run(options: &Move) -> Result<ExitCode, Failure> {
    let Some(file) = options.from.strip_prefix("sqlite://").filter(|file| !file.is_empty()) else {
        return Err("--from must be sqlite://FILE: only an embedded store can be taken over".into());
    };
    if !options.to.starts_with("postgres") {
        return Err("--to must be postgres://USER@HOST:PORT/DATABASE".into());
    }
    let mut config = options.config.clone();
    config.set.push(("postgres.url".to_owned(), options.to.clone()));
    config.store = Some(file.to_owned());
    let config = config::load(&config)?.value;
    shared::take_over(&config)
}

#[cfg(feature = "postgres")]
mod shared {
    use orders::ports::Cause;
    use orders_adapters::{
        postgres::{Beside, fill},
        sqlite::{Inline, Sqlite},
    };

    use super::{Config, ExitCode, Failure, LEFT_OUT};
    use crate::{
        console::{many, remark, say, whole},
        wired,
    };

    /// Orders between two words of progress.
    const STEP: u64 = 50_000;

    pub(super) fn take_over(config: &Config) -> Result<ExitCode, Failure> {
        let Some(postgres) = &config.postgres else { return Err(LEFT_OUT.into()) };
        let path = &config.store.path;
        Sqlite::find(path).map_err(wired::with_hint)?;
        // Held until the end: no service may write to it meanwhile.
        let source = Inline::open(&config.store).map_err(wired::with_hint)?;
        let read = |cause: Cause| cause.to_string();
        let beside = Beside {
            page_secret: source.page_secret().map_err(read)?,
            published: source.published().map_err(read)?,
        };
        say(&format!("from {}", whole(path).display()));
        say(&format!("to   {}", postgres.url));
        let snapshot = source.snapshot().map_err(wired::with_hint)?;
        let told = |done: u64| {
            if done.is_multiple_of(STEP) {
                remark(&format!("{done} orders"));
            }
        };
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let filled = runtime.block_on(fill(postgres, &snapshot, beside, told))?;
        // Before the commit: at no time may both be served from, whatever ends this process.
        source.mark_moved(&postgres.url)?;
        let census = runtime.block_on(filled.commit())?;
        say(&format!(
            "taken over: {}, {}, {}, {}, {}",
            many(census.orders, "order"),
            many(census.history, "history row"),
            many(census.events, "event"),
            many(census.receipts, "receipt"),
            many(census.tasks, "task"),
        ));
        say(
            "both stores are sound and say the same; serve from postgres.url from now on: the file is \
             marked as moved, and no service starts on it",
        );
        Ok(ExitCode::SUCCESS)
    }
}

#[cfg(not(feature = "postgres"))]
mod shared {
    use super::{Config, ExitCode, Failure, LEFT_OUT};

    pub(super) fn take_over(_: &Config) -> Result<ExitCode, Failure> {
        Err(LEFT_OUT.into())
    }
}
