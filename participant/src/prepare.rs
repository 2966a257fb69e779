//! A prepare: whether it is new, what it locks, what it comes to, and the vote.

use std::cmp::Ordering;

use planted::planted;
use protocol::message::{Prepare, PrepareMode};
use protocol::record::Promise;
use protocol::{
    CommitMessage, Effects, Link, Machine, Message, NodeId, Operation, Place, Position, Reason, Record, Refusal, Room,
    Tick, operation,
};

use crate::active::{Active, Again, Prepared, Stage, Waiting};
use crate::execute::{self, Executed, Execution, locks_of, may_be_long};
use crate::limits::HELD_BYTES_MAX;
use crate::locks::Answer;
use crate::machine::{Participant, locks_of_promise};
use crate::room::{room_needed, takes_memory};

/// What a prepare meets.
enum Standing {
    /// Nothing is in its way.
    New,
    /// It is being worked on already, under this attempt or an earlier one.
    UnderWay,
    /// Nothing needs to be said.
    Ignore,
    /// The same attempt has promised already.
    Promised,
    /// The transaction committed here before.
    Committed,
    /// It is refused.
    Refused(Reason),
}

impl Participant {
    pub(crate) fn on_prepare(&mut self, now: Tick, coordinator: u32, prepare: Prepare, effects: &mut Effects<'_>) {
        if let Err(reason) = self.check_addressed(coordinator, &prepare) {
            if reason == Reason::NoClaim && self.has_committed(&prepare) {
                // So it is, whoever asks: it must not pass for an attempt that failed.
                return self.answer_committed(&prepare, effects);
            }
            // Reveals nothing of the data; and whoever sent it may name another's transaction, so it is not remembered.
            return effects.send_now(NodeId::coordinator(coordinator), &self.refusal_of(&prepare, reason.into()));
        }
        if self.is_refused_already(&prepare, effects) {
            return;
        }
        let digest = operation::digest(&prepare.operations, &mut self.scratch);
        match self.standing(&prepare, digest, effects) {
            Standing::Ignore => {}
            Standing::UnderWay => self.join(now, prepare, effects),
            Standing::New => self.begin(now, prepare, digest, effects),
            Standing::Promised => self.vote_again(now, prepare, digest, effects),
            Standing::Committed => self.answer_committed(&prepare, effects),
            Standing::Refused(reason) => {
                effects.send(NodeId::coordinator(coordinator), &self.vote_no(&prepare, reason.into()));
            }
        }
    }

    /// A one-phase attempt that was refused before stays refused, and is told so again: its first
    /// answer may have been lost. So does an attempt that its coordinator has ended.
    fn is_refused_already(&self, prepare: &Prepare, effects: &mut Effects<'_>) -> bool {
        let (txn, attempt) = (prepare.txn, prepare.attempt);
        match self.refused.get(prepare.coordinator, txn) {
            Some((latest, refusal)) if refusal.reason == Reason::Ended => {
                if attempt <= latest {
                    let vote = Message::Commit(CommitMessage::VoteNo { txn, attempt, refusal });
                    // Reveals nothing of the data.
                    effects.send_now(NodeId::coordinator(prepare.coordinator), &vote);
                }
                attempt <= latest
            }
            _ if prepare.mode != PrepareMode::OnePhase => false,
            Some(_) if planted!("refusal-forgotten") => false,
            Some((latest, refusal)) if attempt == latest => {
                let vote = Message::Commit(CommitMessage::VoteNo { txn, attempt, refusal });
                effects.send(NodeId::coordinator(prepare.coordinator), &vote);
                true
            }
            Some((latest, _)) => attempt < latest,
            None => false,
        }
    }

    fn has_committed(&mut self, prepare: &Prepare) -> bool {
        let digest = operation::digest(&prepare.operations, &mut self.scratch);
        self.committed.get(prepare.txn).is_some_and(|outcome| outcome.digest == digest)
    }

    fn check_addressed(&self, coordinator: u32, prepare: &Prepare) -> Result<(), Reason> {
        if !self.fencing.is_current(coordinator) && !planted!("stranger-obeyed") {
            return Err(Reason::NoClaim);
        }
        if !is_consistent(prepare) {
            return Err(Reason::Invalid);
        }
        if prepare.cluster != self.config.cluster
            || prepare.coordinator != coordinator
            || !prepare.participants.contains(&self.config.node)
        {
            return Err(Reason::WrongNode);
        }
        match prepare.attempt.epoch.cmp(&self.fencing.epoch_of(coordinator)) {
            Ordering::Less if !planted!("stale-epoch-taken") => Err(Reason::StaleEpoch),
            // An attempt is of the process that sends it.
            Ordering::Greater if !planted!("epoch-ahead-taken") => Err(Reason::WrongNode),
            Ordering::Less | Ordering::Equal | Ordering::Greater => Ok(()),
        }
    }

    /// What this participant knows of the transaction already. A later attempt ends an earlier one.
    fn standing(&mut self, prepare: &Prepare, digest: u64, effects: &mut Effects<'_>) -> Standing {
        let txn = prepare.txn;
        if let Some(outcome) = self.committed.get(txn).filter(|_| !planted!("retry-done-anew")) {
            return if outcome.digest == digest { Standing::Committed } else { Standing::Refused(Reason::IdReused) };
        }
        let Some(active) = self.txns.get(&txn) else { return Standing::New };
        if active.digest() != digest {
            return Standing::Refused(Reason::IdReused);
        }
        if active.coordinator() != prepare.coordinator {
            return Standing::Refused(Reason::Conflict);
        }
        match (prepare.attempt.cmp(&active.attempt()), active) {
            (Ordering::Less, _) => Standing::Ignore,
            (Ordering::Equal | Ordering::Greater, Active::Waiting(_)) => Standing::UnderWay,
            (Ordering::Equal, Active::Prepared(_)) => Standing::Promised,
            (Ordering::Greater, Active::Prepared(_)) => {
                self.abandon(txn, effects);
                Standing::New
            }
        }
    }

    fn begin(&mut self, now: Tick, prepare: Prepare, digest: u64, effects: &mut Effects<'_>) {
        let coordinator = NodeId::coordinator(prepare.coordinator);
        let answer_by = answer_by(now, &prepare);
        let objection =
            if answer_by <= now { Some(Reason::Unavailable) } else { self.no_room_for(&prepare, digest, effects) };
        if let Some(reason) = objection {
            // Reveals nothing of the data.
            return effects.send_now(coordinator, &self.vote_no(&prepare, reason.into()));
        }
        let (txn, until) = (prepare.txn, now.plus_us(u64::from(prepare.lock_wait_ms) * 1_000).min(answer_by));
        let answer = self.locks.acquire(txn, prepare.age, locks_of(&prepare.operations));
        let waiting = Waiting { prepare, digest, answer_by, stage: Stage::ForLocks { until } };
        match answer {
            Answer::Granted => self.run(now, waiting, effects),
            Answer::Waits => {
                self.timers.set(until, txn);
                self.keep(txn, Active::Waiting(Box::new(waiting)));
            }
            // Reveals nothing of the data.
            Answer::GivesWay => effects.send_now(coordinator, &self.vote_no(&waiting.prepare, Reason::Conflict.into())),
        }
    }

    /// What is under way is not begun once more: it goes on where it stands, for this attempt and as long as its vote is
    /// of use.
    fn join(&mut self, now: Tick, prepare: Prepare, effects: &mut Effects<'_>) {
        let (txn, answer_by) = (prepare.txn, answer_by(now, &prepare));
        if answer_by <= now {
            self.take(txn);
            return self.refuse(&prepare, Reason::Unavailable, effects);
        }
        if let Some(Active::Waiting(waiting)) = self.txns.get_mut(&txn) {
            waiting.prepare = prepare;
            waiting.answer_by = answer_by;
            self.timers.set(self.txns[&txn].due(), txn);
        }
    }

    fn no_room_for(&self, prepare: &Prepare, digest: u64, effects: &Effects<'_>) -> Option<Reason> {
        let logs = prepare.mode == PrepareMode::TwoPhase || prepare.operations.iter().any(Operation::writes);
        let objection = self.objection(prepare.coordinator);
        if objection.is_some() {
            objection
        } else if (self.txns.len() >= self.config.in_flight_txns_max && !planted!("participant-unbounded"))
            || self.is_full(operation::bytes_of_digest(digest))
        {
            Some(Reason::Busy)
        } else if logs && effects.room() == Room::Nothing {
            Some(Reason::NoSpace)
        } else {
            None
        }
    }

    /// The same again when it is known what has to be logged: it may have waited, and `append` writes
    /// more than it was asked with.
    fn no_room_to_log(&self, promise: &Promise, mode: PrepareMode, effects: &Effects<'_>) -> Option<Reason> {
        let objection = self.objection(promise.coordinator);
        if objection.is_some() {
            objection
        } else if effects.room() < room_needed(&self.table, promise) {
            Some(Reason::NoSpace)
        } else if !self.table.may_grow() && takes_memory(&self.table, promise) {
            Some(Reason::NoMemory)
        } else if mode != PrepareMode::OnePhase && self.is_full(promise.encoded_bytes()) {
            Some(Reason::Busy)
        } else {
            None
        }
    }

    /// Whether so many bytes more are too many.
    fn is_full(&self, bytes: usize) -> bool {
        self.held_bytes + bytes > HELD_BYTES_MAX
    }

    /// Runs a transaction that holds its locks: now, or in its turn.
    pub(crate) fn run(&mut self, now: Tick, mut waiting: Waiting, effects: &mut Effects<'_>) {
        let is_long = may_be_long(&waiting.prepare.operations);
        let link = effects.link(NodeId::coordinator(waiting.prepare.coordinator));
        waiting.stage = Stage::ForItsTurn(Execution::default());
        if link == Link::Down {
            // It asks again when it is back.
            self.release(waiting.prepare.txn);
        } else if self.may_begin(now, is_long, link) {
            self.advance(now, waiting, effects);
        } else {
            self.put_off(now, waiting, false, effects);
        }
    }

    /// Goes on with a transaction for the rest of the slice.
    pub(crate) fn advance(&mut self, now: Tick, mut waiting: Waiting, effects: &mut Effects<'_>) {
        let Stage::ForItsTurn(execution) = &mut waiting.stage else { unreachable!("it holds its locks") };
        match execution.advance(&self.table, &waiting.prepare.operations, self.work.units()) {
            Ok(true) => self.vote(now, waiting, effects),
            Ok(false) => self.put_off(now, waiting, true, effects),
            Err(refused) => {
                let coordinator = NodeId::coordinator(waiting.prepare.coordinator);
                effects.send(coordinator, &self.vote_no(&waiting.prepare, refused));
                if planted!("locks-leaked") {
                    return;
                }
                self.release(waiting.prepare.txn);
            }
        }
    }

    /// Votes on a transaction whose operations are done.
    fn vote(&mut self, now: Tick, waiting: Waiting, effects: &mut Effects<'_>) {
        let Waiting { mut prepare, digest, stage, .. } = waiting;
        let Stage::ForItsTurn(execution) = stage else { unreachable!("its operations are done") };
        let coordinator = NodeId::coordinator(prepare.coordinator);
        let (txn, attempt) = (prepare.txn, prepare.attempt);
        let Executed { results, writes } = execution.finish();
        if writes.is_empty() && prepare.mode != PrepareMode::TwoPhase {
            effects.send(coordinator, &Message::Commit(CommitMessage::VoteReadOnly { txn, attempt, results }));
            return self.release(txn);
        }
        let (reads, ranges) = self.locks.reads_of(txn);
        let promise = Promise {
            txn,
            attempt,
            coordinator: prepare.coordinator,
            age: prepare.age,
            digest,
            writes,
            reads,
            ranges,
            participants: std::mem::take(&mut prepare.participants),
        };
        if let Some(reason) = self.no_room_to_log(&promise, prepare.mode, effects) {
            // Reveals nothing of the data.
            effects.send_now(coordinator, &self.vote_no(&prepare, reason.into()));
            return self.release(txn);
        }
        match prepare.mode {
            PrepareMode::OnePhase => {
                let record = Record::CommittedOnePhase(promise);
                let at = effects.log(&record);
                self.replay(at, record);
                let results = Some(results);
                effects.send(
                    coordinator,
                    &Message::Commit(CommitMessage::CommittedOnePhase {
                        txn,
                        attempt,
                        committed_at: at.position,
                        results,
                    }),
                );
                self.release(txn);
            }
            PrepareMode::TwoPhase | PrepareMode::LocksHeldElsewhere => {
                let record = Record::Prepared(promise);
                let at = effects.log(&record);
                effects.send(
                    coordinator,
                    &Message::Commit(CommitMessage::VoteYes { txn, attempt, prepared_at: at.position, results }),
                );
                if let Record::Prepared(promise) = record {
                    self.hold(now, promise, at.position, at.place);
                }
                if planted!("locks-dropped") {
                    self.release(txn);
                }
            }
        }
    }

    /// Keeps a promise of the log that is replayed, in place of what is held for the transaction.
    pub(crate) fn hold_again(&mut self, promise: Promise, first_at: Position, at: Place) {
        self.locks.release(promise.txn);
        self.locks.restore(promise.txn, promise.age, locks_of_promise(&promise));
        self.hold(Tick::default(), promise, first_at, at);
    }

    /// Keeps a promise until its outcome is known.
    pub(crate) fn hold(&mut self, now: Tick, promise: Promise, first_at: Position, at: Place) {
        self.evidence.tell(promise.coordinator, first_at);
        let ask_interval_us = self.config.ask_interval_us;
        let ask_at = now.plus_us(ask_interval_us);
        self.timers.set(ask_at, promise.txn);
        let again = None;
        self.keep(promise.txn, Active::Prepared(Prepared { promise, first_at, at, ask_at, ask_interval_us, again }));
    }

    /// The vote may have been lost. Under the locks that are still held, the same operations give
    /// the same results.
    fn vote_again(&mut self, now: Tick, prepare: Prepare, digest: u64, effects: &mut Effects<'_>) {
        let txn = prepare.txn;
        let is_long = may_be_long(&prepare.operations);
        let may_begin = self.may_begin(now, is_long, effects.link(NodeId::coordinator(prepare.coordinator)));
        let fits = may_begin || !self.is_full(operation::bytes_of_digest(digest));
        match self.take(txn) {
            Some(Active::Prepared(prepared)) if prepared.again.is_none() && fits => {
                let again = Again { prepare, digest, execution: Execution::default() };
                if may_begin {
                    self.advance_again(prepared, again, effects);
                } else {
                    self.put_off_vote(prepared, again, false);
                }
            }
            // It is on its way; or there is no room, and it is asked for again.
            Some(active) => self.keep(txn, active),
            None => {}
        }
    }

    /// Goes on towards a vote that is to be given again.
    pub(crate) fn advance_again(&mut self, prepared: Prepared, mut again: Again, effects: &mut Effects<'_>) {
        let Again { prepare, execution, .. } = &mut again;
        let (txn, attempt) = (prepare.txn, prepare.attempt);
        let vote = match execution.advance(&self.table, &prepare.operations, self.work.units()) {
            Ok(false) => return self.put_off_vote(prepared, again, true),
            Ok(true) => {
                let results = std::mem::take(execution).finish().results;
                Message::Commit(CommitMessage::VoteYes { txn, attempt, prepared_at: prepared.first_at, results })
            }
            Err(refused) => self.vote_no(prepare, refused),
        };
        effects.send(NodeId::coordinator(again.prepare.coordinator), &vote);
        self.keep(txn, Active::Prepared(prepared));
    }

    fn answer_committed(&mut self, prepare: &Prepare, effects: &mut Effects<'_>) {
        let (txn, attempt) = (prepare.txn, prepare.attempt);
        let answer = match prepare.mode {
            PrepareMode::OnePhase => {
                // Where is not remembered.
                Message::Commit(CommitMessage::CommittedOnePhase {
                    txn,
                    attempt,
                    committed_at: Position::UNKNOWN,
                    results: None,
                })
            }
            PrepareMode::TwoPhase | PrepareMode::LocksHeldElsewhere => {
                self.vote_no(prepare, Reason::AlreadyCommitted.into())
            }
        };
        effects.send(NodeId::coordinator(prepare.coordinator), &answer);
    }

    pub(crate) fn vote_no(&mut self, prepare: &Prepare, refused: execute::Refused) -> Message {
        let vote = self.refusal_of(prepare, refused);
        if prepare.mode == PrepareMode::OnePhase
            && let Message::Commit(CommitMessage::VoteNo { txn, attempt, refusal }) = &vote
        {
            self.refused.remember(prepare.coordinator, *txn, *attempt, *refusal);
        }
        vote
    }

    fn refusal_of(&self, prepare: &Prepare, refused: execute::Refused) -> Message {
        let refusal =
            Refusal { reason: refused.reason, participant: Some(self.config.node), operation: refused.operation };
        Message::Commit(CommitMessage::VoteNo { txn: prepare.txn, attempt: prepare.attempt, refusal })
    }
}

/// Whether a prepare has a meaning at all.
fn is_consistent(prepare: &Prepare) -> bool {
    let Prepare { attempt, participants, mode, .. } = prepare;
    let are_nodes = !participants.is_empty() && participants.iter().all(|number| (1..u32::MAX).contains(number));
    let are_distinct = participants.iter().is_sorted_by(|one, other| one < other) || {
        let mut numbers = participants.clone();
        numbers.sort_unstable();
        numbers.is_sorted_by(|one, other| one < other)
    };
    let is_alone = participants.len() == 1 || planted!("one-phase-of-several");
    attempt.epoch > 0 && attempt.number > 0 && are_distinct && are_nodes && (*mode != PrepareMode::OnePhase || is_alone)
}

/// When a vote is of no use any more.
fn answer_by(now: Tick, prepare: &Prepare) -> Tick {
    now.plus_us(u64::from(prepare.answer_within_ms) * 1_000)
}
