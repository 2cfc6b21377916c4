//! What an answer tells of a limit.

use std::time::Duration;

use http::{HeaderMap, HeaderName, HeaderValue};
use mainstay_resilience::rate_limit::{Left, Rate};

/// What is left, and in how many seconds all of it is there again.
pub(crate) const RATE_LIMIT: HeaderName = HeaderName::from_static("ratelimit");
/// The quota, and its window in seconds.
pub(crate) const RATE_LIMIT_POLICY: HeaderName = HeaderName::from_static("ratelimit-policy");

/// Tells how the limit of this name stands.
pub(super) fn tell(headers: &mut HeaderMap, limit: &str, rate: Rate, left: Left) {
    let (quota, window) = rate.policy();
    let Left { remaining, reset } = left;
    let reset = seconds(reset);
    for (name, value) in [
        (RATE_LIMIT, format!("\"{limit}\";r={remaining};t={reset}")),
        (RATE_LIMIT_POLICY, format!("\"{limit}\";q={quota};w={window}")),
    ] {
        // Names of limits are plain, so that this cannot fail.
        if let Ok(value) = HeaderValue::try_from(value) {
            headers.insert(name, value);
        }
    }
}

/// Whole seconds, in which a time has surely passed.
pub(crate) fn seconds(time: Duration) -> u64 {
    time.as_secs() + u64::from(time.subsec_nanos() > 0)
}
