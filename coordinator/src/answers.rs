//! How much memory answers take that wait for the rest of their transaction: rows of several participants are put together
//! when the last of them have come.
//!
//! Two bounds, for nobody knows how large an answer will be before it is there: what is let in is what is expected to fit, as
//! large as answers have been lately; and what has come and does not fit is dropped, and asked for again later.
//!
//! Not here: what waits for a client that does not take it (the node's outboxes).

use protocol::operation::result_bytes;
use protocol::{Operation, OperationResult, ScanOf};

/// What answers may take that wait for others, and those that are expected.
const ANSWERS_BYTES_MAX: usize = 64 << 20;

/// What rows of one scan are expected to take before the first have come.
const ROWS_BYTES_FIRST: usize = 1 << 20;

/// By which part of itself the expectation falls with each answer that is smaller.
const FALLS_BY_PART: usize = 8;

/// What a row takes in memory besides its key and value.
const ROW_BYTES: usize = size_of::<(bytes::Bytes, bytes::Bytes)>();

/// What one answer takes, or several together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct AnswerBytes {
    /// Of what has not come.
    expected: usize,
    /// Of what has.
    held: usize,
}

/// What answers take, and are expected to.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Answers {
    all: AnswerBytes,
    /// What one scan's rows at one participant take, as the largest of late have.
    rows_bytes: usize,
}

impl Default for Answers {
    fn default() -> Self {
        Self { all: AnswerBytes::default(), rows_bytes: ROWS_BYTES_FIRST }
    }
}

impl AnswerBytes {
    pub(crate) fn held(held: usize) -> Self {
        Self { expected: 0, held }
    }
}

impl Answers {
    /// What the answer to these operations of one participant is expected to take.
    pub(crate) fn expected(&self, operations: &[Operation]) -> AnswerBytes {
        let rows = operations.iter().filter(|operation| matches!(operation, Operation::Scan { of: ScanOf::Rows, .. }));
        AnswerBytes { expected: rows.count() * self.rows_bytes, held: 0 }
    }

    /// Whether it is too much to expect these as well. However large they are, alone they are let in.
    pub(crate) fn is_too_much(&self, more: impl Iterator<Item = AnswerBytes>) -> bool {
        let more: usize = more.map(|more| more.expected).sum();
        let all = self.all.expected + self.all.held;
        more > 0 && all > 0 && all + more > ANSWERS_BYTES_MAX
    }

    /// Whether more has come than fits, and it is not just these.
    pub(crate) fn has_too_much(&self, these: impl Iterator<Item = AnswerBytes>) -> bool {
        self.all.held > ANSWERS_BYTES_MAX && self.all.held > these.map(|these| these.held).sum()
    }

    /// An answer takes, or is expected to take, something else than before.
    pub(crate) fn set(&mut self, answer: &mut AnswerBytes, now: AnswerBytes) {
        let before = std::mem::replace(answer, now);
        self.all.expected = self.all.expected - before.expected + now.expected;
        self.all.held = self.all.held - before.held + now.held;
    }

    /// What an answer takes that has come.
    pub(crate) fn note(&mut self, results: &[OperationResult]) -> usize {
        results.iter().map(|result| self.note_result(result)).sum()
    }

    fn note_result(&mut self, result: &OperationResult) -> usize {
        let bytes = result_bytes(result);
        let OperationResult::Rows { rows, .. } = result else { return bytes };
        let bytes = bytes + rows.len() * ROW_BYTES;
        self.rows_bytes = bytes.max(self.rows_bytes - self.rows_bytes / FALLS_BY_PART);
        bytes
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    fn rows(bytes: usize) -> OperationResult {
        OperationResult::Rows { rows: vec![(Bytes::new(), Bytes::from(vec![0; bytes]))], more: false }
    }

    fn scan() -> Operation {
        Operation::Scan { start: Bytes::new(), end: Bytes::new(), limit: 0, of: ScanOf::Rows }
    }

    #[test]
    fn what_is_expected_follows_the_largest_answers_of_late() {
        let mut answers = Answers::default();
        assert_eq!(answers.expected(&[scan(), scan()]).expected, 2 * ROWS_BYTES_FIRST);
        assert_eq!(answers.expected(&[Operation::Get { key: Bytes::from("k") }]), AnswerBytes::default());
        let large = answers.note(&[rows(2 << 20)]);
        assert!(large > 2 << 20);
        assert_eq!(answers.expected(&[scan()]).expected, large);
        (0..200).for_each(|_| _ = answers.note(&[rows(100)]));
        assert!((100..1_000).contains(&answers.expected(&[scan()]).expected), "{answers:?}");
        // An answer without rows says nothing of them.
        answers.note(&[OperationResult::Done]);
        assert!(answers.expected(&[scan()]).expected > 100);
    }

    #[test]
    fn the_first_is_let_in_and_the_rest_as_far_as_it_fits() {
        let expected = |expected| AnswerBytes { expected, held: 0 };
        let (mut first, mut second) = (AnswerBytes::default(), AnswerBytes::default());
        let mut answers = Answers::default();
        let is_too_much = |answers: &Answers, more| answers.is_too_much([expected(more)].into_iter());
        assert!(!is_too_much(&answers, 10 * ANSWERS_BYTES_MAX));
        answers.set(&mut first, expected(ANSWERS_BYTES_MAX));
        assert!(is_too_much(&answers, 1) && !is_too_much(&answers, 0));
        assert!(!answers.has_too_much([first].into_iter()), "nothing has come");
        answers.set(&mut first, AnswerBytes::held(ANSWERS_BYTES_MAX));
        answers.set(&mut second, AnswerBytes::held(1));
        assert!(answers.has_too_much([first].into_iter()) && !answers.has_too_much([first, second].into_iter()));
        answers.set(&mut first, AnswerBytes::default());
        assert!(!answers.has_too_much([second].into_iter()) && !is_too_much(&answers, ANSWERS_BYTES_MAX - 1));
    }
}
