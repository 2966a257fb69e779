//! Admission: what a client asks for is begun, found to be a retry, or refused at once.

use planted::planted;
use protocol::message::Submit;
use protocol::{
    Age, Attempt, ClientMessage, Effects, Message, NodeId, Operation, Reason, Refusal, Room, Tick, TxnId, operation,
};

use crate::machine::{AbortedOutcome, Coordinator};
use crate::split::{single_participant, split};
use crate::status::Wish;
use crate::transaction::{Branch, Open, Phase, Txn};

/// Bytes of the undecided prepares of one participant: all of them are sent again, at once, when its connection comes back, and
/// have to fit in what may wait for a connection. Each is held here, and encoded in what waits for its connection, and the
/// participant holds it for longer, until it has heard of the decision: with twice as much it would refuse some as busy.
const PREPARES_BYTES_MAX: usize = 12 << 20;

// A single transaction always fits.
const _: () = assert!(protocol::limits::TXN_BYTES_MAX <= PREPARES_BYTES_MAX);

/// How many operations are looked at before a transaction is split.
const OPERATIONS_AT_FIRST_SIGHT: usize = 8;

/// How many connections may wait for the same transaction; the next one replaces the oldest.
pub(crate) const CLIENTS_PER_TXN_MAX: usize = 4;

impl Coordinator {
    pub(crate) fn on_submit(&mut self, now: Tick, client: NodeId, submit: &Submit, effects: &mut Effects<'_>) {
        let txn = submit.txn;
        if self.is_known(txn) {
            let digest = operation::digest(&submit.operations, &mut self.scratch);
            return self.answer_known(client, txn, digest, effects);
        }
        if submit.operations.is_empty() {
            // Nothing was asked for, so nothing can be lost.
            return effects
                .send_now(client, &Message::Client(ClientMessage::Committed { txn, results: Some(Vec::new()) }));
        }
        if self.evidence.is_lost() {
            return self.ask_participants(now, txn, (client, Wish::Commit), effects);
        }
        let deadline_us = u64::from(self.deadline_ms(submit.deadline_ms)) * 1_000;
        if self.is_busy_at_first_sight(&submit.operations, deadline_us) {
            return effects.send_now(client, &Message::Client(ClientMessage::Busy { txn }));
        }
        let bins = self.bins.as_ref().expect("a started coordinator has bins");
        let branches: Vec<_> = split(bins, &submit.operations).into_iter().map(Branch::new).collect();
        // What is under way can still be decided. This log holds no data, so that a checkpoint frees whatever else is begun; but
        // what frees the participants' space comes first.
        let enlarges = submit.operations.iter().any(Operation::may_enlarge);
        let needed = if enlarges { Room::Smaller } else { Room::Deletes };
        let no_room = effects.room() < needed && branches.iter().any(|branch| branch.writes);
        if self.awaits_claims(now, &branches, effects) || no_room || self.is_busy(&branches, deadline_us) {
            // Nothing was begun, and nothing was computed that is of the length of what was asked.
            return effects.send_now(client, &Message::Client(ClientMessage::Busy { txn }));
        }
        let digest = operation::digest(&submit.operations, &mut self.scratch);
        if self.read.get(txn).is_some_and(|read| read != digest) {
            let refusal = Refusal::by_coordinator(Reason::IdReused);
            // Says nothing of what the transaction read that had the id first. The same one reads again.
            return effects
                .send_now(client, &Message::Client(ClientMessage::Aborted { txn, refusal, at_deadline: false }));
        }
        for branch in &branches {
            let load = self.load.entry(branch.part.participant).or_default();
            load.txns += 1;
            load.bytes += branch.bytes;
        }
        let open = Open {
            digest,
            clients: vec![client],
            deadline: now.plus_us(deadline_us),
            age: self.next_age(now),
            attempt: Attempt { epoch: self.fencing.own().epoch, number: 0 },
            branches,
            limits: submit.operations.iter().map(row_limit).collect(),
            phase: Phase::BackingOff,
            due: now,
            asked: 0,
            last_refusal: None,
        };
        self.txns.insert(txn, Txn::Open(Box::new(open)));
        self.begin_attempt(now, txn, effects);
    }

    /// Whether an earlier process may have decided a transaction of these participants, as far as is known. In one phase its
    /// participant decides.
    fn awaits_claims(&mut self, now: Tick, branches: &[Branch], effects: &mut Effects<'_>) -> bool {
        if branches.len() < 2 {
            return false;
        }
        let participants: Vec<u32> = branches.iter().map(|branch| branch.part.participant).collect();
        let have_accepted = self.have_accepted(&participants);
        if !have_accepted {
            participants.into_iter().for_each(|participant| self.claim_again(now, participant, effects));
        }
        !have_accepted
    }

    fn is_known(&self, txn: TxnId) -> bool {
        self.known_digest(txn).is_some()
    }

    fn answer_known(&mut self, client: NodeId, txn: TxnId, digest: u64, effects: &mut Effects<'_>) {
        if self.known_digest(txn) == Some(digest) || planted!("id-reused") {
            self.answer_again(client, txn, effects);
        } else {
            let refusal = Refusal::by_coordinator(Reason::IdReused);
            // Says nothing of what became of the transaction that had the id first.
            effects.send_now(client, &Message::Client(ClientMessage::Aborted { txn, refusal, at_deadline: false }));
        }
    }

    pub(crate) fn known_digest(&self, txn: TxnId) -> Option<u64> {
        self.txns
            .get(&txn)
            .map(Txn::digest)
            .or_else(|| self.committed.get(txn).map(|outcome| outcome.digest))
            .or_else(|| self.aborted.get(txn).map(|outcome| outcome.digest))
    }

    /// A retry gets the outcome that the transaction has, or waits for the one that it will have.
    pub(crate) fn answer_again(&mut self, client: NodeId, txn: TxnId, effects: &mut Effects<'_>) {
        if let Some(Txn::Open(open)) = self.txns.get_mut(&txn) {
            if !open.clients.contains(&client) {
                if open.clients.len() == CLIENTS_PER_TXN_MAX {
                    open.clients.remove(0);
                }
                open.clients.push(client);
            }
        } else if let Some(AbortedOutcome { refusal, at_deadline, .. }) = self.aborted.get(txn) {
            // An abort needs no record.
            effects.send_now(client, &Message::Client(ClientMessage::Aborted { txn, refusal, at_deadline }));
        } else {
            effects.send(client, &Message::Client(ClientMessage::Committed { txn, results: None }));
        }
    }

    /// Whether it is sure to be too much before it is looked at closely: to say so has to cost next to nothing.
    fn is_busy_at_first_sight(&self, operations: &[Operation], deadline_us: u64) -> bool {
        let bins = self.bins.as_ref().expect("a started coordinator has bins");
        let of_first = operations.iter().take(OPERATIONS_AT_FIRST_SIGHT);
        self.is_full()
            || of_first
                .filter_map(|operation| single_participant(bins, operation))
                .any(|participant| self.is_loaded(participant, 0, deadline_us))
    }

    fn is_full(&self) -> bool {
        self.txns.len() >= self.config.max_concurrent_txns && !planted!("coordinator-unbounded")
    }

    /// Whether so many bytes more are too much for a participant.
    fn is_loaded(&self, participant: u32, bytes: usize, deadline_us: u64) -> bool {
        let load = self.load.get(&participant).copied().unwrap_or_default();
        let pace = self.paces.get(&participant);
        load.txns >= self.config.participant_txns_max()
            || load.bytes + bytes > PREPARES_BYTES_MAX
            || pace.is_some_and(|pace| pace.is_too_much(load, bytes, deadline_us))
    }

    fn is_busy(&self, branches: &[Branch], deadline_us: u64) -> bool {
        self.is_full()
            || branches.iter().any(|branch| self.is_loaded(branch.part.participant, branch.bytes, deadline_us))
            || self.answers.is_too_much(branches.iter().map(|branch| self.answers.expected(&branch.part.operations)))
    }

    pub(crate) fn deadline_ms(&self, asked_ms: u32) -> u32 {
        match asked_ms {
            0 => self.config.deadline_ms_default,
            asked_ms => asked_ms.min(self.config.deadline_ms_max),
        }
    }

    pub(crate) fn next_age(&mut self, now: Tick) -> Age {
        self.last_admitted_us = now.0.max(self.last_admitted_us + 1);
        Age { admitted_us: self.last_admitted_us, coordinator: self.config.node }
    }
}

fn row_limit(operation: &Operation) -> u32 {
    match operation {
        Operation::Scan { limit, .. } => *limit,
        Operation::Get { .. }
        | Operation::Put { .. }
        | Operation::Delete { .. }
        | Operation::Add { .. }
        | Operation::Append { .. }
        | Operation::Expect { .. } => 0,
    }
}
