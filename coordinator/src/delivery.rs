//! After the decision: participants are told until all have acknowledged.

use protocol::record::CommittedOutcome;
use protocol::{Attempt, CommitMessage, Effects, Message, NodeId, Position, Record, Tick, TxnId};

use crate::machine::Coordinator;
use crate::transaction::{Decision, Delivery, Phase, Txn};

/// The attempt under which what others committed is remembered. Attempts count from 1, so no promise
/// has it, and nobody who asks about a promise is told to commit it.
pub(crate) const ELSEWHERE: Attempt = Attempt { epoch: 0, number: 0 };

impl Coordinator {
    pub(crate) fn deliver(&mut self, now: Tick, txn: TxnId, decision: Decision, unacked: Vec<(u32, Position)>) {
        for (participant, _) in &unacked {
            self.load.entry(*participant).or_default().txns += 1;
        }
        let resend_interval_us = self.config.resend_interval_us;
        let due = now.plus_us(resend_interval_us);
        self.timers.set(due, txn);
        self.txns.insert(txn, Txn::Delivering(Delivery { decision, unacked, due, resend_interval_us }));
    }

    /// A decision of the log that is replayed, in place of what is held for the transaction.
    pub(crate) fn deliver_again(&mut self, txn: TxnId, decision: Decision, unacked: Vec<(u32, Position)>) {
        unacked.iter().for_each(|(participant, prepared_at)| self.heard(*participant, *prepared_at));
        self.tell_of(&unacked, decision.decided_at);
        self.forget_delivery(txn);
        self.deliver(Tick::default(), txn, decision, unacked);
    }

    pub(crate) fn on_commit_ack(&mut self, participant: u32, txn: TxnId, attempt: Attempt, effects: &mut Effects<'_>) {
        let Some(Txn::Delivering(delivery)) = self.txns.get_mut(&txn) else { return };
        let before = delivery.unacked.len();
        if delivery.decision.attempt == attempt {
            delivery.unacked.retain(|(unacked, _)| *unacked != participant);
        }
        let (acked, digest) = (before > delivery.unacked.len(), delivery.decision.digest);
        let finished = delivery.unacked.is_empty();
        if acked {
            self.unload(participant, 0);
        }
        if finished {
            self.txns.remove(&txn);
            effects.log(&Record::Finished { txn });
            self.remember(txn, attempt, digest);
        }
    }

    pub(crate) fn remember(&mut self, txn: TxnId, attempt: Attempt, digest: u64) {
        self.committed.remember(txn, CommittedOutcome { txn, attempt, digest, coordinator: self.config.node });
    }

    pub(crate) fn tell_again(&self, txn: TxnId, delivery: &Delivery, only: Option<u32>, effects: &mut Effects<'_>) {
        for (participant, prepared_at) in &delivery.unacked {
            let is_meant = only.is_none_or(|only| only == *participant);
            // One whose process is not accepted yet is told when it is.
            if is_meant && self.fencing.is_current(*participant) {
                let Decision { attempt, decided_at, .. } = delivery.decision;
                let commit =
                    Message::Commit(CommitMessage::Commit { txn, attempt, prepared_at: *prepared_at, decided_at });
                effects.send(NodeId::participant(*participant), &commit);
            }
        }
    }

    /// Answers a participant that has voted too late. What an earlier process began is left for it to ask about.
    pub(crate) fn tell_outcome(&mut self, participant: u32, txn: TxnId, attempt: Attempt, effects: &mut Effects<'_>) {
        if !self.tell_commit(participant, txn, attempt, effects) && attempt.epoch == self.fencing.own().epoch {
            self.tell_undecided(participant, txn, attempt, effects);
        }
    }

    /// Answers a participant that holds a promise of which this log has no decision, after all that have part in the
    /// transaction have made their claims.
    pub(crate) fn tell_undecided(&self, participant: u32, txn: TxnId, attempt: Attempt, effects: &mut Effects<'_>) {
        if self.evidence.is_lost() {
            // There may have been one.
            return;
        }
        match self.txns.get(&txn) {
            Some(Txn::Open(open)) if open.attempt == attempt && open.phase == Phase::Preparing => {}
            Some(Txn::Open(_) | Txn::Delivering(_)) | None => {
                // Presumed abort: without a decision there is nothing to wait for.
                effects.send_now(
                    NodeId::participant(participant),
                    &Message::Commit(CommitMessage::Abort { txn, attempt }),
                );
            }
        }
    }

    /// Tells a participant that holds a promise to commit it, if that was decided; whether it was.
    pub(crate) fn tell_commit(
        &self,
        participant: u32,
        txn: TxnId,
        attempt: Attempt,
        effects: &mut Effects<'_>,
    ) -> bool {
        if let Some(Txn::Delivering(delivery)) = self.txns.get(&txn)
            && delivery.decision.attempt == attempt
        {
            self.tell_again(txn, delivery, Some(participant), effects);
            return true;
        }
        let is_committed = self.committed.get(txn).is_some_and(|outcome| outcome.attempt == attempt);
        if is_committed {
            let (prepared_at, decided_at) = (Position::UNKNOWN, Position::UNKNOWN);
            let commit = Message::Commit(CommitMessage::Commit { txn, attempt, prepared_at, decided_at });
            effects.send(NodeId::participant(participant), &commit);
        }
        is_committed
    }

    /// Whatever was under way to this participant may have been lost.
    pub(crate) fn say_again(&mut self, now: Tick, participant: u32, effects: &mut Effects<'_>) {
        let mut txns: Vec<TxnId> = self.txns.keys().copied().collect();
        txns.sort_unstable();
        for txn in txns {
            match &self.txns[&txn] {
                Txn::Open(open) if open.phase == Phase::Preparing => {
                    self.ask_again(now, txn, Some(participant), effects)
                }
                Txn::Open(_) => {}
                Txn::Delivering(delivery) => self.tell_again(txn, delivery, Some(participant), effects),
            }
        }
    }

    /// Nobody waits for this participant's acknowledgements any more: its log is lost. The transactions that nobody else has to
    /// be told of, which are finished now, and how many it was to be told of.
    pub(crate) fn give_up_deliveries(&mut self, participant: u32) -> (Vec<TxnId>, u32) {
        let mut finished = Vec::new();
        let mut given_up = 0;
        for (txn, known) in &mut self.txns {
            let Txn::Delivering(delivery) = known else { continue };
            let before = delivery.unacked.len();
            delivery.unacked.retain(|(unacked, _)| *unacked != participant);
            given_up += u32::from(delivery.unacked.len() < before);
            if delivery.unacked.is_empty() {
                finished.push(*txn);
            }
        }
        if let Some(load) = self.load.get_mut(&participant) {
            load.txns -= given_up as usize;
        }
        finished.sort_unstable();
        for txn in &finished {
            if let Some((attempt, digest)) = self.forget_delivery(*txn) {
                self.remember(*txn, attempt, digest);
            }
        }
        (finished, given_up)
    }

    /// Takes a delivery off the books.
    pub(crate) fn forget_delivery(&mut self, txn: TxnId) -> Option<(Attempt, u64)> {
        match self.txns.remove(&txn) {
            Some(Txn::Delivering(delivery)) => {
                delivery.unacked.iter().for_each(|(participant, _)| self.unload(*participant, 0));
                Some((delivery.decision.attempt, delivery.decision.digest))
            }
            Some(Txn::Open(_)) | None => None,
        }
    }
}
