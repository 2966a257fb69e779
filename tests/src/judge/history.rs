//! What clients saw: every transaction with what was asked, when, and what came of it, and the rows that were there after
//! the world had come to rest.
//!
//! A transaction stands here once, however often it was submitted. It begins with its first submission. Its outcome is
//! committed, from the first time on that anyone was told so; else aborted, from the last such answer on. Whoever asks for it
//! twice, or for its status, adds a [`Question`].

use std::collections::BTreeMap;

use bytes::Bytes;
use protocol::{Operation, OperationResult, Reason, TxnId};

/// A whole run, as seen from outside.
#[derive(Clone, Debug, Default)]
pub struct History {
    /// Every transaction, in any order.
    pub transactions: Vec<Transaction>,
    /// The questions about those transactions of which more than one was asked: all of them, the first too. In any order.
    pub questions: Vec<Question>,
    /// All rows at the end, read from the participants' tables.
    pub rows: BTreeMap<Bytes, Bytes>,
}

/// A transaction and what its client knows of it.
#[derive(Clone, Debug)]
pub struct Transaction {
    /// Its name.
    pub id: TxnId,
    /// Who asked.
    pub client: u32,
    /// When it was asked for first, in microseconds.
    pub invoked_us: u64,
    /// When the outcome was heard, in microseconds; `None` if it never was.
    pub completed_us: Option<u64>,
    /// What it was to do.
    pub operations: Vec<Operation>,
    /// What came of it.
    pub outcome: Outcome,
    /// How often it was submitted with these operations.
    pub submissions: u32,
}

/// What a client was told of a transaction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Committed; with one result for each operation unless they were lost with an earlier answer.
    Committed(Option<Vec<OperationResult>>),
    /// Nothing of it happened or will.
    Aborted(Reason),
    /// No answer ever came.
    Unknown,
}

/// A question about a transaction, and its answer.
#[derive(Clone, Debug)]
pub struct Question {
    /// Which, as its place in [`History::transactions`].
    pub transaction: usize,
    /// What was asked.
    pub asked: Asked,
    /// When it was asked, in microseconds.
    pub asked_us: u64,
    /// What was said, and when, in microseconds; `None` if nothing ever was. BUSY is no answer.
    pub said: Option<(u64, Said)>,
}

/// What a question about a transaction was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Asked {
    /// Its operations were submitted.
    Same,
    /// Other operations were submitted under its id, after it had been said to be committed. (Of another transaction nobody may
    /// remember the id, so that it would be a new one.)
    Other,
    /// What became of it?
    Status,
}

/// What was answered to a question.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Said {
    /// Committed, perhaps with its results.
    Committed(Option<Vec<OperationResult>>),
    /// Aborted; a status has no reason.
    Aborted(Option<Reason>),
    /// Not decided yet: a status only.
    InProgress,
    /// Nobody knows of it: a status only.
    Unknown,
}

impl Question {
    /// When it was said that the transaction had committed, if that was the answer.
    #[must_use]
    pub fn committed_us(&self) -> Option<u64> {
        let (at_us, said) = self.said.as_ref()?;
        matches!(said, Said::Committed(_)).then_some(*at_us)
    }

    /// When it was said that the transaction was aborted, if that was the answer. That its id was used for something else
    /// says nothing of the transaction itself.
    #[must_use]
    pub fn aborted_us(&self) -> Option<u64> {
        let (at_us, said) = self.said.as_ref()?;
        matches!(said, Said::Aborted(reason) if *reason != Some(Reason::IdReused)).then_some(*at_us)
    }
}

impl Transaction {
    /// Whether its client was told that it committed.
    #[must_use]
    pub fn is_committed(&self) -> bool {
        matches!(self.outcome, Outcome::Committed(_))
    }

    /// Whether its client was told that it was aborted.
    #[must_use]
    pub fn is_aborted(&self) -> bool {
        matches!(self.outcome, Outcome::Aborted(_))
    }

    /// Whether it could change anything.
    #[must_use]
    pub fn writes(&self) -> bool {
        self.operations.iter().any(Operation::writes)
    }

    /// Its results, if its client has them.
    #[must_use]
    pub fn results(&self) -> Option<&[OperationResult]> {
        match &self.outcome {
            Outcome::Committed(results) => results.as_deref(),
            Outcome::Aborted(_) | Outcome::Unknown => None,
        }
    }

    /// Its operations with their results; none if its client has none.
    pub fn done(&self) -> impl Iterator<Item = (&Operation, &OperationResult)> {
        self.operations.iter().zip(self.results().unwrap_or_default())
    }

    /// Whether this one was over before the other began, as their clients saw it.
    #[must_use]
    pub fn is_before(&self, other: &Self) -> bool {
        self.completed_us.is_some_and(|completed_us| completed_us < other.invoked_us)
    }
}

impl History {
    /// The questions about each transaction that writes, in the order in which they were asked.
    #[must_use]
    pub fn questions_by_transaction(&self) -> Vec<(&Transaction, Vec<&Question>)> {
        let mut all: Vec<&Question> = self.questions.iter().collect();
        all.sort_by_key(|question| (question.transaction, question.asked_us));
        let same = |one: &&Question, other: &&Question| one.transaction == other.transaction;
        let each =
            all.chunk_by(same).map(|questions| (&self.transactions[questions[0].transaction], questions.to_vec()));
        each.filter(|(transaction, _)| transaction.writes()).collect()
    }

    /// The rows whose keys begin so.
    pub fn rows_of<'a>(&'a self, prefix: &'a str) -> impl Iterator<Item = (&'a Bytes, &'a Bytes)> {
        let first = Bytes::copy_from_slice(prefix.as_bytes());
        self.rows.range(first..).take_while(move |(key, _)| key.starts_with(prefix.as_bytes()))
    }
}
