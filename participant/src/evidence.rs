//! Evidence of what this log once held, kept by those who were told.
//!
//! A position is told to a coordinator with every promise and every one-phase commit, after its record is durable. The
//! coordinator states the latest one back, as its witness, before it sends prepares. If that record is neither in this
//! log nor superseded by a later one for the same coordinator, then the log has lost records that it had acknowledged.
//!
//! Invariant: for a coordinator nothing is promised before its witness was judged. So what stands in the log for it
//! was told before the loss, or is not there: what grows after a loss cannot hide it, and a restart finds it again.
//!
//! Not here: what a single promise is compared with (`outcome.rs`).

use std::collections::{BTreeMap, BTreeSet};

use protocol::{Effects, Lsn, Message, NodeId, Position, Reason, Record};

use crate::machine::Participant;

/// What this participant has told, and what it was shown.
#[derive(Debug, Default)]
pub(crate) struct Evidence {
    /// For each coordinator, the latest position in this log that was told to it or may have been.
    stated: BTreeMap<u32, Position>,
    /// Whose witness was judged since this process started.
    witnessed: BTreeSet<u32>,
    /// Whether a witness stated a record that is not here.
    is_lost: bool,
    /// Before here the operator has given up what is not here any more.
    accepted_until: Lsn,
}

impl Evidence {
    /// Where a promise or one-phase commit for a coordinator stands.
    pub(crate) fn state(&mut self, coordinator: u32, at: Position) {
        let latest = self.stated.entry(coordinator).or_default();
        *latest = latest.later(at);
    }

    /// Why nothing may be promised to a coordinator.
    pub(crate) fn objection(&self, coordinator: u32) -> Option<Reason> {
        if self.is_lost {
            Some(Reason::LogLost)
        } else if !self.witnessed.contains(&coordinator) {
            Some(Reason::NoWitness)
        } else {
            None
        }
    }

    /// Whether it is known that this log has lost records.
    pub(crate) fn is_lost(&self) -> bool {
        self.is_lost
    }

    /// Takes a witness. Returns what this log has instead, if the record is lost.
    fn judge(&mut self, coordinator: u32, stated: Position) -> Option<Position> {
        self.witnessed.insert(coordinator);
        let held = self.stated.get(&coordinator).copied().unwrap_or_default();
        let is_here = stated.lsn < held.lsn || stated == held;
        if is_here || !stated.is_known() || stated.lsn < self.accepted_until {
            return None;
        }
        self.is_lost = true;
        Some(held)
    }

    /// Logs again, for a checkpoint.
    pub(crate) fn log(&self, effects: &mut Effects<'_>) {
        if !self.stated.is_empty() {
            effects.log(&Record::Stated(self.stated.iter().map(|(number, at)| (*number, *at)).collect()));
        }
        if self.accepted_until > Lsn(0) {
            effects.log(&Record::LossAccepted { until: self.accepted_until });
        }
    }

    /// The operator gave up what had stood before `until`.
    pub(crate) fn accept(&mut self, until: Lsn) {
        self.accepted_until = self.accepted_until.max(until);
    }
}

impl Participant {
    pub(crate) fn on_witness(&mut self, coordinator: u32, stated: Position, effects: &mut Effects<'_>) {
        if !self.fences.contains_key(&coordinator) {
            // No hello of it was taken: there are too many coordinators, or it broke the protocol.
            return;
        }
        if let Some(held) = self.evidence.judge(coordinator, stated) {
            effects.send(NodeId::coordinator(coordinator), &Message::LogLost { stated, held });
        }
    }
}
