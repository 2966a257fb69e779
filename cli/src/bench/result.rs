//! The figures of a bench in the form in which they are kept: JSON of a stated schema. `benches/README.md` says what each
//! field means.
//!
//! Invariant: what did not happen is null. A count may be 0; a latency, a share or a verdict of nothing is none.

use std::collections::BTreeMap;

use protocol::operation::Totals;
use serde::Serialize;

use crate::bench::daemons::{ClusterFigures, RestartFigures, Work};
use crate::bench::figures::Percentiles;
use crate::bench::namespace::Namespace;
use crate::bench::runner::Ran;
use crate::bench::settings::Settings;

/// The version of the JSON form. A field that changes its meaning changes it; a new field does not.
const SCHEMA: u32 = 2;

/// All that a bench found.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(crate) struct BenchResult {
    pub(crate) schema: u32,
    /// Whether the run was as long as it was asked to be, and its money was counted.
    pub(crate) complete: bool,
    /// Why it is not.
    pub(crate) incomplete_because: Option<String>,
    /// The number of the run, under which its accounts stand.
    pub(crate) run: String,
    pub(crate) participants: usize,
    pub(crate) clients: usize,
    /// While transactions were begun, and to the last answer.
    pub(crate) duration_s: f64,
    /// Of an open loop.
    pub(crate) scheduled: Option<u64>,
    pub(crate) committed: u64,
    pub(crate) aborted: u64,
    pub(crate) failed: u64,
    /// Outcomes that could not be found out.
    pub(crate) unknown: u64,
    /// Outcomes that were unknown at first; they are counted above, and not in the rates.
    pub(crate) resolved: u64,
    pub(crate) committed_tps: f64,
    pub(crate) aborted_tps: f64,
    pub(crate) latency_us: Percentiles,
    pub(crate) abort_latency_us: Percentiles,
    /// Whether all money is there and no balance is below zero.
    pub(crate) conserved: Option<bool>,
    /// What was counted.
    pub(crate) money: Option<Money>,
    /// Processor time of the load generator.
    pub(crate) client_cpu_s: f64,
    /// Processor time of load generator and nodes for each committed transaction, if all that the nodes did is known and
    /// was for this run.
    pub(crate) cpu_us_per_txn: Option<f64>,
    /// What all nodes did meanwhile, for this run and for others, if it can be read.
    pub(crate) cluster: Option<ClusterFigures>,
    /// Transactions that others asked the coordinator for meanwhile, if that is known.
    pub(crate) requests_of_others: Option<u64>,
    /// Nodes that were started again meanwhile.
    pub(crate) restarts: Vec<RestartFigures>,
    /// Why transactions failed, and how many.
    pub(crate) failures: BTreeMap<String, u64>,
}

/// What the accounts hold in the end, and should.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Money {
    pub(crate) accounts: u64,
    pub(crate) sum: i128,
    pub(crate) below_zero: u64,
    pub(crate) accounts_expected: u64,
    pub(crate) sum_expected: i128,
}

impl Money {
    pub(crate) fn new(settings: &Settings, totals: &Totals) -> Self {
        Self {
            accounts: totals.keys,
            sum: totals.sum,
            below_zero: totals.negatives,
            accounts_expected: settings.accounts as u64,
            sum_expected: i128::from(settings.balance) * settings.accounts as i128,
        }
    }

    pub(crate) fn is_conserved(&self) -> bool {
        self.accounts == self.accounts_expected && self.sum == self.sum_expected && self.below_zero == 0
    }
}

/// What a result is made of, beside the settings.
#[derive(Debug)]
pub(crate) struct Found<'a> {
    pub(crate) namespace: Namespace,
    pub(crate) participants: usize,
    pub(crate) ran: &'a Ran,
    pub(crate) work: Option<Work>,
    /// Transactions that this run has sent to the coordinator, if each was sent on the same connection.
    pub(crate) own_requests: Option<u64>,
    pub(crate) money: Option<Money>,
}

impl BenchResult {
    pub(crate) fn new(settings: &Settings, found: Found<'_>) -> Self {
        let Found { namespace, participants, ran, work, own_requests, money } = found;
        let figures = &ran.figures;
        let duration_s = ran.duration.as_secs_f64();
        let cut = ran.cut.as_ref();
        let per_s = |all: u64, found_out: u64| (all - found_out) as f64 / duration_s;
        // What has no answer may not have arrived.
        let whole = work.as_ref().filter(|work| ran.unknown == 0 && !work.cluster.at_least);
        let requests_of_others = whole.zip(own_requests).map(|(work, own)| work.requests.saturating_sub(own));
        let own_cpu_s = ran.own_cpu.as_secs_f64();
        let all_own = whole.filter(|_| requests_of_others == Some(0) && figures.committed > 0);
        let (cluster, restarts) = work.clone().map(|work| (work.cluster, work.restarts)).unzip();
        Self {
            schema: SCHEMA,
            complete: cut.is_none(),
            incomplete_because: cut.map(|cut| cut.reason.clone()),
            run: namespace.to_string(),
            participants,
            clients: settings.clients,
            duration_s,
            scheduled: ran.scheduled,
            committed: figures.committed,
            aborted: figures.aborted,
            failed: figures.failed_total(),
            unknown: ran.unknown,
            resolved: ran.resolved,
            committed_tps: per_s(figures.committed, figures.found_out.committed),
            aborted_tps: per_s(figures.aborted, figures.found_out.aborted),
            latency_us: Percentiles::of(&figures.latency_us),
            abort_latency_us: Percentiles::of(&figures.abort_latency_us),
            conserved: money.as_ref().map(Money::is_conserved),
            money,
            client_cpu_s: own_cpu_s,
            cpu_us_per_txn: all_own.map(|work| (work.cluster.cpu_s + own_cpu_s) * 1e6 / figures.committed as f64),
            cluster,
            requests_of_others,
            restarts: restarts.unwrap_or_default(),
            failures: figures.failures.clone(),
        }
    }

    /// Whether the exit code of a complete run is 0.
    pub(crate) fn is_good(&self) -> bool {
        self.conserved == Some(true) && self.failed == 0 && self.unknown == 0
    }
}
