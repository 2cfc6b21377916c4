//! Forgetting what is past its time.

use jiff::{SignedDuration, Timestamp};
use mainstay_context::Context;

use super::Orders;
use crate::{
    Error,
    ports::{Clock as _, Cutoff, Forgotten, Ports, Store as _},
};

/// Rows forgotten in one commit: small enough that no order waits long behind it.
const CHUNK: usize = 500;

/// No request may last this long. Receipts are kept that much longer than their life, so that no
/// request that was stamped before the end of a receipt finds it gone.
pub const LONGEST_REQUEST: SignedDuration = SignedDuration::from_mins(10);

impl<P: Ports> Orders<P> {
    /// Forgets one chunk of events and receipts past their time. Call again while it finds any.
    ///
    /// # Errors
    /// Those of the store.
    pub async fn forget(&self, cx: &Context) -> Result<Forgotten, Error> {
        let now = self.ports.clock().now();
        let events_before = now.saturating_sub(self.policy.keep_events).unwrap_or(Timestamp::MIN);
        let receipts_before = now.saturating_sub(LONGEST_REQUEST).unwrap_or(Timestamp::MIN);
        let unpublished = self.policy.forgets_unpublished;
        let cutoff = Cutoff { events_before, now, unpublished, receipts_before };
        Ok(self.ports.store().forget(cx, cutoff, CHUNK).await?)
    }
}
