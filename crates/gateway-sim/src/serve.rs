//! `gateway-sim serve`: everything built before anything is served, then run until told to stop.

use std::{net::SocketAddr, process::ExitCode, sync::Arc};

use gateway_sim::Gateway;
use mainstay::{
    admin::Admin,
    config::Loaded,
    http::Stack,
    lifecycle::{Lifecycle, Phase},
    metrics::Metrics,
    server::{self, Server},
    telemetry,
};
use serde_json::json;

use crate::{
    Failure,
    cli::Serve,
    say,
    settings::{self, Settings},
};

/// Runs the simulator until it is told to stop, or fails.
pub(crate) fn serve(options: &Serve) -> Result<ExitCode, Failure> {
    let loaded = settings::load(options)?;
    let telemetry = telemetry::init("gateway-sim", &loaded.value.log)?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let ended = runtime.block_on(run(&loaded, &telemetry));
    // What still runs was told in the report, and must not hold up the end.
    runtime.shutdown_background();
    ended
}

async fn run(loaded: &Loaded<Settings>, telemetry: &telemetry::Guard) -> Result<ExitCode, Failure> {
    let settings = &loaded.value;
    let lifecycle = Lifecycle::new(settings.lifecycle.clone());
    let metrics = Metrics::new("gateway_sim");
    metrics.build_info(&[("version", env!("CARGO_PKG_VERSION"))]);
    telemetry.measure(&metrics);
    let server = bind("http.listen", settings.http.listen, settings.server.clone()).await?;
    let server = server.with_metrics(&metrics);
    let admin_listen = settings.admin.listen;
    let admin_server = bind("admin.listen", admin_listen, server::Config::default()).await?;
    let gateway = Gateway::open(&settings.sim(), lifecycle.tasks(), &metrics)?;
    let stack = Stack::new(&metrics);
    let in_flight = stack.in_flight();
    let app = gateway.router(&stack);
    send_webhooks(&lifecycle, &gateway);

    let (level, set_level) = (telemetry.levels(), telemetry.levels());
    let told = Arc::clone(&gateway);
    let admin = Admin::new(&lifecycle, &metrics)
        .section("faults", move || json!(told.faults().plan()))
        .in_flight(move || in_flight.list())
        .log_level(move || level.get(), move |text| set_level.set(text))
        .config(loaded.print())
        .token(settings.admin.token()?);
    show(server.local_addr()?, admin_server.local_addr()?);
    lifecycle.serve_admin(admin_server, admin.router());
    Ok(lifecycle.run(server, app).await.exit_code())
}

async fn bind(key: &str, address: SocketAddr, config: server::Config) -> Result<Server, Failure> {
    Server::bind(address, config).await.map_err(|error| {
        format!("cannot listen on {address}: {error}; choose another address with --set {key}=ADDR")
            .into()
    })
}

/// Sends events until the service has answered its last request.
fn send_webhooks(lifecycle: &Lifecycle, gateway: &Arc<Gateway>) {
    let (watched, gateway) = (lifecycle.clone(), Arc::clone(gateway));
    lifecycle.tasks().spawn("webhooks", async move {
        tokio::select! {
            () = gateway.send_webhooks() => {}
            () = watched.reached(Phase::Flushing) => {}
        }
    });
}

/// What a newcomer sees.
fn show(address: SocketAddr, admin: SocketAddr) {
    say(&format!("gateway-sim {} listening on http://{address}", env!("CARGO_PKG_VERSION")));
    say(&format!("  payments http://{address}/"));
    say(&format!("  faults   http://{address}/sim/faults   ledger http://{address}/sim/ledger"));
    say(&format!("  health   http://{admin}/readyz   metrics http://{admin}/metrics"));
}
