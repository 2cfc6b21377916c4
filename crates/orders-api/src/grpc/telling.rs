//! A call that is answered with a stream, to its end: what ends it too early is its status, and is
//! counted and logged as if the head of the answer had said so.

use std::future::pending;

use futures_util::stream::{self, BoxStream, Stream, StreamExt as _};
use mainstay::http::{Record, StreamDeadline};
use mainstay_context::Context;
use tokio::time::sleep_until;
use tonic::{Request, Response, Status};

use super::passed_by;
use crate::{api::out_of_time, problem::Problem};

/// What a call is told until it ends.
pub(super) type Telling<T> = BoxStream<'static, Result<T, Status>>;

/// Who calls, by when it is to be over, and where its end is noted.
pub(super) struct Call {
    pub(super) cx: Context,
    by: Option<StreamDeadline>,
    record: Record,
}

impl Call {
    /// The call of this request, as the layers have made it ready.
    pub(super) fn of<T>(request: &Request<T>) -> Result<Self, Problem> {
        let all = request.extensions();
        let cx = all.get::<Context>().cloned().ok_or_else(passed_by)?;
        let record = all.get::<Record>().cloned().ok_or_else(passed_by)?;
        Ok(Self { cx, by: all.get().copied(), record })
    }

    /// Tells all of this, or until it fails, or until the deadline of the caller. That the answer has
    /// a head by then is the stack's to see to.
    pub(super) fn tell<T: Send + 'static>(
        self,
        told: impl Stream<Item = Result<T, Problem>> + Send + 'static,
    ) -> Response<Telling<T>> {
        let answer = Answer { call: self, told: told.boxed(), ended: false };
        Response::new(stream::unfold(answer, Answer::next).boxed())
    }

    fn failed(&self, problem: &Problem) -> Status {
        problem.ends(&self.record);
        problem.status(&self.cx)
    }
}

/// What a call is told, under way.
struct Answer<T> {
    call: Call,
    told: BoxStream<'static, Result<T, Problem>>,
    ended: bool,
}

impl<T> Answer<T> {
    async fn next(mut self) -> Option<(Result<T, Status>, Self)> {
        if self.ended {
            return None;
        }
        let next = tokio::select! {
            biased;
            () = over(self.call.by) => Some(Err(out_of_time())),
            next = self.told.next() => next,
        };
        let next = next?.map_err(|problem| self.call.failed(&problem));
        self.ended = next.is_err();
        Some((next, self))
    }
}

/// Waits for the deadline, if there is one.
async fn over(by: Option<StreamDeadline>) {
    match by {
        Some(StreamDeadline(at)) => sleep_until(at).await,
        None => pending().await,
    }
}
