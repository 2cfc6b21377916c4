//! What the system tells of this process, under the names that Prometheus' client libraries use.
//!
//! From `/proc`: elsewhere than on Linux there is nothing to show.

use super::{Metrics, Read};
use std::fs;

/// Userland always sees ticks of 1/100 s, whatever the kernel was built with; Prometheus' own
/// library for Go relies on it too.
const TICKS_PER_SECOND: f64 = 100.0;

/// Registers the metrics; each scrape reads anew.
pub(super) fn register(metrics: &Metrics) {
    if started().is_none() {
        return;
    }
    let gauge = |name: &str, help: &str, read: fn() -> Option<f64>| {
        let read = Read::Gauge(Box::new(move || read().unwrap_or(f64::NAN)));
        metrics.compute(name.to_owned(), help, read);
    };
    let seconds = Read::Amount(Box::new(|| cpu_seconds().unwrap_or(f64::NAN)));
    let help = "CPU time spent, of the user and the system";
    metrics.compute("process_cpu_seconds".to_owned(), help, seconds);
    gauge("process_resident_memory_bytes", "Memory in use", || status_bytes("VmRSS:"));
    gauge("process_virtual_memory_bytes", "Address space in use", || status_bytes("VmSize:"));
    gauge("process_open_fds", "Open file descriptors", open_files);
    gauge("process_max_fds", "File descriptors that may be open", most_files);
    let started = started();
    let start = Read::Gauge(Box::new(move || started.unwrap_or(f64::NAN)));
    let help = "When the process started, in seconds since 1970";
    metrics.compute("process_start_time_seconds".to_owned(), help, start);
}

/// A field of `/proc/self/stat` by its number in proc(5); the second one may hold spaces.
fn stat(field: usize) -> Option<f64> {
    let stat = fs::read_to_string("/proc/self/stat").ok()?;
    let (_, rest) = stat.rsplit_once(')')?;
    rest.split_whitespace().nth(field.checked_sub(3)?)?.parse().ok()
}

fn cpu_seconds() -> Option<f64> {
    Some((stat(14)? + stat(15)?) / TICKS_PER_SECOND)
}

fn started() -> Option<f64> {
    let system = fs::read_to_string("/proc/stat").ok()?;
    let booted = system.lines().find_map(|line| line.strip_prefix("btime "))?;
    Some(booted.trim().parse::<f64>().ok()? + stat(22)? / TICKS_PER_SECOND)
}

fn status_bytes(name: &str) -> Option<f64> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix(name))?;
    let kibibytes: f64 = line.split_whitespace().next()?.parse().ok()?;
    Some(kibibytes * 1_024.0)
}

fn open_files() -> Option<f64> {
    // Less the one that this look itself opens.
    let open = fs::read_dir("/proc/self/fd").ok()?.count().saturating_sub(1);
    u32::try_from(open).ok().map(f64::from)
}

fn most_files() -> Option<f64> {
    crate::server::open_files_limit().and_then(|limit| u32::try_from(limit).ok()).map(f64::from)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::Format;

    #[test]
    fn a_process_is_shown_with_what_it_uses() {
        let metrics = Metrics::new("shop");
        register(&metrics);
        let text = metrics.render(Format::Text);
        let value = |name: &str| -> f64 {
            let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
            line.unwrap_or_else(|| panic!("no {name}: {text}")).parse().unwrap()
        };
        assert!(value("process_resident_memory_bytes") > 1e6);
        assert!(value("process_virtual_memory_bytes") >= value("process_resident_memory_bytes"));
        assert!((1.0..=value("process_max_fds")).contains(&value("process_open_fds")));
        assert!(value("process_cpu_seconds_total") >= 0.0);
        // Later than 2020: a start that is counted from the boot is not.
        assert!(value("process_start_time_seconds") > 1.577e9);
    }
}
