//! The participant's machine: one function for each message that it understands.

use std::cmp::Ordering;
use std::collections::{BTreeMap, VecDeque};

use engine::Table;
use hashbrown::HashMap;
use protocol::message::{KnownOutcome, Prepare, PrepareMode};
use protocol::record::{CommittedOutcome, Promise};
use protocol::{
    Attempt, Effects, Lsn, Machine, Message, NodeId, Operation, Reason, Record, Refusal, Retention, Role, Room,
    StartError, Tick, Timers, TxnId, operation,
};
use rustc_hash::FxBuildHasher;

use crate::Config;
use crate::execute::{self, Execution, execute, locks_of};
use crate::locks::{Answer, LockSet, LockTable, Mode};
use crate::refused::Refused;

/// A participant.
pub struct Participant {
    config: Config,
    table: Table,
    txns: HashMap<TxnId, Active, FxBuildHasher>,
    locks: LockTable,
    committed: Retention<CommittedOutcome>,
    refused: Refused,
    /// The latest epoch met of each coordinator.
    fences: BTreeMap<u32, u32>,
    timers: Timers,
    /// Transactions whose locks were granted while others ended, and which have not run yet.
    granted: VecDeque<TxnId>,
    /// Up to where a checkpoint under way has to log outcomes again.
    checkpoint_until: u64,
    scratch: Vec<u8>,
}

/// A transaction that holds or waits for locks here.
enum Active {
    Waiting { prepare: Box<Prepare>, digest: u64, until: Tick },
    Prepared(Prepared),
}

/// A transaction whose outcome is another's to decide.
struct Prepared {
    promise: Promise,
    at: Lsn,
    ask_at: Tick,
    ask_interval_us: u64,
}

impl Active {
    fn attempt(&self) -> Attempt {
        match self {
            Self::Waiting { prepare, .. } => prepare.attempt,
            Self::Prepared(prepared) => prepared.promise.attempt,
        }
    }

    fn coordinator(&self) -> u32 {
        match self {
            Self::Waiting { prepare, .. } => prepare.coordinator,
            Self::Prepared(prepared) => prepared.promise.coordinator,
        }
    }

    fn digest(&self) -> u64 {
        match self {
            Self::Waiting { digest, .. } => *digest,
            Self::Prepared(prepared) => prepared.promise.digest,
        }
    }

    fn due(&self) -> Tick {
        match self {
            Self::Waiting { until, .. } => *until,
            Self::Prepared(prepared) => prepared.ask_at,
        }
    }
}

/// What a prepare meets.
enum Standing {
    /// Nothing is in its way.
    New,
    /// Nothing needs to be said.
    Ignore,
    /// The same attempt has promised already.
    Promised(Lsn),
    /// The transaction committed here before.
    Committed,
    /// It is refused.
    Refused(Reason),
}

impl Participant {
    /// A participant with this data.
    #[must_use]
    pub fn new(config: Config, table: Table) -> Self {
        let committed = Retention::new(config.outcomes_max);
        Self {
            config,
            table,
            txns: HashMap::default(),
            locks: LockTable::default(),
            committed,
            refused: Refused::default(),
            fences: BTreeMap::new(),
            timers: Timers::default(),
            granted: VecDeque::new(),
            checkpoint_until: 0,
            scratch: Vec::new(),
        }
    }

    /// Transactions that wait for locks or for their outcome.
    #[must_use]
    pub fn in_flight_txns(&self) -> usize {
        self.txns.len()
    }

    fn on_hello(&mut self, coordinator: u32, epoch: u32, effects: &mut Effects<'_>) {
        self.raise_fence(coordinator, epoch, effects);
        let mut in_doubt: Vec<_> = self
            .txns
            .iter()
            .filter_map(|(txn, active)| match active {
                Active::Prepared(prepared) if prepared.promise.coordinator == coordinator => {
                    Some((*txn, prepared.promise.attempt))
                }
                Active::Prepared(_) | Active::Waiting { .. } => None,
            })
            .collect();
        in_doubt.sort_unstable();
        for (txn, attempt) in in_doubt {
            // A question promises nothing.
            effects.send_now(NodeId::coordinator(coordinator), &Message::AskDecision { txn, attempt });
        }
    }

    /// From now on nothing of this coordinator's earlier epochs is begun. What only waits is
    /// dropped: nothing was promised.
    fn raise_fence(&mut self, coordinator: u32, epoch: u32, effects: &mut Effects<'_>) {
        let known = self.fences.entry(coordinator).or_insert(0);
        if epoch <= *known {
            return;
        }
        *known = epoch;
        effects.log(&Record::Fenced { coordinator, epoch });
        let mut dropped: Vec<TxnId> = self
            .txns
            .iter()
            .filter_map(|(txn, active)| match active {
                Active::Waiting { prepare, .. }
                    if prepare.coordinator == coordinator && prepare.attempt.epoch < epoch =>
                {
                    Some(*txn)
                }
                Active::Waiting { .. } | Active::Prepared(_) => None,
            })
            .collect();
        dropped.sort_unstable();
        for txn in dropped {
            self.txns.remove(&txn);
            self.release(txn);
        }
        // One that was let through by another's end may have ended after it.
        self.granted.retain(|txn| self.txns.contains_key(txn));
    }

    fn on_prepare(&mut self, now: Tick, coordinator: u32, prepare: Prepare, effects: &mut Effects<'_>) {
        if let Err(reason) = self.check_addressed(coordinator, &prepare) {
            // Reveals nothing of the data.
            return effects.send_now(NodeId::coordinator(coordinator), &self.vote_no(&prepare, reason.into()));
        }
        self.raise_fence(coordinator, prepare.attempt.epoch, effects);
        if self.is_refused_already(&prepare, effects) {
            return;
        }
        let digest = operation::digest(&prepare.operations, &mut self.scratch);
        match self.standing(&prepare, digest, effects) {
            Standing::Ignore => {}
            Standing::New => self.begin(now, prepare, digest, effects),
            Standing::Promised(at) => self.vote_again(&prepare, at, effects),
            Standing::Committed => self.answer_committed(&prepare, effects),
            Standing::Refused(reason) => {
                effects.send(NodeId::coordinator(coordinator), &self.vote_no(&prepare, reason.into()));
            }
        }
    }

    /// A one-phase attempt that was refused before stays refused, and is told so again: its first
    /// answer may have been lost.
    fn is_refused_already(&self, prepare: &Prepare, effects: &mut Effects<'_>) -> bool {
        if prepare.mode != PrepareMode::OnePhase {
            return false;
        }
        let (txn, attempt) = (prepare.txn, prepare.attempt);
        match self.refused.get(prepare.coordinator, txn) {
            Some((latest, refusal)) if attempt == latest => {
                let vote = Message::VoteNo { txn, attempt, refusal };
                effects.send(NodeId::coordinator(prepare.coordinator), &vote);
                true
            }
            Some((latest, _)) => attempt < latest,
            None => false,
        }
    }

    fn check_addressed(&self, coordinator: u32, prepare: &Prepare) -> Result<(), Reason> {
        if prepare.cluster != self.config.cluster
            || prepare.coordinator != coordinator
            || !prepare.participants.contains(&self.config.node)
        {
            return Err(Reason::WrongNode);
        }
        let fence = self.fences.get(&coordinator).copied().unwrap_or(0);
        if prepare.attempt.epoch < fence { Err(Reason::StaleEpoch) } else { Ok(()) }
    }

    /// What this participant knows of the transaction already. A later attempt ends an earlier one.
    fn standing(&mut self, prepare: &Prepare, digest: u64, effects: &mut Effects<'_>) -> Standing {
        let txn = prepare.txn;
        if let Some(outcome) = self.committed.get(txn) {
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
            (Ordering::Less, _) | (Ordering::Equal, Active::Waiting { .. }) => Standing::Ignore,
            (Ordering::Equal, Active::Prepared(prepared)) => Standing::Promised(prepared.at),
            (Ordering::Greater, _) => {
                self.abandon(txn, effects);
                Standing::New
            }
        }
    }

    fn begin(&mut self, now: Tick, prepare: Prepare, digest: u64, effects: &mut Effects<'_>) {
        let coordinator = NodeId::coordinator(prepare.coordinator);
        if let Some(reason) = self.no_room_for(&prepare, effects) {
            // Reveals nothing of the data.
            return effects.send_now(coordinator, &self.vote_no(&prepare, reason.into()));
        }
        match self.locks.acquire(prepare.txn, prepare.age, locks_of(&prepare.operations)) {
            Answer::Granted => self.run(now, prepare, digest, effects),
            Answer::Waits => {
                let until = now.plus_us(u64::from(prepare.lock_wait_ms) * 1_000);
                self.timers.set(until, prepare.txn);
                self.txns.insert(prepare.txn, Active::Waiting { prepare: Box::new(prepare), digest, until });
            }
            // Reveals nothing of the data.
            Answer::GivesWay => effects.send_now(coordinator, &self.vote_no(&prepare, Reason::Conflict.into())),
        }
    }

    fn no_room_for(&self, prepare: &Prepare, effects: &Effects<'_>) -> Option<Reason> {
        let logs = prepare.mode == PrepareMode::TwoPhase || prepare.operations.iter().any(Operation::writes);
        if self.txns.len() >= self.config.in_flight_txns_max {
            Some(Reason::Busy)
        } else if logs && effects.room() == Room::Scarce {
            Some(Reason::NoSpace)
        } else {
            None
        }
    }

    /// Runs a transaction that holds its locks.
    fn run(&mut self, now: Tick, prepare: Prepare, digest: u64, effects: &mut Effects<'_>) {
        let coordinator = NodeId::coordinator(prepare.coordinator);
        let (txn, attempt) = (prepare.txn, prepare.attempt);
        let Execution { results, writes } = match execute(&self.table, &prepare.operations) {
            Ok(execution) => execution,
            Err(refused) => {
                effects.send(coordinator, &self.vote_no(&prepare, refused));
                return self.release(txn);
            }
        };
        if writes.is_empty() && prepare.mode != PrepareMode::TwoPhase {
            effects.send(coordinator, &Message::VoteReadOnly { txn, attempt, results });
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
            participants: prepare.participants,
        };
        match prepare.mode {
            PrepareMode::OnePhase => {
                let record = Record::CommittedOnePhase(promise);
                let at = effects.log(&record);
                self.replay(at, record);
                effects.send(coordinator, &Message::CommittedOnePhase { txn, attempt, results: Some(results) });
                self.release(txn);
            }
            PrepareMode::TwoPhase | PrepareMode::LocksHeldElsewhere => {
                let record = Record::Prepared(promise);
                let at = effects.log(&record);
                effects.send(coordinator, &Message::VoteYes { txn, attempt, prepared_at: at, results });
                if let Record::Prepared(promise) = record {
                    self.hold(now, promise, at);
                }
            }
        }
    }

    /// Keeps a promise until its outcome is known.
    fn hold(&mut self, now: Tick, promise: Promise, at: Lsn) {
        let ask_interval_us = self.config.ask_interval_us;
        let ask_at = now.plus_us(ask_interval_us);
        self.timers.set(ask_at, promise.txn);
        self.txns.insert(promise.txn, Active::Prepared(Prepared { promise, at, ask_at, ask_interval_us }));
    }

    /// The vote may have been lost. Under the locks that are still held, the same operations give
    /// the same results.
    fn vote_again(&mut self, prepare: &Prepare, at: Lsn, effects: &mut Effects<'_>) {
        let vote = match execute(&self.table, &prepare.operations) {
            Ok(Execution { results, .. }) => {
                Message::VoteYes { txn: prepare.txn, attempt: prepare.attempt, prepared_at: at, results }
            }
            Err(refused) => self.vote_no(prepare, refused),
        };
        effects.send(NodeId::coordinator(prepare.coordinator), &vote);
    }

    fn answer_committed(&mut self, prepare: &Prepare, effects: &mut Effects<'_>) {
        let (txn, attempt) = (prepare.txn, prepare.attempt);
        let answer = match prepare.mode {
            PrepareMode::OnePhase => Message::CommittedOnePhase { txn, attempt, results: None },
            PrepareMode::TwoPhase | PrepareMode::LocksHeldElsewhere => {
                self.vote_no(prepare, Reason::AlreadyCommitted.into())
            }
        };
        effects.send(NodeId::coordinator(prepare.coordinator), &answer);
    }

    fn on_commit(&mut self, coordinator: u32, txn: TxnId, attempt: Attempt, effects: &mut Effects<'_>) {
        let answer_to = NodeId::coordinator(coordinator);
        if self.is_promised(coordinator, txn, attempt) {
            effects.log(&Record::Committed { txn, attempt });
            self.commit(txn);
            effects.send(answer_to, &Message::CommitAck { txn, attempt });
        } else if self.committed.get(txn).is_some_and(|outcome| outcome.attempt == attempt) {
            effects.send(answer_to, &Message::CommitAck { txn, attempt });
        } else {
            effects.send(answer_to, &Message::PrepareLost { txn, attempt });
        }
    }

    fn is_promised(&self, coordinator: u32, txn: TxnId, attempt: Attempt) -> bool {
        match self.txns.get(&txn) {
            Some(Active::Prepared(prepared)) => {
                prepared.promise.attempt == attempt && prepared.promise.coordinator == coordinator
            }
            Some(Active::Waiting { .. }) | None => false,
        }
    }

    /// Does what was promised.
    fn commit(&mut self, txn: TxnId) {
        if let Some(Active::Prepared(prepared)) = self.txns.remove(&txn) {
            self.apply(prepared.at, &prepared.promise);
            self.release(txn);
        }
    }

    fn apply(&mut self, at: Lsn, promise: &Promise) {
        let Promise { txn, attempt, digest, coordinator, .. } = *promise;
        for (write, offset) in promise.writes.iter().zip(promise.value_offsets()) {
            self.table.apply(engine::Lsn(at.0), offset, &write.key, write.value.clone());
        }
        self.committed.remember(txn, CommittedOutcome { txn, attempt, digest, coordinator });
    }

    fn on_abort(&mut self, coordinator: u32, txn: TxnId, attempt: Attempt, effects: &mut Effects<'_>) {
        let meant = self
            .txns
            .get(&txn)
            .is_some_and(|active| active.coordinator() == coordinator && active.attempt() <= attempt);
        if meant {
            self.abandon(txn, effects);
        }
    }

    /// Ends a transaction that was aborted.
    fn abandon(&mut self, txn: TxnId, effects: &mut Effects<'_>) {
        if let Some(Active::Prepared(prepared)) = self.txns.remove(&txn) {
            effects.log(&Record::Aborted { txn, attempt: prepared.promise.attempt });
        }
        self.release(txn);
    }

    fn on_ask_outcome(&mut self, coordinator: u32, txn: TxnId, effects: &mut Effects<'_>) {
        let known = if self.committed.get(txn).is_some() {
            KnownOutcome::Committed
        } else if self.txns.contains_key(&txn) {
            KnownOutcome::InProgress
        } else {
            KnownOutcome::Nothing
        };
        effects.send(NodeId::coordinator(coordinator), &Message::Outcome { txn, known });
    }

    fn vote_no(&mut self, prepare: &Prepare, refused: execute::Refused) -> Message {
        let (txn, attempt) = (prepare.txn, prepare.attempt);
        let refusal =
            Refusal { reason: refused.reason, participant: Some(self.config.node), operation: refused.operation };
        if prepare.mode == PrepareMode::OnePhase {
            self.refused.remember(prepare.coordinator, txn, attempt, refusal);
        }
        Message::VoteNo { txn, attempt, refusal }
    }

    /// Gives up a transaction's locks. Those that this lets through run before anything else.
    fn release(&mut self, txn: TxnId) {
        self.granted.extend(self.locks.release(txn));
    }

    fn run_granted(&mut self, now: Tick, effects: &mut Effects<'_>) {
        while let Some(txn) = self.granted.pop_front() {
            match self.txns.remove(&txn) {
                Some(Active::Waiting { prepare, digest, .. }) => self.run(now, *prepare, digest, effects),
                Some(Active::Prepared(_)) => unreachable!("a promised transaction holds its locks already"),
                None => {}
            }
        }
    }

    /// What a transaction does whose time has come: it stops waiting, or asks.
    fn on_due(&mut self, now: Tick, txn: TxnId, effects: &mut Effects<'_>) {
        match self.txns.get_mut(&txn) {
            Some(Active::Prepared(prepared)) => {
                let longer_us = (prepared.ask_interval_us * 2).min(self.config.ask_interval_us_max);
                prepared.ask_interval_us = longer_us;
                prepared.ask_at = now.plus_us(longer_us);
                self.timers.set(prepared.ask_at, txn);
                let coordinator = NodeId::coordinator(prepared.promise.coordinator);
                // A question promises nothing.
                effects.send_now(coordinator, &Message::AskDecision { txn, attempt: prepared.promise.attempt });
            }
            Some(Active::Waiting { .. }) => {
                if let Some(Active::Waiting { prepare, .. }) = self.txns.remove(&txn) {
                    // Reveals nothing of the data.
                    let vote = self.vote_no(&prepare, Reason::Conflict.into());
                    effects.send_now(NodeId::coordinator(prepare.coordinator), &vote);
                }
                self.release(txn);
            }
            None => {}
        }
    }
}

impl Machine for Participant {
    fn replay(&mut self, at: Lsn, record: Record) {
        match record {
            Record::Prepared(promise) => {
                self.locks.release(promise.txn);
                self.locks.restore(promise.txn, promise.age, locks_of_promise(&promise));
                self.hold(Tick::default(), promise, at);
            }
            Record::CommittedOnePhase(promise) => self.apply(at, &promise),
            Record::Committed { txn, attempt } => {
                if self.txns.get(&txn).is_some_and(|active| active.attempt() == attempt) {
                    self.commit(txn);
                }
            }
            Record::Aborted { txn, attempt } => {
                if self.txns.get(&txn).is_some_and(|active| active.attempt() == attempt) {
                    self.txns.remove(&txn);
                    self.locks.release(txn);
                }
            }
            Record::Fenced { coordinator, epoch } => {
                let known = self.fences.entry(coordinator).or_insert(0);
                *known = epoch.max(*known);
            }
            Record::Outcomes(outcomes) => {
                outcomes.into_iter().for_each(|outcome| self.committed.remember(outcome.txn, outcome));
            }
            Record::Started { .. }
            | Record::Bins { .. }
            | Record::Decided { .. }
            | Record::DecidedElsewhere { .. }
            | Record::Finished { .. } => unreachable!("a coordinator's record in a participant's log"),
        }
    }

    fn start(&mut self, now: Tick, _: &mut Effects<'_>) -> Result<(), StartError> {
        self.timers.clear();
        for (txn, active) in &mut self.txns {
            if let Active::Prepared(prepared) = active {
                prepared.ask_at = now.plus_us(prepared.ask_interval_us);
                self.timers.set(prepared.ask_at, *txn);
            }
        }
        Ok(())
    }

    fn handle(&mut self, now: Tick, from: NodeId, message: Message, effects: &mut Effects<'_>) {
        if from.role() != Role::Coordinator {
            return;
        }
        let coordinator = from.number();
        match message {
            Message::Hello(hello) => self.on_hello(coordinator, hello.epoch, effects),
            Message::Prepare(prepare) => self.on_prepare(now, coordinator, prepare, effects),
            Message::Commit { txn, attempt, .. } => self.on_commit(coordinator, txn, attempt, effects),
            Message::Abort { txn, attempt } => self.on_abort(coordinator, txn, attempt, effects),
            Message::AskOutcome { txn } => self.on_ask_outcome(coordinator, txn, effects),
            Message::Submit(_)
            | Message::AskStatus { .. }
            | Message::Committed { .. }
            | Message::Aborted { .. }
            | Message::Busy { .. }
            | Message::Status { .. }
            | Message::VoteYes { .. }
            | Message::VoteReadOnly { .. }
            | Message::VoteNo { .. }
            | Message::CommittedOnePhase { .. }
            | Message::CommitAck { .. }
            | Message::PrepareLost { .. }
            | Message::AskDecision { .. }
            | Message::Outcome { .. }
            | Message::AskStats
            | Message::Stats(_) => {}
        }
        self.run_granted(now, effects);
    }

    fn tick(&mut self, now: Tick, effects: &mut Effects<'_>) {
        while let Some(txns) = self.timers.take_due(now) {
            for txn in txns {
                if self.txns.get(&txn).is_some_and(|active| active.due() <= now) {
                    self.on_due(now, txn, effects);
                    self.run_granted(now, effects);
                }
            }
        }
    }

    fn next_tick(&self) -> Option<Tick> {
        self.timers.next()
    }

    fn epoch(&self) -> u32 {
        0
    }

    fn checkpoint(&mut self, from: u64, effects: &mut Effects<'_>) -> Option<u64> {
        if from == 0 {
            for (coordinator, epoch) in &self.fences {
                effects.log(&Record::Fenced { coordinator: *coordinator, epoch: *epoch });
            }
            for active in self.txns.values_mut() {
                if let Active::Prepared(prepared) = active {
                    prepared.at = effects.log(&Record::Prepared(prepared.promise.clone()));
                }
            }
            self.checkpoint_until = self.committed.end();
        }
        self.committed.log_slice(from, self.checkpoint_until, effects)
    }
}

fn locks_of_promise(promise: &Promise) -> LockSet {
    let exclusive = promise.writes.iter().map(|write| (write.key.clone(), Mode::Exclusive));
    let shared = promise.reads.iter().map(|key| (key.clone(), Mode::Shared));
    LockSet::new(exclusive.chain(shared).collect(), promise.ranges.clone())
}
