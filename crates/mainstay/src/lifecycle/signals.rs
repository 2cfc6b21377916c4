use std::{fs, io, time::Duration};
use tokio::{
    signal::unix::{Signal, SignalKind, signal},
    time::Instant,
};

/// How long after a stop signal others count as the same one: Ctrl-C in a terminal reaches a
/// process once by itself and perhaps once more through its parent, such as `make`.
const SAME_CAUSE: Duration = Duration::from_millis(500);

/// The signals that ask a process to stop: SIGTERM, SIGINT and SIGHUP.
///
/// None is lost between two calls of [`next`](Self::next). A process that was started to ignore
/// SIGHUP, as `nohup` does, goes on ignoring it.
#[derive(Debug)]
pub struct Signals {
    terminate: Signal,
    interrupt: Signal,
    /// Absent when it is to be ignored.
    hangup: Option<Signal>,
}

impl Signals {
    /// Listens from now on; the signals no longer end the process by themselves.
    ///
    /// # Errors
    ///
    /// Fails when the operating system refuses.
    pub fn listen() -> io::Result<Self> {
        let hangup = SignalKind::hangup();
        Ok(Self {
            hangup: if is_ignored(hangup) { None } else { Some(signal(hangup)?) },
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
        })
    }

    /// Waits for the next signal and tells its name.
    pub async fn next(&mut self) -> &'static str {
        let hangup = async {
            match &mut self.hangup {
                Some(hangup) => hangup.recv().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            _ = self.terminate.recv() => "SIGTERM",
            _ = self.interrupt.recv() => "SIGINT",
            _ = hangup => "SIGHUP",
        }
    }
}

/// Waits for one SIGTERM, SIGINT or SIGHUP and tells its name, for a service without a
/// [`Lifecycle`](super::Lifecycle).
///
/// # Errors
///
/// Fails when the operating system refuses.
pub async fn stop_signal() -> io::Result<&'static str> {
    Ok(Signals::listen()?.next().await)
}

/// Tells stops apart: signals within [`SAME_CAUSE`] of one that counted are the same stop.
#[derive(Debug, Default)]
pub(super) struct Stops(Option<Instant>);

impl Stops {
    /// Whether a signal that came now is a stop of its own.
    pub(super) fn counts(&mut self) -> bool {
        let counts = self.0.is_none_or(|counted| counted.elapsed() >= SAME_CAUSE);
        if counts {
            self.0 = Some(Instant::now());
        }
        counts
    }
}

/// Whether this process was started to ignore the signal; no where `/proc` does not tell.
fn is_ignored(kind: SignalKind) -> bool {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    let mask = mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).unwrap_or_default();
    // Signal 1 is the lowest bit.
    mask >> (kind.as_raw_value() - 1) & 1 == 1
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::time::advance;

    /// How many stops are signals with these pauses before them, in milliseconds.
    async fn stops(pauses: &[u64]) -> usize {
        let (mut stops, mut counted) = (Stops::default(), 0);
        for pause in pauses {
            advance(Duration::from_millis(*pause)).await;
            counted += usize::from(stops.counts());
        }
        counted
    }

    #[tokio::test(start_paused = true)]
    async fn two_signals_of_one_cause_are_one_stop() {
        assert_eq!(stops(&[0, 0]).await, 1);
        assert_eq!(stops(&[10, 499]).await, 1);
    }

    #[tokio::test(start_paused = true)]
    async fn a_later_signal_is_a_second_stop() {
        assert_eq!(stops(&[0, 500]).await, 2);
        assert_eq!(stops(&[0, 499, 1]).await, 2, "the pause is counted from the one that counted");
    }
}
