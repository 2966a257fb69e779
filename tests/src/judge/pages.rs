//! Every reader of a page, and the end, finds what one transaction wrote there, whole.
//!
//! Not seen: pages that are older than they may be.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use protocol::{Operation, OperationResult};

use super::history::History;
use super::{Violation, blame};
use crate::workload::pages::PAGE;

/// Judges all pages.
#[must_use]
pub fn check(history: &History) -> Vec<Violation> {
    let mut written: BTreeMap<&Bytes, BTreeSet<&Bytes>> = BTreeMap::new();
    for transaction in history.transactions.iter().filter(|transaction| !transaction.is_aborted()) {
        for operation in &transaction.operations {
            if let Operation::Put { key, value } = operation
                && key.starts_with(PAGE.as_bytes())
            {
                written.entry(key).or_default().insert(value);
            }
        }
    }
    let is_written = |key: &Bytes, value: Option<&Bytes>| {
        let known = written.get(key);
        known.zip(value).is_some_and(|(known, value)| known.contains(value))
    };
    let mut violations = Vec::new();
    for transaction in &history.transactions {
        let wrong = transaction.done().find_map(|(operation, result)| match (operation, result) {
            (Operation::Get { key }, OperationResult::Value(value)) if key.starts_with(PAGE.as_bytes()) => {
                (!is_written(key, value.as_ref())).then_some((key, value.as_ref()))
            }
            _ => None,
        });
        if let Some((key, value)) = wrong {
            let who = format!("{:?} of client {}", transaction.id, transaction.client);
            blame(&mut violations, "page", format!("{who} has read {}", told(key, value)));
        }
    }
    for key in written.keys() {
        let value = history.rows.get(*key);
        if !is_written(key, value) {
            blame(&mut violations, "page", format!("the end has {}", told(key, value)));
        }
    }
    violations
}

fn told(key: &Bytes, value: Option<&Bytes>) -> String {
    let key = String::from_utf8_lossy(key);
    match value {
        None => format!("no {key}, which was there from the beginning"),
        Some(value) => {
            let begin = String::from_utf8_lossy(&value[..value.len().min(16)]).into_owned();
            format!("{key} with {} bytes that nobody wrote together: {begin:?}...", value.len())
        }
    }
}
