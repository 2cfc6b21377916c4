//! A whole service: configuration, logs, metrics, limits, deadlines, admin listener, orderly stop.

use axum::{Router, routing::get};
use mainstay::{
    admin::{self, Admin},
    config::Loader,
    http::{self, Cx},
    lifecycle::{self, Lifecycle},
    metrics::{self, Metrics},
    server::{self, Server},
    telemetry,
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::{error::Error, process::ExitCode};

/// Everything that can be set: by `shop.toml`, or `SHOP__ADMIN__LISTEN=127.0.0.1:9191`.
#[derive(Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
struct Config {
    server: server::Config,
    http: http::Config,
    admin: admin::Config,
    lifecycle: lifecycle::Config,
    log: telemetry::Config,
}

#[tokio::main]
async fn main() -> Result<ExitCode, Box<dyn Error>> {
    let mut layers = Loader::new().env_os("SHOP__", std::env::vars_os());
    if std::path::Path::new("shop.toml").exists() {
        layers = layers.file("shop.toml");
    }
    let loaded = layers.load_where(|config: &Config, rules| {
        rules.accept(&["admin.listen"], config.admin.check_reach());
    })?;
    let shown = loaded.print();
    let config = loaded.value;
    let telemetry = telemetry::init("shop", &config.log)?;
    let metrics = Metrics::new("shop");
    metrics.build_info(&[("version", env!("CARGO_PKG_VERSION"))]);
    telemetry.measure(&metrics);
    let lifecycle = Lifecycle::new(config.lifecycle);
    metrics::watch(&metrics, &lifecycle);

    let hello = async |Cx(cx): Cx| format!("you are request {}\n", cx.request_id());
    let routes = Router::new().route("/", get(hello));
    let stack = http::Stack::new(&metrics).with_config(config.http);
    let (app, in_flight) = (http::inbound(routes, &stack), stack.in_flight());
    let server = Server::bind("127.0.0.1:8080", config.server).await?.with_metrics(&metrics);

    let admin = Admin::new(&lifecycle, &metrics).config(shown).token(config.admin.token()?);
    let admin = admin.in_flight(move || in_flight.list());
    let admin_server = Server::bind(config.admin.listen, server::Config::default()).await?;

    lifecycle.serve_admin(admin_server, admin.router());
    Ok(lifecycle.run(server, app).await.exit_code())
}
