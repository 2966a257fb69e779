//! Sets of counters have equal sums at every moment that a reader sees, and at the end each counter holds what the increments
//! that were done come to.
//!
//! Not seen: increments in an order that real time forbids.

use protocol::operation::parse_number;
use protocol::{Operation, OperationResult};

use super::history::{History, Transaction};
use super::{Violation, blame, outcomes};
use crate::workload::sums::{SUM, prefix};

/// Judges so many sets.
#[must_use]
pub fn check(history: &History, sets: u32) -> Vec<Violation> {
    let mut violations = Vec::new();
    for transaction in &history.transactions {
        let sums = seen(transaction);
        if sums.windows(2).any(|pair| pair[0] != pair[1]) {
            let (id, client) = (transaction.id, transaction.client);
            blame(&mut violations, "sums", format!("{id:?} of client {client} has seen the sums {sums:?}"));
        }
    }
    let number = |value: &[u8]| parse_number(value).map(i128::from);
    let ends = (0..sets).map(|set| history.rows_of(&prefix(set)).filter_map(|(_, value)| number(value)).sum());
    let ends: Vec<i128> = ends.collect();
    if ends.windows(2).any(|pair| pair[0] != pair[1]) {
        blame(&mut violations, "sums", format!("the end has the sums {ends:?}"));
    }
    let added = outcomes::added(history, SUM);
    let rows = history.rows_of(SUM).map(|(key, _)| key);
    let keys: std::collections::BTreeSet<_> = added.keys().copied().chain(rows).collect();
    for key in keys {
        let expected = added.get(key).copied();
        let found = history.rows.get(key).map(|value| number(value));
        if found != expected.map(Some) {
            let key = String::from_utf8_lossy(key);
            blame(
                &mut violations,
                "counter",
                format!("{key} holds {found:?} at the end, its increments come to {expected:?}"),
            );
        }
    }
    violations
}

/// The sums that a reader saw.
fn seen(transaction: &Transaction) -> Vec<i128> {
    let of_sets = transaction.done().filter_map(|(operation, result)| match (operation, result) {
        (Operation::Scan { start, .. }, OperationResult::Totals(totals)) if start.starts_with(SUM.as_bytes()) => {
            Some(totals.sum)
        }
        _ => None,
    });
    of_sets.collect()
}
