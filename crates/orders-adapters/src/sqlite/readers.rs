//! Threads that read, each with a connection of its own, behind a bounded queue.

use std::{
    fmt,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Arc, Mutex, PoisonError,
        mpsc::{Receiver, SyncSender, TrySendError, sync_channel},
    },
    thread::JoinHandle,
};

use mainstay_context::Context;
use orders::ports::ReadError;
use rusqlite::Connection;
use tokio::{sync::oneshot, time::Instant};

use super::{Config, OpenError, instruments::Instruments, rows::Read, schema, thread::spawn};

type Job = Box<dyn FnOnce(&Connection) + Send>;

/// The readers. They end when this is dropped.
pub(super) struct Readers {
    jobs: Option<SyncSender<Job>>,
    threads: Vec<JoinHandle<()>>,
    instruments: Instruments,
}

impl fmt::Debug for Readers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Readers")
    }
}

impl Readers {
    pub(super) fn start(config: &Config, instruments: Instruments) -> Result<Self, OpenError> {
        let (jobs, queue) = sync_channel(config.read_queue);
        let queue = Arc::new(Mutex::new(queue));
        let mut readers = Self { jobs: Some(jobs), threads: Vec::new(), instruments };
        for _ in 0..config.readers.max(1) {
            let connection = schema::reader(&config.path)?;
            let queue = Arc::clone(&queue);
            readers.threads.push(spawn("orders-reader", move || {
                while let Some(job) = next(&queue) {
                    job(&connection);
                }
            })?);
        }
        Ok(readers)
    }

    /// Runs a read on the next free thread. One whose caller is out of time by then is not run.
    pub(super) async fn read<T: Send + 'static>(
        &self,
        cx: &Context,
        work: impl FnOnce(&Connection) -> Read<T> + Send + 'static,
    ) -> Result<T, ReadError> {
        let (reply, answer) = oneshot::channel();
        let (cx, instruments) = (cx.clone(), self.instruments.clone());
        let queued = Instant::now();
        let job: Job = Box::new(move |connection| {
            let began = Instant::now();
            instruments.read_wait.observe((began - queued).as_secs_f64(), &[]);
            let result = if cx.ended(began.into_std()).is_some() || reply.is_closed() {
                Err(ReadError::Expired)
            } else {
                // A read that panics ends alone: its thread goes on, its caller is told.
                catch_unwind(AssertUnwindSafe(|| work(connection)))
                    .unwrap_or_else(|_| Err("the read panicked".into()))
                    .map_err(|cause| ReadError::Unavailable(Some(cause)))
            };
            instruments.read.observe(began.elapsed().as_secs_f64(), &[]);
            drop(reply.send(result));
        });
        let jobs = self.jobs.as_ref().ok_or(ReadError::Unavailable(None))?;
        jobs.try_send(job).map_err(|error| match error {
            TrySendError::Full(_) => ReadError::Busy,
            TrySendError::Disconnected(_) => ReadError::Unavailable(None),
        })?;
        answer.await.unwrap_or(Err(ReadError::Unavailable(None)))
    }
}

impl Drop for Readers {
    /// Ends the threads, so that their connections are closed before the writer's.
    fn drop(&mut self) {
        self.jobs = None;
        for thread in self.threads.drain(..) {
            drop(thread.join());
        }
    }
}

fn next(queue: &Mutex<Receiver<Job>>) -> Option<Job> {
    queue.lock().unwrap_or_else(PoisonError::into_inner).recv().ok()
}
