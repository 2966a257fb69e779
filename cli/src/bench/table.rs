//! The figures of a bench for people. A figure that there is none of is a dash.

use std::fmt;

use crate::bench::figures::Percentiles;
use crate::bench::result::BenchResult;

/// The table.
pub(crate) struct Table<'a>(pub(crate) &'a BenchResult);

impl fmt::Display for Table<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let result = self.0;
        if let Some(reason) = &result.incomplete_because {
            writeln!(f, "INCOMPLETE  {reason}\n")?;
        }
        write!(
            f,
            "{}, {}, {:.*} s",
            counted(result.participants, "participant"),
            counted(result.clients, "client"),
            if result.duration_s < 1.0 { 3 } else { 1 },
            result.duration_s
        )?;
        match result.scheduled {
            Some(scheduled) => writeln!(f, ", {scheduled} transactions scheduled\n")?,
            None => writeln!(f, "\n")?,
        }
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
        cluster(f, result)?;
        money(f, result)
    }
}

/// What the nodes say of themselves.
fn cluster(f: &mut fmt::Formatter<'_>, result: &BenchResult) -> fmt::Result {
    let Some(cluster) = &result.cluster else {
        return writeln!(f, "log         -\nprocessor   -, of which the load generator {:.2} s", result.client_cpu_s);
    };
    for restart in &result.restarts {
        let times = if restart.times > 1 { format!(", {} times", restart.times) } else { String::new() };
        writeln!(f, "restarted   {}{times}, seen after {:.1} s", restart.node, restart.seen_at_s)?;
    }
    for node in &cluster.without_last_figures {
        writeln!(f, "no figures  of {node} at the end")?;
    }
    match result.requests_of_others {
        Some(0) => {}
        Some(others) => writeln!(
            f,
            "shared      others asked for {} meanwhile; log and processor are of all of them",
            counted(others as usize, "transaction")
        )?,
        None => writeln!(f, "shared      unknown; log and processor are of whatever the nodes did meanwhile")?,
    }
    let at_least = if cluster.at_least { "at least " } else { "" };
    let log = &cluster.log;
    writeln!(
        f,
        "log         {at_least}{} groups, {} records each, {:.1} MiB; durable in {} p50, {} p99",
        log.groups,
        figure((log.groups > 0).then(|| log.records as f64 / log.groups as f64), |each| format!("{each:.1}")),
        log.bytes as f64 / f64::from(1 << 20),
        time(log.sync_us.p50),
        time(log.sync_us.p99)
    )?;
    writeln!(
        f,
        "processor   {at_least}{:.2} s, of which the load generator {:.2} s; {} for each committed transaction",
        cluster.cpu_s + result.client_cpu_s,
        result.client_cpu_s,
        figure(result.cpu_us_per_txn, |us| format!("{us:.1} us"))
    )
}

fn money(f: &mut fmt::Formatter<'_>, result: &BenchResult) -> fmt::Result {
    match (result.conserved, &result.money) {
        (Some(true), _) => write!(f, "money       conserved"),
        (Some(false), Some(money)) => write!(
            f,
            "money       NOT CONSERVED: {} accounts hold {}, {} of them less than zero; {} accounts with {} were opened",
            money.accounts, money.sum, money.below_zero, money.accounts_expected, money.sum_expected
        ),
        (_, _) => write!(f, "money       not counted"),
    }
}

fn row(f: &mut fmt::Formatter<'_>, name: &str, count: u64, rate: f64, latency: &Percentiles) -> fmt::Result {
    write!(f, "{name:<11}{count:>11}{rate:>11.0}")?;
    for us in [latency.p50, latency.p95, latency.p99, latency.p999, latency.max] {
        write!(f, "{:>10}", time(us))?;
    }
    writeln!(f)
}

/// A number of things.
pub(crate) fn counted(count: usize, thing: &str) -> String {
    if count == 1 { format!("1 {thing}") } else { format!("{count} {thing}s") }
}

/// A figure, or a dash.
pub(crate) fn figure<T>(figure: Option<T>, shown: impl FnOnce(T) -> String) -> String {
    figure.map_or_else(|| "-".to_owned(), shown)
}

/// Microseconds with a unit that suits their size.
pub(crate) fn time(us: Option<u64>) -> String {
    figure(us, |us| match us {
        0..1_000 => format!("{us} us"),
        1_000..1_000_000 => format!("{:.2} ms", us as f64 / 1e3),
        1_000_000.. => format!("{:.2} s", us as f64 / 1e6),
    })
}
