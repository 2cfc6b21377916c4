//! A change of an order, as both protocols ask for it: judged in one order, and carried out.
//!
//! Of several faults the first of these is told: what cannot be read at all; the name of the order;
//! the key; the condition; the rules of what is asked; a key that is not there; a gateway that is not
//! there. Only then the store is asked.

mod condition;

use mainstay_context::Context;
use orders::{
    Error, Violation,
    domain::{IdempotencyKey, Version},
    ports::{OrderRef, Ports},
    usecase::{Action, Done, Verb},
};
use tokio::time::timeout_at;

pub(crate) use self::condition::{IfMatch, TAG_RULE};

use crate::{
    api::{Api, Config, out_of_time, use_case},
    problem::Problem,
};

/// Which order a change is for, and the caller's conditions, as far as they can be read.
#[derive(Debug)]
pub(crate) struct Change {
    /// The order; `None` when what stands there can be the name of none.
    pub(crate) order: Option<OrderRef>,
    /// What makes one change of several tries; `None` when there is nothing.
    pub(crate) key: Result<Option<IdempotencyKey>, Problem>,
    /// The versions it is for.
    pub(crate) if_match: Result<IfMatch, Problem>,
}

impl Change {
    /// Does this to the order, in the time there is for it.
    pub(crate) async fn carry_out<P: Ports>(
        self,
        api: &Api<P>,
        cx: &Context,
        action: Result<Action, Vec<Violation>>,
    ) -> Result<Done, Problem> {
        let (verb, if_match) = self.judge(action, &api.config)?;
        let keyed = verb.key.is_some();
        let work = act(api, cx, verb, if_match);
        // The chassis watches the deadline too, and does not know whether there is a key.
        let done = match cx.deadline() {
            Some(at) => timeout_at(at.into(), work).await.unwrap_or_else(|_| Err(out_of_time())),
            None => work.await,
        };
        done.map_err(|problem| if keyed { problem } else { problem.unkeyed() })
    }

    /// The verb and its condition, or the first fault.
    fn judge(
        self,
        action: Result<Action, Vec<Violation>>,
        config: &Config,
    ) -> Result<(Verb, IfMatch), Problem> {
        let order = self.order.ok_or(Error::NotFound)?;
        let (key, if_match) = (self.key?, self.if_match?);
        let action = action.map_err(Problem::invalid)?;
        if key.is_none() && needs_key(&action) {
            return Err(Problem::key_missing());
        }
        config.must_have_gateway(needs_gateway(&action))?;
        Ok((Verb { order, action, key, if_match: None }, if_match))
    }
}

/// Whether it would be another change when it is sent again.
fn needs_key(action: &Action) -> bool {
    match action {
        Action::Confirm { .. } | Action::AddNote { .. } => false,
        // Of pieces it would call off more; the order as a whole is called off once.
        Action::Cancel { lines, .. } => !lines.is_empty(),
        Action::Fulfill { .. }
        | Action::Return { .. }
        | Action::Pay { .. }
        | Action::RecordPayment { .. }
        | Action::Capture(_)
        | Action::Refund(_)
        | Action::Resolve { .. } => true,
    }
}

/// Whether nothing comes of it without a gateway. What was taken elsewhere is given back without one.
const fn needs_gateway(action: &Action) -> bool {
    match action {
        Action::Pay { .. } | Action::Capture(_) => true,
        Action::Confirm { .. }
        | Action::Cancel { .. }
        | Action::Fulfill { .. }
        | Action::Return { .. }
        | Action::AddNote { .. }
        | Action::RecordPayment { .. }
        | Action::Refund(_)
        | Action::Resolve { .. } => false,
    }
}

/// Carries a verb out, on whichever version the condition allows.
async fn act<P: Ports>(
    api: &Api<P>,
    cx: &Context,
    mut verb: Verb,
    if_match: IfMatch,
) -> Result<Done, Problem> {
    let versions = match if_match {
        IfMatch::Any => return Ok(use_case("act", api.orders.act(cx, verb)).await?),
        IfMatch::OneOf(versions) => versions,
    };
    // No order comes to the last version there is, so that stands for none.
    verb.if_match = versions.first().copied().or_else(|| Version::new(u64::MAX));
    loop {
        match use_case("act", api.orders.act(cx, verb.clone())).await {
            // The list may hold the version that it is at. Versions only grow, so this ends.
            Err(Error::VersionMismatch { current })
                if verb.if_match != Some(current) && versions.contains(&current) =>
            {
                verb.if_match = Some(current);
            }
            done => return Ok(done?),
        }
    }
}
