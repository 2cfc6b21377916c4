//! A bounded queue of log lines with a thread behind it that writes them. A kill loses what was
//! gathered, of up to 10 ms; an end in order, also after a panic or a failure, loses nothing.
//!
//! Not tracing-appender: when its end is late it prints to stdout, which may be the same full pipe,
//! and it gives up a full queue after 100 ms although somebody reads it.

use std::{
    io::{self, Write},
    mem,
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    thread,
    time::Duration,
};
use tracing_subscriber::fmt::MakeWriter;

/// The most bytes that wait to be written; about ten thousand lines.
const MOST: usize = 4 << 20;

/// How long lines are gathered after a write. A line that comes alone is written at once; of a
/// crowd, many make one write and one wake of the thread, which else cost as much as the lines.
const PAUSE: Duration = Duration::from_millis(10);

/// What a buffer may keep of its room between two writes.
const KEPT: usize = 64 << 10;

/// Where lines go. Clones share the queue.
#[derive(Clone, Debug, Default)]
pub(super) struct Sink(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    queue: Mutex<Queue>,
    wake: Condvar,
    emptied: Condvar,
}

#[derive(Debug, Default)]
struct Queue {
    /// Whole lines.
    text: Vec<u8>,
    /// Bytes that the thread has in hand.
    writing: usize,
    /// Whether the thread waits for a line.
    idle: bool,
    /// Whether nothing is gathered any more.
    ending: bool,
    dropped: u64,
}

impl Sink {
    /// A queue before `out`. The thread lives as long as the process.
    pub(super) fn start(out: impl Write + Send + 'static) -> io::Result<Self> {
        let sink = Self::default();
        let writing = sink.clone();
        thread::Builder::new().name("log".to_owned()).spawn(move || writing.run(out))?;
        Ok(sink)
    }

    /// Waits until every line is written, but no longer than `limit`.
    pub(super) fn end(&self, limit: Duration) {
        let mut queue = self.queue();
        queue.ending = true;
        self.0.wake.notify_one();
        let busy = |queue: &mut Queue| queue.writing > 0 || !queue.text.is_empty();
        // Late or not, the process ends.
        let _waited = self.0.emptied.wait_timeout_while(queue, limit, busy).is_ok();
    }

    /// How many lines found no room.
    pub(super) fn dropped(&self) -> u64 {
        self.queue().dropped
    }

    fn push(&self, line: &[u8]) {
        let mut queue = self.queue();
        if queue.text.len() + queue.writing + line.len() > MOST {
            queue.dropped += 1;
            return;
        }
        queue.text.extend_from_slice(line);
        if mem::take(&mut queue.idle) {
            drop(queue);
            self.0.wake.notify_one();
        }
    }

    /// Writes what waits, for ever: everything at once, so that a crowd of lines is one write.
    fn run(&self, mut out: impl Write) {
        let (mut text, mut told) = (Vec::new(), 0);
        loop {
            self.take(&mut text);
            // Nobody is left to tell that nobody reads.
            let _written = out.write_all(&text).is_ok();
            text.clear();
            text.shrink_to(KEPT);
            let dropped = self.pause();
            if dropped > told {
                tracing::warn!(
                    lines = dropped - told,
                    "log lines were dropped: nobody read stderr"
                );
                told = dropped;
            }
        }
    }

    /// Waits for lines and swaps them for the empty `text`.
    fn take(&self, text: &mut Vec<u8>) {
        let mut queue = self.queue();
        queue.idle = true;
        let waited = self.0.wake.wait_while(queue, |queue| queue.text.is_empty());
        let mut queue = waited.unwrap_or_else(PoisonError::into_inner);
        queue.idle = false;
        mem::swap(&mut queue.text, text);
        // Lines in hand count as waiting.
        queue.writing = text.len();
    }

    /// Lets lines gather after a write; tells how many were dropped so far.
    fn pause(&self) -> u64 {
        let mut queue = self.queue();
        queue.writing = 0;
        if queue.text.is_empty() {
            self.0.emptied.notify_all();
        }
        let paused = self.0.wake.wait_timeout_while(queue, PAUSE, |queue| !queue.ending);
        paused.unwrap_or_else(PoisonError::into_inner).0.dropped
    }

    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.0.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Takes whole lines.
impl Write for Sink {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        self.push(line);
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<'w> MakeWriter<'w> for Sink {
    type Writer = Self;

    fn make_writer(&'w self) -> Self {
        self.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

    /// Takes a write only when somebody reads it.
    struct Pipe(SyncSender<Vec<u8>>);

    impl Write for Pipe {
        fn write(&mut self, text: &[u8]) -> io::Result<usize> {
            self.0.send(text.to_vec()).map_err(io::Error::other)?;
            Ok(text.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn pipe() -> (Pipe, Receiver<Vec<u8>>) {
        let (sender, receiver) = sync_channel(0);
        (Pipe(sender), receiver)
    }

    #[test]
    fn every_line_is_written_in_order_before_the_end() {
        let (out, reader) = pipe();
        let mut sink = Sink::start(out).unwrap();
        let read = thread::spawn(move || {
            let mut text = Vec::new();
            while !text.ends_with(b"99\n") {
                text.extend(reader.recv().unwrap());
            }
            text
        });
        let lines: Vec<String> = (0..100).map(|n| format!("line {n}\n")).collect();
        for line in &lines {
            sink.write_all(line.as_bytes()).unwrap();
        }
        sink.end(Duration::from_mins(1));
        assert_eq!(String::from_utf8(read.join().unwrap()).unwrap(), lines.concat());
        assert_eq!(sink.dropped(), 0);
    }

    #[test]
    fn a_pipe_that_nobody_reads_costs_lines_and_no_time() {
        let (out, _reader) = pipe();
        let mut sink = Sink::start(out).unwrap();
        let line = [b'x'; 1 << 10];
        for _ in 0..(MOST >> 10) + 7 {
            sink.write_all(&line).unwrap();
        }
        assert_eq!(sink.dropped(), 7);
        sink.end(Duration::ZERO);
    }
}
