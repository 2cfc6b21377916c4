//! The commands that call a running service.

use std::{path::PathBuf, time::Duration};

use clap::Args;
use mainstay::client::grpc::BaseUrl;

use super::duration;

/// Where a service is.
#[derive(Args, Clone, Debug)]
pub(crate) struct Service {
    /// Where the service is: http or https, host and port.
    #[arg(long, value_name = "URL", default_value = "http://127.0.0.1:8080")]
    pub(crate) url: BaseUrl,
    /// The authorities that an https service is trusted by, in PEM; those of the system without it.
    #[arg(long, value_name = "FILE")]
    pub(crate) ca_file: Option<PathBuf>,
    /// The certificate to show an https service that asks for one, in PEM, and those that lead to its
    /// authority. Files that are replaced meanwhile are taken up.
    #[arg(long, value_name = "FILE", requires = "cert_key_file")]
    pub(crate) cert_file: Option<PathBuf>,
    /// The key of that certificate, in PEM.
    #[arg(long, value_name = "FILE", requires = "cert_file")]
    pub(crate) cert_key_file: Option<PathBuf>,
}

#[derive(Args, Clone, Debug)]
pub(crate) struct Health {
    #[command(flatten)]
    pub(crate) service: Service,
    /// How long the answer may take, such as 500ms or 2s.
    #[arg(long, value_name = "TIME", default_value = "2s", value_parser = duration)]
    pub(crate) timeout: Duration,
}

#[derive(Args, Clone, Debug)]
pub(crate) struct WatchEvents {
    #[command(flatten)]
    pub(crate) service: Service,
    /// File with the API key, as key new prints it, or with a token. It may be left out where the
    /// certificate says who asks.
    #[arg(long, value_name = "FILE", required_unless_present = "cert_file")]
    pub(crate) key_file: Option<PathBuf>,
    /// The last position already seen; without it, from the oldest event on.
    #[arg(long, value_name = "POSITION")]
    pub(crate) after: Option<u64>,
}
