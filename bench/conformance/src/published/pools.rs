//! Published pools of threads.

use crate::suite::pool::{Job, Pool, Ticket};
use std::{
    future::ready,
    sync::{Mutex, PoisonError},
};
use tokio::{
    runtime::{Builder, Handle, Runtime},
    sync::oneshot,
};

/// A job that tells when it was done, and who waits for that.
fn told(job: Job) -> (Job, Ticket) {
    let (tell, done) = oneshot::channel();
    let work = move || {
        job();
        tell.send(()).unwrap_or_default();
    };
    (Box::new(work), Box::pin(async move { done.await.is_ok() }))
}

/// The threads of Tokio on which one may block.
pub(crate) struct Blocking {
    handle: Handle,
    runtime: Mutex<Option<Runtime>>,
}

impl Blocking {
    fn end(&self) {
        let runtime = self.runtime.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(runtime) = runtime {
            runtime.shutdown_background();
        }
    }
}

/// A runtime must not be dropped where one may not block.
impl Drop for Blocking {
    fn drop(&mut self) {
        self.end();
    }
}

impl Pool for Blocking {
    fn start() -> Option<Self> {
        let runtime = Builder::new_current_thread().max_blocking_threads(1).build().ok()?;
        Some(Self { handle: runtime.handle().clone(), runtime: Mutex::new(Some(runtime)) })
    }

    fn submit(&self, job: Job) -> Option<Ticket> {
        let job = self.handle.spawn_blocking(job);
        Some(Box::pin(async move { job.await.is_ok() }))
    }

    fn shut_down(&self) -> impl Future<Output = bool> {
        self.end();
        ready(true)
    }
}

pub(crate) struct Rayon(rayon::ThreadPool);

impl Pool for Rayon {
    fn start() -> Option<Self> {
        rayon::ThreadPoolBuilder::new().num_threads(1).build().ok().map(Self)
    }

    fn submit(&self, job: Job) -> Option<Ticket> {
        let (job, ticket) = told(job);
        self.0.spawn_fifo(job);
        Some(ticket)
    }

    fn shut_down(&self) -> impl Future<Output = bool> {
        ready(false)
    }
}

pub(crate) struct Threadpool(threadpool::ThreadPool);

impl Pool for Threadpool {
    fn start() -> Option<Self> {
        Some(Self(threadpool::ThreadPool::new(1)))
    }

    fn submit(&self, job: Job) -> Option<Ticket> {
        let (job, ticket) = told(job);
        self.0.execute(job);
        Some(ticket)
    }

    fn shut_down(&self) -> impl Future<Output = bool> {
        ready(false)
    }
}
