//! What a process has used, from `/proc`.

use serde::Serialize;
use std::{fs, io, time::Duration};

/// Everything since the start of the process; two of them make a difference.
#[derive(Clone, Copy, Debug, Serialize)]
pub(crate) struct Usage {
    pub(crate) cpu: Duration,
    pub(crate) rss_kib: u64,
    pub(crate) rss_peak_kib: u64,
    /// Not there when the process belongs to somebody else.
    pub(crate) write_bytes: Option<u64>,
}

impl Usage {
    pub(crate) fn of_self() -> io::Result<Self> {
        Self::read("/proc/self")
    }

    pub(crate) fn of(pid: u32) -> io::Result<Self> {
        Self::read(&format!("/proc/{pid}"))
    }

    fn read(folder: &str) -> io::Result<Self> {
        let file = |name: &str| {
            let path = format!("{folder}/{name}");
            fs::read_to_string(&path).map_err(|error| io::Error::other(format!("{path}: {error}")))
        };
        let missing = |what: &str| io::Error::other(format!("{folder}: no {what}"));
        let ticks = cpu_ticks(&file("stat")?).ok_or_else(|| missing("CPU time"))?;
        let status = file("status")?;
        Ok(Self {
            cpu: Duration::from_secs(ticks) / rustix::param::clock_ticks_per_second() as u32,
            rss_kib: field(&status, "VmRSS:").ok_or_else(|| missing("VmRSS"))?,
            rss_peak_kib: field(&status, "VmHWM:").ok_or_else(|| missing("VmHWM"))?,
            write_bytes: file("io").ok().and_then(|io| field(&io, "write_bytes:")),
        })
    }
}

/// User and system time: fields 14 and 15, the second of which is the name and may hold anything.
fn cpu_ticks(stat: &str) -> Option<u64> {
    let (_, rest) = stat.rsplit_once(')')?;
    let mut fields = rest.split_whitespace().skip(11);
    let user: u64 = fields.next()?.parse().ok()?;
    let system: u64 = fields.next()?.parse().ok()?;
    Some(user + system)
}

fn field(text: &str, name: &str) -> Option<u64> {
    // `write_bytes:` must not be found in `cancelled_write_bytes:`.
    let line = text.lines().find_map(|line| line.strip_prefix(name))?;
    line.split_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::{Usage, cpu_ticks, field};

    #[test]
    fn a_name_with_brackets_and_spaces_does_not_shift_the_fields() {
        let stat = "7 (a) b (c) S 1 2 3 4 5 6 7 8 9 10 40 2 0 0 20 0 1";
        assert_eq!(cpu_ticks(stat), Some(42));
    }

    #[test]
    fn a_field_is_found_by_its_whole_name() {
        let io = "cancelled_write_bytes: 1\nwrite_bytes: 4096\n";
        assert_eq!(field(io, "write_bytes:"), Some(4096));
        assert_eq!(field("VmRSS:\t  12 kB\n", "VmRSS:"), Some(12));
    }

    #[test]
    fn this_process_uses_memory() {
        let usage = Usage::of_self().unwrap();
        assert!(usage.rss_kib > 0 && usage.rss_peak_kib >= usage.rss_kib);
    }
}
