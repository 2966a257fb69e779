//! Whether the answers are true: what committed is there, whole and once; what was aborted left nothing; what nobody knows is
//! there whole or not at all. And nobody is told both.
//!
//! Reads the marks (`crate::workload`). Not seen: whether a transaction that leaves no marks, a reader, really happened.

use std::collections::BTreeMap;

use bytes::Bytes;
use protocol::Operation;

use super::history::{Asked, History, Outcome, Question, Transaction};
use super::{Violation, blame};
use crate::workload::{MARK, MARKED};

/// The marks that a transaction would leave.
fn marks(transaction: &Transaction) -> impl Iterator<Item = &Bytes> {
    let appended = transaction.operations.iter().filter(|operation| matches!(operation, Operation::Append { .. }));
    appended.filter_map(Operation::key).filter(|key| key.starts_with(MARK.as_bytes()))
}

/// Whether a transaction took effect: its client was told so, or its marks tell. Without both it is taken as not done.
#[must_use]
pub fn took_effect(history: &History, transaction: &Transaction) -> bool {
    match transaction.outcome {
        Outcome::Committed(_) => true,
        Outcome::Aborted(_) => false,
        Outcome::Unknown => marks(transaction).any(|mark| history.rows.contains_key(mark)),
    }
}

/// What the transactions that took effect add to each number whose key begins so.
#[must_use]
pub fn added<'a>(history: &'a History, prefix: &str) -> BTreeMap<&'a Bytes, i128> {
    let mut sums = BTreeMap::new();
    for transaction in history.transactions.iter().filter(|transaction| took_effect(history, transaction)) {
        for operation in &transaction.operations {
            if let Operation::Add { key, delta, .. } = operation
                && key.starts_with(prefix.as_bytes())
            {
                *sums.entry(key).or_default() += i128::from(*delta);
            }
        }
    }
    sums
}

/// Judges all answers.
#[must_use]
pub fn check(history: &History) -> Vec<Violation> {
    let mut violations = Vec::new();
    let mut accounted = 0;
    for transaction in &history.transactions {
        accounted += check_marks(history, transaction, &mut violations);
    }
    let there = history.rows_of(MARK).count();
    if there > accounted {
        let count = there - accounted;
        blame(
            &mut violations,
            "unasked",
            format!("{count} marks at the end belong to no transaction that was asked for"),
        );
    }
    check_both(history, &mut violations);
    violations
}

/// Judges what one transaction left, and says how many of its marks are there.
fn check_marks(history: &History, transaction: &Transaction, violations: &mut Vec<Violation>) -> usize {
    let (mut expected, mut found) = (0, 0);
    for mark in marks(transaction) {
        expected += 1;
        let Some(value) = history.rows.get(mark) else { continue };
        found += 1;
        if value != MARKED {
            let times = value.len();
            let mark = String::from_utf8_lossy(mark);
            blame(violations, "done-twice", format!("{} at {mark}: {times} times", tell(transaction)));
        }
    }
    let whole = found == expected;
    let told = tell(transaction);
    match transaction.outcome {
        Outcome::Committed(_) if !whole => {
            let name = if found == 0 { "lost-commit" } else { "half-done" };
            blame(violations, name, format!("{told}: {found} of {expected} marks are there"));
        }
        Outcome::Aborted(_) if found > 0 => {
            blame(violations, "aborted-done", format!("{told}: {found} of {expected} marks are there"));
        }
        Outcome::Unknown if found > 0 && !whole => {
            blame(violations, "half-done", format!("{told}: {found} of {expected} marks are there"));
        }
        Outcome::Committed(_) | Outcome::Aborted(_) | Outcome::Unknown => {}
    }
    found
}

/// Judges contradictions. Who was told "aborted" may ask again and have it committed (presumed abort remembers no aborts, so that
/// is a new try); without that, it must not be. What was asked after a commit was told is judged by [`super::retries`].
fn check_both(history: &History, violations: &mut Vec<Violation>) {
    for (transaction, questions) in history.questions_by_transaction() {
        for abort in questions.iter().filter(|question| question.asked != Asked::Other) {
            let Some(aborted_us) = abort.aborted_us() else { continue };
            let contradicts = |commit_us: u64| {
                let again = |question: &&Question| question.asked == Asked::Same && question.asked_us >= aborted_us;
                let tried_again = questions.iter().any(|question| again(question) && question.asked_us <= commit_us);
                if commit_us > aborted_us {
                    !tried_again
                } else {
                    abort.asked_us < commit_us && abort.asked == Asked::Same
                }
            };
            let commits = questions.iter().filter(|question| question.asked != Asked::Other);
            if let Some(commit_us) = commits.filter_map(|question| question.committed_us()).find(|us| contradicts(*us))
            {
                let story = format!("{:?}: aborted at {aborted_us} us, committed at {commit_us} us", transaction.id);
                blame(violations, "told-both", story);
            }
        }
    }
}

/// A transaction and what was said of it.
fn tell(transaction: &Transaction) -> String {
    let said = match transaction.outcome {
        Outcome::Committed(_) => "committed",
        Outcome::Aborted(_) => "aborted",
        Outcome::Unknown => "of unknown outcome",
    };
    format!("{:?} of client {}, {said}", transaction.id, transaction.client)
}
