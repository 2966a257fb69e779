//! Money is neither made nor lost: not at any moment that a reader sees, and not at the end, where every balance is what the
//! transfers that were done have left. Nobody is ever overdrawn.
//!
//! Not seen: transfers in an order that real time forbids; two errors in one account that make up for each other.

use protocol::operation::parse_number;
use protocol::{Operation, OperationResult, ScanOf, Totals};

use super::history::{History, Transaction};
use super::{Violation, blame, outcomes};
use crate::workload::bank::{ACCOUNT, BALANCE};

/// Judges a bank with so many accounts.
#[must_use]
pub fn check(history: &History, accounts: u32) -> Vec<Violation> {
    let mut violations = Vec::new();
    let whole = Totals { keys: u64::from(accounts), sum: i128::from(accounts) * i128::from(BALANCE), negatives: 0 };
    let opening = history.transactions.iter().find(|transaction| opens(transaction));
    for transaction in &history.transactions {
        let Some(found) = seen(transaction) else { continue };
        let before = !opening.is_some_and(|opening| opening.is_before(transaction));
        if found != whole && !(before && found == Totals::default()) {
            let (id, client) = (transaction.id, transaction.client);
            blame(&mut violations, "money", format!("{id:?} of client {client} has seen {found:?} of {whole:?}"));
        }
    }
    check_sums(transaction_sums(history), &mut violations);
    let is_open = opening.is_some_and(|opening| outcomes::took_effect(history, opening));
    check_end(history, if is_open { whole } else { Totals::default() }, &mut violations);
    violations
}

fn opens(transaction: &Transaction) -> bool {
    transaction.operations.iter().any(|operation| matches!(operation, Operation::Put { key, .. } if is_account(key)))
}

fn is_account(key: &[u8]) -> bool {
    key.starts_with(ACCOUNT.as_bytes())
}

fn total<'a>(values: impl Iterator<Item = &'a [u8]>) -> Totals {
    let mut totals = Totals::default();
    for value in values {
        let number = parse_number(value);
        totals.keys += 1;
        totals.sum += i128::from(number.unwrap_or_default());
        totals.negatives += u64::from(number.is_none_or(|number| number < 0));
    }
    totals
}

/// What a reader of all accounts saw of them.
fn seen(transaction: &Transaction) -> Option<Totals> {
    let mut values: Vec<&[u8]> = Vec::new();
    let mut gets = 0;
    for (operation, result) in transaction.done() {
        match (operation, result) {
            (Operation::Scan { start, of: ScanOf::Totals, .. }, OperationResult::Totals(totals))
                if is_account(start) =>
            {
                return Some(*totals);
            }
            (Operation::Scan { start, of: ScanOf::Rows, .. }, OperationResult::Rows { rows, .. })
                if is_account(start) =>
            {
                return Some(total(rows.iter().map(|(_, value)| &value[..])));
            }
            (Operation::Get { key }, OperationResult::Value(value)) if is_account(key) => {
                gets += 1;
                values.extend(value.as_deref());
            }
            _ => {}
        }
    }
    (gets > 0).then(|| total(values.into_iter()))
}

/// What every transfer was told that an account now holds.
fn transaction_sums(history: &History) -> impl Iterator<Item = (&Transaction, i64)> {
    history.transactions.iter().flat_map(|transaction| {
        transaction.done().filter_map(move |(operation, result)| match (operation, result) {
            (Operation::Add { key, .. }, OperationResult::Number(sum)) if is_account(key) => Some((transaction, *sum)),
            _ => None,
        })
    })
}

fn check_sums<'a>(sums: impl Iterator<Item = (&'a Transaction, i64)>, violations: &mut Vec<Violation>) {
    for (transaction, sum) in sums.filter(|(_, sum)| *sum < 0) {
        blame(violations, "overdrawn", format!("{:?} was told that an account holds {sum}", transaction.id));
    }
}

fn check_end(history: &History, whole: Totals, violations: &mut Vec<Violation>) {
    let found = total(history.rows_of(ACCOUNT).map(|(_, value)| &value[..]));
    if found != whole {
        blame(violations, "money", format!("the end has {found:?} of {whole:?}"));
    }
    let added = outcomes::added(history, ACCOUNT);
    for (key, value) in history.rows_of(ACCOUNT) {
        let expected = i128::from(BALANCE) + added.get(key).copied().unwrap_or_default();
        if parse_number(value).map(i128::from) != Some(expected) {
            let (key, value) = (String::from_utf8_lossy(key), String::from_utf8_lossy(value));
            blame(violations, "balance", format!("{key} holds {value} at the end, its transfers come to {expected}"));
        }
    }
}
