//! Why a transaction has no answer, and what those who wait for one are told.

use orders::ports::{Cause, CommitError, NotWritten, ReadError};
use tokio_postgres::{Error, error::SqlState};

/// Why a transaction has no answer.
#[derive(Debug)]
pub(super) struct Failed {
    pub(super) what: What,
    pub(super) cause: Cause,
}

/// What is known of a transaction that failed, and of the connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum What {
    /// The server refused a statement, or one could not even be sent to it: nothing was written, and the
    /// same again would be refused.
    Refused,
    /// A key, number or reference is somebody's by now: nothing was written.
    Decided,
    /// It stood in another's way: nothing was written.
    Contended,
    /// No room on the server's disk: nothing was written.
    Full,
    /// It was cut short by its time limit: nothing was written.
    Expired,
    /// What the connection has prepared is not there any more, or not as the tables are now: nothing
    /// was written, and another connection serves.
    Outdated,
    /// No connection can be had, or the server is too busy for us: nothing was written.
    Unavailable,
    /// The server ends, or takes no writes any more: nothing was written.
    Gone,
    /// The connection was lost before the answer came.
    Unknown,
}

impl Failed {
    /// An answer that is not what was asked for, of a transaction that was committed.
    pub(super) fn unread(error: Error) -> Self {
        Self { what: What::Unknown, cause: error.into() }
    }

    /// A statement before COMMIT failed, so COMMIT could only undo.
    pub(super) fn before_commit(error: Error) -> Self {
        let what = error.code().map_or(What::Unknown, what);
        Self { what, cause: error.into() }
    }

    /// A statement was not sent, so its transaction was undone, whatever is known of the others.
    pub(super) fn kept_back(error: Error) -> Self {
        let what = if error.is_closed() { What::Unavailable } else { What::Refused };
        Self { what, cause: error.into() }
    }

    /// The connection could not even be had.
    pub(super) fn unsent(error: impl Into<Cause>) -> Self {
        Self { what: What::Unavailable, cause: error.into() }
    }

    /// COMMIT itself failed, or its answer was lost.
    pub(super) fn committing(error: Error) -> Self {
        let refused = error.code().is_some_and(|code| {
            [&SqlState::T_R_SERIALIZATION_FAILURE, &SqlState::T_R_DEADLOCK_DETECTED].contains(&code)
        });
        let what = if refused { What::Contended } else { What::Unknown };
        Self { what, cause: error.into() }
    }

    /// Nobody waited for longer.
    pub(super) fn unanswered() -> Self {
        Self { what: What::Unknown, cause: "no answer in time".into() }
    }

    /// Whether another batch might pass on the same connection.
    pub(super) fn is_of_a_change(&self) -> bool {
        matches!(self.what, What::Refused | What::Decided | What::Contended)
    }

    /// Whether its connection is not to be used again.
    pub(super) fn is_of_the_connection(&self) -> bool {
        matches!(self.what, What::Outdated | What::Unavailable | What::Gone | What::Unknown)
    }

    /// What whoever sent a change is told.
    pub(super) fn commit_error(self) -> CommitError {
        let not_written = |why| CommitError::NotWritten(why);
        match self.what {
            // What was cut short had no time limit of its own: somebody cancelled it at the server.
            What::Contended | What::Expired => not_written(NotWritten::Busy),
            What::Full => not_written(NotWritten::Full),
            What::Unknown => CommitError::OutcomeUnknown,
            What::Refused | What::Decided | What::Outdated | What::Unavailable | What::Gone => {
                CommitError::Unavailable(Some(self.cause))
            }
        }
    }

    /// What whoever reads is told.
    pub(super) fn read_error(self) -> ReadError {
        match self.what {
            What::Contended => ReadError::Busy,
            What::Expired => ReadError::Expired,
            What::Full
            | What::Unknown
            | What::Refused
            | What::Decided
            | What::Outdated
            | What::Unavailable
            | What::Gone => ReadError::Unavailable(Some(self.cause)),
        }
    }
}

fn what(code: &SqlState) -> What {
    match code.code() {
        "55P03" | "40P01" | "40001" => What::Contended,
        // An index holds the same, or an order was given no id; see `commit`.
        "23505" | "23502" => What::Decided,
        "53100" => What::Full,
        "57014" => What::Expired,
        // Gone, there already, or with a plan whose result has other types by now.
        "26000" | "42P05" | "0A000" => What::Outdated,
        // Read-only since a failover; shutting down, or starting up.
        "25006" | "57P01" | "57P02" | "57P03" => What::Gone,
        code if code.starts_with("53") => What::Unavailable,
        // A pooler lost the server, which had all of the transaction by then, its COMMIT too.
        code if code.starts_with("08") => What::Unknown,
        _ => What::Refused,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_the_server_itself_undid_is_told_as_not_written() {
        for (code, expected) in [
            (SqlState::LOCK_NOT_AVAILABLE, What::Contended),
            (SqlState::DISK_FULL, What::Full),
            (SqlState::READ_ONLY_SQL_TRANSACTION, What::Gone),
            (SqlState::ADMIN_SHUTDOWN, What::Gone),
            (SqlState::TOO_MANY_CONNECTIONS, What::Unavailable),
            (SqlState::INVALID_SQL_STATEMENT_NAME, What::Outdated),
            (SqlState::FEATURE_NOT_SUPPORTED, What::Outdated),
            (SqlState::CHECK_VIOLATION, What::Refused),
            (SqlState::UNIQUE_VIOLATION, What::Decided),
            // What a pooler says when it has lost the server.
            (SqlState::PROTOCOL_VIOLATION, What::Unknown),
            (SqlState::CONNECTION_FAILURE, What::Unknown),
        ] {
            assert_eq!(what(&code), expected, "{code:?}");
        }
    }
}
