//! The commands that call a running service over gRPC: `orderly health` and `orderly events watch`.

use std::{
    io::{self, Write as _},
    path::PathBuf,
    process::ExitCode,
    time::Duration,
};

use futures_util::{Stream, StreamExt as _};
use mainstay::{
    client::grpc::{Channel, Config, TlsError},
    config::Secret,
    metrics::Metrics,
};
use mainstay_context::Context;
use orders_api::grpc::{
    client::{self, OrdersClient, Watched},
    health::pb::health_check_response::ServingStatus,
};
use serde_json::{Value, json};
use tokio::{runtime::Builder, time::Instant};

use crate::{
    cli::{Health, Service, WatchEvents},
    console::{Failure, remark, say},
};

/// How long a service is waited for before it is said that it does not answer.
const PATIENCE: Duration = Duration::from_secs(2);

/// Asks whether the service is healthy; for an image that has nothing but this binary.
pub(crate) fn health(options: &Health) -> Result<ExitCode, Failure> {
    let time = options.timeout;
    let limits = limits(&options.service);
    let limits = Config { connect_timeout: time, try_timeout: time, tries: 1, ..limits };
    let cx = context("health")?.with_deadline((Instant::now() + time).into_std());
    let status = Builder::new_current_thread().enable_all().build()?.block_on(async {
        let channel = channel(&limits)?;
        let status = client::health(&channel, &cx, "").await?;
        Ok::<_, Failure>(status)
    })?;
    let (text, code) = match status {
        ServingStatus::Serving => ("serving", ExitCode::SUCCESS),
        ServingStatus::NotServing => ("not serving", ExitCode::FAILURE),
        ServingStatus::Unknown | ServingStatus::ServiceUnknown => ("unknown", ExitCode::FAILURE),
    };
    say(text);
    Ok(code)
}

fn limits(service: &Service) -> Config {
    let Service { url, ca_file, cert_file, cert_key_file } = service.clone();
    Config { ca_file, cert_file, key_file: cert_key_file, ..client::config(url) }
}

fn channel(limits: &Config) -> Result<Channel, Failure> {
    let channel = Channel::new("orderly", limits, &Metrics::new("unread"));
    if matches!(channel, Err(TlsError::PlainText)) {
        // What it says by itself is for whoever has a file of settings.
        let fault = "--cert-file is given and --url is not https: nobody would be shown it";
        return Err(fault.into());
    }
    Ok(channel?)
}

/// Prints every event as it happens, until it cannot go on or nobody reads any more.
pub(crate) fn watch(options: &WatchEvents) -> Result<ExitCode, Failure> {
    let read = |file: &PathBuf| {
        let key = Secret::from_file(file);
        key.map_err(|error| format!("cannot read {}: {error}", file.display()))
    };
    let key = options.key_file.as_ref().map(read).transpose()?;
    Builder::new_current_thread().enable_all().build()?.block_on(async {
        let channel = channel(&limits(&options.service))?;
        let client = OrdersClient::new(channel.clone());
        if let Some(key) = &key {
            client.show(key)?;
        }
        let cx = context("watch")?;
        look(&channel, &cx).await;
        print(client.watch(&cx, options.after)).await
    })?;
    Ok(ExitCode::SUCCESS)
}

/// The circumstances of a command, under an id that no other has.
fn context(command: &str) -> Result<Context, Failure> {
    let id = format!("{command}-{:016x}", getrandom::u64()?);
    Ok(Context::new(id.parse()?))
}

/// Says so when the service does not answer. It is waited for all the same, which is not to look as
/// if nothing happened there.
async fn look(channel: &Channel, cx: &Context) {
    let cx = cx.child().with_deadline((Instant::now() + PATIENCE).into_std());
    if let Err(error) = client::health(channel, &cx, "").await
        && (error.is_not_sent() || error.is_retryable())
    {
        remark(&format!("the service does not answer yet, and is waited for: {error}"));
    }
}

async fn print(
    mut told: impl Stream<Item = Result<Watched, client::Error>> + Unpin,
) -> Result<(), Failure> {
    while let Some(watched) = told.next().await {
        let line = line(&watched?);
        // Each at once: whoever reads along waits for it.
        let written = writeln!(io::stdout(), "{line}").and_then(|()| io::stdout().flush());
        match written {
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => return Ok(()),
            written => written?,
        }
    }
    Ok(())
}

/// The event as over HTTP: a CloudEvent with its position.
fn line(Watched { position, event }: &Watched) -> Value {
    let data: Value = serde_json::from_str(&event.data).unwrap_or(Value::Null);
    let mut told = json!({
        "specversion": "1.0",
        "id": event.id,
        "source": "/orders",
        "type": event.r#type,
        "subject": event.order_id,
        "time": event.time.as_ref().map(ToString::to_string),
        "datacontenttype": "application/json",
        "sequence": event.version.to_string(),
        "position": position.to_string(),
        "tenantid": event.tenant_id,
        "data": data,
    });
    if let Some(trace) = &event.trace_parent {
        told["traceparent"] = Value::from(trace.as_str());
    }
    told
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_command_has_an_id_of_its_own() {
        let [one, other] = [(); 2].map(|()| context("watch").unwrap());
        assert!(one.request_id().as_str().starts_with("watch-"), "{}", one.request_id());
        assert_ne!(one.request_id(), other.request_id());
    }
}
