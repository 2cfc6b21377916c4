//! Bugs that can be planted in a world's store, to see that the simulator has teeth.

/// One planted bug. A world has none unless a test asks for one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Bug {
    /// The checks are made, then other work may come in between, then the write is made.
    CheckThenInsert,
    /// The answer goes out before the write is safe; a crash loses it.
    AcknowledgeBeforeCommit,
    /// The receipt is written in a later step; a crash loses it.
    ReceiptApart,
    /// The event is written in a later step; a crash loses it.
    EventApart,
    /// The expected version is not compared: updates are lost.
    VersionNotCompared,
    /// A version is left out: history and event of a change tell the one after its own.
    VersionSkipped,
    /// A version conflict is remembered under the key as if it were a refusal.
    ConflictRemembered,
    /// A taken external reference is not remembered under the key.
    RefusalForgotten,
    /// The key is looked up without its tenant.
    KeyWithoutTenant,
    /// The key is looked up without its operation.
    KeyWithoutOperation,
    /// The fingerprint is not compared: another command replays.
    FingerprintNotCompared,
    /// A lost answer is reported as surely not written.
    UnknownReportedAsNotWritten,
    /// A change committed again is not recognised by its id.
    ResubmissionNotRecognised,
    /// A number that is taken is given again.
    NumberGivenTwice,
    /// An external reference that is taken is given again.
    ReferenceGivenTwice,
    /// Positions are given before the commit: a later one can be seen before an earlier one.
    FeedOutOfOrder,
    /// An order is read without its tenant.
    OrderReadWithoutTenant,
    /// Orders are listed without their tenant.
    ListWithoutTenant,
    /// The feed is read without its tenant.
    FeedWithoutTenant,
    /// A create's key is forgotten with its receipt: it makes a second order.
    ExpiredKeyMakesSecondOrder,
    /// Live receipts are forgotten with expired ones.
    LiveReceiptsForgotten,
    /// A cursor older than the feed is not told so: its reader skips events.
    OldCursorSkips,
}

impl Bug {
    /// Every bug.
    pub const ALL: [Self; 22] = [
        Self::CheckThenInsert,
        Self::AcknowledgeBeforeCommit,
        Self::ReceiptApart,
        Self::EventApart,
        Self::VersionNotCompared,
        Self::VersionSkipped,
        Self::ConflictRemembered,
        Self::RefusalForgotten,
        Self::KeyWithoutTenant,
        Self::KeyWithoutOperation,
        Self::FingerprintNotCompared,
        Self::UnknownReportedAsNotWritten,
        Self::ResubmissionNotRecognised,
        Self::NumberGivenTwice,
        Self::ReferenceGivenTwice,
        Self::FeedOutOfOrder,
        Self::OrderReadWithoutTenant,
        Self::ListWithoutTenant,
        Self::FeedWithoutTenant,
        Self::ExpiredKeyMakesSecondOrder,
        Self::LiveReceiptsForgotten,
        Self::OldCursorSkips,
    ];

    /// The bug of this name, as [`Debug`] writes it.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|bug| format!("{bug:?}") == name)
    }
}
