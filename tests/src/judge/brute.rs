//! Whether some order of all transactions explains a history of lists, by trying all orders. Shares no code with
//! [`super::lists`], knows of no graph, and takes as long as there are orders: for histories of a few transactions.

use std::collections::BTreeMap;

use bytes::Bytes;
use protocol::{Operation, OperationResult};

use super::history::{History, Outcome, Transaction};
use crate::workload::lists::LIST;

/// How many transactions it takes at most.
pub const TRANSACTIONS_MAX: usize = 8;

type Rows = BTreeMap<Bytes, Vec<u8>>;

/// Whether there is an order in which every transaction that was committed, and any of unknown outcome, done one after the other, read what
/// they did read and leave what is there at the end; and which puts nothing before what was over before it began.
///
/// # Panics
/// If there are more than [`TRANSACTIONS_MAX`] transactions.
#[must_use]
pub fn is_strictly_serializable(history: &History) -> bool {
    assert!(history.transactions.len() <= TRANSACTIONS_MAX, "too many orders to try");
    let open = history.transactions.iter().filter(|transaction| !transaction.is_aborted()).collect();
    let end: Rows = history.rows_of(LIST).map(|(key, value)| (key.clone(), value.to_vec())).collect();
    try_all(&open, &Rows::new(), &end)
}

/// Whether some order of the open transactions leads from these rows to the end.
fn try_all(open: &Vec<&Transaction>, rows: &Rows, end: &Rows) -> bool {
    if open.iter().all(|transaction| transaction.outcome == Outcome::Unknown) && rows == end {
        return true;
    }
    (0..open.len()).any(|at| {
        let mut others = open.clone();
        let next = others.remove(at);
        let is_too_early = others.iter().any(|other| other.is_committed() && other.is_before(next));
        !is_too_early && run(next, rows).is_some_and(|rows| try_all(&others, &rows, end))
    })
}

/// The rows after a transaction; `None` if it would have read something else than it did.
fn run(transaction: &Transaction, rows: &Rows) -> Option<Rows> {
    let mut rows = rows.clone();
    for (at, operation) in transaction.operations.iter().enumerate() {
        let read = transaction.results().map(|results| &results[at]);
        if let Operation::Append { key, value } = operation {
            rows.entry(key.clone()).or_default().extend_from_slice(value);
        } else if let (Operation::Get { key }, Some(OperationResult::Value(value))) = (operation, read)
            && rows.get(key).map(Vec::as_slice) != value.as_deref()
        {
            return None;
        }
    }
    Some(rows)
}
