//! Evidence of what this log once held, and the participants' logs: see `protocol/src/evidence.rs`.
//!
//! A position is heard with every promise and every one-phase commit; one is told with every decision to commit. A
//! coordinator whose log has lost decisions carries out those that it holds, and neither begins nor presumes anything.
//!
//! Invariants:
//! - A two-phase transaction is begun only after all its participants have stated their witnesses.
//! - An abort is presumed only if all participants of the promise have: a decision to commit it, of which one of them
//!   has heard, is then in this log, or the log is known to be lost.
//!
//! Not here: what a single decision says of its promises (`transaction.rs`).

use protocol::{Attempt, Effects, Message, NodeId, Position, Reason, Refusal, TxnId};

use crate::machine::Coordinator;
use crate::transaction::Txn;

/// What a participant in doubt has asked.
#[derive(Debug)]
pub(crate) struct Doubt {
    pub(crate) attempt: Attempt,
    /// Who has part in the transaction.
    pub(crate) participants: Vec<u32>,
}

/// How many such questions wait for witnesses; those past it come again.
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

    /// Tells a participant the latest that was heard from it.
    pub(crate) fn bear_witness(&self, participant: u32, effects: &mut Effects<'_>) {
        let stated = self.evidence.heard(participant);
        // Says what the participant has said itself, and must come before the prepares.
        effects.send_now(NodeId::participant(participant), &Message::Witness { stated });
    }

    /// Whether all of these have stated their witnesses since this process started.
    pub(crate) fn have_witnessed(&self, participants: &[u32]) -> bool {
        participants.iter().all(|participant| self.evidence.is_witnessed(*participant))
    }

    /// Tells those ours once more that have not answered with theirs: it may have been lost.
    pub(crate) fn ask_for_witnesses(&self, participants: &[u32], effects: &mut Effects<'_>) {
        let missing = participants.iter().filter(|participant| !self.evidence.is_witnessed(**participant));
        missing.for_each(|participant| self.bear_witness(*participant, effects));
    }

    pub(crate) fn on_witness(&mut self, participant: u32, stated: Position, effects: &mut Effects<'_>) {
        if !self.config.participants.contains(&participant) {
            return;
        }
        if let Some(held) = self.evidence.judge(participant, stated) {
            effects.send(NodeId::participant(participant), &Message::LogLost { stated, held });
            self.give_up_open(effects);
        }
        for ((txn, asker), doubt) in std::mem::take(&mut self.doubts) {
            self.answer_or_keep(asker, txn, doubt, effects);
        }
    }

    /// A participant in doubt asks.
    pub(crate) fn on_doubt(&mut self, asker: u32, txn: TxnId, doubt: Doubt, effects: &mut Effects<'_>) {
        if self.tell_commit(asker, txn, doubt.attempt, effects) {
            return;
        }
        if self.doubts.contains_key(&(txn, asker)) {
            self.ask_for_witnesses(&doubt.participants, effects);
        }
        self.answer_or_keep(asker, txn, doubt, effects);
    }

    fn answer_or_keep(&mut self, asker: u32, txn: TxnId, doubt: Doubt, effects: &mut Effects<'_>) {
        if self.have_witnessed(&doubt.participants) {
            self.tell_undecided(asker, txn, doubt.attempt, effects);
        } else if self.doubts.len() < DOUBTS_MAX {
            self.doubts.insert((txn, asker), doubt);
        }
    }

    /// What is not decided when the loss is found is aborted: all its participants have stated that they know of no
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
