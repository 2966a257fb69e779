//! What was seen on the way.

use std::collections::BTreeMap;
use std::ops::AddAssign;

use serde_json::{Value, json};

use crate::sim::fault::Kind;

/// One run with damage in so many may have it unnoticed, or a few: see [`Counts::too_much_unnoticed`].
const UNNOTICED_DIVISOR: u64 = 50;
const UNNOTICED_FEW: u64 = 3;

/// Counts of one run, or of many.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Runs.
    pub runs: u64,
    /// Transactions that clients asked for.
    pub transactions: u64,
    /// Of these, committed.
    pub committed: u64,
    /// Of these, aborted.
    pub aborted: u64,
    /// Of these, never answered.
    pub unknown: u64,
    /// Questions that were asked again.
    pub retries: u64,
    /// Nodes whose power was cut or whose log failed.
    pub crashes: u64,
    /// Starts on a log that was there before.
    pub recoveries: u64,
    /// Groups that a start cut off.
    pub torn_groups: u64,
    /// Messages that were lost, with their connection or alone.
    pub lost_messages: u64,
    /// Parts of transactions that were refused because of a lock.
    pub conflicts: u64,
    /// Checkpoints.
    pub checkpoints: u64,
    /// Starts that were refused because of damage, and alarms.
    pub reports: u64,
    /// Runs whose damage was reported.
    pub damage_reported: u64,
    /// Runs with damage that did no harm.
    pub damage_harmless: u64,
    /// Runs with damage that did harm, and that nobody reported.
    pub damage_unnoticed: u64,
    /// The longest time that a fresh client had to wait after a load's end, in microseconds.
    pub guest_us_max: u64,
    /// Events of all kinds.
    pub events: u64,
    /// Faults that happened.
    pub faults: BTreeMap<Kind, u64>,
}

impl Counts {
    /// A fault has happened.
    pub fn fault(&mut self, kind: Kind) {
        *self.faults.entry(kind).or_default() += 1;
    }

    /// What never happened and should have, over many runs.
    #[must_use]
    pub fn missing(&self) -> Vec<String> {
        let kinds = Kind::ALL.iter().filter(|kind| self.faults.get(kind).is_none_or(|count| *count == 0));
        let mut missing: Vec<String> = kinds.map(|kind| format!("{kind:?}")).collect();
        let others = [
            ("crashes", self.crashes),
            ("recoveries", self.recoveries),
            ("torn groups", self.torn_groups),
            ("lost messages", self.lost_messages),
            ("conflicts", self.conflicts),
            ("checkpoints", self.checkpoints),
            ("reports of damage", self.reports),
        ];
        missing.extend(others.iter().filter(|(_, count)| *count == 0).map(|(name, _)| (*name).to_owned()));
        missing
    }

    /// Whether more damage went unnoticed than the loss of the newest records explains.
    #[must_use]
    pub fn too_much_unnoticed(&self) -> bool {
        let damaged = self.damage_reported + self.damage_harmless + self.damage_unnoticed;
        self.damage_unnoticed > UNNOTICED_FEW.max(damaged / UNNOTICED_DIVISOR)
    }

    /// As a table.
    #[must_use]
    pub fn table(&self) -> String {
        let mut lines = vec![
            format!("{:>10}  runs", self.runs),
            format!(
                "{:>10}  transactions: {} committed, {} aborted, {} without an answer; {:.0} a run",
                self.transactions,
                self.committed,
                self.aborted,
                self.unknown,
                self.transactions as f64 / self.runs.max(1) as f64
            ),
            format!("{:>10}  asked again", self.retries),
            format!("{:>10}  conflicts", self.conflicts),
            format!("{:>10}  crashes, {} recoveries, {} torn groups", self.crashes, self.recoveries, self.torn_groups),
            format!("{:>10}  messages lost", self.lost_messages),
            format!("{:>10}  checkpoints", self.checkpoints),
            format!(
                "{:>10}  refusals and alarms; runs with damage: {} reported, {} harmless, {} unnoticed",
                self.reports, self.damage_reported, self.damage_harmless, self.damage_unnoticed
            ),
            format!(
                "{:>10.1}  seconds at most until a fresh client was served",
                self.guest_us_max as f64 / 1_000_000.0
            ),
        ];
        lines.extend(Kind::ALL.iter().map(|kind| {
            let count = self.faults.get(kind).copied().unwrap_or_default();
            format!("{count:>10}  {kind:?}")
        }));
        lines.join("\n")
    }

    /// For programs.
    #[must_use]
    pub fn json(&self) -> Value {
        let faults: BTreeMap<String, u64> =
            Kind::ALL.iter().map(|kind| (format!("{kind:?}"), self.faults.get(kind).copied().unwrap_or(0))).collect();
        json!({
            "runs": self.runs,
            "transactions": self.transactions,
            "committed": self.committed,
            "aborted": self.aborted,
            "unanswered": self.unknown,
            "asked_again": self.retries,
            "conflicts": self.conflicts,
            "crashes": self.crashes,
            "recoveries": self.recoveries,
            "torn_groups": self.torn_groups,
            "lost_messages": self.lost_messages,
            "checkpoints": self.checkpoints,
            "reports": self.reports,
            "damage_reported": self.damage_reported,
            "damage_harmless": self.damage_harmless,
            "damage_unnoticed": self.damage_unnoticed,
            "guest_us_max": self.guest_us_max,
            "events": self.events,
            "faults": faults,
        })
    }
}

impl AddAssign<&Counts> for Counts {
    fn add_assign(&mut self, other: &Self) {
        self.runs += other.runs;
        self.transactions += other.transactions;
        self.committed += other.committed;
        self.aborted += other.aborted;
        self.unknown += other.unknown;
        self.retries += other.retries;
        self.crashes += other.crashes;
        self.recoveries += other.recoveries;
        self.torn_groups += other.torn_groups;
        self.lost_messages += other.lost_messages;
        self.conflicts += other.conflicts;
        self.checkpoints += other.checkpoints;
        self.reports += other.reports;
        self.damage_reported += other.damage_reported;
        self.damage_harmless += other.damage_harmless;
        self.damage_unnoticed += other.damage_unnoticed;
        self.guest_us_max = self.guest_us_max.max(other.guest_us_max);
        self.events += other.events;
        for (kind, count) in &other.faults {
            *self.faults.entry(*kind).or_default() += count;
        }
    }
}
