//! Waiting on conditions, and never for ever.

use std::time::Duration;

use tokio::time::{sleep, timeout};

use crate::console::Failure;

/// How often it is looked.
const EVERY: Duration = Duration::from_millis(20);

/// Looks again and again until there is something to see.
///
/// # Errors
/// Fails when that takes too long, and names what was waited for.
pub(super) async fn until<T>(
    what: &str,
    limit: Duration,
    mut look: impl AsyncFnMut() -> Option<T>,
) -> Result<T, Failure> {
    let looking = async {
        loop {
            if let Some(seen) = look().await {
                return seen;
            }
            sleep(EVERY).await;
        }
    };
    let late = |_| format!("waited {} s in vain: {what}", limit.as_secs());
    Ok(timeout(limit, looking).await.map_err(late)?)
}
