//! What every store must hold to: one suite for the world and for the real adapters.
//!
//! An adapter's test is a factory and one call:
//!
//! ```
//! # use orders_testkit::{World, contract};
//! # tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap().block_on(async {
//! contract::facts(&|| async { World::new(1) }).await;
//! contract::state_machine(&|| async { World::new(1) }, 8).await;
//! # });
//! ```

mod accept;
mod machine;
mod maker;
mod model;
mod money;
mod ops;
mod reads;
mod tasks;
mod writes;

use std::future::Future;

use orders::{
    Error,
    audit::{self, Report},
    ports::{AuditSource, Store},
};

pub use accept::*;
pub use machine::{counterexample, state_machine};
pub use money::*;
pub use reads::*;
pub use tasks::*;
pub use writes::*;

/// A store under test, with what it needs to live and a way to audit it.
///
/// Any store that is its own [`AuditSource`] is one; an adapter whose audit reads from elsewhere
/// implements it on a fixture of its own.
pub trait Subject: Send + Sync + 'static {
    /// The store.
    type Store: Store;

    /// The store.
    fn store(&self) -> &Self::Store;

    /// Audits the store as it is now.
    fn audit(&self) -> impl Future<Output = Result<Report, Error>>;
}

impl<S: Store + AuditSource> Subject for S {
    type Store = S;

    fn store(&self) -> &S {
        self
    }

    async fn audit(&self) -> Result<Report, Error> {
        audit::audit(self).await
    }
}

/// Makes fresh, empty stores.
pub trait Factory {
    /// What it makes.
    type Subject: Subject;

    /// Makes a fresh, empty store.
    fn make(&self) -> impl Future<Output = Self::Subject>;
}

impl<F, U> Factory for F
where
    F: Fn() -> U,
    U: Future<Output: Subject>,
{
    type Subject = U::Output;

    fn make(&self) -> impl Future<Output = U::Output> {
        self()
    }
}

/// How many random sequences [`run_all`] tries.
pub const CASES: u32 = 64;

/// Runs every named fact, then the state machine.
///
/// # Panics
/// When the store breaks the contract; the message says how.
pub async fn run_all(factory: impl Factory) {
    facts(&factory).await;
    state_machine(&factory, CASES).await;
}

/// Runs every named fact.
///
/// # Panics
/// When the store breaks the contract; the message says how.
pub async fn facts(factory: &impl Factory) {
    a_commit_is_all_or_nothing(factory).await;
    one_writer_wins(factory).await;
    concurrent_twins_make_one_order(factory).await;
    a_duplicate_key_returns_the_first_decision(factory).await;
    a_key_belongs_to_its_tenant_and_operation(factory).await;
    a_change_committed_again_is_committed_once(factory).await;
    a_refusal_is_remembered(factory).await;
    a_taken_reference_is_remembered(factory).await;
    a_taken_number_is_not_remembered(factory).await;
    a_conflict_is_not_remembered(factory).await;
    an_expired_key_falls_back_to_its_order(factory).await;
    an_expired_verb_key_is_free(factory).await;
    a_change_past_its_deadline_is_not_written(factory).await;
    what_is_written_is_read_back_whole(factory).await;
    money_and_goods_are_read_back_whole(factory).await;
    tenants_never_see_each_other(factory).await;
    orders_are_read_together_whosever_they_are(factory).await;
    lists_page_without_gaps_or_repeats(factory).await;
    filters_hold_together(factory).await;
    history_pages_by_version(factory).await;
    the_feed_skips_nothing(factory).await;
    a_full_page_hides_nothing(factory).await;
    the_feed_wakes_who_waits(factory).await;
    forgetting_keeps_what_is_not_due(factory).await;
    times_to_come_do_not_keep_the_feed_for_ever(factory).await;
    what_is_not_published_is_not_forgotten(factory).await;
    a_task_comes_with_its_change(factory).await;
    a_task_is_in_one_hand_at_a_time(factory).await;
    a_lost_lease_writes_nothing(factory).await;
}

/// Audits a store and fails on the first finding.
///
/// # Panics
/// When there is one.
pub(crate) async fn assert_sound(subject: &impl Subject) {
    let report = subject.audit().await.expect("the store can be audited");
    assert!(report.findings.is_empty(), "{:#?}", report.findings);
}
