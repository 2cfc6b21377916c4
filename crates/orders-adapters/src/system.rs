//! The machine's clock and its random numbers.

use std::time::Instant;

use jiff::Timestamp;
use orders::{
    domain::OrderNumber,
    ports::{Clock, Ids},
};
use uuid::Uuid;

/// The machine's clocks.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn now(&self) -> Timestamp {
        // Stores keep microseconds; a finer time would not survive being stored.
        let now = Timestamp::now();
        Timestamp::from_microsecond(now.as_microsecond()).unwrap_or(now)
    }

    fn instant(&self) -> Instant {
        tokio::time::Instant::now().into_std()
    }
}

/// Ids from the operating system's random numbers.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemIds;

impl SystemIds {
    fn random<const N: usize>() -> [u8; N] {
        let mut bytes = [0; N];
        #[expect(clippy::expect_used, reason = "ids that repeat would make one order of two")]
        getrandom::fill(&mut bytes).expect("the operating system gives random numbers");
        bytes
    }
}

impl Ids for SystemIds {
    fn uuid(&self, at: Timestamp) -> Uuid {
        let millis = u64::try_from(at.as_millisecond()).unwrap_or(0);
        uuid::Builder::from_unix_timestamp_millis(millis, &Self::random::<10>()).into_uuid()
    }

    fn number(&self) -> OrderNumber {
        OrderNumber::from_bits(u64::from_le_bytes(Self::random()))
    }
}
