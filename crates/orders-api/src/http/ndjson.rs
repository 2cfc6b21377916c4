//! Batches line by line: orders stream in, answers stream out, and neither waits for the whole.

use std::convert::Infallible;

use ::orders::{domain::IdempotencyKey, ports::Ports};
use axum::{
    body::Body,
    extract::Request,
    response::{IntoResponse, Response},
};
use bytes::{Bytes, BytesMut};
use futures_util::StreamExt as _;
use http::header;
use mainstay::http::{Record, StreamDeadline};
use mainstay_context::Context;

use super::body::read;
use crate::{
    api::{Api, until},
    batch::{self, Asked},
    body::too_large,
    items::{self, Came, Framing},
    problem::Problem,
    wire::batch::{BatchItem, BatchResult},
};

pub(super) const TYPE: &str = "application/x-ndjson";

/// Answers each line of the body with a line, and says with one more if it ends too early, such as by the
/// deadline of the caller.
pub(super) fn answer<P: Ports>(
    (api, cx): (Api<P>, Context),
    key: Option<IdempotencyKey>,
    request: Request,
) -> Response {
    let record = request.extensions().get::<Record>().cloned().unwrap_or_default();
    let by = request.extensions().get::<StreamDeadline>().copied();
    let asked = move |line: Bytes| -> Result<Asked, Problem> {
        Ok(Asked { item: read::<BatchItem>(&line)?, batch: key.clone() })
    };
    let (framing, phase) = (Lines::new(api.config.body_limit), api.config.phase.clone());
    let lines = items::read(request.into_body(), framing, phase);
    let orders = lines.map(move |came| came.map(|line| line.and_then(&asked)));
    let answers = until(by, batch::place(api, cx.clone(), orders));
    let results = answers.map(move |answer| match answer {
        Ok(answer) => BatchResult::from(answer),
        Err(problem) => {
            problem.ends(&record);
            BatchResult::end(&problem, &cx)
        }
    });
    let lines = results.map(|result| Ok::<_, Infallible>(written(&result)));
    ([(header::CONTENT_TYPE, TYPE)], Body::from_stream(lines)).into_response()
}

fn written(result: &BatchResult) -> Bytes {
    let mut line = serde_json::to_vec(result).unwrap_or_default();
    line.push(b'\n');
    line.into()
}

/// The lines of a body that are not blank. A line above the limit is skipped to its end, and told.
struct Lines {
    limit: usize,
    /// How much of what came is known to hold no line break.
    scanned: usize,
    /// Whether the line under way is above the limit already.
    skipping: bool,
}

impl Lines {
    fn new(limit: usize) -> Self {
        Self { limit, scanned: 0, skipping: false }
    }

    /// A line that is there whole; `None` when it is blank.
    fn whole(&mut self, line: Bytes) -> Option<Result<Bytes, Problem>> {
        self.scanned = 0;
        if std::mem::take(&mut self.skipping) || line.trim_ascii_end().len() > self.limit {
            return Some(Err(too_large("A line", self.limit)));
        }
        (!line.trim_ascii().is_empty()).then_some(Ok(line))
    }
}

impl Framing for Lines {
    fn take(&mut self, buffer: &mut BytesMut) -> Option<Result<Bytes, Problem>> {
        while let Some(at) = buffer[self.scanned..].iter().position(|byte| *byte == b'\n') {
            let line = buffer.split_to(self.scanned + at + 1).freeze();
            if let Some(line) = self.whole(line) {
                return Some(line);
            }
        }
        self.skipping |= buffer.len() > self.limit;
        if self.skipping {
            buffer.clear();
        }
        self.scanned = buffer.len();
        None
    }

    /// The last line needs no line break.
    fn last(&mut self, buffer: &mut BytesMut) -> Option<Came<Bytes>> {
        self.whole(buffer.split().freeze()).map(Ok)
    }
}
