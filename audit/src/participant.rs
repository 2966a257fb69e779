//! What a participant's log says of transactions.

use std::collections::{BTreeMap, BTreeSet};

use protocol::record::Promise;
use protocol::{Attempt, Index, Position, Record, TxnId};

/// The facts.
#[derive(Clone, Debug, Default)]
pub(crate) struct ParticipantFacts {
    /// What happened to each transaction, in order.
    pub(crate) events: BTreeMap<TxnId, Vec<Event>>,
    pub(crate) events_count: usize,
    /// What it remembers to have committed: attempt and coordinator.
    pub(crate) remembered: BTreeMap<TxnId, (Attempt, u32)>,
    /// Every place of a promise or a one-phase commit that it may have told anyone, those of older ones that it logged
    /// again included.
    pub(crate) told: BTreeSet<Position>,
    /// For each coordinator, the latest place of a decision that it has heard of.
    pub(crate) heard: BTreeMap<u32, Position>,
    /// Before here an operator has given up what is not there any more.
    pub(crate) accepted_until: Index,
}

/// One step of a transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Event {
    pub(crate) kind: Kind,
    pub(crate) attempt: Attempt,
    /// Who decides it, if that is known.
    pub(crate) coordinator: Option<u32>,
    /// Where the promise or the one-phase commit stands that it is about.
    pub(crate) at: Position,
}

/// What kind of step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Promised,
    Committed,
    CommittedOnePhase,
    Aborted,
}

impl ParticipantFacts {
    pub(crate) fn take(&mut self, at: Position, record: Record) {
        match record {
            Record::Prepared(promise) => self.promise(&promise, at),
            Record::PreparedAgain { promise, first_at } => self.promise(&promise, first_at),
            Record::CommittedOnePhase(promise) => {
                self.told.insert(at);
                self.push(promise.txn, Kind::CommittedOnePhase, promise.attempt, Some((promise.coordinator, at)));
            }
            Record::Committed { txn, attempt, decided_at } => {
                let coordinator = self.end(txn, Kind::Committed, attempt);
                coordinator.into_iter().for_each(|coordinator| self.hear(coordinator, decided_at));
            }
            Record::Aborted { txn, attempt } => _ = self.end(txn, Kind::Aborted, attempt),
            // What only read is not decided: where it is, this contradicts it.
            Record::Released { txn, attempt } => _ = self.end(txn, Kind::Aborted, attempt),
            Record::Outcomes(outcomes) => {
                let remembered =
                    outcomes.into_iter().map(|outcome| (outcome.txn, (outcome.attempt, outcome.coordinator)));
                self.remembered.extend(remembered);
            }
            Record::Stated(stated) => self.told.extend(stated.into_iter().map(|(_, at)| at)),
            Record::StatedDecisions(stated) => {
                stated.into_iter().for_each(|(coordinator, at)| self.hear(coordinator, at));
            }
            Record::LossAccepted { until } => self.accepted_until = self.accepted_until.max(until),
            Record::Fenced { .. }
            | Record::Retired { .. }
            | Record::Started { .. }
            | Record::Starts(_)
            | Record::Decided { .. }
            | Record::DecidedAgain { .. }
            | Record::DecidedElsewhere { .. }
            | Record::Finished { .. }
            | Record::Bins { .. } => {}
        }
    }

    fn promise(&mut self, promise: &Promise, at: Position) {
        self.told.insert(at);
        let (txn, attempt, coordinator) = (promise.txn, promise.attempt, promise.coordinator);
        let event = Event { kind: Kind::Promised, attempt, coordinator: Some(coordinator), at };
        // A checkpoint has logged it again.
        if !self.of(txn).contains(&event) {
            self.push(txn, Kind::Promised, attempt, Some((coordinator, at)));
        }
    }

    fn hear(&mut self, coordinator: u32, at: Position) {
        if at.is_known() {
            let latest = self.heard.entry(coordinator).or_default();
            *latest = latest.later(at);
        }
    }

    /// An outcome is about the last promise under its attempt. Returns its coordinator, if that is known.
    fn end(&mut self, txn: TxnId, kind: Kind, attempt: Attempt) -> Option<u32> {
        let promise = self.of(txn).iter().rev().find(|event| event.kind == Kind::Promised && event.attempt == attempt);
        let promised = promise.and_then(|event| Some((event.coordinator?, event.at)));
        self.push(txn, kind, attempt, promised);
        promised.map(|(coordinator, _)| coordinator)
    }

    fn push(&mut self, txn: TxnId, kind: Kind, attempt: Attempt, promised: Option<(u32, Position)>) {
        let coordinator = promised.map(|(coordinator, _)| coordinator);
        let at = promised.map_or(Position::UNKNOWN, |(_, at)| at);
        self.events.entry(txn).or_default().push(Event { kind, attempt, coordinator, at });
        self.events_count += 1;
    }

    /// What happened to a transaction here.
    pub(crate) fn of(&self, txn: TxnId) -> &[Event] {
        self.events.get(&txn).map_or(&[], Vec::as_slice)
    }

    /// Whether it committed here, under whatever attempt.
    pub(crate) fn committed(&self, txn: TxnId) -> bool {
        let is_commit = |event: &Event| matches!(event.kind, Kind::Committed | Kind::CommittedOnePhase);
        self.remembered.contains_key(&txn) || self.of(txn).iter().any(is_commit)
    }

    /// The promise whose outcome is not known here.
    pub(crate) fn in_doubt(&self, txn: TxnId) -> Option<Event> {
        let events = self.of(txn);
        let at = events.iter().rposition(|event| event.kind == Kind::Promised)?;
        let is_outcome = |event: &Event| match event.kind {
            Kind::Committed | Kind::Aborted => event.attempt == events[at].attempt,
            Kind::Promised | Kind::CommittedOnePhase => false,
        };
        let is_ended = events[at..].iter().any(is_outcome) || self.remembered.contains_key(&txn);
        (!is_ended).then_some(events[at])
    }
}
