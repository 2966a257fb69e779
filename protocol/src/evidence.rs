//! Evidence of what logs once held, kept by those who were told. Coordinators and participants keep it of each other.
//!
//! A node tells a peer where a record of its log stands, after the record is durable: a participant with every promise
//! and every one-phase commit, a coordinator with every decision. The peer states the latest one back on each connection,
//! in its claim. If that record is not among those that this log shows to have been told to this peer, then the log has
//! lost records, or another process has written to a copy of it.
//!
//! A claim is evidence of the two logs alone: a peer that claims what never was stops what is between it and this node, and
//! nobody else's work. Only when two peers claim so, it is taken for true by everybody.
//!
//! Invariant: nothing that a peer is to be told of is logged before the peer's claim was judged. So what stands in
//! the log for it was told before the loss, or is not there: what grows after a loss cannot hide it, and a restart finds
//! it again.
//!
//! Not here: what follows for a participant (`participant/src/evidence.rs`) and for a coordinator
//! (`coordinator/src/peers.rs`); which process may claim anything (`fencing`).

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use planted::planted;
use seam::{Index, Position};

use crate::id::Role;
use crate::limits::TOLD_MAX;
use crate::machine::Effects;
use crate::record::Record;

/// Positions in this log that were told to one peer, or may have been: the latest, in order.
#[derive(Debug, Default)]
struct Told {
    positions: VecDeque<Position>,
    /// Before here some are not kept.
    complete_from: Index,
}

impl Told {
    fn add(&mut self, at: Position) {
        if at.index < self.complete_from || !at.is_known() {
            return;
        }
        if self.latest().index < at.index {
            self.positions.push_back(at);
        } else if let Err(after) = self.positions.binary_search_by_key(&at.index, |told| told.index) {
            self.positions.insert(after, at);
        }
        if self.positions.len() > TOLD_MAX {
            self.positions.pop_front();
            self.complete_from = self.positions[0].index;
        }
    }

    fn latest(&self) -> Position {
        self.positions.back().copied().unwrap_or_default()
    }

    fn may_include(&self, stated: Position) -> bool {
        stated.index < self.complete_from
            || self
                .positions
                .binary_search_by_key(&stated.index, |told| told.index)
                .is_ok_and(|at| self.positions[at] == stated)
    }
}

/// What a node has told its peers of its log, what it has heard of theirs, and what it was shown.
#[derive(Debug, Default)]
pub struct Evidence {
    told: BTreeMap<u32, Told>,
    /// For each peer, the latest position in its log that it has stated, so that it was durable there.
    heard: BTreeMap<u32, Position>,
    /// Whose claim was judged since this process started.
    judged: BTreeSet<u32>,
    /// Whose claim stated a record that is not here.
    contradicted_by: BTreeSet<u32>,
    /// Before here the operator has given up what is not here any more.
    accepted_until: Index,
    /// Before here numbers may have been told of that were forgotten since.
    complete_from: Index,
}

impl Evidence {
    /// A record of which a peer is told stands here.
    pub fn tell(&mut self, peer: u32, at: Position) {
        self.told_to(peer).add(at);
    }

    fn told_to(&mut self, peer: u32) -> &mut Told {
        let complete_from = self.complete_from;
        self.told.entry(peer).or_insert_with(|| Told { complete_from, ..Told::default() })
    }

    /// The latest that a peer was told of stands here; what it was told before is not kept.
    pub fn told_until(&mut self, peer: u32, at: Position) {
        let told = self.told_to(peer);
        told.complete_from = told.complete_from.max(at.index);
        told.positions.retain(|position| position.index >= at.index);
        told.add(at);
    }

    /// A peer has stated where a record of its log stands.
    pub fn hear(&mut self, peer: u32, at: Position) {
        if at.is_known() {
            let latest = self.heard.entry(peer).or_default();
            *latest = latest.later(at);
        }
    }

    /// A peer goes on with another log: what it said of the one before says nothing of this one.
    pub fn forget_log(&mut self, peer: u32) {
        self.heard.remove(&peer);
        self.judged.remove(&peer);
        self.contradicted_by.remove(&peer);
    }

    /// A peer will not come back. If it does, what it states of before here cannot be judged.
    pub fn forget(&mut self, peer: u32, at: Index) {
        self.forget_log(peer);
        self.told.remove(&peer);
        self.complete_from(at);
    }

    /// A checkpoint stands here: it names all peers that were told of anything before, except those that were forgotten.
    pub fn complete_from(&mut self, at: Index) {
        self.complete_from = self.complete_from.max(at);
    }

    /// The latest that was heard from a peer: what it is to be stated.
    #[must_use]
    pub fn heard(&self, peer: u32) -> Position {
        self.heard.get(&peer).copied().unwrap_or_default()
    }

    /// Takes a peer's claim. Returns the latest that it was told of, if what it claims is not here.
    pub fn judge(&mut self, peer: u32, stated: Position) -> Option<Position> {
        self.judged.insert(peer);
        let accepted_until = self.accepted_until;
        let told = self.told_to(peer);
        let is_accounted_for = !stated.is_known() || stated.index < accepted_until || told.may_include(stated);
        if is_accounted_for || planted!("loss-unheard") {
            self.contradicted_by.remove(&peer);
            return None;
        }
        let latest = told.latest();
        self.contradicted_by.insert(peer);
        Some(latest)
    }

    /// Whether a peer's claim was judged since this process started.
    #[must_use]
    pub fn is_judged(&self, peer: u32) -> bool {
        self.judged.contains(&peer)
    }

    /// Whether any peer has claimed what is not in this log.
    #[must_use]
    pub fn is_lost(&self) -> bool {
        !self.contradicted_by.is_empty()
    }

    /// Whether this log is to be taken as one that has lost records in what concerns a peer: it has claimed so, or two
    /// others have.
    #[must_use]
    pub fn is_lost_for(&self, peer: u32) -> bool {
        self.contradicted_by.contains(&peer) || self.contradicted_by.len() > 1
    }

    /// The operator gave up what had stood before `until`.
    pub fn accept(&mut self, until: Index) {
        self.accepted_until = self.accepted_until.max(until);
    }

    /// Logs again, for a checkpoint of a node of this role.
    pub fn log(&self, role: Role, effects: &mut Effects<'_>) {
        let told: Vec<(u32, Position)> = self.told.iter().map(|(peer, told)| (*peer, told.latest())).collect();
        let told: Vec<_> = told.into_iter().filter(|(_, at)| at.is_known()).collect();
        let heard: Vec<(u32, Position)> = self.heard.iter().map(|(peer, at)| (*peer, *at)).collect();
        let (promises, decisions) = if role == Role::Participant { (told, heard) } else { (heard, told) };
        if !promises.is_empty() {
            effects.log(&Record::Stated(promises));
        }
        if !decisions.is_empty() {
            effects.log(&Record::StatedDecisions(decisions));
        }
        if self.accepted_until > Index::ZERO {
            effects.log(&Record::LossAccepted { until: self.accepted_until });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(index: u64, hash: u64) -> Position {
        Position { index: Index(index), hash }
    }

    #[test]
    fn a_claim_of_a_record_that_was_never_told_shows_a_loss() {
        let judged = |stated| {
            let mut evidence = Evidence::default();
            evidence.tell(1, at(20, 7));
            evidence.tell(1, at(10, 3));
            (evidence.judge(1, stated), evidence.is_lost_for(1))
        };
        for here in [Position::UNKNOWN, at(10, 3), at(20, 7)] {
            assert_eq!(judged(here), (None, false));
        }
        for lost in [at(20, 8), at(21, 7), at(10, 4), at(15, 3), at(5, 1)] {
            assert_eq!(judged(lost), (Some(at(20, 7)), true));
        }
    }

    #[test]
    fn what_is_not_kept_proves_nothing() {
        let mut evidence = Evidence::default();
        evidence.tell(1, at(10, 3));
        evidence.told_until(1, at(20, 7));
        assert_eq!(evidence.judge(1, at(15, 1)), None);
        assert!(evidence.judge(1, at(20, 1)).is_some());
        for index in 30..30 + TOLD_MAX as u64 {
            evidence.tell(1, at(index, 9));
        }
        assert_eq!(evidence.judge(1, at(25, 1)), None);
        assert!(evidence.judge(1, at(40, 1)).is_some());
    }

    #[test]
    fn one_peer_alone_stops_nobody_else() {
        let mut evidence = Evidence::default();
        evidence.tell(1, at(20, 7));
        assert_eq!(evidence.judge(2, at(10, 3)), Some(Position::UNKNOWN));
        assert!(evidence.is_judged(2) && !evidence.is_judged(1));
        assert!(evidence.is_lost_for(2) && !evidence.is_lost_for(1));
        assert!(evidence.judge(3, at(10, 3)).is_some() && evidence.is_lost_for(1));
    }

    #[test]
    fn what_was_given_up_is_no_news() {
        let mut evidence = Evidence::default();
        evidence.accept(Index(30));
        assert_eq!((evidence.judge(1, at(29, 3)), evidence.is_lost()), (None, false));
        assert_eq!((evidence.judge(1, at(30, 3)), evidence.is_lost()), (Some(Position::UNKNOWN), true));
        evidence.forget_log(1);
        assert!(!evidence.is_lost());
    }
}
