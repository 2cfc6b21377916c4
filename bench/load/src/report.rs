//! The table on standard output.

use crate::{
    costs::Server,
    record::{Record, Spread},
};
use std::fmt::{self, Write as _};

pub(crate) fn table(record: &Record<'_>) -> String {
    let mut out = String::new();
    // Writing to a string does not fail.
    write(record, &mut out).ok();
    out
}

fn write(record: &Record<'_>, out: &mut String) -> fmt::Result {
    let rows = [
        ("requests", record.requests),
        ("ok", record.ok),
        ("refused", record.refused),
        ("errors", record.failed),
        ("unsent", record.unsent),
        ("reconnects", record.reconnects),
    ];
    for (name, count) in rows {
        writeln!(out, "{name:<24}{count:>12}")?;
    }
    writeln!(
        out,
        "{:<24}{:>12.0} ok/s in {:.1} s",
        "throughput", record.throughput_per_s, record.elapsed_s
    )?;
    if record.arguments.common().within.is_some() {
        let (count, rate) = (record.in_time, record.in_time_per_s);
        writeln!(out, "{:<24}{count:>12} ok, {rate:.0} a second", "in time")?;
    }
    latencies(record, out)?;
    writeln!(out)?;
    if let Some(server) = &record.server {
        write_server(server, out)?;
    }
    write_client(record, out)?;
    let read_back = &record.read_back;
    writeln!(out, "{:<24}{:>12} of {}", "read back", read_back.matched, read_back.sampled)?;
    for (kind, fault) in &record.errors {
        writeln!(out, "ERROR {kind}: {}, e.g. {}", fault.count, fault.example)?;
    }
    Ok(())
}

fn latencies(record: &Record<'_>, out: &mut String) -> fmt::Result {
    let names = ["p50", "p90", "p99", "p99.9", "max"];
    write!(out, "\n{:<24}{:>12}", "milliseconds", "requests")?;
    for name in names {
        write!(out, "{name:>10}")?;
    }
    writeln!(out)?;
    for (name, operation) in &record.operations {
        row(out, name, operation.requests, &operation.latency_us)?;
        if record.arguments.is_open() {
            row(
                out,
                &format!("{name}, from sending"),
                operation.requests,
                &operation.service_time_us,
            )?;
        }
    }
    for (group, operation) in &record.groups {
        row(out, &format!("of {group}"), operation.requests, &operation.latency_us)?;
    }
    for (code, refused) in &record.refusals {
        row(out, &format!("refused, {code}"), refused.count, &refused.time_us)?;
    }
    if record.arguments.is_open() {
        row(out, "start late by", record.starts.late_by_over_1ms, &record.starts.lateness_us)?;
        writeln!(out, "(its number counts the starts that were more than 1 ms late)")?;
    }
    if record.unsent > 0 {
        writeln!(
            out,
            "NOTE the unsent would have been the slowest: these percentiles are too low"
        )?;
    }
    Ok(())
}

fn row(out: &mut String, name: &str, count: u64, times: &Spread) -> fmt::Result {
    write!(out, "{name:<24}{count:>12}")?;
    for time in [times.p50, times.p90, times.p99, times.p999, times.max] {
        write!(out, "{:>10.2}", time as f64 / 1000.0)?;
    }
    writeln!(out)
}

fn write_server(server: &Server, out: &mut String) -> fmt::Result {
    writeln!(out, "{:<24}{:>12.1} µs a request", "server CPU", server.cpu_us_per_request)?;
    let mib = |kib: u64| kib as f64 / 1024.0;
    let (now, peak) = (mib(server.rss_kib), mib(server.rss_peak_kib));
    writeln!(out, "{:<24}{now:>12.1} MiB, peak {peak:.1} MiB", "server RSS")?;
    if let Some(bytes) = server.write_bytes {
        writeln!(out, "{:<24}{:>12.1} MiB", "server wrote", mib(bytes / 1024))?;
    }
    if let (Some(fsyncs), Some(per_order)) = (server.fsyncs, server.fsyncs_per_order) {
        writeln!(out, "{:<24}{per_order:>12.4} an order ({fsyncs} in the whole run)", "fsyncs")?;
    }
    if let Some(note) = server.fsyncs_note {
        writeln!(out, "NOTE {note}")?;
    }
    Ok(())
}

fn write_client(record: &Record<'_>, out: &mut String) -> fmt::Result {
    let client = &record.client;
    write!(out, "{:<24}{:>12.2} cores", "generator CPU", client.cores_busy)?;
    if let Some(share) = client.share_of_cpu {
        write!(out, ", {:.0} % of its and the server's", share * 100.0)?;
    }
    writeln!(out)?;
    if client.saturated {
        writeln!(out, "NOTE the generator was busy: it may be the limit, not the service")?;
    }
    Ok(())
}
