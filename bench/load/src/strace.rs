//! Counting a process's fsyncs with strace.

use crate::Trouble;
use rustix::process::{Pid, Signal, kill_process};
use std::{
    fs, io,
    process::{Output, Stdio},
    time::Duration,
};
use tokio::{
    process::{Child, Command},
    time::{sleep, timeout},
};

const ATTACH_LIMIT: Duration = Duration::from_secs(5);
const ATTACH_POLL: Duration = Duration::from_millis(10);
const STOP_LIMIT: Duration = Duration::from_secs(10);

/// A tracer that counts; dropped, it is killed, which lets the traced process go.
#[derive(Debug)]
pub(crate) struct Strace(Child);

impl Strace {
    /// Comes back when every thread of the process is traced.
    pub(crate) async fn attach(pid: u32) -> Result<Self, Trouble> {
        // Quiet: nobody reads its messages during the run, and a full pipe would stop the service.
        let child = Command::new("strace")
            .args(["-q", "-c", "-f", "-e", "trace=fsync,fdatasync", "-p", &pid.to_string()])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .map_err(|error| format!("strace: {error}"))?;
        let mut strace = Self(child);
        match timeout(ATTACH_LIMIT, strace.attached(pid)).await {
            Ok(Ok(true)) => Ok(strace),
            Ok(Ok(false)) => {
                let output = strace.0.wait_with_output().await?;
                Err(format!("strace: {}", String::from_utf8_lossy(&output.stderr).trim()).into())
            }
            Ok(Err(error)) => Err(error.into()),
            Err(_) => Err(format!("strace did not attach in {ATTACH_LIMIT:?}").into()),
        }
    }

    /// Lets the process go and gives the number of its fsync and fdatasync calls.
    pub(crate) async fn stop(self) -> Result<u64, Trouble> {
        let pid = self.0.id().and_then(|id| Pid::from_raw(id.cast_signed()));
        kill_process(pid.ok_or("strace ended before the run did")?, Signal::INT)?;
        let output: Output = timeout(STOP_LIMIT, self.0.wait_with_output())
            .await
            .map_err(|_| format!("strace did not stop in {STOP_LIMIT:?}"))??;
        Ok(calls(&String::from_utf8_lossy(&output.stderr)))
    }

    /// False when strace gave up.
    async fn attached(&mut self, pid: u32) -> io::Result<bool> {
        while self.0.try_wait()?.is_none() {
            if all_threads_traced(pid) {
                return Ok(true);
            }
            sleep(ATTACH_POLL).await;
        }
        Ok(false)
    }
}

fn all_threads_traced(pid: u32) -> bool {
    let Ok(threads) = fs::read_dir(format!("/proc/{pid}/task")) else { return false };
    threads.flatten().all(|thread| {
        let status = fs::read_to_string(thread.path().join("status")).unwrap_or_default();
        let tracer = status.lines().find_map(|line| line.strip_prefix("TracerPid:"));
        tracer.is_none_or(|tracer| tracer.trim() != "0")
    })
}

/// Adds up the column `calls` of the summary, which is absent when nothing was called.
fn calls(summary: &str) -> u64 {
    let rows = summary.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
    let counted = rows.filter_map(|row| match *row.as_slice() {
        [_, _, _, calls, .., "fsync" | "fdatasync"] => calls.parse::<u64>().ok(),
        _ => None,
    });
    counted.sum()
}

#[cfg(test)]
mod tests {
    use super::calls;

    #[test]
    fn the_summary_of_strace_is_added_up() {
        let summary = "strace: Process 9 detached
% time     seconds  usecs/call     calls    errors syscall
------ ----------- ----------- --------- --------- ----------------
 90.00    0.000900           9       100         1 fdatasync
 10.00    0.000100          50         2           fsync
------ ----------- ----------- --------- --------- ----------------
100.00    0.001000           9       102         1 total
";
        assert_eq!(calls(summary), 102);
        assert_eq!(calls(""), 0);
    }
}
