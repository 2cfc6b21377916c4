//! The clock of the layers. The cores have none.

use mainstay_context::{Cause, Context};
use std::{
    future::pending,
    time::{Duration, Instant},
};

/// The time as Tokio tells it, so that tests can pause it.
pub(crate) fn now() -> Instant {
    tokio::time::Instant::now().into_std()
}

/// Waits this long, or until the call ends; says then why.
pub(crate) async fn wait(time: Duration, cx: Option<&Context>) -> Result<(), Cause> {
    tokio::select! {
        biased;
        cause = ended(cx) => Err(cause),
        () = tokio::time::sleep(time) => Ok(()),
    }
}

/// Waits until the call is cancelled or its deadline has passed.
pub(crate) async fn ended(cx: Option<&Context>) -> Cause {
    let Some(cx) = cx else { return pending().await };
    let spent = async {
        match cx.deadline() {
            Some(at) => tokio::time::sleep_until(at.into()).await,
            None => pending().await,
        }
    };
    tokio::select! {
        biased;
        cause = cx.cancelled() => cause,
        () = spent => Cause::DeadlineExceeded,
    }
}
