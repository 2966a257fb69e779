//! The figures of a bench in the form in which they are kept: JSON of a stated schema.

use serde::Serialize;

use crate::bench::daemons::{LogFigures, Work};
use crate::bench::figures::Percentiles;
use crate::bench::runner::Ran;
use crate::bench::settings::Settings;

/// The version of the JSON form. A field that changes its meaning changes it; a new field does not.
const SCHEMA: u32 = 1;

/// All that a bench found.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct BenchResult {
    pub(crate) schema: u32,
    pub(crate) participants: usize,
    pub(crate) clients: usize,
    /// From the beginning to the last answer.
    pub(crate) duration_s: f64,
    pub(crate) scheduled: u64,
    pub(crate) committed: u64,
    pub(crate) aborted: u64,
    pub(crate) failed: u64,
    /// Outcomes that could not be found out.
    pub(crate) unknown: u64,
    pub(crate) committed_tps: f64,
    pub(crate) aborted_tps: f64,
    pub(crate) latency_us: Percentiles,
    pub(crate) abort_latency_us: Percentiles,
    pub(crate) conserved: bool,
    pub(crate) log: LogFigures,
    pub(crate) cpu_s: f64,
    /// Of `cpu_s`, the load generator's.
    pub(crate) client_cpu_s: f64,
    /// `cpu_s` for each committed transaction.
    pub(crate) cpu_us_per_txn: f64,
    /// Outcomes that were unknown at first.
    pub(crate) resolved: u64,
    /// Why transactions failed, and how many.
    pub(crate) failures: std::collections::BTreeMap<String, u64>,
}

impl BenchResult {
    pub(crate) fn new(settings: &Settings, participants: usize, ran: &Ran, work: &Work, conserved: bool) -> Self {
        let figures = &ran.figures;
        let duration_s = figures.last_answer.max(settings.duration).as_secs_f64();
        let cpu_us_per_txn = if figures.committed > 0 { work.cpu_s * 1e6 / figures.committed as f64 } else { 0.0 };
        Self {
            schema: SCHEMA,
            participants,
            clients: settings.clients,
            duration_s,
            scheduled: ran.scheduled,
            committed: figures.committed,
            aborted: figures.aborted,
            failed: figures.failed_total(),
            unknown: ran.unknown,
            committed_tps: figures.committed as f64 / duration_s,
            aborted_tps: figures.aborted as f64 / duration_s,
            latency_us: Percentiles::of(&figures.latency_us),
            abort_latency_us: Percentiles::of(&figures.abort_latency_us),
            conserved,
            log: work.log,
            cpu_s: work.cpu_s,
            client_cpu_s: work.own_cpu_s,
            cpu_us_per_txn,
            resolved: ran.resolved,
            failures: figures.failures.clone(),
        }
    }

    /// Whether the exit code is 0.
    pub(crate) fn is_good(&self) -> bool {
        self.conserved && self.failed == 0 && self.unknown == 0
    }
}
