//! The coordinator's machine: its state, which function takes which message, and what becomes due.

use std::collections::{BTreeMap, BTreeSet};

use hashbrown::HashMap;
use planted::planted;
use protocol::limits::{DECIDED_BYTES_MAX, PARTICIPANTS_MAX};
use protocol::record::CommittedOutcome;
use protocol::routing::BinTable;
use protocol::{
    AdminMessage, ClientMessage, CommitMessage, Effects, Evidence, Fencing, HandshakeMessage, InDoubt, Logged, Machine,
    Message, NodeId, Origin, Owed, Process, Reason, Record, RecoveryMessage, Refusal, Retention, Role, StartError,
    Tick, Timers, TxnId, Unwelcome, UnwelcomeReason,
};
use rustc_hash::FxBuildHasher;

use crate::Config;
use crate::answers::Answers;
use crate::attempt::Ballot;
use crate::delivery::ELSEWHERE;
use crate::pace::Pace;
use crate::peers::Doubt;
use crate::status::StatusQuestion;
use crate::transaction::{Decision, Delivery, Phase, Txn, Vote};

/// A coordinator.
pub struct Coordinator {
    pub(crate) config: Config,
    /// Which process this is, and which it heeds of each participant.
    pub(crate) fencing: Fencing,
    pub(crate) bins: Option<BinTable>,
    pub(crate) txns: HashMap<TxnId, Txn, FxBuildHasher>,
    /// For each participant, the transactions in which it has part.
    pub(crate) load: BTreeMap<u32, Load>,
    /// For each participant, how long its votes take.
    pub(crate) paces: BTreeMap<u32, Pace>,
    /// What the answers take that wait for the rest of their transaction.
    pub(crate) answers: Answers,
    pub(crate) committed: Retention<CommittedOutcome>,
    pub(crate) aborted: Retention<AbortedOutcome>,
    /// Committed transactions that only read, by their digests: nothing is logged of them.
    pub(crate) read: Retention<u64>,
    pub(crate) questions: HashMap<TxnId, StatusQuestion, FxBuildHasher>,
    /// Counts the questions to participants since the start.
    pub(crate) last_question: u32,
    pub(crate) evidence: Evidence,
    /// The participants that obey this process.
    pub(crate) accepted_by: BTreeSet<u32>,
    /// When each participant was last claimed to.
    pub(crate) claimed_at: BTreeMap<u32, Tick>,
    /// Questions of participants that wait for claims, by transaction and asker.
    pub(crate) doubts: BTreeMap<(TxnId, u32), Doubt>,
    pub(crate) timers: Timers,
    pub(crate) last_admitted_us: u64,
    /// Up to where a checkpoint under way has to log outcomes again.
    pub(crate) checkpoint_until: u64,
    pub(crate) scratch: Vec<u8>,
}

/// What one participant is asked to do.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Load {
    /// Transactions in which it has part.
    pub(crate) txns: usize,
    /// Bytes of its part of those that are not decided.
    pub(crate) bytes: usize,
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct AbortedOutcome {
    pub(crate) digest: u64,
    pub(crate) refusal: Refusal,
    pub(crate) at_deadline: bool,
}

impl Coordinator {
    /// A coordinator of these participants.
    #[must_use]
    pub fn new(config: Config) -> Self {
        Self {
            fencing: Fencing::new(PARTICIPANTS_MAX),
            bins: None,
            txns: HashMap::default(),
            load: BTreeMap::new(),
            paces: BTreeMap::new(),
            answers: Answers::default(),
            committed: Retention::new(config.outcomes_max),
            aborted: Retention::new(config.aborts_max),
            read: Retention::new(config.aborts_max),
            questions: HashMap::default(),
            last_question: 0,
            evidence: Evidence::default(),
            accepted_by: BTreeSet::new(),
            claimed_at: BTreeMap::new(),
            doubts: BTreeMap::new(),
            timers: Timers::default(),
            last_admitted_us: 0,
            checkpoint_until: 0,
            scratch: Vec::new(),
            config,
        }
    }

    /// Transactions that are not finished.
    #[must_use]
    pub fn unfinished_txns(&self) -> usize {
        self.txns.len()
    }
}

impl Coordinator {
    pub(crate) fn on_due(&mut self, now: Tick, txn: TxnId, effects: &mut Effects<'_>) {
        match self.txns.get_mut(&txn) {
            Some(Txn::Open(open)) => {
                let refusal = open.last_refusal.unwrap_or(Refusal::by_coordinator(Reason::Unavailable));
                let past_deadline = now >= open.deadline;
                match open.phase {
                    Phase::Preparing if planted!("one-phase-given-up") && past_deadline => {
                        self.abort(txn, refusal, true, effects);
                    }
                    Phase::Preparing => self.on_votes_missing(now, txn, effects),
                    Phase::BackingOff if past_deadline => self.end_aborted(txn, refusal, true, effects),
                    Phase::BackingOff => self.begin_attempt(now, txn, effects),
                }
            }
            Some(Txn::Delivering(_)) if planted!("timer-unset") => {}
            Some(Txn::Delivering(delivery)) => {
                let longest_us = self.config.resend_interval_us * 8;
                delivery.resend_interval_us = (delivery.resend_interval_us * 2).min(longest_us);
                delivery.due = now.plus_us(delivery.resend_interval_us);
                self.timers.set(delivery.due, txn);
                let unacked: Vec<u32> = delivery.unacked.iter().map(|(participant, _)| *participant).collect();
                if let Some(Txn::Delivering(delivery)) = self.txns.get(&txn) {
                    self.tell_again(txn, delivery, None, effects);
                }
                unacked.into_iter().for_each(|participant| self.claim_again(now, participant, effects));
            }
            None => {}
        }
    }
}

impl Machine for Coordinator {
    fn replay(&mut self, at: Logged, record: Record) {
        match record {
            Record::Started { epoch, start } => self.fencing.replay_start(epoch, start),
            Record::Starts(starts) => {
                starts.into_iter().for_each(|(epoch, start)| self.fencing.replay_start(epoch, start))
            }
            Record::Fenced { peer, process } => {
                self.fencing.replay_fence(peer, process);
                if process.log == 0 {
                    self.evidence.forget_log(peer);
                    _ = self.give_up_deliveries(peer);
                }
            }
            Record::Bins { owners } => self.bins = BinTable::from_owners(owners),
            Record::Decided { .. } | Record::DecidedAgain { .. } if planted!("decision-not-replayed") => {}
            Record::Decided { txn, attempt, digest, participants } => {
                self.deliver_again(txn, Decision { attempt, digest, decided_at: at.position }, participants);
            }
            Record::DecidedAgain { txn, attempt, digest, participants, first_at } => {
                self.deliver_again(txn, Decision { attempt, digest, decided_at: first_at }, participants);
            }
            Record::Finished { txn } => {
                if let Some((attempt, digest)) = self.forget_delivery(txn) {
                    self.remember(txn, attempt, digest);
                }
            }
            Record::DecidedElsewhere { txn, digest, participant, committed_at, .. } => {
                participant.into_iter().for_each(|participant| self.heard(participant, committed_at));
                self.remember(txn, ELSEWHERE, digest);
            }
            Record::Stated(stated) => stated.into_iter().for_each(|(participant, at)| self.heard(participant, at)),
            Record::StatedDecisions(stated) => {
                stated.into_iter().for_each(|(participant, at)| self.evidence.told_until(participant, at));
            }
            Record::LossAccepted { until } => {
                self.evidence.accept(until);
                self.fencing.replay_loss();
            }
            Record::Outcomes(outcomes) => {
                outcomes.into_iter().for_each(|outcome| self.committed.restore(outcome.txn, outcome));
            }
            Record::Prepared(_)
            | Record::PreparedAgain { .. }
            | Record::CommittedOnePhase(_)
            | Record::Committed { .. }
            | Record::Aborted { .. }
            | Record::Released { .. }
            | Record::Retired { .. } => unreachable!("a participant's record in a coordinator's log"),
        }
    }

    fn start(&mut self, now: Tick, origin: Origin, effects: &mut Effects<'_>) -> Result<(), StartError> {
        let configured = BinTable::even(&self.config.participants);
        match &self.bins {
            None => {
                effects.log(&Record::Bins { owners: configured.owners().to_vec() });
                self.bins = Some(configured);
            }
            Some(dealt) if dealt.participants() != configured.participants() => {
                let (dealt, configured) = (dealt.participants().to_vec(), configured.participants().to_vec());
                return Err(StartError::OtherParticipants { dealt, configured });
            }
            Some(_) => {}
        }
        self.fencing.start(origin, effects);
        self.committed.settle();
        self.timers.clear();
        for (txn, known) in &mut self.txns {
            if let Txn::Delivering(delivery) = known {
                delivery.due = now.plus_us(delivery.resend_interval_us);
                self.timers.set(delivery.due, *txn);
            }
        }
        Ok(())
    }

    fn welcome(&self, node: NodeId, process: Process) -> Result<(), Unwelcome> {
        if node.role() == Role::Participant && self.config.participants.contains(&node.number()) {
            self.fencing.welcome(node.number(), process)
        } else {
            Err(UnwelcomeReason::WrongRole.into())
        }
    }

    fn handle(&mut self, now: Tick, from: NodeId, message: Message, effects: &mut Effects<'_>) {
        match from.role() {
            Role::Client => self.handle_client(now, from, message, effects),
            Role::Participant => self.handle_participant(now, from.number(), message, effects),
            Role::Coordinator => {}
        }
    }

    fn tick(&mut self, now: Tick, effects: &mut Effects<'_>) {
        while let Some(txns) = self.timers.take_due(now) {
            for txn in txns {
                if self.txns.get(&txn).is_some_and(|known| known.due() <= now) {
                    self.on_due(now, txn, effects);
                } else if let Some(question) = self.questions.get(&txn).filter(|question| question.due <= now) {
                    let status = question.at_end();
                    self.answer_question(txn, status, effects);
                }
            }
        }
    }

    fn next_tick(&self) -> Option<Tick> {
        self.timers.next()
    }

    fn has_work(&self) -> bool {
        false
    }

    fn process(&self) -> Process {
        self.fencing.own()
    }

    fn checkpoint(&mut self, from: u64, effects: &mut Effects<'_>) -> Option<u64> {
        if from == 0 {
            if let Some(bins) = &self.bins {
                effects.log(&Record::Bins { owners: bins.owners().to_vec() });
            }
            for (txn, known) in &self.txns {
                if let Txn::Delivering(delivery) = known
                    && !planted!("decisions-forgotten")
                {
                    let Decision { attempt, digest, decided_at: first_at } = delivery.decision;
                    let participants = delivery.unacked.clone();
                    effects.log(&Record::DecidedAgain { txn: *txn, attempt, digest, participants, first_at });
                }
            }
            self.evidence.log(Role::Coordinator, effects);
            // Behind what says that a loss was accepted: these starts came after it.
            self.fencing.log(effects);
            self.checkpoint_until = self.committed.end();
        }
        self.committed.log_slice(from, self.checkpoint_until, effects)
    }

    /// A decision for each transaction under way, and the note that all have acknowledged it.
    fn owes(&self) -> Owed {
        Owed {
            records: 2 * self.txns.len(),
            again_bytes: self.txns.len() * DECIDED_BYTES_MAX,
            again_later_bytes: self.committed.logged_bytes(),
        }
    }

    fn in_doubt(&self) -> Vec<InDoubt> {
        let mut undelivered: Vec<InDoubt> = self
            .txns
            .iter()
            .filter_map(|(txn, known)| match known {
                Txn::Delivering(Delivery { decision, .. }) => {
                    Some(InDoubt { txn: *txn, attempt: decision.attempt, coordinator: self.config.node })
                }
                Txn::Open(_) => None,
            })
            .collect();
        undelivered.sort_unstable();
        undelivered
    }
}

impl Coordinator {
    fn handle_client(&mut self, now: Tick, client: NodeId, message: Message, effects: &mut Effects<'_>) {
        match message {
            Message::Client(ClientMessage::Submit(submit)) => self.on_submit(now, client, &submit, effects),
            Message::Client(ClientMessage::AskStatus { txn }) => self.on_ask_status(now, client, txn, effects),
            Message::Admin(AdminMessage::ReplaceLog { role, node }) => self.on_replace_log(client, role, node, effects),
            // Not of a client to a coordinator: the rows let none of these pass.
            Message::Client(
                ClientMessage::Committed { .. }
                | ClientMessage::Aborted { .. }
                | ClientMessage::Busy { .. }
                | ClientMessage::Status { .. },
            )
            | Message::Admin(
                AdminMessage::Retire { .. }
                | AdminMessage::PeerChanged { .. }
                | AdminMessage::AskStats
                | AdminMessage::Stats(_),
            )
            | Message::Handshake(_)
            | Message::Commit(_)
            | Message::Recovery(_) => {}
        }
    }

    fn handle_participant(&mut self, now: Tick, participant: u32, message: Message, effects: &mut Effects<'_>) {
        if !self.fencing.is_current(participant) && !opens(&message) && !planted!("stranger-heard") {
            // Another process may be on the line at any time; it is asked again when it was accepted.
            return self.claim_again(now, participant, effects);
        }
        match message {
            Message::Handshake(message) => self.on_handshake(now, participant, &message, effects),
            Message::Commit(message) => self.on_commit_message(now, participant, message, effects),
            Message::Recovery(message) => self.on_recovery(participant, message, effects),
            Message::Client(_) | Message::Admin(_) => {}
        }
    }

    fn on_handshake(&mut self, now: Tick, participant: u32, message: &HandshakeMessage, effects: &mut Effects<'_>) {
        match *message {
            HandshakeMessage::Hello(hello) => self.on_hello(now, participant, hello.process, effects),
            HandshakeMessage::Claim { by, known, stated } => self.on_claim(participant, (by, known), stated, effects),
            HandshakeMessage::Accepted { by } => self.on_accepted(now, participant, by, effects),
            HandshakeMessage::LogLost { .. } => self.fencing.note_lost(participant),
            // The driver has told the operator.
            HandshakeMessage::Superseded { .. } | HandshakeMessage::Unwelcome(_) => {}
            // Only a coordinator says it.
            HandshakeMessage::Accept { .. } => {}
        }
    }

    fn on_commit_message(&mut self, now: Tick, participant: u32, message: CommitMessage, effects: &mut Effects<'_>) {
        match message {
            CommitMessage::VoteYes { txn, attempt, prepared_at, results } => {
                let vote = Vote::Yes { prepared_at, results };
                self.on_vote(now, participant, Ballot { txn, attempt, vote }, effects);
            }
            CommitMessage::VoteReadOnly { txn, attempt, results } => {
                let vote = Vote::ReadOnly { results };
                self.on_vote(now, participant, Ballot { txn, attempt, vote }, effects);
            }
            CommitMessage::VoteNo { txn, attempt, refusal } => {
                self.on_refusal(now, participant, (txn, attempt), refusal, effects);
            }
            CommitMessage::CommittedOnePhase { txn, attempt, committed_at, results } => {
                self.on_committed_one_phase((participant, committed_at), (txn, attempt), results, effects);
            }
            CommitMessage::CommitAck { txn, attempt } => self.on_commit_ack(participant, txn, attempt, effects),
            // Only a coordinator says these.
            CommitMessage::Prepare(_) | CommitMessage::Commit { .. } | CommitMessage::Abort { .. } => {}
        }
    }

    fn on_recovery(&mut self, participant: u32, message: RecoveryMessage, effects: &mut Effects<'_>) {
        match message {
            RecoveryMessage::AskDecision { txn, attempt, participants } => {
                self.on_doubt(participant, txn, Doubt { attempt, participants }, effects);
            }
            RecoveryMessage::Outcome { txn, question, known } => {
                self.on_outcome(participant, (txn, question), known, effects);
            }
            // The decision stands; the driver has told the operator. It is sent again, and when
            // the promise is back (from a copy of the log), it will be kept.
            RecoveryMessage::PrepareLost { .. } => {}
            // Only a coordinator says it.
            RecoveryMessage::AskOutcome { .. } => {}
        }
    }
}

/// Whether a participant says it before its process is accepted.
fn opens(message: &Message) -> bool {
    matches!(
        message,
        Message::Handshake(
            HandshakeMessage::Hello(_)
                | HandshakeMessage::Claim { .. }
                | HandshakeMessage::LogLost { .. }
                | HandshakeMessage::Accepted { .. }
        )
    )
}
