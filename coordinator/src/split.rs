//! A transaction's operations dealt to the participants that hold their keys, and the results put
//! together again.

use std::cmp::Ordering;

use bytes::Bytes;
use protocol::limits::RESULTS_BYTES_MAX;
use protocol::operation::{ROW_BYTES_FIXED, result_bytes};
use protocol::routing::{BinTable, bin_of, tag};
use protocol::{Operation, OperationResult, Reason, Totals};

/// One participant's part.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Part {
    pub(crate) participant: u32,
    pub(crate) operations: Vec<Operation>,
    /// For each operation, its place in the whole transaction.
    pub(crate) places: Vec<u16>,
}

/// Deals operations to participants. A scan goes to one participant if its ends share a tag, to
/// all otherwise.
pub(crate) fn split(bins: &BinTable, operations: &[Operation]) -> Vec<Part> {
    let mut parts: Vec<Part> = Vec::with_capacity(2);
    for (place, operation) in operations.iter().enumerate() {
        match single_participant(bins, operation) {
            Some(participant) => deal(&mut parts, participant, operation, place),
            None => {
                bins.participants().iter().for_each(|participant| deal(&mut parts, *participant, operation, place));
            }
        }
    }
    parts
}

/// The participant that alone has to do with an operation, if not all have.
pub(crate) fn single_participant(bins: &BinTable, operation: &Operation) -> Option<u32> {
    match operation {
        Operation::Get { key }
        | Operation::Put { key, .. }
        | Operation::Delete { key }
        | Operation::Add { key, .. }
        | Operation::Append { key, .. }
        | Operation::Expect { key, .. } => Some(bins.participant_of(bin_of(key))),
        Operation::Scan { start, end, .. } => {
            scan_within_one_tag(start, end).then(|| bins.participant_of(bin_of(start)))
        }
    }
}

/// Whether every key between the two has the tag that both have: they are the same up to its end.
fn scan_within_one_tag(start: &Bytes, end: &Bytes) -> bool {
    let through_tag = |key: &Bytes| {
        let tag = tag(key)?;
        let open = key.iter().position(|byte| *byte == b'{')?;
        Some(key.slice(..open + 1 + tag.len()))
    };
    through_tag(start).is_some_and(|prefix| through_tag(end).is_some_and(|other| other == prefix))
}

fn deal(parts: &mut Vec<Part>, participant: u32, operation: &Operation, place: usize) {
    let at = parts.iter().position(|part| part.participant == participant).unwrap_or_else(|| {
        parts.push(Part { participant, operations: Vec::new(), places: Vec::new() });
        parts.len() - 1
    });
    parts[at].operations.push(operation.clone());
    parts[at].places.push(place as u16);
}

/// Puts the participants' results together, in the order of the whole transaction's operations.
/// `limits` has each operation's row limit, 0 for none.
///
/// # Errors
/// If they are too large for one answer, or a participant returned something else than was asked.
pub(crate) fn merge(
    limits: &[u32],
    parts: impl Iterator<Item = (Vec<u16>, Vec<OperationResult>)>,
) -> Result<Vec<OperationResult>, Reason> {
    let mut merged: Vec<Option<OperationResult>> = vec![None; limits.len()];
    for (places, results) in parts {
        if places.len() != results.len() {
            return Err(Reason::Damaged);
        }
        for (place, result) in places.into_iter().zip(results) {
            let slot = &mut merged[place as usize];
            *slot = Some(match slot.take() {
                None => result,
                Some(before) => combine(before, result).ok_or(Reason::Damaged)?,
            });
        }
    }
    let mut bytes_left = RESULTS_BYTES_MAX - 2;
    merged
        .into_iter()
        .zip(limits)
        .map(|(result, limit)| fit(result.ok_or(Reason::Damaged)?, *limit, &mut bytes_left))
        .collect()
}

/// Two participants' results of the same scan.
fn combine(first: OperationResult, second: OperationResult) -> Option<OperationResult> {
    match (first, second) {
        (OperationResult::Totals(first), OperationResult::Totals(second)) => Some(OperationResult::Totals(Totals {
            keys: first.keys.saturating_add(second.keys),
            sum: first.sum.saturating_add(second.sum),
            negatives: first.negatives.saturating_add(second.negatives),
        })),
        (
            OperationResult::Rows { rows: first, more: first_more },
            OperationResult::Rows { rows: second, more: second_more },
        ) => {
            let rows = merge_rows(&known_up_to(&first, first_more), first, &known_up_to(&second, second_more), second);
            Some(OperationResult::Rows { rows, more: first_more || second_more })
        }
        _ => None,
    }
}

/// How far a list of rows is complete: to the end, or to its last row if it was cut short.
enum KnownUpTo {
    End,
    Key(Option<Bytes>),
}

impl KnownUpTo {
    fn covers(&self, key: &Bytes) -> bool {
        match self {
            Self::End => true,
            Self::Key(last) => last.as_ref().is_some_and(|last| key <= last),
        }
    }
}

fn known_up_to(rows: &[(Bytes, Bytes)], more: bool) -> KnownUpTo {
    if more { KnownUpTo::Key(rows.last().map(|(key, _)| key.clone())) } else { KnownUpTo::End }
}

fn merge_rows(
    first_known: &KnownUpTo,
    first: Vec<(Bytes, Bytes)>,
    second_known: &KnownUpTo,
    second: Vec<(Bytes, Bytes)>,
) -> Vec<(Bytes, Bytes)> {
    let mut rows = Vec::with_capacity(first.len() + second.len());
    let mut first = first.into_iter().filter(|(key, _)| second_known.covers(key)).peekable();
    let mut second = second.into_iter().filter(|(key, _)| first_known.covers(key)).peekable();
    while let (Some((first_key, _)), Some((second_key, _))) = (first.peek(), second.peek()) {
        match first_key.cmp(second_key) {
            Ordering::Less | Ordering::Equal => rows.extend(first.next()),
            Ordering::Greater => rows.extend(second.next()),
        }
    }
    rows.extend(first);
    rows.extend(second);
    rows
}

/// Cuts rows to the operation's limit and to what is left of the answer.
fn fit(mut result: OperationResult, limit: u32, bytes_left: &mut usize) -> Result<OperationResult, Reason> {
    if let OperationResult::Rows { rows, more } = &mut result {
        let rows_max = if limit == 0 { usize::MAX } else { limit as usize };
        let mut bytes = result_bytes(&OperationResult::Rows { rows: Vec::new(), more: false });
        let fits = |(key, value): &&(Bytes, Bytes)| {
            bytes += ROW_BYTES_FIXED + key.len() + value.len();
            bytes <= *bytes_left
        };
        let kept = rows.iter().take(rows_max).take_while(fits).count();
        *more |= kept < rows.len();
        rows.truncate(kept);
    }
    *bytes_left = bytes_left.checked_sub(result_bytes(&result)).ok_or(Reason::TooLarge)?;
    Ok(result)
}

#[cfg(test)]
mod tests {
    use super::*;
    use protocol::ScanOf;

    fn rows(keys: &[&'static str], more: bool) -> OperationResult {
        OperationResult::Rows { rows: keys.iter().map(|key| (Bytes::from(*key), Bytes::new())).collect(), more }
    }

    fn scan(start: &'static str, end: &'static str) -> Operation {
        Operation::Scan { start: Bytes::from(start), end: Bytes::from(end), limit: 0, of: ScanOf::Rows }
    }

    #[test]
    fn a_scan_within_a_tag_goes_to_one_participant_and_any_other_to_all() {
        let bins = BinTable::even(&[1, 2, 3]);
        assert_eq!(split(&bins, &[scan("history/{7}/", "history/{7}0")]).len(), 1);
        assert_eq!(split(&bins, &[scan("balance/", "balance0")]).len(), 3);
        assert_eq!(split(&bins, &[scan("a/{7}", "b/{7}")]).len(), 3);
        assert_eq!(split(&bins, &[scan("a/{7}", "")]).len(), 3);
        assert_eq!(split(&bins, &[scan("a/{7}", "a/{8}")]).len(), 3);
        assert_eq!(split(&bins, &[scan("a/{7}", "a/{78}")]).len(), 3);
        assert_eq!(split(&bins, &[scan("a/{{7}", "a/{{7}0")]).len(), 1);
    }

    #[test]
    fn operations_keep_their_places() {
        let bins = BinTable::even(&[1, 2]);
        let get = |key: &str| Operation::Get { key: Bytes::copy_from_slice(key.as_bytes()) };
        let operations: Vec<_> = (0..8).map(|number| get(&format!("k{number}"))).collect();
        let parts = split(&bins, &operations);
        let mut places: Vec<_> = parts.iter().flat_map(|part| part.places.clone()).collect();
        places.sort_unstable();
        assert_eq!(places, (0..8).collect::<Vec<_>>());
        for part in parts {
            for (operation, place) in part.operations.iter().zip(part.places) {
                assert_eq!(*operation, operations[place as usize]);
            }
        }
    }

    #[test]
    fn rows_merge_in_order_and_only_as_far_as_all_know() {
        let merged = combine(rows(&["a", "c"], true), rows(&["b", "d"], false));
        assert_eq!(merged, Some(rows(&["a", "b", "c"], true)));
        let merged = combine(rows(&[], true), rows(&["b"], false));
        assert_eq!(merged, Some(rows(&[], true)));
    }

    #[test]
    fn a_limit_holds_over_all_participants() {
        let parts = vec![(vec![0], vec![rows(&["a", "c"], false)]), (vec![0], vec![rows(&["b", "d"], false)])];
        assert_eq!(merge(&[3], parts.into_iter()), Ok(vec![rows(&["a", "b", "c"], true)]));
    }

    /// A count takes two bytes, a list of rows six, and each row six besides its key and value.
    #[test]
    fn an_answer_may_be_full_to_its_last_byte() {
        let value_bytes = RESULTS_BYTES_MAX - 2 - 6 - 2 * (6 + "key".len());
        let row = |key: &'static str, bytes: usize| (Bytes::from(key), Bytes::from(vec![0; bytes]));
        let merged = |bytes: usize| {
            let rows = vec![row("ke1", 1), row("ke2", bytes)];
            let parts = [(vec![0], vec![OperationResult::Rows { rows, more: false }])];
            merge(&[0], parts.into_iter()).unwrap()
        };
        let kept = |results: &[OperationResult]| match results {
            [OperationResult::Rows { rows, more }] => (rows.len(), *more),
            _ => unreachable!("one scan"),
        };
        assert_eq!(kept(&merged(value_bytes - 1)), (2, false));
        assert_eq!(kept(&merged(value_bytes)), (1, true));
    }

    #[test]
    fn an_answer_that_is_too_large_is_refused_and_rows_are_cut() {
        let value = OperationResult::Value(Some(Bytes::from(vec![0; RESULTS_BYTES_MAX / 2])));
        let parts = vec![(vec![0], vec![value.clone()]), (vec![1], vec![value])];
        assert_eq!(merge(&[0, 0], parts.into_iter()), Err(Reason::TooLarge));
        let half = |key: &'static str| OperationResult::Rows {
            rows: vec![(Bytes::from(key), Bytes::from(vec![0; RESULTS_BYTES_MAX / 2]))],
            more: false,
        };
        let parts = vec![(vec![0], vec![half("a")]), (vec![0], vec![half("b")])];
        let merged = merge(&[0], parts.into_iter()).unwrap();
        assert!(matches!(&merged[0], OperationResult::Rows { rows, more: true } if rows.len() == 1));
    }
}
