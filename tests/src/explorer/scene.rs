//! What a small world consists of.

use bytes::Bytes;
use protocol::message::Submit;
use protocol::{Operation, TxnId};

use crate::world::keys::Keys;

/// Something that may go wrong, once, at any place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// A node crashes; it is started again at any time.
    Crash,
    /// A connection breaks with all that is on it, and comes back.
    Disconnect,
    /// A message is lost.
    Loss,
    /// A message arrives a second time, at any time.
    Double,
    /// A message arrives at any time, after others that were sent later.
    Overtaken,
    /// The clock moves to the next timer although messages are on their way.
    Early,
}

/// What is wrong on purpose with the harness, to show that it is found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Broken {
    /// Messages leave before their records are durable.
    Gate,
    /// A crash loses the last durable record.
    Log,
    /// A node that has crashed begins anew, as if it had never run, and nobody holds what it said against it.
    Memory,
}

/// A small world: one coordinator, its participants, and transactions that each add to a key of theirs.
#[derive(Clone, Debug)]
pub struct Scene {
    /// How many participants.
    pub participants: u32,
    /// For each transaction, at which participants it adds how much. Sums may not be negative.
    pub txns: Vec<Vec<(u32, i64)>>,
    /// What may go wrong.
    pub faults: Vec<Fault>,
    /// What is wrong on purpose.
    pub broken: Option<Broken>,
}

impl Scene {
    /// A world where all goes well.
    #[must_use]
    pub fn new(participants: u32, txns: &[&[(u32, i64)]]) -> Self {
        let txns = txns.iter().map(|parts| parts.to_vec()).collect();
        Self { participants, txns, faults: Vec::new(), broken: None }
    }

    /// The same with a fault more.
    #[must_use]
    pub fn with(mut self, fault: Fault) -> Self {
        self.faults.push(fault);
        self
    }

    /// The same with a broken harness.
    #[must_use]
    pub fn broken(mut self, broken: Broken) -> Self {
        self.broken = Some(broken);
        self
    }

    /// The transaction at a place.
    pub(crate) fn txn(at: usize) -> TxnId {
        TxnId(at as u128 + 1)
    }

    /// What the client of a transaction asks for.
    pub(crate) fn submit(&self, at: usize) -> Submit {
        self.adds(Self::txn(at), &self.txns[at])
    }

    /// A transaction that reads every key under an exclusive lock.
    pub(crate) fn probe(&self) -> Submit {
        let all: Vec<_> = (1..=self.participants).map(|participant| (participant, 0)).collect();
        self.adds(TxnId(u128::MAX), &all)
    }

    /// The participants of a transaction.
    pub(crate) fn parts(&self, txn: TxnId) -> Vec<u32> {
        let at = (txn.0 as usize).wrapping_sub(1);
        self.txns.get(at).into_iter().flatten().map(|(participant, _)| *participant).collect()
    }

    fn adds(&self, txn: TxnId, parts: &[(u32, i64)]) -> Submit {
        let keys = Keys::new(self.participants);
        let key = |participant: u32| keys.key(&key_of(participant)).unwrap_or_else(|_| Bytes::new());
        let add = |(at, delta): &(u32, i64)| Operation::Add { key: key(*at), delta: *delta, min: 0, max: i64::MAX };
        Submit { txn, deadline_ms: 0, operations: parts.iter().map(add).collect() }
    }

    /// How a script asks for it.
    pub(crate) fn submit_words(&self, at: usize) -> String {
        let add = |(participant, delta): &(u32, i64)| format!(" \"add {} {delta} 0..\"", key_of(*participant));
        format!("t{}{}", at + 1, self.txns[at].iter().map(add).collect::<String>())
    }
}

fn key_of(participant: u32) -> String {
    format!("a@p{participant}")
}
