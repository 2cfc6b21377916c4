//! The id and the trace of a request.

use crate::telemetry;
use http::{HeaderMap, HeaderName, HeaderValue};
use mainstay_context::{RequestId, TraceContext};
use std::{
    cell::RefCell,
    hash::{BuildHasher, RandomState},
};
use tracing::{Span, field};

pub(super) const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
pub(super) const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");

/// The caller's names for a request where they are valid, else ours.
#[derive(Clone, Debug)]
pub(crate) struct Ids {
    pub(crate) request_id: RequestId,
    /// The caller's trace or a new one; the span is this request's, and new.
    pub(crate) trace: TraceContext,
}

impl Ids {
    /// The ids of the request whose span is `server`.
    pub(super) fn of(headers: &HeaderMap, server: &Span) -> Self {
        let request_id = request_id(headers);
        server.record("request_id", field::display(&request_id));
        let caller = caller(headers);
        let trace = telemetry::begin(server, caller).unwrap_or_else(|| unrecorded(caller));
        Self { request_id, trace }
    }

    /// The ids of a request that has no span.
    pub(crate) fn unrecorded(headers: &HeaderMap) -> Self {
        Self { request_id: request_id(headers), trace: unrecorded(caller(headers)) }
    }

    /// Tells the caller the names, and no others that a handler may have set.
    pub(crate) fn echo(&self, headers: &mut HeaderMap) {
        let id = HeaderValue::from_str(self.request_id.as_str());
        let trace = HeaderValue::try_from(self.trace.to_string());
        for (name, value) in [(REQUEST_ID, id), (TRACEPARENT, trace)] {
            if let Ok(value) = value {
                headers.insert(name, value);
            }
        }
    }
}

fn request_id(headers: &HeaderMap) -> RequestId {
    let id = single(headers, &REQUEST_ID).and_then(|id| id.parse().ok());
    id.unwrap_or_else(|| RequestId::from_bytes(random()))
}

fn caller(headers: &HeaderMap) -> Option<TraceContext> {
    single(headers, &TRACEPARENT).and_then(|parent| parent.parse().ok())
}

/// The trace of a request whose span is not recorded.
fn unrecorded(caller: Option<TraceContext>) -> TraceContext {
    match caller {
        Some(trace) => trace.child_span(random()),
        None => TraceContext::new(random(), random()),
    }
}

/// The text of a header that must not be repeated.
fn single<'h>(headers: &'h HeaderMap, name: &HeaderName) -> Option<&'h str> {
    let mut values = headers.get_all(name).iter();
    let value = values.next()?.to_str().ok()?;
    values.next().is_none().then_some(value)
}

/// Random bytes, not all zero: a trace id of zeros means "none".
pub(crate) fn random<const N: usize>() -> [u8; N] {
    let mut bytes = POOL.with_borrow_mut(Pool::take).unwrap_or([0; N]);
    if bytes == [0; N] {
        // Without the system's randomness, ids need only differ; the standard hasher sees to that.
        bytes.fill_with(|| RandomState::new().hash_one(()).to_le_bytes()[0] | 1);
    }
    bytes
}

thread_local! {
    static POOL: RefCell<Pool> = const { RefCell::new(Pool { bytes: [0; Pool::SIZE], used: Pool::SIZE }) };
}

/// Random bytes of the system, fetched for a dozen requests at a time: a system call for each id
/// costs more than all else about it. None is given twice.
struct Pool {
    bytes: [u8; Self::SIZE],
    used: usize,
}

impl Pool {
    const SIZE: usize = 512;

    /// The next bytes; none when the system has none to give.
    fn take<const N: usize>(&mut self) -> Option<[u8; N]> {
        if self.used + N > Self::SIZE {
            getrandom::fill(&mut self.bytes).ok()?;
            self.used = 0;
        }
        let taken = self.bytes[self.used..].first_chunk().copied();
        self.used += N;
        taken
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PARENT: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

    fn headers(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        let pair =
            |&(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value));
        let mut headers = HeaderMap::new();
        pairs.iter().map(pair).for_each(|(name, value)| {
            headers.append(name, value);
        });
        headers
    }

    /// Where no traces are sent.
    fn ids(pairs: &[(&'static str, &'static str)]) -> Ids {
        Ids::of(&headers(pairs), &Span::none())
    }

    #[test]
    fn valid_names_of_the_caller_are_kept_with_a_span_of_our_own() {
        let ids = ids(&[("x-request-id", "r-1"), ("traceparent", PARENT)]);
        assert_eq!(ids.request_id.as_str(), "r-1");
        assert_eq!(ids.trace.trace_id_hex(), "0af7651916cd43dd8448eb211c80319c");
        assert_ne!(ids.trace.span_id_hex(), "b7ad6b7169203331");
        assert!(ids.trace.is_sampled());
    }

    #[test]
    fn missing_malformed_and_repeated_names_are_replaced() {
        let repeated = [("traceparent", PARENT), ("traceparent", PARENT)];
        for pairs in [&[][..], &[("x-request-id", "a b"), ("traceparent", "00-1-2-3")], &repeated] {
            let ids = ids(pairs);
            assert_eq!(ids.request_id.as_str().len(), 32);
            assert_ne!(ids.trace.trace_id_hex(), "0af7651916cd43dd8448eb211c80319c");
            assert!(!ids.trace.is_none());
        }
    }

    #[test]
    fn the_names_are_told_to_the_caller() {
        let ids = ids(&[("x-request-id", "r-1")]);
        let mut answer = HeaderMap::new();
        ids.echo(&mut answer);
        assert_eq!(answer["x-request-id"], "r-1");
        assert_eq!(answer["traceparent"], ids.trace.to_string());
    }

    #[test]
    fn no_two_ids_are_the_same_across_fetches_and_threads() {
        let draw = || (0..1_000).map(|_| random::<16>()).collect::<Vec<_>>();
        let other = std::thread::spawn(draw);
        let mut all = [draw(), other.join().unwrap()].concat();
        all.sort_unstable();
        all.dedup();
        assert_eq!(all.len(), 2_000);
        assert!(!all.contains(&[0; 16]));
    }
}
