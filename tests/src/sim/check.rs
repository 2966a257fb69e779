//! What must hold at the end of a run, judged by what clients were told and by what the logs hold.

use crate::judge::{self, History, Layout};

/// What must not be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// Who noticed.
    pub checker: &'static str,
    /// What.
    pub what: String,
}

/// Failures of one run that are told: the first says most.
const FAILURES_MAX: usize = 5;

/// Judges what clients saw; `history.rows` is what the logs held after a power cut of everything and a new start.
#[must_use]
pub fn judge(history: &History, layout: Layout) -> Vec<Failure> {
    let mut violations = judge::judge(history, layout);
    if history.rows.contains_key(&b"never"[..]) {
        let story = "an id that was known was used for something else".to_owned();
        violations.push(judge::Violation { name: "reused-id", story });
    }
    violations
        .into_iter()
        .take(FAILURES_MAX)
        .map(|violation| Failure { checker: violation.name, what: violation.story })
        .collect()
}
