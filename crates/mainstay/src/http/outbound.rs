//! What a call to another service carries of the request it is made for.

use super::{
    deadline::{self, TimeoutHeader},
    ids::{self, REQUEST_ID, TRACEPARENT},
};
use http::{HeaderMap, HeaderName, HeaderValue};
use mainstay_context::{Cause, Context};
use std::time::{Duration, Instant};

/// How often the call was tried, as Envoy counts it: 1 is the first.
const ATTEMPT: HeaderName = HeaderName::from_static("x-envoy-attempt-count");

/// How many tries a client of gRPC has made before this one.
const PREVIOUS: HeaderName = HeaderName::from_static("grpc-previous-rpc-attempts");

/// Writes the circumstances of `cx` at `now` into the headers of a call: the request id, the trace
/// with a span id of the call's own, the attempt, and the time that is left for it.
///
/// The time is a duration in whole milliseconds, so that clocks need not agree, in
/// `x-request-timeout-ms`; none is written when nothing limits the request. It is the remainder
/// less a reserve of 5 ms or 2 %, whichever is more: with all of it, the callee's answer at the last
/// moment, its own "too late" included, would reach us when our caller has gone. Headers of these
/// names that were there before are replaced, others that say the same are removed.
///
/// # Errors
///
/// Fails with the cause when the request has ended or its time is all but spent: then do not call.
pub fn propagate(cx: &Context, now: Instant, headers: &mut HeaderMap) -> Result<(), Cause> {
    send_on(cx, now, headers, TimeoutHeader::RequestTimeout)
}

/// The same for a call of gRPC, to which the time is given as `grpc-timeout`.
///
/// # Errors
///
/// As of [`propagate`].
pub fn propagate_grpc(cx: &Context, now: Instant, headers: &mut HeaderMap) -> Result<(), Cause> {
    send_on(cx, now, headers, TimeoutHeader::Grpc)
}

fn send_on(
    cx: &Context,
    now: Instant,
    headers: &mut HeaderMap,
    timeout: TimeoutHeader,
) -> Result<(), Cause> {
    if let Some(cause) = cx.ended(now) {
        return Err(cause);
    }
    let time = cx.remaining(now).map(for_callee).transpose()?;
    for header in TimeoutHeader::ALL {
        headers.remove(header.name());
    }
    if let Some(value) = time.and_then(|millis| timeout.value(millis)) {
        headers.insert(timeout.name(), value);
    }
    if let Ok(id) = HeaderValue::from_str(cx.request_id().as_str()) {
        headers.insert(REQUEST_ID, id);
    }
    let span = cx.trace().child_span(ids::random());
    if let (false, Ok(span)) = (span.is_none(), HeaderValue::try_from(span.to_string())) {
        headers.insert(TRACEPARENT, span);
    }
    headers.remove(PREVIOUS);
    headers.insert(ATTEMPT, cx.attempt().into());
    Ok(())
}

/// The whole milliseconds that a callee gets of this remainder.
fn for_callee(left: Duration) -> Result<u64, Cause> {
    match u64::try_from(deadline::less_reserve(left).as_millis()) {
        Ok(0) => Err(Cause::DeadlineExceeded),
        millis => Ok(millis.unwrap_or(u64::MAX)),
    }
}

/// Which attempt the caller says this is; the first when it does not say.
///
/// A client of gRPC counts its own tries, and a proxy before us those of its own: the larger count
/// holds, because it says that somebody tries again.
pub(super) fn attempt(headers: &HeaderMap) -> u32 {
    let counted = count(headers, &ATTEMPT).filter(|&count| count > 0);
    let after = count(headers, &PREVIOUS).map(|previous| previous.saturating_add(1));
    counted.max(after).unwrap_or(1)
}

/// What a proxy says of an answer to our own call: to which of its tries. `None` when it does not say.
pub(crate) fn answered_try(headers: &HeaderMap) -> Option<u32> {
    count(headers, &ATTEMPT)
}

/// A number that cannot be read is told and passed over: unlike a deadline, it changes nothing of
/// what is done for the caller.
fn count(headers: &HeaderMap, name: &HeaderName) -> Option<u32> {
    let value = headers.get(name)?;
    let count: Option<u32> = value.to_str().ok().and_then(|text| text.parse().ok());
    if count.is_none() {
        tracing::debug!(header = name.as_str(), "this header must be a whole number");
    }
    count
}

#[cfg(test)]
mod tests {
    use super::*;
    use mainstay_context::TraceContext;

    fn now() -> Instant {
        tokio::time::Instant::now().into_std()
    }

    fn context() -> Context {
        Context::new("r-1".parse().unwrap())
    }

    fn millis(left: Duration) -> Result<u64, Cause> {
        let (mut headers, now) = (HeaderMap::new(), now());
        propagate(&context().with_deadline(now + left), now, &mut headers)?;
        Ok(headers["x-request-timeout-ms"].to_str().unwrap().parse().unwrap())
    }

    #[test]
    fn the_remainder_less_a_reserve_is_sent() {
        for (left, sent) in [(300, 294), (100, 95), (250, 245), (2_000, 1_960), (6, 1)] {
            assert_eq!(millis(Duration::from_millis(left)), Ok(sent), "{left}");
        }
    }

    #[test]
    fn time_that_is_all_but_spent_is_an_error() {
        for micros in [0, 1, 4_999, 5_000, 5_999] {
            let sent = millis(Duration::from_micros(micros));
            assert_eq!(sent, Err(Cause::DeadlineExceeded), "{micros}");
        }
    }

    #[test]
    fn a_request_that_ended_calls_nobody() {
        let cx = context();
        cx.cancel(Cause::CallerGone);
        let mut headers = HeaderMap::new();
        assert_eq!(propagate(&cx, now(), &mut headers), Err(Cause::CallerGone));
        assert!(headers.is_empty());
    }

    #[test]
    fn ids_trace_and_attempt_travel_with_a_span_of_the_calls_own() {
        let trace: TraceContext =
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01".parse().unwrap();
        let (cx, mut headers) = (context().with_trace(trace).with_attempt(3), HeaderMap::new());
        propagate(&cx, now(), &mut headers).unwrap();
        assert_eq!(headers["x-request-id"], "r-1");
        assert_eq!(headers["x-envoy-attempt-count"], "3");
        let sent: TraceContext = headers["traceparent"].to_str().unwrap().parse().unwrap();
        assert_eq!(sent.trace_id_hex(), trace.trace_id_hex());
        assert_ne!(sent.span_id_hex(), trace.span_id_hex());
        assert!(sent.is_sampled());
    }

    #[test]
    fn a_call_of_grpc_is_given_its_time_in_a_unit_that_holds_it() {
        for (left, sent) in [
            (Duration::from_millis(6), "1m"),
            (Duration::from_secs(2), "1960m"),
            (Duration::from_secs(100_000), "98000000m"),
            (Duration::from_secs(200_000), "196000S"),
            (Duration::from_secs(200_000_000), "3266666M"),
        ] {
            let (mut headers, now) = (HeaderMap::new(), now());
            propagate_grpc(&context().with_deadline(now + left), now, &mut headers).unwrap();
            assert_eq!(headers["grpc-timeout"], sent);
            assert!(!headers.contains_key("x-request-timeout-ms"));
            let asked = deadline::asked(&headers).unwrap().unwrap();
            assert!(
                asked <= left && left <= asked + left / 40 + Duration::from_mins(1),
                "{asked:?}"
            );
        }
    }

    #[test]
    fn what_the_caller_sent_is_not_sent_on() {
        let mut headers = HeaderMap::new();
        headers.insert("grpc-timeout", HeaderValue::from_static("9S"));
        headers.insert("x-envoy-expected-rq-timeout-ms", HeaderValue::from_static("9000"));
        headers.insert("x-request-timeout-ms", HeaderValue::from_static("9000"));
        headers.insert("grpc-previous-rpc-attempts", HeaderValue::from_static("9"));
        propagate(&context(), now(), &mut headers).unwrap();
        let names: Vec<&str> = headers.keys().map(HeaderName::as_str).collect();
        assert_eq!(names.len(), 2, "no deadline and no trace, so only the id and the attempt");
        assert!(headers.contains_key("x-request-id") && headers.contains_key(ATTEMPT));
    }

    #[test]
    fn what_one_service_sends_another_reads() {
        let (cx, mut headers) = (context().with_attempt(2), HeaderMap::new());
        let cx = cx.with_deadline(now() + Duration::from_secs(1));
        propagate(&cx, now(), &mut headers).unwrap();
        let asked = deadline::asked(&headers).unwrap().unwrap();
        assert!(asked <= Duration::from_millis(980), "{asked:?}");
        assert_eq!(attempt(&headers), 2);
    }

    #[test]
    fn an_attempt_that_cannot_be_read_is_the_first() {
        for value in ["", "0", "-1", "two", "99999999999"] {
            let mut headers = HeaderMap::new();
            headers.insert(ATTEMPT, value.parse().unwrap());
            assert_eq!(attempt(&headers), 1, "{value}");
        }
    }

    #[test]
    fn the_larger_count_of_a_proxy_and_a_client_of_grpc_is_the_attempt() {
        let most = u32::MAX.to_string();
        for (counted, previous, told) in [
            (None, Some("1"), 2),
            (None, Some("0"), 1),
            (Some("1"), Some("2"), 3),
            (Some("3"), Some("1"), 3),
            (Some("2"), Some("many"), 2),
            (Some("0"), Some("1"), 2),
            (None, Some(most.as_str()), u32::MAX),
        ] {
            let mut headers = HeaderMap::new();
            for (name, value) in [(ATTEMPT, counted), (PREVIOUS, previous)] {
                headers.extend(value.map(|value| (name, value.parse().unwrap())));
            }
            assert_eq!(attempt(&headers), told, "{counted:?} {previous:?}");
        }
    }
}
