//! The facts of all logs against each other.
//!
//! What a coordinator says of a participant is looked up there, and what participants say is compared with their
//! coordinator and among themselves. Where a log does not reach back far enough, or cannot be read, the case is counted.

use std::collections::{BTreeMap, BTreeSet};

use protocol::{Attempt, Index, Position, TxnId};

use crate::coordinator::{CoordinatorFacts, Decision, Elsewhere};
use crate::extent::{Coverage, Extent};
use crate::limits::{FINDINGS_MAX, IN_DOUBT_MAX};
use crate::participant::{Event, Kind, ParticipantFacts};
use crate::read::{AuditError, Facts, Log};
use crate::report::{Fault, Finding, InDoubt, NodeName, Report};

struct Judge<'a> {
    coordinators: BTreeMap<u32, (&'a CoordinatorFacts, &'a Extent)>,
    participants: BTreeMap<u32, (&'a ParticipantFacts, &'a Extent)>,
    not_given: BTreeSet<NodeName>,
    /// Records that a finding names already.
    named: BTreeSet<(u32, Index)>,
    report: Report,
}

/// Compares the logs of one cluster.
///
/// # Errors
/// Two logs are of one node, or of different clusters.
pub fn judge(logs: &[Log]) -> Result<Report, AuditError> {
    check_given(logs)?;
    let mut judge = Judge {
        coordinators: BTreeMap::new(),
        participants: BTreeMap::new(),
        not_given: BTreeSet::new(),
        named: BTreeSet::new(),
        report: Report::default(),
    };
    for log in logs {
        match (&log.facts, log.summary.node) {
            (Facts::Coordinator(facts), NodeName::Coordinator(number) | NodeName::Participant(number)) => {
                judge.coordinators.insert(number, (facts, &log.extent));
            }
            (Facts::Participant(facts), NodeName::Coordinator(number) | NodeName::Participant(number)) => {
                judge.participants.insert(number, (facts, &log.extent));
            }
        }
        judge.report.nodes.push(log.summary.clone());
    }
    judge.report.nodes.sort_by_key(|node| node.node);
    judge.judge_coordinators();
    judge.judge_commits();
    judge.judge_aborts();
    judge.judge_promises();
    judge.judge_stated();
    judge.report.not_given = judge.not_given.into_iter().collect();
    Ok(judge.report)
}

fn check_given(logs: &[Log]) -> Result<(), AuditError> {
    for (at, log) in logs.iter().enumerate() {
        if let Some(first) = logs[..at].iter().find(|first| first.summary.node == log.summary.node) {
            let (first, second) = (first.summary.dir.clone(), log.summary.dir.clone());
            return Err(AuditError::Twice { node: log.summary.node, first, second });
        }
        if log.cluster != logs[0].cluster {
            let (first, second) = (logs[0].summary.dir.clone(), log.summary.dir.clone());
            return Err(AuditError::OtherCluster { first, one: logs[0].cluster, second, other: log.cluster });
        }
    }
    Ok(())
}

impl<'a> Judge<'a> {
    fn find(&mut self, txn: Option<TxnId>, attempt: Option<Attempt>, by: NodeName, fault: Fault) {
        if let Fault::PromiseMissing { participant: NodeName::Participant(number), at, .. }
        | Fault::CommitMissing { participant: NodeName::Participant(number), at, .. } = fault
        {
            self.named.insert((number, at.index));
        }
        if self.report.findings.len() < FINDINGS_MAX {
            self.report.findings.push(Finding { txn, attempt, by, fault });
        } else {
            self.report.findings_dropped += 1;
        }
    }

    /// A participant's log, or that its directory was not given.
    fn participant(&mut self, number: u32) -> Option<(&'a ParticipantFacts, &'a Extent)> {
        let given = self.participants.get(&number).copied();
        if given.is_none() {
            self.not_given.insert(NodeName::Participant(number));
            self.report.untold.not_given += 1;
        }
        given
    }

    /// What coordinators say of participants.
    fn judge_coordinators(&mut self) {
        for (number, (facts, _)) in self.coordinators.clone() {
            for (txn, decisions) in &facts.decided {
                for decision in decisions {
                    for (participant, at) in &decision.participants {
                        self.judge_decision(number, (*txn, decision), *participant, *at);
                    }
                }
            }
            for (txn, elsewhere) in &facts.elsewhere {
                self.judge_elsewhere(number, *txn, *elsewhere);
            }
        }
    }

    fn judge_decision(
        &mut self,
        coordinator: u32,
        (txn, decision): (TxnId, &Decision),
        participant: u32,
        at: Position,
    ) {
        let Some((facts, extent)) = self.participant(participant) else { return };
        let (by, attempt) = (NodeName::Coordinator(coordinator), decision.attempt);
        let participant = NodeName::Participant(participant);
        let is_of = |event: &&Event| event.attempt == attempt && event.coordinator.is_none_or(|c| c == coordinator);
        let events: Vec<&Event> = facts.of(txn).iter().filter(is_of).collect();
        let of_kind = |kind| events.iter().find(|event| event.kind == kind);
        let log_end = extent.end;
        let remembered = facts.remembered.get(&txn) == Some(&(attempt, coordinator));
        let fault = if let Some(committed) = of_kind(Kind::Committed) {
            let other = committed.at;
            let is_other = other.is_known() && !is_same(at, other);
            is_other.then_some(Fault::OtherPromise { participant, at, other })
        } else if remembered {
            None
        } else if of_kind(Kind::Aborted).is_some() {
            Some(Fault::DecidedDifferently { committed: by, aborted: participant })
        } else if events.iter().any(|event| event.kind == Kind::Promised && is_same(at, event.at)) {
            // It has acknowledged if all have; the acknowledgement stood after the promise.
            if decision.is_finished && !extent.is_whole() {
                self.report.untold.unread += 1;
                return;
            }
            decision.is_finished.then_some(Fault::CommitMissing { participant, at: Position::UNKNOWN, log_end })
        } else {
            match extent.coverage(at.index) {
                // In a log whose loss was accepted the checkpoint dropped nothing there: it was gone before.
                Coverage::Dropped if at.index >= facts.accepted_until => return self.report.untold.dropped += 1,
                Coverage::Unread if at.index == Index::ZERO => return self.report.untold.dropped += 1,
                Coverage::Unread => return self.report.untold.unread += 1,
                Coverage::Dropped | Coverage::Read | Coverage::Past => {
                    Some(Fault::PromiseMissing { participant, at, log_end })
                }
            }
        };
        match fault {
            Some(fault) => self.find(Some(txn), Some(attempt), by, fault),
            None => self.report.confirmed += 1,
        }
    }

    fn judge_elsewhere(&mut self, coordinator: u32, txn: TxnId, elsewhere: Elsewhere) {
        let Some(number) = elsewhere.participant else { return self.report.untold.dropped += 1 };
        let Some((facts, extent)) = self.participant(number) else { return };
        let (participant, at) = (NodeName::Participant(number), elsewhere.committed_at);
        let by = NodeName::Coordinator(coordinator);
        if facts.committed(txn) {
            let stands = |event: &&Event| event.kind == Kind::CommittedOnePhase;
            let here = facts.of(txn).iter().find(stands).map(|event| event.at);
            return match here {
                Some(other) if at.is_known() && other != at && !facts.told.contains(&at) => {
                    self.find(Some(txn), Some(elsewhere.attempt), by, Fault::OtherPromise { participant, at, other });
                }
                Some(_) | None => self.report.confirmed += 1,
            };
        }
        match extent.coverage(at.index) {
            Coverage::Dropped if at.index >= facts.accepted_until => self.report.untold.dropped += 1,
            Coverage::Unread if at.index == Index::ZERO => self.report.untold.dropped += 1,
            Coverage::Unread => self.report.untold.unread += 1,
            Coverage::Dropped | Coverage::Read | Coverage::Past => {
                let fault = Fault::CommitMissing { participant, at, log_end: extent.end };
                self.find(Some(txn), Some(elsewhere.attempt), by, fault);
            }
        }
    }

    /// Every transaction commits under one attempt of one coordinator.
    fn judge_commits(&mut self) {
        let mut commits: BTreeMap<TxnId, (NodeName, Attempt, u32)> = BTreeMap::new();
        let mut twice = Vec::new();
        let mut commit = |txn: TxnId, node: NodeName, attempt: Attempt, coordinator: u32| {
            let (first, by_attempt, by_coordinator) = *commits.entry(txn).or_insert((node, attempt, coordinator));
            if (by_attempt, by_coordinator) != (attempt, coordinator) {
                let fault = Fault::CommittedTwice { first, second: node, other_attempt: attempt };
                twice.push((txn, by_attempt, node, fault));
            }
        };
        for (number, (facts, _)) in &self.coordinators {
            for (txn, decisions) in &facts.decided {
                let node = NodeName::Coordinator(*number);
                decisions.iter().for_each(|decision| commit(*txn, node, decision.attempt, *number));
            }
        }
        for (number, (facts, _)) in &self.participants {
            let node = NodeName::Participant(*number);
            let events = facts.events.iter().flat_map(|(txn, events)| events.iter().map(move |event| (txn, event)));
            for (txn, event) in events {
                match (event.kind, event.coordinator) {
                    (Kind::Committed | Kind::CommittedOnePhase, Some(coordinator)) => {
                        commit(*txn, node, event.attempt, coordinator);
                    }
                    (Kind::Committed | Kind::CommittedOnePhase, None) | (Kind::Promised | Kind::Aborted, _) => {}
                }
            }
        }
        for (txn, attempt, node, fault) in twice {
            self.find(Some(txn), Some(attempt), node, fault);
        }
    }

    /// What one participant committed, its coordinator decided, and no other one aborted.
    fn judge_aborts(&mut self) {
        let mut aborted: BTreeMap<(TxnId, Attempt, u32), NodeName> = BTreeMap::new();
        let mut committed = Vec::new();
        for (number, (facts, _)) in &self.participants {
            let node = NodeName::Participant(*number);
            for (txn, event) in facts.events.iter().flat_map(|(txn, all)| all.iter().map(move |event| (*txn, *event))) {
                match (event.kind, event.coordinator) {
                    (Kind::Aborted, Some(coordinator)) => _ = aborted.insert((txn, event.attempt, coordinator), node),
                    (Kind::Committed, Some(coordinator)) => committed.push((txn, event.attempt, coordinator, node)),
                    (Kind::Aborted | Kind::Committed, None) | (Kind::Promised | Kind::CommittedOnePhase, _) => {}
                }
            }
        }
        for (txn, attempt, coordinator, node) in self.remembered_commits() {
            self.compare_with_aborts(&aborted, (txn, attempt, coordinator), node);
        }
        for (txn, attempt, coordinator, node) in committed {
            self.compare_with_aborts(&aborted, (txn, attempt, coordinator), node);
            match self.coordinators.get(&coordinator).copied() {
                Some((facts, _)) if facts.decided(txn, attempt) => self.report.confirmed += 1,
                Some((_, extent)) if !extent.is_whole() => self.report.untold.unread += 1,
                Some((_, extent)) if !extent.is_from_birth => self.report.untold.dropped += 1,
                Some(_) => self.find(Some(txn), Some(attempt), node, Fault::NotDecided { committed: node }),
                None => {
                    self.not_given.insert(NodeName::Coordinator(coordinator));
                    self.report.untold.not_given += 1;
                }
            }
        }
    }

    /// What nodes remember to have been committed although the records are gone: with attempt, coordinator, and who says so.
    fn remembered_commits(&self) -> Vec<(TxnId, Attempt, u32, NodeName)> {
        let by_participants = self.participants.iter().flat_map(|(number, (facts, _))| {
            let node = NodeName::Participant(*number);
            let has_record = |txn: TxnId| facts.of(txn).iter().any(|event| event.kind == Kind::Committed);
            let remembered = facts.remembered.iter().filter(move |(txn, _)| !has_record(**txn));
            remembered.map(move |(txn, (attempt, coordinator))| (*txn, *attempt, *coordinator, node))
        });
        let by_coordinators = self.coordinators.iter().flat_map(|(number, (facts, _))| {
            // What it decided in this log is compared with each participant by itself.
            let remembered = facts.remembered.iter().filter(|(txn, _)| !facts.decided.contains_key(txn));
            remembered.map(|(txn, attempt)| (*txn, *attempt, *number, NodeName::Coordinator(*number)))
        });
        by_participants.chain(by_coordinators).collect()
    }

    /// Nobody else may have aborted what a node committed.
    fn compare_with_aborts(
        &mut self,
        aborted: &BTreeMap<(TxnId, Attempt, u32), NodeName>,
        committed: (TxnId, Attempt, u32),
        node: NodeName,
    ) {
        let (txn, attempt, _) = committed;
        if let Some(other) = aborted.get(&committed).copied().filter(|other| *other != node) {
            let fault = Fault::DecidedDifferently { committed: node, aborted: other };
            self.find(Some(txn), Some(attempt), node, fault);
        }
    }

    /// What is promised and not resolved.
    fn judge_promises(&mut self) {
        for (number, (facts, _)) in self.participants.clone() {
            for txn in facts.events.keys() {
                let Some(Event { attempt, coordinator: Some(coordinator), .. }) = facts.in_doubt(*txn) else {
                    continue;
                };
                let commits = self.coordinators.get(&coordinator).map(|(facts, _)| facts.decided(*txn, attempt));
                let decider = NodeName::Coordinator(coordinator);
                if commits.is_none() {
                    self.not_given.insert(decider);
                }
                if self.report.in_doubt.len() < IN_DOUBT_MAX {
                    let participant = NodeName::Participant(number);
                    let in_doubt = InDoubt { txn: *txn, attempt, participant, coordinator: decider, commits };
                    self.report.in_doubt.push(in_doubt);
                } else {
                    self.report.in_doubt_dropped += 1;
                }
            }
        }
    }

    /// What nodes have heard of places in the logs of others, whichever transaction it was.
    fn judge_stated(&mut self) {
        for (number, (facts, _)) in self.coordinators.clone() {
            for (participant, at) in &facts.stated {
                let Some((told, extent)) = self.participant(*participant) else { continue };
                let is_here = told.told.contains(at) || at.index < told.accepted_until;
                if !is_here && self.named.contains(&(*participant, at.index)) {
                    continue;
                }
                let (by, of) = (NodeName::Coordinator(number), NodeName::Participant(*participant));
                self.judge_heard(by, of, *at, is_here, extent);
            }
        }
        for (number, (facts, _)) in self.participants.clone() {
            for (coordinator, at) in &facts.heard {
                let (by, of) = (NodeName::Participant(number), NodeName::Coordinator(*coordinator));
                let Some((told, extent)) = self.coordinators.get(coordinator).copied() else {
                    self.not_given.insert(of);
                    self.report.untold.not_given += 1;
                    continue;
                };
                let is_here = told.told.contains(at) || at.index < told.accepted_until;
                self.judge_heard(by, of, *at, is_here, extent);
            }
        }
    }

    fn judge_heard(&mut self, by: NodeName, of: NodeName, at: Position, is_here: bool, extent: &Extent) {
        match extent.coverage(at.index) {
            _ if is_here => self.report.confirmed += 1,
            Coverage::Dropped => self.report.untold.dropped += 1,
            Coverage::Unread => self.report.untold.unread += 1,
            Coverage::Read | Coverage::Past => {
                self.find(None, None, by, Fault::RecordMissing { node: of, at, log_end: extent.end });
            }
        }
    }
}

/// Whether a position that was told is this one, as far as it was told.
fn is_same(told: Position, here: Position) -> bool {
    !told.is_known() || told == here
}
