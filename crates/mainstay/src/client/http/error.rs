use http::StatusCode;
use mainstay_context::Cause;
use mainstay_resilience::{breaker::Refused, bulkhead::Full};
use std::{io, time::Duration};

/// A call has no answer.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Nothing has happened: no byte of the request left. The call can be made again, later or
    /// elsewhere, without asking.
    #[error("the request was not sent")]
    NotSent(#[source] NotSent),
    /// The request may have been carried out. Ask before making it again, or make it again under
    /// the same key.
    #[error("the outcome of the request is unknown")]
    Unknown(#[source] Unknown),
}

/// Why a request was surely not sent.
#[derive(Debug, thiserror::Error)]
pub enum NotSent {
    /// The service fails, so that it is left alone for now.
    #[error("circuit open")]
    BreakerOpen {
        /// When it is tried again; `None` when a probe or an operator decides that.
        retry_in: Option<Duration>,
    },
    /// As many calls are made or wait as may.
    #[error(transparent)]
    Full(Full),
    /// There is no connection.
    #[error("no connection")]
    Connect(#[source] io::Error),
    /// The connection ended, or its time did, before it took the first byte.
    #[error("the connection took nothing")]
    Unwritten(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// The request for which the call is made has ended, or its time is all but spent.
    #[error("{0}")]
    Ended(Cause),
    /// It is no request that can be made.
    #[error("{0}")]
    Invalid(&'static str),
}

/// Why nobody knows what became of a request.
#[derive(Debug, thiserror::Error)]
pub enum Unknown {
    /// Its time was spent before the answer was there.
    #[error("no answer within {waited:?}")]
    TimedOut {
        /// How long the last try was waited for.
        waited: Duration,
    },
    /// The request for which the call was made ended before the answer was there.
    #[error("{0}")]
    Ended(Cause),
    /// The connection ended, or what came over it is no answer.
    #[error("connection lost")]
    Lost(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// There was an answer with more in it than is read.
    #[error("the answer ({status}) has more than {limit} bytes")]
    TooLong {
        /// The status of that answer.
        status: StatusCode,
        /// The most bytes that are read.
        limit: usize,
    },
}

impl Error {
    /// Whether surely nothing has happened.
    pub fn is_not_sent(&self) -> bool {
        match self {
            Self::NotSent(_) => true,
            Self::Unknown(_) => false,
        }
    }

    /// When another call has a chance, if that is known.
    pub fn retry_in(&self) -> Option<Duration> {
        match self {
            Self::NotSent(NotSent::BreakerOpen { retry_in }) => *retry_in,
            Self::NotSent(_) | Self::Unknown(_) => None,
        }
    }
}

impl From<Refused> for Error {
    fn from(refused: Refused) -> Self {
        Self::NotSent(NotSent::BreakerOpen { retry_in: refused.retry_in })
    }
}

impl From<Full> for Error {
    fn from(full: Full) -> Self {
        Self::NotSent(match full {
            Full::Ended(cause) => NotSent::Ended(cause),
            Full::Queue | Full::Waited => NotSent::Full(full),
        })
    }
}
