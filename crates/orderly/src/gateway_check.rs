//! `orderly gateway check`: whether an implementation of the gateway contract (`api/gateway.yaml`)
//! keeps it, as far as that is seen from outside.
//!
//! Every fact has payments of its own, so that one that is missing leaves the others to be seen.
//!
//! Deliberately absent: load, faults of the network, and whatever the contract does not say.

mod access;
mod caller;
mod events;
mod exchange;
mod facts;
mod keys;
mod lookup;
mod money;
mod restart;
mod shop;
mod show;
mod strict;
mod watch;

use std::process::ExitCode;

use mainstay::{client::http::BaseUrl, config::Secret};

use self::{caller::Caller, events::Listener, facts::Report, shop::Shop};
use crate::{
    cli::GatewayCheck,
    console::{Failure, complain, say},
};

/// Exit status when nobody is there, or the check cannot begin.
const UNREACHABLE: u8 = 2;

/// Checks, and says what is missing.
pub(crate) fn run(options: &GatewayCheck) -> ExitCode {
    match check(options) {
        Ok(report) if report.counts() == (report.facts.len(), 0, 0) => ExitCode::SUCCESS,
        Ok(_) => ExitCode::FAILURE,
        Err(error) => {
            complain(&error);
            ExitCode::from(UNREACHABLE)
        }
    }
}

fn check(options: &GatewayCheck) -> Result<Report, Failure> {
    let url: BaseUrl = options.url.parse().map_err(|error| format!("{}: {error}", options.url))?;
    let shown = url.to_string();
    let shop = Shop {
        caller: Caller::new(url, secret(&options.secret_file)?, options.timeout)?,
        instrument: options.instrument.clone(),
        declined_instrument: options.declined_instrument.clone(),
        currency: options.currency.clone(),
    };
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let report = runtime.block_on(look(&shop, options));
    runtime.shutdown_background();
    let report = report?;
    if options.json {
        say(&show::as_json(&shown, &report).to_string());
    } else {
        show::table(&shown, &report);
    }
    Ok(report)
}

fn secret(file: &std::path::Path) -> Result<Secret<String>, Failure> {
    let secret = Secret::from_file(file);
    Ok(secret.map_err(|error| format!("cannot read {}: {error}", file.display()))?)
}

async fn look(shop: &Shop, options: &GatewayCheck) -> Result<Report, Failure> {
    let listener = match (options.webhook_listen, &options.webhook_secret_file) {
        (Some(at), Some(file)) => Some(Listener::start(at, &secret(file)?).await?),
        (None, _) | (_, None) => None,
    };
    let url = &options.url;
    shop.caller.reach().await.map_err(|why| format!("cannot reach {url}: {why}"))?;
    let mut report = Report::default();
    access::check(shop, &mut report).await;
    money::check(shop, &mut report).await;
    keys::check(shop, &mut report).await;
    lookup::check(shop, &mut report).await;
    strict::check(shop, &mut report).await;
    if let Some(listener) = &listener {
        events::check(shop, listener, &mut report).await;
    }
    if let Some(command) = &options.restart_command {
        restart::check(shop, command, &mut report).await;
    }
    shop.caller.watched(|watch| watch.facts(&mut report.part("every answer")));
    report.unseen = unseen(options);
    Ok(report)
}

/// What this cannot see, said so that nobody takes silence for a promise.
fn unseen(options: &GatewayCheck) -> Vec<String> {
    let mut unseen = vec![
        "whether a crash or a power cut in the middle of an operation leaves key, effect and answer \
         whole",
        "whether a key is remembered for all of idempotency_window_seconds, and a lookup for as long",
        "whether the provider behind it charged as it says: compare its settlement list with orderly \
         reconcile",
    ];
    if options.restart_command.is_none() {
        unseen.push("whether keys and operations survive a restart: give --restart-command");
    }
    if options.webhook_listen.is_some() {
        unseen.push("whether events are tried again for a day");
    } else {
        unseen.push("events: give --webhook-listen and --webhook-secret-file");
    }
    unseen.into_iter().map(str::to_owned).collect()
}
