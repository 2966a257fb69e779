//! After the decision: participants are told until all have acknowledged.

use protocol::record::CommittedOutcome;
use protocol::{Attempt, Effects, Message, NodeId, Position, Record, Tick, TxnId};

use crate::machine::Coordinator;
use crate::transaction::{Delivery, Phase, Txn};

/// The attempt under which what others committed is remembered. Attempts count from 1, so no promise
/// has it, and nobody who asks about a promise is told to commit it.
pub(crate) const ELSEWHERE: Attempt = Attempt { epoch: 0, number: 0 };

impl Coordinator {
    pub(crate) fn deliver(
        &mut self,
        now: Tick,
        txn: TxnId,
        attempt: Attempt,
        digest: u64,
        unacked: Vec<(u32, Position)>,
    ) {
        for (participant, _) in &unacked {
            self.load.entry(*participant).or_default().txns += 1;
        }
        let resend_interval_us = self.config.resend_interval_us;
        let due = now.plus_us(resend_interval_us);
        self.timers.set(due, txn);
        self.txns.insert(txn, Txn::Delivering(Delivery { attempt, digest, unacked, due, resend_interval_us }));
    }

    pub(crate) fn on_commit_ack(&mut self, participant: u32, txn: TxnId, attempt: Attempt, effects: &mut Effects<'_>) {
        let Some(Txn::Delivering(delivery)) = self.txns.get_mut(&txn) else { return };
        let before = delivery.unacked.len();
        if delivery.attempt == attempt {
            delivery.unacked.retain(|(unacked, _)| *unacked != participant);
        }
        let (acked, digest) = (before > delivery.unacked.len(), delivery.digest);
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
            if only.is_none_or(|only| only == *participant) {
                let commit = Message::Commit { txn, attempt: delivery.attempt, prepared_at: *prepared_at };
                effects.send(NodeId::participant(*participant), &commit);
            }
        }
    }

    /// Answers a participant that holds a promise: what was not decided is aborted.
    pub(crate) fn tell_outcome(&mut self, participant: u32, txn: TxnId, attempt: Attempt, effects: &mut Effects<'_>) {
        let to = NodeId::participant(participant);
        match self.txns.get(&txn) {
            Some(Txn::Delivering(delivery)) if delivery.attempt == attempt => {
                return self.tell_again(txn, delivery, Some(participant), effects);
            }
            Some(Txn::Open(open)) if open.attempt == attempt && open.phase == Phase::Preparing => return,
            Some(Txn::Open(_) | Txn::Delivering(_)) | None => {}
        }
        if self.committed.get(txn).is_some_and(|outcome| outcome.attempt == attempt) {
            effects.send(to, &Message::Commit { txn, attempt, prepared_at: Position::UNKNOWN });
        } else {
            // Presumed abort: without a decision there is nothing to wait for.
            effects.send_now(to, &Message::Abort { txn, attempt });
        }
    }

    /// A new connection: whatever was under way to this participant may have been lost.
    pub(crate) fn on_hello(&mut self, participant: u32, effects: &mut Effects<'_>) {
        self.bear_witness(participant, effects);
        let mut txns: Vec<TxnId> = self.txns.keys().copied().collect();
        txns.sort_unstable();
        for txn in txns {
            match &self.txns[&txn] {
                Txn::Open(open) if open.phase == Phase::Preparing => self.ask_again(txn, Some(participant), effects),
                Txn::Open(_) => {}
                Txn::Delivering(delivery) => self.tell_again(txn, delivery, Some(participant), effects),
            }
        }
    }

    /// Takes a delivery off the books.
    pub(crate) fn forget_delivery(&mut self, txn: TxnId) -> Option<(Attempt, u64)> {
        match self.txns.remove(&txn) {
            Some(Txn::Delivering(delivery)) => {
                delivery.unacked.iter().for_each(|(participant, _)| self.unload(*participant, 0));
                Some((delivery.attempt, delivery.digest))
            }
            Some(Txn::Open(_)) | None => None,
        }
    }
}
