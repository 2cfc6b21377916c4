//! Batches line by line: orders stream in, answers stream out, and neither waits for the whole.

use std::convert::Infallible;

use ::orders::{domain::IdempotencyKey, ports::Ports};
use axum::{
    body::{Body, BodyDataStream},
    response::{IntoResponse, Response},
};
use bytes::{Bytes, BytesMut};
use futures_util::{Stream, StreamExt as _, stream};
use http::header;
use mainstay_context::Context;

use super::body::read;
use crate::{
    api::Api,
    batch::{self, Asked},
    body::{broke_off, too_large},
    problem::Problem,
    wire::batch::{BatchItem, BatchResult},
};

pub(super) const TYPE: &str = "application/x-ndjson";

/// Answers each line of the body with a line.
pub(super) fn answer<P: Ports>(
    (api, cx): (Api<P>, Context),
    key: Option<IdempotencyKey>,
    request: Body,
) -> Response {
    let asked = move |line: Result<Bytes, Problem>| -> Result<Asked, Problem> {
        let item = line.and_then(|line| read::<BatchItem>(&line))?;
        Ok(Asked { item, batch: key.clone() })
    };
    let orders = lines(request, api.config.body_limit).map(asked);
    let answers = batch::place(api, cx, orders);
    let answers = answers.map(|answer| Ok::<_, Infallible>(written(&answer.into())));
    ([(header::CONTENT_TYPE, TYPE)], Body::from_stream(answers)).into_response()
}

fn written(result: &BatchResult) -> Bytes {
    let mut line = serde_json::to_vec(result).unwrap_or_default();
    line.push(b'\n');
    line.into()
}

/// The lines of a body that are not blank. A line above the limit is skipped to its end, and told.
fn lines(body: Body, limit: usize) -> impl Stream<Item = Result<Bytes, Problem>> {
    let split = Split {
        chunks: body.into_data_stream(),
        limit,
        buffer: BytesMut::new(),
        scanned: 0,
        skipping: false,
        ended: false,
    };
    stream::unfold(split, Split::next)
}

struct Split {
    chunks: BodyDataStream,
    limit: usize,
    buffer: BytesMut,
    /// How much of the buffer is known to hold no line break.
    scanned: usize,
    /// Whether the line under way is above the limit already.
    skipping: bool,
    ended: bool,
}

impl Split {
    async fn next(mut self) -> Option<(Result<Bytes, Problem>, Self)> {
        loop {
            while let Some(line) = self.take() {
                match line {
                    Ok(line) if line.trim_ascii().is_empty() => {}
                    line => return Some((line, self)),
                }
            }
            if self.ended {
                return None;
            }
            // How long nothing may come is the server's to say, and an error when it is over.
            match self.chunks.next().await {
                Some(Ok(chunk)) => self.buffer.extend_from_slice(&chunk),
                Some(Err(error)) => {
                    self.give_up();
                    return Some((Err(broke_off(&error)), self));
                }
                None => self.ended = true,
            }
        }
    }

    /// Ends here: the line under way stays unread, however long it was to be.
    fn give_up(&mut self) {
        self.buffer.clear();
        (self.scanned, self.skipping, self.ended) = (0, false, true);
    }

    /// The next line that is there whole.
    fn take(&mut self) -> Option<Result<Bytes, Problem>> {
        let unseen = self.buffer.iter().skip(self.scanned);
        let end = unseen.clone().position(|byte| *byte == b'\n').map(|at| self.scanned + at + 1);
        let rest =
            (self.ended && (self.skipping || !self.buffer.is_empty())).then_some(self.buffer.len());
        let Some(end) = end.or(rest) else {
            self.skipping |= self.buffer.len() > self.limit;
            if self.skipping {
                self.buffer.clear();
            }
            self.scanned = self.buffer.len();
            return None;
        };
        let line = self.buffer.split_to(end).freeze();
        self.scanned = 0;
        let too_long =
            std::mem::take(&mut self.skipping) || line.trim_ascii_end().len() > self.limit;
        Some(if too_long { Err(too_large("A line", self.limit)) } else { Ok(line) })
    }
}
