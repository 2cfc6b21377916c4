//! `orderly demo`: what the service promises, shown in a minute on a store of its own.
//!
//! It starts gateway-sim in this process and the service as a child, and uses nothing that a shop
//! could not use as well. It checks what it says: a promise that does not hold ends it with an error.
//!
//! When this process itself is killed with -9 the child stays behind: nobody is left to end it.

mod client;
mod many;
mod one;
mod patience;
mod stage;
mod verdict;

use std::{process::ExitCode, time::Duration};

use tokio::{
    signal::unix::{SignalKind, signal},
    time::Instant,
};

use self::stage::{Folder, Stage};
use crate::{
    cli::Demo,
    console::{Failure, say},
};

/// The longest wait for what still writes when all else has ended.
const CLOSING: Duration = Duration::from_secs(5);

/// Exit status after Ctrl-C, as shells have it.
const INTERRUPTED: u8 = 130;

/// Plays the demonstration, and cleans up whatever comes of it.
pub(crate) fn run(options: &Demo) -> Result<ExitCode, Failure> {
    let folder = Folder::new(options.dir.as_deref())?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let ended = runtime.block_on(async {
        tokio::select! {
            biased;
            stopped = interrupted() => stopped.map(|()| None),
            played = play(&folder, options) => played.map(Some),
        }
    });
    // What the provider still writes ends before its folder goes.
    runtime.shutdown_timeout(CLOSING);
    match ended {
        Ok(Some(())) => Ok(ExitCode::SUCCESS),
        Ok(None) => {
            say("\nStopped: the service and the provider are gone.");
            Ok(ExitCode::from(INTERRUPTED))
        }
        Err(error) => {
            let folder = folder.keep();
            Err(format!("{error}\n  store, ledger and log are kept in {}", folder.display()).into())
        }
    }
}

/// Ends when this process is told to stop.
async fn interrupted() -> Result<(), Failure> {
    let mut terminate = signal(SignalKind::terminate())?;
    tokio::select! {
        told = tokio::signal::ctrl_c() => told?,
        _told = terminate.recv() => {}
    }
    Ok(())
}

async fn play(folder: &Folder, options: &Demo) -> Result<(), Failure> {
    let began = Instant::now();
    say(&format!("While it runs, everything is in {}\n", folder.path().display()));
    let stage = Stage::new(folder.path(), options.seed).await?;
    let client = one::play(&stage).await?;
    let client = many::play(&stage, client, options).await?;
    verdict::judge(&stage, &client, options.orders).await?;
    stage.end().await;
    say(&format!(
        "\nHeld in {} s: every acknowledged order is there once, each is charged once, and both \
         ledgers say the same.",
        began.elapsed().as_secs()
    ));
    Ok(())
}

/// Fails, and says so, when a promise does not hold.
fn expect(holds: bool, broken: impl FnOnce() -> String) -> Result<(), Failure> {
    if holds { Ok(()) } else { Err(broken().into()) }
}
