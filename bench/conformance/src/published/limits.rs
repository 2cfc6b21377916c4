//! Published rate limits.

use crate::suite::{
    limit::Limit,
    row::{Act, Dependency, Make, Maker, maker},
};
use governor::{DefaultKeyedRateLimiter, Quota, RateLimiter};
use std::{num::NonZeroU32, time::Duration};
use tokio::sync::Mutex;
use tower::{
    Service as _, ServiceExt,
    limit::{RateLimit, rate::Rate},
};

/// `governor` with a key.
pub(crate) struct Governor(DefaultKeyedRateLimiter<u32>);

impl Limit for Governor {
    fn new() -> Self {
        Self(RateLimiter::keyed(Quota::per_minute(NonZeroU32::MIN)))
    }

    fn check(&self, key: u32) -> Option<bool> {
        Some(self.0.check_key(&key).is_ok())
    }

    fn held(&self) -> Option<usize> {
        Some(self.0.len())
    }

    async fn wait(&self, _time: Duration) -> bool {
        self.0.until_key_ready(&0).await;
        true
    }
}

/// `tower::limit::RateLimit`, which knows no keys.
pub(crate) struct Tower(Mutex<RateLimit<Maker>>);

impl Limit for Tower {
    fn new() -> Self {
        Self(Mutex::new(RateLimit::new(maker(), Rate::new(1, Duration::from_mins(1)))))
    }

    fn check(&self, _key: u32) -> Option<bool> {
        None
    }

    fn held(&self) -> Option<usize> {
        None
    }

    async fn wait(&self, _time: Duration) -> bool {
        let make = Dependency::default().make(|_| Act::Succeed);
        let mut service = self.0.lock().await;
        match ServiceExt::<Make>::ready(&mut *service).await {
            Ok(ready) => ready.call(make).await.is_ok(),
            Err(_failure) => false,
        }
    }
}
