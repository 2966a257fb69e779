//! A transaction as an application builds it, and what becomes of it.

use std::ops::RangeInclusive;
use std::time::Duration;

use bytes::Bytes;
use protocol::{Condition, Operation, OperationResult, Refusal, ScanOf, TxnId};

/// Operations that happen all or not at all, in the order in which they are added here.
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use = "a transaction does nothing until it is submitted"]
pub struct Transaction {
    pub(crate) id: TxnId,
    pub(crate) deadline: Option<Duration>,
    pub(crate) operations: Vec<Operation>,
}

impl Default for Transaction {
    fn default() -> Self {
        Self::new()
    }
}

impl Transaction {
    /// An empty transaction under a new random id.
    pub fn new() -> Self {
        Self::with_id(TxnId(rand::random()))
    }

    /// An empty transaction under this id. The same id with the same operations is the same
    /// transaction; with other operations it is refused.
    pub fn with_id(id: TxnId) -> Self {
        Self { id, deadline: None, operations: Vec::new() }
    }

    /// Its id, to ask for its status later.
    #[must_use]
    pub fn id(&self) -> TxnId {
        self.id
    }

    /// Its operations.
    #[must_use]
    pub fn operations(&self) -> &[Operation] {
        &self.operations
    }

    /// How long the coordinator may try, in place of the client's default.
    pub fn deadline(mut self, deadline: Duration) -> Self {
        self.deadline = Some(deadline);
        self
    }

    /// Adds any operation.
    pub fn operation(mut self, operation: Operation) -> Self {
        self.operations.push(operation);
        self
    }

    /// Reads a value.
    pub fn get(self, key: impl Into<Bytes>) -> Self {
        self.operation(Operation::Get { key: key.into() })
    }

    /// Writes a value.
    pub fn put(self, key: impl Into<Bytes>, value: impl Into<Bytes>) -> Self {
        self.operation(Operation::Put { key: key.into(), value: value.into() })
    }

    /// Removes a value.
    pub fn delete(self, key: impl Into<Bytes>) -> Self {
        self.operation(Operation::Delete { key: key.into() })
    }

    /// Adds to a number.
    pub fn add(self, key: impl Into<Bytes>, delta: i64) -> Self {
        self.add_within(key, delta, i64::MIN..=i64::MAX)
    }

    /// Adds to a number; refused if the sum would leave `bounds`.
    pub fn add_within(self, key: impl Into<Bytes>, delta: i64, bounds: RangeInclusive<i64>) -> Self {
        self.operation(Operation::Add { key: key.into(), delta, min: *bounds.start(), max: *bounds.end() })
    }

    /// Writes after what is there.
    pub fn append(self, key: impl Into<Bytes>, value: impl Into<Bytes>) -> Self {
        self.operation(Operation::Append { key: key.into(), value: value.into() })
    }

    /// Refuses the transaction unless the key has this value.
    pub fn expect(self, key: impl Into<Bytes>, value: impl Into<Bytes>) -> Self {
        self.operation(Operation::Expect { key: key.into(), condition: Condition::Equals(value.into()) })
    }

    /// Refuses the transaction unless the key has a value.
    pub fn expect_exists(self, key: impl Into<Bytes>) -> Self {
        self.operation(Operation::Expect { key: key.into(), condition: Condition::Exists })
    }

    /// Refuses the transaction if the key has a value.
    pub fn expect_absent(self, key: impl Into<Bytes>) -> Self {
        self.operation(Operation::Expect { key: key.into(), condition: Condition::Absent })
    }

    /// Reads the rows from `start` up to but without `end`, at most `limit` of them (0: as many as
    /// fit into an answer).
    pub fn scan(self, start: impl Into<Bytes>, end: impl Into<Bytes>, limit: u32) -> Self {
        self.operation(Operation::Scan { start: start.into(), end: end.into(), limit, of: ScanOf::Rows })
    }

    /// Counts and sums the numbers from `start` up to but without `end`.
    pub fn totals(self, start: impl Into<Bytes>, end: impl Into<Bytes>) -> Self {
        self.operation(Operation::Scan { start: start.into(), end: end.into(), limit: 0, of: ScanOf::Totals })
    }
}

/// What became of a transaction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// All of it happened, durably.
    Committed {
        /// One result for each operation; `None` if an earlier submission of the same id had them.
        results: Option<Vec<OperationResult>>,
    },
    /// Nothing of it happened or will.
    Aborted {
        /// Why; at the deadline, why the last attempt did not succeed.
        refusal: Refusal,
        /// Whether the deadline ended it, not the refusal.
        at_deadline: bool,
    },
}
