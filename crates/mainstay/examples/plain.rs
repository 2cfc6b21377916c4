//! The routes that `make check-hostile` attacks, on plain `axum::serve`, to be shown beside ours.

use axum::{Router, body::Bytes, routing::get};
use std::io::{self, Write};
use tokio::net::TcpListener;

/// As long as a page of a few orders.
const PAGE: &str = r#"{"orders":[],"next":null,"padding":"................................"}"#;

#[tokio::main]
async fn main() -> io::Result<()> {
    let echo = async |body: Bytes| body.len().to_string();
    let app = Router::new()
        .route("/v1/orders", get(async || PAGE).post(echo))
        .route("/v1/orders/batch", axum::routing::post(echo));
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    writeln!(io::stdout(), "listening on http://{}", listener.local_addr()?)?;
    axum::serve(listener, app).await
}
