//! Whether answers stay the same: once somebody was told that a transaction has committed, whoever asks after that for the
//! same under its id is told so too, whoever asks for something else under its id is refused, and its status is "committed".
//!
//! Not judged: readers (nobody remembers them: a retry reads again); answers to questions that were asked before the first answer
//! came (`super::outcomes` sees whether they contradict it); "in progress" (another coordinator asks the participants, which hold a
//! promise until they are told).

use protocol::{OperationResult, Reason};

use super::history::{Asked, History, Outcome, Question, Said, Transaction};
use super::{Violation, blame};

/// Judges all retries.
#[must_use]
pub fn check(history: &History) -> Vec<Violation> {
    let mut violations = Vec::new();
    let (all, none) = (history.questions_by_transaction(), &[]);
    for (transaction, questions) in &all {
        check_later(transaction, questions, &mut violations);
        check_results(transaction, questions, &mut violations);
        check_refusals(transaction, questions, &mut violations);
    }
    for transaction in history.transactions.iter().filter(|one| one.outcome == Outcome::Aborted(Reason::IdReused)) {
        if !all.iter().any(|(known, _)| known.id == transaction.id) {
            check_refusals(transaction, none, &mut violations);
        }
    }
    violations
}

/// What was asked after the first "committed".
fn check_later(transaction: &Transaction, questions: &[&Question], violations: &mut Vec<Violation>) {
    let own = questions.iter().filter(|question| question.asked != Asked::Other);
    let Some(known_us) = own.filter_map(|question| question.committed_us()).min() else { return };
    for question in questions.iter().filter(|question| question.asked_us >= known_us) {
        let Some((at_us, said)) = &question.said else { continue };
        let name = match (question.asked, said) {
            (Asked::Other, Said::Committed(_)) => "reused-id",
            (Asked::Same, Said::Aborted(Some(Reason::IdReused))) => continue,
            (Asked::Same, Said::Aborted(_) | Said::Unknown) => "changed-outcome",
            (Asked::Status, Said::Aborted(_) | Said::Unknown) => "forgotten",
            (_, Said::Committed(_) | Said::InProgress | Said::Aborted(_) | Said::Unknown) => continue,
        };
        let id = transaction.id;
        blame(
            violations,
            name,
            format!("{id:?}: committed at {known_us} us, at {at_us} us {:?}: {said:?}", question.asked),
        );
    }
}

/// Results are those of the one time that it was done.
fn check_results(transaction: &Transaction, questions: &[&Question], violations: &mut Vec<Violation>) {
    let mut known: Option<&Vec<OperationResult>> = None;
    for question in questions.iter().filter(|question| question.asked == Asked::Same) {
        let Some((at_us, Said::Committed(Some(results)))) = &question.said else { continue };
        if known.is_some_and(|known| known != results) {
            let story = format!("{:?}: {known:?}, at {at_us} us {results:?}", transaction.id);
            blame(violations, "changed-results", story);
        }
        known = Some(results);
    }
}

/// The same operations are no other ones.
fn check_refusals(transaction: &Transaction, questions: &[&Question], violations: &mut Vec<Violation>) {
    if questions.iter().any(|question| question.asked == Asked::Other) {
        // If that was done, which is judged above, the id does mean something else.
        return;
    }
    let refused = |said: &Said| *said == Said::Aborted(Some(Reason::IdReused));
    let in_questions = questions.iter().any(|question| question.said.as_ref().is_some_and(|(_, said)| refused(said)));
    if in_questions || transaction.outcome == Outcome::Aborted(Reason::IdReused) {
        blame(violations, "refused-retry", format!("{:?}: its own operations were taken for others", transaction.id));
    }
}
