//! What one node has done since the beginning of a run, from what it says of itself again and again.
//!
//! A node's figures begin anew with every start. A start is seen by the opening of its log, which rises; then what was last
//! known of the earlier process is kept, and all that the new one has done is added. What the earlier one did between its
//! last answer and its end stays unknown.

use std::time::Duration;

use hdrhistogram::Histogram;
use hdrhistogram::serialization::Deserializer;
use protocol::message::Stats;

/// Restarts of one node that are listed by their time; further ones count for the last of them.
const RESTARTS_LISTED_MAX: usize = 20;

/// How long groups took to become durable is kept with three digits.
const DIGITS: u8 = 3;

/// Counted work.
#[derive(Clone, Debug)]
pub(crate) struct Counted {
    pub(crate) groups: u64,
    pub(crate) records: u64,
    pub(crate) bytes: u64,
    pub(crate) cpu_us: u64,
    pub(crate) requests: u64,
    pub(crate) sync_us: Histogram<u64>,
}

/// A node that was started again while the run went on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Restart {
    /// When that was seen, from the beginning of the run.
    pub(crate) at: Duration,
    /// How often.
    pub(crate) times: u64,
}

/// The account of one node.
#[derive(Debug)]
pub(crate) struct Ledger {
    /// Where the present process stood when it began to count: at the beginning of the run, or at its own.
    base: Option<Stats>,
    last: Stats,
    /// What earlier processes did.
    earlier: Counted,
    restarts: Vec<Restart>,
}

impl Counted {
    /// No work.
    pub(crate) fn nothing() -> Result<Self, String> {
        let sync_us = Histogram::new(DIGITS).map_err(|error| error.to_string())?;
        Ok(Self { groups: 0, records: 0, bytes: 0, cpu_us: 0, requests: 0, sync_us })
    }

    fn of(stats: &Stats) -> Result<Self, String> {
        let Stats { groups, records, bytes, cpu_us, requests, .. } = *stats;
        let sync_us = Deserializer::new().deserialize(&mut &stats.sync_us[..]).map_err(|error| error.to_string())?;
        Ok(Self { groups, records, bytes, cpu_us, requests, sync_us })
    }

    /// Adds the work of another.
    pub(crate) fn add(&mut self, other: &Self) -> Result<(), String> {
        self.groups += other.groups;
        self.records += other.records;
        self.bytes += other.bytes;
        self.cpu_us += other.cpu_us;
        self.requests += other.requests;
        self.sync_us.add(&other.sync_us).map_err(|error| error.to_string())
    }

    fn subtract(&mut self, earlier: &Self) -> Result<(), String> {
        self.groups -= earlier.groups;
        self.records -= earlier.records;
        self.bytes -= earlier.bytes;
        self.cpu_us -= earlier.cpu_us;
        self.requests -= earlier.requests;
        self.sync_us.subtract(&earlier.sync_us).map_err(|error| error.to_string())
    }
}

impl Ledger {
    /// Begins with what the node says at the beginning of the run.
    pub(crate) fn new(stats: Stats) -> Result<Self, String> {
        Ok(Self { base: Some(stats.clone()), last: stats, earlier: Counted::nothing()?, restarts: Vec::new() })
    }

    /// The node's figures of a later moment.
    pub(crate) fn note(&mut self, stats: Stats, at: Duration) -> Result<(), String> {
        if is_of_the_same_process(&self.last, &stats) {
            self.last = stats;
            return Ok(());
        }
        let done = self.of_the_present()?;
        self.earlier.add(&done)?;
        let times = stats.opening.saturating_sub(self.last.opening).max(1);
        let is_listed = self.restarts.len() < RESTARTS_LISTED_MAX;
        match self.restarts.last_mut() {
            Some(last) if !is_listed => last.times += times,
            Some(_) | None => self.restarts.push(Restart { at, times }),
        }
        self.base = None;
        self.last = stats;
        Ok(())
    }

    /// All that is known.
    pub(crate) fn total(&self) -> Result<Counted, String> {
        let mut total = self.of_the_present()?;
        total.add(&self.earlier)?;
        Ok(total)
    }

    /// The restarts that were seen.
    pub(crate) fn restarts(&self) -> &[Restart] {
        &self.restarts
    }

    fn of_the_present(&self) -> Result<Counted, String> {
        let mut done = Counted::of(&self.last)?;
        if let Some(base) = &self.base {
            done.subtract(&Counted::of(base)?)?;
        }
        Ok(done)
    }
}

/// Counters never fall: where one does, another log answers that happens to have been opened as often.
fn is_of_the_same_process(before: &Stats, after: &Stats) -> bool {
    let counters = |stats: &Stats| [stats.groups, stats.records, stats.bytes, stats.cpu_us, stats.requests];
    let grown = counters(after).iter().zip(counters(before)).all(|(after, before)| *after >= before);
    after.opening == before.opening && grown
}

#[cfg(test)]
mod tests {
    use super::*;
    use hdrhistogram::serialization::{Serializer, V2Serializer};
    use protocol::Role;

    fn stats(opening: u64, groups: u64, syncs: &[u64]) -> Stats {
        let mut histogram = Histogram::<u64>::new(2).unwrap();
        syncs.iter().for_each(|us| histogram.record(*us).unwrap());
        let mut sync_us = Vec::new();
        V2Serializer::new().serialize(&histogram, &mut sync_us).unwrap();
        Stats {
            role: Role::Participant,
            node: 1,
            groups,
            records: 2 * groups,
            bytes: 4_096 * groups,
            cpu_us: 10 * groups,
            sync_us: sync_us.into(),
            peers: Vec::new(),
            scrubbed_bytes: 0,
            scrub_passes: 0,
            scrub_findings: 0,
            durable_lsn: 4_096 * groups,
            opening,
            requests: 5 * groups,
        }
    }

    const S: Duration = Duration::from_secs(1);

    #[test]
    fn what_was_before_the_run_does_not_count() {
        let mut ledger = Ledger::new(stats(3, 100, &[9_000; 100])).unwrap();
        ledger.note(stats(3, 102, &[&[9_000; 100][..], &[100; 2]].concat()), S).unwrap();
        let total = ledger.total().unwrap();
        assert_eq!((total.groups, total.records, total.bytes, total.cpu_us, total.requests), (2, 4, 8_192, 20, 10));
        assert_eq!((total.sync_us.len(), total.sync_us.max()), (2, 100));
        assert_eq!(ledger.restarts(), []);
    }

    #[test]
    fn a_restart_is_seen_and_what_was_known_before_it_is_kept() {
        let mut ledger = Ledger::new(stats(3, 100, &[50; 100])).unwrap();
        ledger.note(stats(3, 140, &[50; 140]), S).unwrap();
        // It has already done more than it ever had before: only the opening tells.
        ledger.note(stats(4, 500, &[70; 500]), 2 * S).unwrap();
        ledger.note(stats(4, 510, &[70; 510]), 3 * S).unwrap();
        ledger.note(stats(7, 1, &[80; 1]), 4 * S).unwrap();
        let total = ledger.total().unwrap();
        assert_eq!((total.groups, total.sync_us.len()), (40 + 510 + 1, 40 + 510 + 1));
        assert_eq!(ledger.restarts(), [Restart { at: 2 * S, times: 1 }, Restart { at: 4 * S, times: 3 }]);
    }

    #[test]
    fn counters_that_fall_under_the_same_opening_are_another_log() {
        let mut ledger = Ledger::new(stats(1, 100, &[50; 100])).unwrap();
        ledger.note(stats(1, 30, &[60; 30]), S).unwrap();
        assert_eq!(ledger.total().unwrap().groups, 30);
        assert_eq!(ledger.restarts(), [Restart { at: S, times: 1 }]);
    }

    #[test]
    fn any_number_of_restarts_is_counted_within_a_bound() {
        let mut ledger = Ledger::new(stats(1, 1, &[])).unwrap();
        (2..1_002).for_each(|opening| ledger.note(stats(opening, 1, &[]), S).unwrap());
        assert_eq!(ledger.restarts().len(), RESTARTS_LISTED_MAX);
        assert_eq!(ledger.restarts().iter().map(|restart| restart.times).sum::<u64>(), 1_000);
        assert_eq!(ledger.total().unwrap().groups, 1_000);
    }
}
