//! A call that is answered with a stream, to its end: what ends it too early is its status, and is
//! counted and logged as if the head of the answer had said so.

use futures_util::stream::{BoxStream, Stream, StreamExt as _};
use mainstay::http::{Record, StreamDeadline};
use mainstay_context::Context;
use tonic::{Request, Response, Status};

use super::passed_by;
use crate::{api::until, problem::Problem};

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

    /// Tells all of this, or until it fails, or until the deadline of the caller.
    pub(super) fn tell<T: Send + 'static>(
        self,
        told: impl Stream<Item = Result<T, Problem>> + Send + 'static,
    ) -> Response<Telling<T>> {
        let told = until(self.by, told);
        let told = told.map(move |told| told.map_err(|problem| self.failed(&problem)));
        Response::new(told.boxed())
    }

    fn failed(&self, problem: &Problem) -> Status {
        problem.ends(&self.record);
        problem.status(&self.cx)
    }
}
