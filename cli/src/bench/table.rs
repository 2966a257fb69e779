//! The figures of a bench for people.

use std::fmt;

use crate::bench::figures::Percentiles;
use crate::bench::result::BenchResult;

/// The table.
pub(crate) struct Table<'a>(pub(crate) &'a BenchResult);

impl fmt::Display for Table<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let result = self.0;
        let log = &result.log;
        writeln!(
            f,
            "{} participants, {} clients, {:.1} s, {} transactions scheduled\n",
            result.participants, result.clients, result.duration_s, result.scheduled
        )?;
        writeln!(
            f,
            "{:<11}{:>11}{:>11}{:>10}{:>10}{:>10}{:>10}{:>10}",
            "", "count", "per s", "p50", "p95", "p99", "p99.9", "max"
        )?;
        row(f, "committed", result.committed, result.committed_tps, &result.latency_us)?;
        row(f, "aborted", result.aborted, result.aborted_tps, &result.abort_latency_us)?;
        writeln!(f, "{:<11}{:>11}", "failed", result.failed)?;
        for (why, count) in &result.failures {
            writeln!(f, "  {count} x {why}")?;
        }
        let resolved = if result.resolved > 0 { format!("   ({} found out)", result.resolved) } else { String::new() };
        writeln!(f, "{:<11}{:>11}{resolved}\n", "unknown", result.unknown)?;
        writeln!(
            f,
            "log         {} groups, {:.1} records each, {:.1} MiB; durable in {} p50, {} p99",
            log.groups,
            log.records as f64 / log.groups.max(1) as f64,
            log.bytes as f64 / f64::from(1 << 20),
            time(log.sync_us.p50),
            time(log.sync_us.p99)
        )?;
        writeln!(
            f,
            "processor   {:.2} s, of which the load generator {:.2} s; {:.1} us for each committed transaction",
            result.cpu_s, result.client_cpu_s, result.cpu_us_per_txn
        )?;
        write!(f, "money       {}", if result.conserved { "conserved" } else { "NOT CONSERVED" })
    }
}

fn row(f: &mut fmt::Formatter<'_>, name: &str, count: u64, rate: f64, latency: &Percentiles) -> fmt::Result {
    write!(f, "{name:<11}{count:>11}{rate:>11.0}")?;
    if count > 0 {
        for us in [latency.p50, latency.p95, latency.p99, latency.p999, latency.max] {
            write!(f, "{:>10}", time(us))?;
        }
    }
    writeln!(f)
}

/// Microseconds with a unit that suits their size.
pub(crate) fn time(us: u64) -> String {
    match us {
        0..1_000 => format!("{us} us"),
        1_000..1_000_000 => format!("{:.2} ms", us as f64 / 1e3),
        1_000_000.. => format!("{:.2} s", us as f64 / 1e6),
    }
}
