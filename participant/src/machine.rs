//! The participant's machine: its state, which function takes which message, and what becomes due.

use std::collections::VecDeque;

use engine::Table;
use hashbrown::HashMap;
use planted::planted;
use protocol::record::{CommittedOutcome, Promise};
use protocol::{
    CommitMessage, Effects, Evidence, Fencing, HandshakeMessage, InDoubt, Index, Logged, Machine, Message, NodeId,
    Origin, Owed, Process, Reason, Record, RecoveryMessage, Retention, Role, StartError, Tick, Timers, TxnId,
    Unwelcome,
};
use rustc_hash::FxBuildHasher;

use crate::Config;
use crate::active::{Active, Prepared, Stage, Waiting};
use crate::limits::{AGAIN_BYTES, COORDINATORS_MAX, PEERS_AGAIN_BYTES};
use crate::locks::{LockSet, LockTable, Mode};
use crate::refused::Refused;
use crate::work::Work;

/// A participant.
pub struct Participant {
    pub(crate) config: Config,
    pub(crate) table: Table,
    pub(crate) txns: HashMap<TxnId, Active, FxBuildHasher>,
    /// Bytes of all of them, as they are when encoded.
    pub(crate) held_bytes: usize,
    /// Bytes of the results of those that are amid their operations.
    pub(crate) partial_bytes: usize,
    /// Promises whose outcome is not known here.
    pub(crate) promises: usize,
    pub(crate) locks: LockTable,
    pub(crate) committed: Retention<CommittedOutcome>,
    pub(crate) refused: Refused,
    pub(crate) evidence: Evidence,
    /// Which process is heeded of each coordinator.
    pub(crate) fencing: Fencing,
    pub(crate) timers: Timers,
    /// Transactions whose locks were granted while others ended, and which have not run yet.
    pub(crate) granted: VecDeque<TxnId>,
    /// Transactions that hold their locks and are not done at once.
    pub(crate) work: Work,
    /// Up to where a checkpoint under way has to log outcomes again.
    pub(crate) checkpoint_until: u64,
    pub(crate) scratch: Vec<u8>,
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
            held_bytes: 0,
            partial_bytes: 0,
            promises: 0,
            locks: LockTable::default(),
            committed,
            refused: Refused::default(),
            evidence: Evidence::default(),
            fencing: Fencing::new(COORDINATORS_MAX),
            timers: Timers::default(),
            granted: VecDeque::new(),
            work: Work::default(),
            checkpoint_until: 0,
            scratch: Vec::new(),
        }
    }

    /// Transactions that wait for locks or for their outcome.
    #[must_use]
    pub fn in_flight_txns(&self) -> usize {
        self.txns.len()
    }

    pub(crate) fn keep(&mut self, txn: TxnId, active: Active) {
        self.held_bytes += active.bytes();
        self.partial_bytes += active.partial_bytes();
        self.promises += usize::from(active.is_promised());
        if let Some(before) = self.txns.insert(txn, active) {
            self.held_bytes -= before.bytes();
            self.partial_bytes -= before.partial_bytes();
            self.promises -= usize::from(before.is_promised());
        }
    }

    pub(crate) fn take(&mut self, txn: TxnId) -> Option<Active> {
        let active = self.txns.remove(&txn)?;
        self.held_bytes -= active.bytes();
        self.partial_bytes -= active.partial_bytes();
        self.promises -= usize::from(active.is_promised());
        Some(active)
    }

    /// Gives up a transaction's locks. Those that this lets through run before anything else is
    /// taken in, unless they end before their turn.
    pub(crate) fn release(&mut self, txn: TxnId) {
        self.granted.retain(|granted| *granted != txn);
        self.work.forget(txn);
        self.granted.extend(self.locks.release(txn));
    }

    pub(crate) fn run_granted(&mut self, now: Tick, effects: &mut Effects<'_>) {
        while let Some(txn) = self.granted.pop_front() {
            match self.take(txn) {
                Some(Active::Waiting(waiting)) => self.run(now, *waiting, effects),
                Some(Active::Prepared(_)) => unreachable!("a promised transaction holds its locks already"),
                None => {}
            }
        }
    }

    /// What a transaction does whose time has come: it stops waiting, or asks.
    pub(crate) fn on_due(&mut self, now: Tick, txn: TxnId, effects: &mut Effects<'_>) {
        match self.txns.get_mut(&txn) {
            Some(Active::Prepared(_)) if planted!("doubt-aborted") => self.abandon(txn, effects),
            Some(Active::Prepared(prepared)) => {
                let longer_us = (prepared.ask_interval_us * 2).min(self.config.ask_interval_us_max);
                prepared.ask_interval_us = longer_us;
                prepared.ask_at = now.plus_us(longer_us);
                self.timers.set(prepared.ask_at, txn);
                let (coordinator, question) = (prepared.promise.coordinator, prepared.question());
                // A question promises nothing.
                if self.may_ask(coordinator) && !planted!("doubt-unasked") {
                    effects.send_now(NodeId::coordinator(coordinator), &question);
                }
            }
            Some(Active::Waiting(_)) => {
                if let Some(Active::Waiting(waiting)) = self.take(txn) {
                    let Waiting { prepare, stage, .. } = *waiting;
                    let reason = match stage {
                        Stage::ForLocks { .. } => Reason::Conflict,
                        Stage::ForItsTurn(_) => Reason::Unavailable,
                    };
                    self.refuse(&prepare, reason, effects);
                }
            }
            None => {}
        }
    }
}

impl Machine for Participant {
    fn replay(&mut self, at: Logged, record: Record) {
        match record {
            Record::Prepared(promise) => self.hold_again(promise, at.position, at.place),
            Record::PreparedAgain { promise, first_at } => self.hold_again(promise, first_at, at.place),
            Record::CommittedOnePhase(promise) => {
                self.evidence.tell(promise.coordinator, at.position);
                self.apply(at.place, &promise);
            }
            Record::Committed { txn, attempt, decided_at } => {
                if self.txns.get(&txn).is_some_and(|active| active.attempt() == attempt) {
                    self.commit(txn, decided_at);
                }
            }
            Record::Aborted { txn, attempt } | Record::Released { txn, attempt } => {
                if self.txns.get(&txn).is_some_and(|active| active.attempt() == attempt) {
                    self.take(txn);
                    self.locks.release(txn);
                }
            }
            Record::Started { epoch, start } => self.fencing.replay_start(epoch, start),
            Record::Starts(starts) => {
                self.evidence.complete_from(Index(at.position.index.0 + 1));
                starts.into_iter().for_each(|(epoch, start)| self.fencing.replay_start(epoch, start))
            }
            Record::Fenced { peer, process } => {
                self.fencing.replay_fence(peer, process);
                if process.log == 0 {
                    self.evidence.forget_log(peer);
                }
            }
            Record::Retired { coordinator } => {
                self.fencing.retire(coordinator);
                self.evidence.forget(coordinator, at.position.index);
            }
            Record::Outcomes(outcomes) => {
                outcomes.into_iter().for_each(|outcome| self.committed.restore(outcome.txn, outcome));
            }
            Record::Stated(stated) => {
                stated.into_iter().for_each(|(coordinator, at)| self.evidence.told_until(coordinator, at));
            }
            Record::StatedDecisions(stated) => {
                stated.into_iter().for_each(|(coordinator, at)| self.evidence.hear(coordinator, at));
            }
            Record::LossAccepted { until } => {
                self.evidence.accept(until);
                self.fencing.replay_loss();
            }
            Record::Bins { .. }
            | Record::Decided { .. }
            | Record::DecidedAgain { .. }
            | Record::DecidedElsewhere { .. }
            | Record::Finished { .. } => unreachable!("a coordinator's record in a participant's log"),
        }
    }

    fn start(&mut self, now: Tick, origin: Origin, effects: &mut Effects<'_>) -> Result<(), StartError> {
        self.fencing.start(origin, effects);
        self.committed.settle();
        self.timers.clear();
        for (txn, active) in &mut self.txns {
            if let Active::Prepared(prepared) = active {
                prepared.ask_at = now.plus_us(prepared.ask_interval_us);
                self.timers.set(prepared.ask_at, *txn);
            }
        }
        Ok(())
    }

    fn welcome(&self, node: NodeId, process: Process) -> Result<(), Unwelcome> {
        self.fencing.welcome(node.number(), process)
    }

    fn handle(&mut self, now: Tick, from: NodeId, message: Message, effects: &mut Effects<'_>) {
        match from.role() {
            Role::Coordinator => self.handle_coordinator(now, from.number(), message, effects),
            Role::Client => self.handle_operator(from, &message, effects),
            Role::Participant => {}
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
        self.go_on(now, effects);
    }

    fn next_tick(&self) -> Option<Tick> {
        self.timers.next().into_iter().chain(self.work.look_at()).min()
    }

    fn has_work(&self) -> bool {
        self.work.is_ready()
    }

    fn process(&self) -> Process {
        self.fencing.own()
    }

    fn checkpoint(&mut self, from: u64, effects: &mut Effects<'_>) -> Option<u64> {
        if from == 0 {
            for active in self.txns.values_mut() {
                if let Active::Prepared(prepared) = active
                    && !planted!("promises-forgotten")
                {
                    let Prepared { promise, first_at, .. } = &*prepared;
                    let again = Record::PreparedAgain { promise: promise.clone(), first_at: *first_at };
                    prepared.at = effects.log(&again).place;
                }
            }
            self.evidence.log(Role::Participant, effects);
            // Behind what says that a loss was accepted: these starts came after it.
            self.fencing.log(effects);
            self.checkpoint_until = self.committed.end();
        }
        self.committed.log_slice(from, self.checkpoint_until, effects)
    }

    fn owes(&self) -> Owed {
        Owed {
            records: self.promises,
            again_bytes: self.held_bytes + self.promises * AGAIN_BYTES + PEERS_AGAIN_BYTES,
            again_later_bytes: self.committed.logged_bytes(),
        }
    }

    fn in_doubt(&self) -> Vec<InDoubt> {
        let mut promised: Vec<InDoubt> = self
            .txns
            .iter()
            .filter_map(|(txn, active)| match active {
                Active::Prepared(Prepared { promise, .. }) => {
                    Some(InDoubt { txn: *txn, attempt: promise.attempt, coordinator: promise.coordinator })
                }
                Active::Waiting(_) => None,
            })
            .collect();
        promised.sort_unstable();
        promised
    }
}

impl Participant {
    fn handle_coordinator(&mut self, now: Tick, coordinator: u32, message: Message, effects: &mut Effects<'_>) {
        if !self.fencing.is_current(coordinator) && !opens(&message) && !planted!("stranger-obeyed") {
            // Only the process that was accepted decides anything. Another one may be on the line at any time.
            return;
        }
        match message {
            Message::Handshake(message) => self.on_handshake(coordinator, &message, effects),
            Message::Commit(message) => self.on_commit_message(now, coordinator, message, effects),
            Message::Recovery(RecoveryMessage::AskOutcome { txn, question }) => {
                self.on_ask_outcome(coordinator, (txn, question), effects);
            }
            // Only a participant says these, or nobody to a participant under a coordinator's number.
            Message::Recovery(
                RecoveryMessage::AskDecision { .. }
                | RecoveryMessage::Outcome { .. }
                | RecoveryMessage::PrepareLost { .. },
            )
            | Message::Client(_)
            | Message::Admin(_) => {}
        }
    }

    fn on_handshake(&mut self, coordinator: u32, message: &HandshakeMessage, effects: &mut Effects<'_>) {
        match *message {
            HandshakeMessage::Hello(hello) => self.on_hello(coordinator, hello.process, effects),
            HandshakeMessage::Claim { by, known, stated } => self.on_claim(coordinator, by, known, stated, effects),
            HandshakeMessage::Accept { by, known } => self.on_accept(coordinator, by, known, effects),
            HandshakeMessage::LogLost { .. } => self.fencing.note_lost(coordinator),
            // The driver has told the operator.
            HandshakeMessage::Superseded { .. } | HandshakeMessage::Unwelcome(_) => {}
            // Only a participant says it.
            HandshakeMessage::Accepted { .. } => {}
        }
    }

    fn on_commit_message(&mut self, now: Tick, coordinator: u32, message: CommitMessage, effects: &mut Effects<'_>) {
        match message {
            CommitMessage::Prepare(prepare) => self.on_prepare(now, coordinator, prepare, effects),
            CommitMessage::Commit { txn, attempt, prepared_at, decided_at } => {
                self.on_commit(coordinator, (txn, attempt), prepared_at, decided_at, effects);
            }
            CommitMessage::Abort { txn, attempt } => self.on_abort(coordinator, txn, attempt, effects),
            // Only a participant says these.
            CommitMessage::VoteYes { .. }
            | CommitMessage::VoteReadOnly { .. }
            | CommitMessage::VoteNo { .. }
            | CommitMessage::CommittedOnePhase { .. }
            | CommitMessage::CommitAck { .. } => {}
        }
    }
}

/// Whether a coordinator says it before its process is accepted. A prepare is answered with NO until then.
fn opens(message: &Message) -> bool {
    matches!(
        message,
        Message::Handshake(
            HandshakeMessage::Hello(_)
                | HandshakeMessage::Claim { .. }
                | HandshakeMessage::LogLost { .. }
                | HandshakeMessage::Accept { .. }
        ) | Message::Commit(CommitMessage::Prepare(_))
    )
}

pub(crate) fn locks_of_promise(promise: &Promise) -> LockSet {
    let exclusive = promise.writes.iter().map(|write| (write.key.clone(), Mode::Exclusive));
    let shared = promise.reads.iter().map(|key| (key.clone(), Mode::Shared));
    LockSet::new(exclusive.chain(shared).collect(), promise.ranges.clone())
}
