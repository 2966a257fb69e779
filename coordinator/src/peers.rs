//! Participants: which process of each is heeded, whether this log still holds what they have heard of it, and what they may
//! be told of promises that they ask about (`protocol/src/fencing.rs` and `evidence.rs` have the rules).
//!
//! A new connection goes through hello, this coordinator's claim, the participant's claim, accept and accepted. Then all that was
//! under way to it is said again. A position is heard with every promise and every one-phase commit; one is told with every
//! decision to commit. A coordinator whose log has lost decisions carries out those that it holds, and neither begins nor
//! presumes anything.
//!
//! Invariants:
//! - A two-phase transaction is begun only after all its participants have made their claims and accepted this process.
//! - An abort is presumed only if all participants of the promise have: a decision to commit it, of which one of them
//!   has heard, is then in this log, or the log is known to be lost.
//!
//! Not here: what a single decision says of its promises (`transaction.rs`).

use protocol::message::PeerChange;
use protocol::{
    AdminMessage, Attempt, Effects, HandshakeMessage, Message, NodeId, Position, Process, Reason, Record, Refusal,
    Role, Tick, TxnId,
};

use crate::machine::Coordinator;
use crate::transaction::Txn;

/// What a participant in doubt has asked.
#[derive(Debug)]
pub(crate) struct Doubt {
    pub(crate) attempt: Attempt,
    /// Who has part in the transaction.
    pub(crate) participants: Vec<u32>,
}

/// How long a claim stays unanswered before it is made again, in microseconds.
const CLAIM_PAUSE_US: u64 = 1_000_000;

/// How many such questions wait for claims; those past it come again.
const DOUBTS_MAX: usize = 65_536;

impl Coordinator {
    /// A participant has said where a record of it stands.
    pub(crate) fn heard(&mut self, participant: u32, at: Position) {
        if self.config.participants.contains(&participant) {
            self.evidence.hear(participant, at);
        }
    }

    /// These are told of a decision.
    pub(crate) fn tell_of(&mut self, participants: &[(u32, Position)], decided_at: Position) {
        participants.iter().for_each(|(participant, _)| self.evidence.tell(*participant, decided_at));
    }

    /// A process that is welcome has connected. If it is the one that was accepted, all that was under way to it may have been
    /// lost, and is said again.
    pub(crate) fn on_hello(&mut self, now: Tick, participant: u32, process: Process, effects: &mut Effects<'_>) {
        self.fencing.meet(participant, process);
        self.claimed_at.insert(participant, now);
        self.claim(participant, effects);
        if self.fencing.is_current(participant) {
            self.say_again(now, participant, effects);
        }
    }

    /// Tells a participant what is known of it.
    pub(crate) fn claim(&self, participant: u32, effects: &mut Effects<'_>) {
        let (by, known) = (self.fencing.own(), self.fencing.known(participant));
        let claim = Message::Handshake(HandshakeMessage::Claim { by, known, stated: self.evidence.heard(participant) });
        // Says what the participant has said itself, and must come before the prepares.
        effects.send_now(NodeId::participant(participant), &claim);
    }

    /// Claims once more to a participant that has not accepted this process yet, if that was not done a moment ago: what opens a
    /// connection comes in order, but whoever carries it might lose it.
    pub(crate) fn claim_again(&mut self, now: Tick, participant: u32, effects: &mut Effects<'_>) {
        // Until the first hello nobody is there.
        let is_due = self.claimed_at.get(&participant).is_some_and(|at| at.plus_us(CLAIM_PAUSE_US) <= now);
        if is_due && !(self.fencing.is_current(participant) && self.accepted_by.contains(&participant)) {
            self.claimed_at.insert(participant, now);
            self.claim(participant, effects);
        }
    }

    /// Whether all of these have made their claims, and obey this process. A claim alone would not do: until it is accepted, an
    /// earlier process may still tell the participant of decisions.
    pub(crate) fn have_accepted(&self, participants: &[u32]) -> bool {
        participants.iter().all(|participant| self.accepted_by.contains(participant))
    }

    /// Judges a participant's claim, which answers this coordinator's own, and accepts its process.
    pub(crate) fn on_claim(
        &mut self,
        participant: u32,
        (by, known): (Process, Process),
        stated: Position,
        effects: &mut Effects<'_>,
    ) {
        if !self.config.participants.contains(&participant) || !self.fencing.has_met(participant, by) {
            return;
        }
        let to = NodeId::participant(participant);
        if !self.fencing.is_heir_of(known) {
            // Says what the other has said itself, and nothing of any transaction.
            return effects.send_now(to, &Message::Handshake(HandshakeMessage::Superseded { known }));
        }
        let accept = Message::Handshake(HandshakeMessage::Accept { by: self.fencing.own(), known });
        if let Some(held) = self.evidence.judge(participant, stated) {
            effects.send(to, &Message::Handshake(HandshakeMessage::LogLost { stated, held }));
            self.give_up_open(effects);
        } else if self.evidence.is_lost() {
            // Others have shown it.
            let (stated, held) = (Position::UNKNOWN, Position::UNKNOWN);
            effects.send(to, &Message::Handshake(HandshakeMessage::LogLost { stated, held }));
        }
        if self.evidence.is_lost() {
            // Behind that, so that the fence stays where the newest copy of this log finds it.
            effects.send(to, &accept);
        } else {
            // Promises nothing: it says which process this is.
            effects.send_now(to, &accept);
        }
    }

    /// A participant obeys this process from now on, so that its claim holds: no earlier process can tell it anything any more.
    /// All that was under way to it is said again.
    pub(crate) fn on_accepted(&mut self, now: Tick, participant: u32, by: Process, effects: &mut Effects<'_>) {
        if !self.fencing.has_met(participant, by) || !self.evidence.is_judged(participant) {
            return;
        }
        self.accepted_by.insert(participant);
        // Only as many participants are configured as may be known.
        if self.fencing.accept(participant, effects).unwrap_or(false) {
            self.say_again(now, participant, effects);
        }
        for ((txn, asker), doubt) in std::mem::take(&mut self.doubts) {
            self.answer_or_keep(asker, txn, doubt, effects);
        }
    }

    /// An operator has given up a participant's log, and with it what was still to be delivered there.
    pub(crate) fn on_replace_log(&mut self, operator: NodeId, role: Role, participant: u32, effects: &mut Effects<'_>) {
        let is_known = role == Role::Participant && self.fencing.knows(participant);
        let answer = if is_known {
            let epoch = self.fencing.epoch_of(participant);
            self.fencing.give_up(participant, effects);
            self.evidence.forget_log(participant);
            self.accepted_by.remove(&participant);
            effects.disconnect(NodeId::participant(participant));
            let (finished, in_doubt) = self.give_up_deliveries(participant);
            finished.into_iter().for_each(|txn| _ = effects.log(&Record::Finished { txn }));
            Message::Admin(AdminMessage::PeerChanged { outcome: PeerChange::Done, epoch, in_doubt })
        } else {
            Message::Admin(AdminMessage::PeerChanged { outcome: PeerChange::NotKnown, epoch: 0, in_doubt: 0 })
        };
        effects.send(operator, &answer);
    }

    /// A participant in doubt asks.
    pub(crate) fn on_doubt(&mut self, asker: u32, txn: TxnId, doubt: Doubt, effects: &mut Effects<'_>) {
        if self.tell_commit(asker, txn, doubt.attempt, effects) {
            return;
        }
        self.answer_or_keep(asker, txn, doubt, effects);
    }

    fn answer_or_keep(&mut self, asker: u32, txn: TxnId, doubt: Doubt, effects: &mut Effects<'_>) {
        if self.have_accepted(&doubt.participants) {
            self.tell_undecided(asker, txn, doubt.attempt, effects);
        } else if self.doubts.len() < DOUBTS_MAX {
            self.doubts.insert((txn, asker), doubt);
        }
    }

    /// What is not decided when the loss is found is aborted: all its participants have claimed that they know of no
    /// decision. In one phase the participant has decided, and goes on being asked.
    fn give_up_open(&mut self, effects: &mut Effects<'_>) {
        let is_two_phase = |txn: &Txn| matches!(txn, Txn::Open(open) if !open.is_one_phase());
        let open = self.txns.iter().filter(|(_, known)| is_two_phase(known));
        let mut open: Vec<TxnId> = open.map(|(txn, _)| *txn).collect();
        open.sort_unstable();
        for txn in open {
            self.abort(txn, Refusal::by_coordinator(Reason::LogLost), false, effects);
        }
    }
}
