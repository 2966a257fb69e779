//! What ends a transaction here: its coordinator's decision, or its coordinator's replacement.

use planted::planted;
use protocol::message::KnownOutcome;
use protocol::record::{CommittedOutcome, Promise};
use protocol::{Attempt, Effects, Lsn, Message, NodeId, Position, Record, TxnId};

use crate::active::{Active, Prepared};
use crate::limits::COORDINATORS_MAX;
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
            effects.send(answer_to, &Message::CommitAck { txn, attempt });
        } else if self.committed.get(txn).is_some_and(|outcome| outcome.attempt == attempt)
            || planted!("loss-acknowledged")
        {
            effects.send(answer_to, &Message::CommitAck { txn, attempt });
        } else {
            let held_at = held_at.unwrap_or_default();
            effects.send(answer_to, &Message::PrepareLost { txn, attempt, voted_at, held_at });
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
            Some(Active::Prepared(_) | Active::Waiting { .. }) | None => None,
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

    pub(crate) fn apply(&mut self, at: Lsn, promise: &Promise) {
        let Promise { txn, attempt, digest, coordinator, .. } = *promise;
        for (write, offset) in promise.writes.iter().zip(promise.value_offsets()) {
            self.table.apply(engine::Lsn(at.0), offset, &write.key, write.value.clone());
        }
        self.committed.remember(txn, CommittedOutcome { txn, attempt, digest, coordinator });
    }

    pub(crate) fn on_abort(&mut self, coordinator: u32, txn: TxnId, attempt: Attempt, effects: &mut Effects<'_>) {
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
            effects.log(&Record::Aborted { txn, attempt: prepared.promise.attempt });
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
        } else if self.evidence.is_lost() {
            // It may have stood in what was lost: nobody here can say that it did not commit.
            return;
        } else {
            KnownOutcome::Nothing
        };
        effects.send(NodeId::coordinator(coordinator), &Message::Outcome { txn, question, known });
    }

    pub(crate) fn on_hello(&mut self, coordinator: u32, epoch: u32, effects: &mut Effects<'_>) {
        self.raise_fence(coordinator, epoch, effects);
        let mut in_doubt: Vec<_> = self
            .txns
            .iter()
            .filter_map(|(txn, active)| match active {
                Active::Prepared(prepared) if prepared.promise.coordinator == coordinator => {
                    Some((*txn, prepared.question()))
                }
                Active::Prepared(_) | Active::Waiting { .. } => None,
            })
            .collect();
        in_doubt.sort_unstable_by_key(|(txn, _)| *txn);
        for (_, question) in in_doubt.into_iter().filter(|_| !planted!("doubt-unasked")) {
            // A question promises nothing.
            effects.send_now(NodeId::coordinator(coordinator), &question);
        }
    }

    /// The latest epoch met of a coordinator.
    pub(crate) fn fence(&self, coordinator: u32) -> u32 {
        self.fences.get(&coordinator).copied().unwrap_or(0)
    }

    /// Whether this participant obeys a coordinator already, or may begin to.
    pub(crate) fn may_know(&self, coordinator: u32) -> bool {
        self.fences.contains_key(&coordinator) || self.fences.len() < COORDINATORS_MAX
    }

    /// From now on nothing of this coordinator's earlier epochs is begun. What only waits is of
    /// one of them, and is dropped: nothing was promised.
    pub(crate) fn raise_fence(&mut self, coordinator: u32, epoch: u32, effects: &mut Effects<'_>) {
        let is_known = self.fences.get(&coordinator).is_some_and(|known| epoch <= *known);
        if is_known || !self.may_know(coordinator) {
            return;
        }
        self.fences.insert(coordinator, epoch);
        effects.log(&Record::Fenced { coordinator, epoch });
        let mut dropped: Vec<TxnId> = self
            .txns
            .iter()
            .filter_map(|(txn, active)| match active {
                Active::Waiting { prepare, .. } if prepare.coordinator == coordinator => Some(*txn),
                Active::Waiting { .. } | Active::Prepared(_) => None,
            })
            .collect();
        dropped.sort_unstable();
        for txn in dropped {
            self.take(txn);
            self.release(txn);
        }
    }
}
