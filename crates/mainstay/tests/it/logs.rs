//! What was logged, by one subscriber for all tests.

use std::{
    io,
    sync::{Arc, Mutex, OnceLock},
};
use tracing_subscriber::{
    fmt::MakeWriter, layer::SubscriberExt, registry, util::SubscriberInitExt,
};

#[derive(Clone, Default)]
struct Sink(Arc<Mutex<Vec<u8>>>);

impl io::Write for Sink {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<'w> MakeWriter<'w> for Sink {
    type Writer = Self;

    fn make_writer(&'w self) -> Self {
        self.clone()
    }
}

static LOGS: OnceLock<Sink> = OnceLock::new();

/// Collects logs from now on.
pub(crate) fn collect() {
    LOGS.get_or_init(|| {
        let sink = Sink::default();
        let lines = tracing_subscriber::fmt::layer().json().flatten_event(true);
        registry().with(lines.with_writer(sink.clone())).init();
        sink
    });
}

/// The access lines of the request of this id.
pub(crate) fn access(request_id: &str) -> Vec<serde_json::Value> {
    let bytes = LOGS.get().unwrap().0.lock().unwrap().clone();
    let lines = String::from_utf8(bytes).unwrap();
    let lines = lines.lines().map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap());
    lines
        .filter(|line| line["target"] == "http.access" && line["request_id"] == request_id)
        .collect()
}
