//! Evidence of what logs once held, kept by those who were told. Coordinators and participants keep it of each other.
//!
//! A node tells a peer where a record of its log stands, after the record is durable: a participant with every promise
//! and every one-phase commit, a coordinator with every decision. The peer states the latest one back on each connection,
//! as its witness. If that record is neither in this log nor superseded by a later one for the same peer, then the log
//! has lost records that it had told of.
//!
//! Invariant: nothing that a peer is to be told of is logged before the peer's witness was judged. So what stands in
//! the log for it was told before the loss, or is not there: what grows after a loss cannot hide it, and a restart finds
//! it again.
//!
//! Not here: what follows for a participant (`participant/src/evidence.rs`) and for a coordinator
//! (`coordinator/src/witness.rs`).

use std::collections::{BTreeMap, BTreeSet};

use planted::planted;

use crate::id::{Lsn, Position, Role};
use crate::machine::Effects;
use crate::record::Record;

/// What a node has told its peers of its log, what it has heard of theirs, and what it was shown.
#[derive(Debug, Default)]
pub struct Evidence {
    /// For each peer, the latest position in this log that was told to it or may have been.
    told: BTreeMap<u32, Position>,
    /// For each peer, the latest position in its log that it has stated, so that it was durable there.
    heard: BTreeMap<u32, Position>,
    /// Whose witness was judged since this process started.
    witnessed: BTreeSet<u32>,
    /// Whether a witness stated a record that is not here.
    is_lost: bool,
    /// Before here the operator has given up what is not here any more.
    accepted_until: Lsn,
}

impl Evidence {
    /// A record of which a peer is told stands here.
    pub fn tell(&mut self, peer: u32, at: Position) {
        let latest = self.told.entry(peer).or_default();
        *latest = latest.later(at);
    }

    /// A peer has stated where a record of its log stands.
    pub fn hear(&mut self, peer: u32, at: Position) {
        if at.is_known() {
            let latest = self.heard.entry(peer).or_default();
            *latest = latest.later(at);
        }
    }

    /// The latest that was heard from a peer: what it is to be stated.
    #[must_use]
    pub fn heard(&self, peer: u32) -> Position {
        self.heard.get(&peer).copied().unwrap_or_default()
    }

    /// Takes a peer's witness. Returns what this log has instead, if the record is lost.
    pub fn judge(&mut self, peer: u32, stated: Position) -> Option<Position> {
        self.witnessed.insert(peer);
        let held = self.told.get(&peer).copied().unwrap_or_default();
        let is_here = stated.lsn < held.lsn || stated == held;
        if is_here || !stated.is_known() || stated.lsn < self.accepted_until || planted!("loss-unheard") {
            return None;
        }
        self.is_lost = true;
        Some(held)
    }

    /// Whether a peer's witness was judged since this process started.
    #[must_use]
    pub fn is_witnessed(&self, peer: u32) -> bool {
        self.witnessed.contains(&peer)
    }

    /// Whether it is known that this log has lost records.
    #[must_use]
    pub fn is_lost(&self) -> bool {
        self.is_lost
    }

    /// The operator gave up what had stood before `until`.
    pub fn accept(&mut self, until: Lsn) {
        self.accepted_until = self.accepted_until.max(until);
    }

    /// Logs again, for a checkpoint of a node of this role.
    pub fn log(&self, role: Role, effects: &mut Effects<'_>) {
        let (promises, decisions) =
            if role == Role::Participant { (&self.told, &self.heard) } else { (&self.heard, &self.told) };
        let all = |stated: &BTreeMap<u32, Position>| stated.iter().map(|(peer, at)| (*peer, *at)).collect();
        if !promises.is_empty() {
            effects.log(&Record::Stated(all(promises)));
        }
        if !decisions.is_empty() {
            effects.log(&Record::StatedDecisions(all(decisions)));
        }
        if self.accepted_until > Lsn(0) {
            effects.log(&Record::LossAccepted { until: self.accepted_until });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(lsn: u64, chain: u64) -> Position {
        Position { lsn: Lsn(lsn), chain }
    }

    #[test]
    fn a_witness_of_a_later_or_another_record_shows_a_loss() {
        let judged = |stated| {
            let mut evidence = Evidence::default();
            evidence.tell(1, at(20, 7));
            evidence.tell(1, at(10, 3));
            (evidence.judge(1, stated), evidence.is_lost())
        };
        for here in [Position::UNKNOWN, at(10, 9), at(20, 7)] {
            assert_eq!(judged(here), (None, false));
        }
        for lost in [at(20, 8), at(21, 7)] {
            assert_eq!(judged(lost), (Some(at(20, 7)), true));
        }
    }

    #[test]
    fn peers_are_judged_each_by_what_it_was_told() {
        let mut evidence = Evidence::default();
        evidence.tell(1, at(20, 7));
        assert_eq!(evidence.judge(2, at(10, 3)), Some(Position::UNKNOWN));
        assert!(evidence.is_witnessed(2) && !evidence.is_witnessed(1));
    }

    #[test]
    fn what_was_given_up_is_no_news() {
        let mut evidence = Evidence::default();
        evidence.accept(Lsn(30));
        assert_eq!((evidence.judge(1, at(29, 3)), evidence.is_lost()), (None, false));
        assert_eq!((evidence.judge(1, at(30, 3)), evidence.is_lost()), (Some(Position::UNKNOWN), true));
    }
}
