//! What ends a transaction here: its coordinator's decision, or its coordinator's replacement.

use planted::planted;
use protocol::message::KnownOutcome;
use protocol::record::{CommittedOutcome, Promise};
use protocol::{
    Attempt, CommitMessage, Effects, Message, NodeId, Place, Position, Reason, Record, RecoveryMessage, Refusal, TxnId,
};

use crate::active::{Active, Prepared};
use crate::machine::Participant;

impl Participant {
    /// Keeps the promise that was voted on, and no other: the votes of the others are about that one.
    pub(crate) fn on_commit(
        &mut self,
        coordinator: u32,
        ballot: (TxnId, Attempt),
        voted_at: Position,
        decided_at: Position,
        effects: &mut Effects<'_>,
    ) {
        let (txn, attempt) = ballot;
        let answer_to = NodeId::coordinator(coordinator);
        let held_at = self.promised_at(coordinator, txn, attempt);
        if held_at.is_some_and(|held_at| !voted_at.is_known() || held_at == voted_at) {
            if !planted!("commit-unlogged") {
                effects.log(&Record::Committed { txn, attempt, decided_at });
            }
            self.commit(txn, decided_at);
            effects.send(answer_to, &Message::Commit(CommitMessage::CommitAck { txn, attempt }));
        } else if self.committed.get(txn).is_some_and(|outcome| outcome.attempt == attempt)
            || planted!("loss-acknowledged")
        {
            effects.send(answer_to, &Message::Commit(CommitMessage::CommitAck { txn, attempt }));
        } else {
            let held_at = held_at.unwrap_or_default();
            effects
                .send(answer_to, &Message::Recovery(RecoveryMessage::PrepareLost { txn, attempt, voted_at, held_at }));
        }
    }

    /// What the vote on a promise that is held said of its place.
    fn promised_at(&self, coordinator: u32, txn: TxnId, attempt: Attempt) -> Option<Position> {
        match self.txns.get(&txn) {
            Some(Active::Prepared(Prepared { promise, first_at, .. }))
                if promise.attempt == attempt && promise.coordinator == coordinator =>
            {
                Some(*first_at)
            }
            Some(Active::Prepared(_) | Active::Waiting(_)) | None => None,
        }
    }

    /// Does what was promised.
    pub(crate) fn commit(&mut self, txn: TxnId, decided_at: Position) {
        if let Some(Active::Prepared(prepared)) = self.take(txn) {
            self.evidence.hear(prepared.promise.coordinator, decided_at);
            self.apply(prepared.at, &prepared.promise);
            self.release(txn);
        }
    }

    pub(crate) fn apply(&mut self, at: Place, promise: &Promise) {
        let Promise { txn, attempt, digest, coordinator, .. } = *promise;
        for (write, offset) in promise.writes.iter().zip(promise.value_offsets()) {
            self.table.apply(at, offset, &write.key, write.value.clone());
        }
        self.committed.remember(txn, CommittedOutcome { txn, attempt, digest, coordinator });
    }

    /// Ends this attempt and every earlier one. That is remembered: a late copy of its prepare must not begin it anew.
    pub(crate) fn on_abort(&mut self, coordinator: u32, txn: TxnId, attempt: Attempt, effects: &mut Effects<'_>) {
        if attempt.epoch > self.fencing.epoch_of(coordinator) {
            // Nobody has begun that yet.
            return;
        }
        if self.committed.get(txn).is_none() && !planted!("abort-forgotten") {
            let refusal = Refusal::by_participant(self.config.node, Reason::Ended);
            self.refused.remember(coordinator, txn, attempt, refusal);
        }
        let meant = self.txns.get(&txn).is_some_and(|active| {
            active.coordinator() == coordinator && (active.attempt() <= attempt || planted!("old-abort-taken"))
        });
        if meant {
            self.abandon(txn, effects);
        }
    }

    /// Ends a transaction that was aborted.
    pub(crate) fn abandon(&mut self, txn: TxnId, effects: &mut Effects<'_>) {
        if let Some(Active::Prepared(prepared)) = self.take(txn) {
            let attempt = prepared.promise.attempt;
            let has_written = !prepared.promise.writes.is_empty();
            effects.log(&if has_written {
                Record::Aborted { txn, attempt }
            } else {
                Record::Released { txn, attempt }
            });
        }
        self.release(txn);
    }

    pub(crate) fn on_ask_outcome(
        &mut self,
        coordinator: u32,
        (txn, question): (TxnId, u64),
        effects: &mut Effects<'_>,
    ) {
        let known = if self.committed.get(txn).is_some() {
            KnownOutcome::Committed
        } else if self.txns.contains_key(&txn) {
            KnownOutcome::InProgress
        } else if self.evidence.is_lost_for(coordinator) {
            // It may have stood in what was lost: nobody here can say that it did not commit.
            return;
        } else {
            KnownOutcome::Nothing
        };
        effects.send(
            NodeId::coordinator(coordinator),
            &Message::Recovery(RecoveryMessage::Outcome { txn, question, known }),
        );
    }
}
