//! A collector of traces: takes OTLP over HTTP and keeps what it was sent.

use std::{
    collections::BTreeMap,
    fmt::Write as _,
    net::SocketAddr,
    sync::{Arc, Mutex},
};

use axum::{Router, body::Bytes, http::StatusCode, routing::post};
use opentelemetry_proto::tonic::{
    collector::trace::v1::ExportTraceServiceRequest,
    common::v1::{AnyValue, any_value::Value},
    trace::v1,
};
use prost::Message as _;
use tokio::{net::TcpListener, task::JoinSet};

/// A running collector; dropping it ends it.
#[derive(Debug)]
pub(crate) struct Collector {
    address: SocketAddr,
    taken: Arc<Mutex<Vec<ExportTraceServiceRequest>>>,
    _server: JoinSet<()>,
}

/// A span as it was sent.
#[derive(Clone, Debug)]
pub(crate) struct Span {
    pub(crate) trace_id: String,
    pub(crate) id: String,
    /// Empty at the root.
    pub(crate) parent: String,
    pub(crate) name: String,
    pub(crate) is_server: bool,
    pub(crate) failed: bool,
    pub(crate) attributes: BTreeMap<String, String>,
}

impl Collector {
    pub(crate) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let taken = Arc::new(Mutex::new(Vec::new()));
        let kept = Arc::clone(&taken);
        let take = async move |body: Bytes| match ExportTraceServiceRequest::decode(body) {
            Ok(request) => {
                kept.lock().unwrap().push(request);
                StatusCode::OK
            }
            Err(_) => StatusCode::BAD_REQUEST,
        };
        let mut server = JoinSet::new();
        let app = Router::new().route("/v1/traces", post(take));
        server.spawn(async move { axum::serve(listener, app).await.unwrap() });
        Self { address, taken, _server: server }
    }

    /// The setting that sends traces here.
    pub(crate) fn setting(&self) -> String {
        format!("log.traces.endpoint=http://{}/v1/traces", self.address)
    }

    pub(crate) fn spans(&self) -> Vec<Span> {
        let taken = self.taken.lock().unwrap();
        let resources = taken.iter().flat_map(|request| &request.resource_spans);
        let scopes = resources.flat_map(|resource| &resource.scope_spans);
        scopes.flat_map(|scope| &scope.spans).map(Span::from).collect()
    }

    /// Everything it was sent, as text.
    pub(crate) fn all(&self) -> String {
        format!("{:?}", self.taken.lock().unwrap())
    }
}

impl From<&v1::Span> for Span {
    fn from(span: &v1::Span) -> Self {
        let attributes =
            span.attributes.iter().map(|one| (one.key.clone(), text(one.value.as_ref())));
        Self {
            trace_id: hex(&span.trace_id),
            id: hex(&span.span_id),
            parent: hex(&span.parent_span_id),
            name: span.name.clone(),
            is_server: span.kind() == v1::span::SpanKind::Server,
            failed: span.status.as_ref().is_some_and(|s| s.code() == v1::status::StatusCode::Error),
            attributes: attributes.collect(),
        }
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut hex, byte| {
        write!(hex, "{byte:02x}").unwrap();
        hex
    })
}

fn text(value: Option<&AnyValue>) -> String {
    match value.and_then(|value| value.value.as_ref()) {
        Some(Value::StringValue(text)) => text.clone(),
        Some(Value::IntValue(number)) => number.to_string(),
        Some(Value::DoubleValue(number)) => number.to_string(),
        other => format!("{other:?}"),
    }
}
