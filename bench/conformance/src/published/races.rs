//! Published ways to have several calls for one answer, and a second one when the first is late.

use crate::suite::{
    hedge::{AFTER, Hedge},
    race::Race,
    row::{Answer, Failure, Make, Stack, Work, ask, maker},
};
use futures_util::future::{select_all, select_ok};
use std::{sync::Arc, time::Duration};
use tower::{
    Layer as _, Service as _, ServiceExt,
    hedge::{Hedge as Hedging, Policy},
    util::{BoxCloneService, BoxService},
};
use tower_resilience::hedge::{HedgeError, HedgeLayer};

pub(crate) struct SelectOk;

impl Race for SelectOk {
    async fn first(calls: Vec<Work>) -> Result<(), usize> {
        // The losers come back with the winner, and are dropped here.
        select_ok(calls).await.map(|(won, _losers)| won).map_err(|_last| 1)
    }
}

pub(crate) struct SelectAll;

impl Race for SelectAll {
    async fn first(calls: Vec<Work>) -> Result<(), usize> {
        let (first, _, _losers) = select_all(calls).await;
        first.map_err(|_first| 1)
    }
}

/// Everything may be made twice.
#[derive(Clone)]
pub(crate) struct Always;

impl Policy<Make> for Always {
    fn clone_request(&self, make: &Make) -> Option<Make> {
        Some(Arc::clone(make))
    }

    fn can_retry(&self, _: &Make) -> bool {
        true
    }
}

/// `tower::hedge`, of calls that have taken [`AFTER`] until now.
pub(crate) struct Tower(BoxService<Make, (), Failure>);

impl Hedge for Tower {
    fn new() -> Self {
        let (known, minute) = ([5; 100], Duration::from_mins(1));
        let hedge = Hedging::new_with_mock_latencies::<Make>;
        let service = hedge(maker(), Always, 10, 0.9, minute, &known);
        Self(BoxService::new(ServiceExt::<Make>::map_err(service, |_error| Failure::Failed)))
    }

    async fn call(&mut self, make: Make) -> Answer {
        self.0.ready().await?.call(make).await
    }
}

/// The hedge of `tower-resilience`.
pub(crate) struct Resilience(Stack);

impl Hedge for Resilience {
    fn new() -> Self {
        let service = HedgeLayer::new(AFTER).layer(maker());
        Self(BoxCloneService::new(service.map_err(HedgeError::<Failure>::into_inner)))
    }

    fn call(&mut self, make: Make) -> impl Future<Output = Answer> + Send {
        ask(self.0.clone(), make)
    }
}
