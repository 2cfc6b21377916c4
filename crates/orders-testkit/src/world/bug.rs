//! Bugs that can be planted in a world, to see that the simulator has teeth: in its store, in what it
//! makes of the provider's answers, which is where those of a worker show, and in what it makes of what
//! is sent to the bus, which is where those of a relay show.

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
    /// What was leased may be written by whoever held an older lease, too.
    LeaseNotFenced,
    /// A lease has the number of the one before it: nobody can tell them apart.
    EpochNotCounted,
    /// Who holds a lease when the process dies holds it for ever.
    LeaseNeverEnds,
    /// A change's tasks are sometimes not written with it.
    TaskLost,
    /// A cancel plans no task for the money that it asks back.
    CancelPlansNothing,
    /// A change that finds another version ends its task all the same.
    FinishedWithoutOutcome,
    /// A task that is done stays, and is handed out again.
    FinishedTaskStays,
    /// An outcome is written into the order without history and event.
    OutcomeWithoutEvent,
    /// An attempt that is parked is dropped.
    ParkedDropped,
    /// What was sent and not answered is not handed out again.
    UnknownNotRecovered,
    /// That an attempt may be sent is not written before it is.
    SendingNotCommitted,
    /// Whoever takes a task over is not told that it may have been sent.
    SentForgotten,
    /// The key of a payment is not remembered.
    PayKeyForgotten,
    /// What the provider tells unasked is counted beside the attempt it tells of.
    WebhookCountedTwice,
    /// What the provider tells unasked is taken for another attempt's outcome.
    WebhookToWrongAttempt,
    /// Each try is sent under a key of its own.
    NewKeyOnRetry,
    /// A lost answer is taken as a no.
    UnknownTakenAsDeclined,
    /// A lost answer is taken as a yes.
    UnknownTakenAsSucceeded,
    /// A lost answer is taken as a request that never left.
    UnknownTakenAsNotSent,
    /// An attempt that the provider does not know yet is taken as declined.
    AbsentTakenAsDeclined,
    /// A question without an answer is taken as answered: it knows nothing of it.
    SilenceTakenAsAbsent,
    /// A no is taken as a yes.
    DeclineTakenAsSuccess,
    /// What the provider may have forgotten is sent again.
    KeyWindowIgnored,
    /// Of a payment all is taken where a part was asked for.
    PartTakenAsWhole,
    /// What is sent to the bus is taken as published before it is acknowledged.
    MarkedBeforeAcknowledged,
    /// An event is told on the bus before its change is committed.
    PublishedBeforeCommit,
    /// The events of an order go on after one that was not acknowledged.
    FailedEventPassed,
    /// After a failure the relay goes on after what it sent last.
    ResumedAfterSent,
    /// Events are forgotten that are not published yet.
    ForgottenBeforePublished,
    /// What is noted as published goes back when a relay was overtaken.
    PublishedTurnedBack,
    /// An event that is published again has another id.
    RepeatedUnderNewId,
    /// The partition of an event does not follow from its order.
    PartitionNotByOrder,
    /// A state of an order that was not acknowledged is not told again.
    LostStatePassed,
    /// A producer that another has taken the place of is still heard.
    OvertakenStillHeard,
}

impl Bug {
    /// Every bug.
    pub const ALL: [Self; 56] = [
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
        Self::LeaseNotFenced,
        Self::EpochNotCounted,
        Self::LeaseNeverEnds,
        Self::TaskLost,
        Self::CancelPlansNothing,
        Self::FinishedWithoutOutcome,
        Self::FinishedTaskStays,
        Self::OutcomeWithoutEvent,
        Self::ParkedDropped,
        Self::UnknownNotRecovered,
        Self::SendingNotCommitted,
        Self::SentForgotten,
        Self::PayKeyForgotten,
        Self::WebhookCountedTwice,
        Self::WebhookToWrongAttempt,
        Self::NewKeyOnRetry,
        Self::UnknownTakenAsDeclined,
        Self::UnknownTakenAsSucceeded,
        Self::UnknownTakenAsNotSent,
        Self::AbsentTakenAsDeclined,
        Self::SilenceTakenAsAbsent,
        Self::DeclineTakenAsSuccess,
        Self::KeyWindowIgnored,
        Self::PartTakenAsWhole,
        Self::MarkedBeforeAcknowledged,
        Self::PublishedBeforeCommit,
        Self::FailedEventPassed,
        Self::ResumedAfterSent,
        Self::ForgottenBeforePublished,
        Self::PublishedTurnedBack,
        Self::RepeatedUnderNewId,
        Self::PartitionNotByOrder,
        Self::LostStatePassed,
        Self::OvertakenStillHeard,
    ];

    /// The bug of this name, as [`Debug`] writes it.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|bug| format!("{bug:?}") == name)
    }
}
