//! Limits at their edges: the last that is allowed passes on both sides, the next is refused by
//! the reader, by `check`, and by an assertion of the writer.

use std::panic::{AssertUnwindSafe, catch_unwind};

use bytes::{BufMut, Bytes};
use proptest::prelude::*;
use protocol::limits::*;
use protocol::message::{MESSAGE_HEAD_BYTES, Stats, Submit};
use protocol::operation::check;
use protocol::record::{CommittedOutcome, Promise};
use protocol::{
    AdminMessage, Attempt, ClientMessage, Condition, Malformed, Message, Operation, OperationResult, Position, Reason,
    Record, Refusal, Role, ScanOf, TxnId, Write,
};

use crate::samples::{decode_message, encode_message, encode_record, promise, with_length};
use crate::strategies;

const TXN: TxnId = TxnId(1);
const ATTEMPT: Attempt = Attempt { epoch: 1, number: 1 };

fn zeros(length: usize) -> Bytes {
    Bytes::from(vec![0; length])
}

fn submit(operations: Vec<Operation>) -> Message {
    Message::Client(ClientMessage::Submit(Submit { txn: TXN, deadline_ms: 1, operations }))
}

/// Whether the writer takes it.
fn is_encoded(message: &Message) -> bool {
    catch_unwind(AssertUnwindSafe(|| encode_message(message))).is_ok()
}

fn is_record_encoded(record: &Record) -> bool {
    catch_unwind(AssertUnwindSafe(|| encode_record(record))).is_ok()
}

fn passes(operations: Vec<Operation>) {
    assert_eq!(check(&operations), Ok(()));
    let message = submit(operations);
    assert_eq!(decode_message(&encode_message(&message)), Ok(message));
}

fn is_refused(operations: Vec<Operation>, field: &str) {
    assert!(matches!(check(&operations), Err(Malformed::TooLong { field: found, .. }) if found == field));
    assert!(!is_encoded(&submit(operations)));
}

#[test]
fn the_longest_key_passes_and_the_next_is_refused_wherever_it_stands() {
    let with = |key: Bytes| {
        let value = Bytes::new();
        [
            Operation::Get { key: key.clone() },
            Operation::Put { key: key.clone(), value: value.clone() },
            Operation::Delete { key: key.clone() },
            Operation::Add { key: key.clone(), delta: 1, min: 0, max: 9 },
            Operation::Append { key: key.clone(), value },
            Operation::Expect { key: key.clone(), condition: Condition::Exists },
            Operation::Scan { start: key.clone(), end: Bytes::new(), limit: 0, of: ScanOf::Rows },
            Operation::Scan { start: Bytes::new(), end: key, limit: 0, of: ScanOf::Rows },
        ]
    };
    with(zeros(KEY_BYTES_MAX)).into_iter().for_each(|operation| passes(vec![operation]));
    with(zeros(KEY_BYTES_MAX + 1)).into_iter().for_each(|operation| is_refused(vec![operation], "key"));
}

#[test]
fn the_longest_value_passes_and_the_next_is_refused_wherever_it_stands() {
    let with = |value: Bytes| {
        let key = Bytes::from_static(b"k");
        [
            Operation::Put { key: key.clone(), value: value.clone() },
            Operation::Append { key: key.clone(), value: value.clone() },
            Operation::Expect { key, condition: Condition::Equals(value) },
        ]
    };
    with(zeros(VALUE_BYTES_MAX)).into_iter().for_each(|operation| passes(vec![operation]));
    with(zeros(VALUE_BYTES_MAX + 1)).into_iter().for_each(|operation| is_refused(vec![operation], "value"));
}

#[test]
fn the_most_operations_pass_and_one_more_is_refused() {
    let gets = |count| vec![Operation::Get { key: Bytes::new() }; count];
    passes(gets(OPERATIONS_MAX));
    is_refused(gets(OPERATIONS_MAX + 1), "operations");
    let mut encoded = encode_message(&submit(gets(OPERATIONS_MAX)));
    let count_at = MESSAGE_HEAD_BYTES + 16 + 4;
    encoded[count_at..count_at + 2].copy_from_slice(&(OPERATIONS_MAX as u16 + 1).to_le_bytes());
    encoded.extend_from_slice(&[1, 0, 0]);
    let (found, max) = (OPERATIONS_MAX + 1, OPERATIONS_MAX);
    assert_eq!(decode_message(&with_length(encoded)), Err(Malformed::TooLong { field: "operations", found, max }));
}

/// Operations of exactly so many encoded bytes, their count included.
fn operations_of(encoded_bytes: usize) -> Vec<Operation> {
    let put = |value_bytes| Operation::Put { key: Bytes::new(), value: zeros(value_bytes) };
    let (each_fixed, most) = (1 + 2 + 4, TXN_BYTES_MAX / 3);
    vec![put(most), put(most), put(encoded_bytes - 2 - 3 * each_fixed - 2 * most)]
}

#[test]
fn the_longest_transaction_passes_and_one_byte_more_is_refused() {
    passes(operations_of(TXN_BYTES_MAX));
    is_refused(operations_of(TXN_BYTES_MAX + 1), "transaction");
    let mut encoded = encode_message(&submit(Vec::new()));
    encoded.truncate(encoded.len() - 2);
    let operations = operations_of(TXN_BYTES_MAX + 1);
    encoded.put_u16_le(operations.len() as u16);
    for operation in operations {
        let alone = encode_message(&submit(vec![operation]));
        encoded.extend_from_slice(&alone[MESSAGE_HEAD_BYTES + 16 + 4 + 2..]);
    }
    let (found, max) = (TXN_BYTES_MAX + 1, TXN_BYTES_MAX);
    assert_eq!(decode_message(&with_length(encoded)), Err(Malformed::TooLong { field: "operations", found, max }));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    /// Near the limit of a transaction, `check` allows exactly what the writer takes.
    #[test]
    fn check_agrees_with_the_writer(
        operations in proptest::collection::vec(strategies::operation(), 0..30),
        short in 0usize..40,
    ) {
        let ours = encode_message(&submit(operations.clone())).len() - (MESSAGE_HEAD_BYTES + 16 + 4) - 2;
        let mut all = operations_of(TXN_BYTES_MAX + 20 - short - ours);
        all.extend(operations);
        prop_assert_eq!(check(&all).is_ok(), is_encoded(&submit(all.clone())));
        prop_assert_eq!(check(&all).is_ok(), short >= 20);
    }
}

fn committed(results: Vec<OperationResult>) -> Message {
    Message::Client(ClientMessage::Committed { txn: TXN, results: Some(results) })
}

/// Results of exactly so many encoded bytes: rows within one scan.
fn results_of(encoded_bytes: usize) -> Vec<OperationResult> {
    let mut left = encoded_bytes - 2 - 6;
    let mut rows = Vec::new();
    while left > 0 {
        let value_bytes = (left - 6).min(VALUE_BYTES_MAX - 6);
        rows.push((Bytes::new(), zeros(value_bytes)));
        left -= 6 + value_bytes;
        if (1..12).contains(&left) {
            let (_, value) = rows.last_mut().unwrap();
            *value = zeros(value.len() + left);
            left = 0;
        }
    }
    vec![OperationResult::Rows { rows, more: false }]
}

#[test]
fn the_longest_results_pass_and_one_byte_more_is_refused_on_both_sides() {
    let longest = committed(results_of(RESULTS_BYTES_MAX));
    let mut encoded = encode_message(&longest);
    assert_eq!(decode_message(&encoded), Ok(longest));
    assert!(!is_encoded(&committed(results_of(RESULTS_BYTES_MAX + 1))));

    let count_at = MESSAGE_HEAD_BYTES + 16 + 1;
    encoded[count_at] = 2;
    encoded.push(1);
    let (found, max) = (RESULTS_BYTES_MAX + 1, RESULTS_BYTES_MAX);
    assert_eq!(decode_message(&with_length(encoded)), Err(Malformed::TooLong { field: "results", found, max }));
}

#[test]
fn a_count_of_rows_is_not_believed() {
    for count in [1, 1_000_000, u32::MAX] {
        let mut encoded = encode_message(&committed(Vec::new()));
        let count_at = encoded.len() - 2;
        encoded[count_at] = 1;
        encoded.extend_from_slice(&[5, 0]);
        encoded.put_u32_le(count);
        assert_eq!(decode_message(&with_length(encoded)), Err(Malformed::Truncated("rows")));
    }
}

#[test]
fn a_value_length_is_not_believed() {
    let mut encoded = encode_message(&submit(vec![Operation::Put { key: Bytes::new(), value: Bytes::new() }]));
    let length_at = encoded.len() - 4;
    for (length, refused) in [
        (VALUE_BYTES_MAX, Malformed::Truncated("value")),
        (VALUE_BYTES_MAX + 1, Malformed::TooLong { field: "value", found: VALUE_BYTES_MAX + 1, max: VALUE_BYTES_MAX }),
    ] {
        encoded[length_at..].copy_from_slice(&(length as u32).to_le_bytes());
        assert_eq!(decode_message(&encoded), Err(refused));
    }
}

#[test]
fn the_most_participants_pass_and_one_more_is_refused() {
    let decided = |count| Record::Decided {
        txn: TXN,
        attempt: ATTEMPT,
        digest: 1,
        participants: vec![(1, Position::UNKNOWN); count],
    };
    let most = decided(PARTICIPANTS_MAX);
    let mut encoded = encode_record(&most);
    assert_eq!(Record::decode(Bytes::from(encoded.clone())), Ok(most));
    assert!(!is_record_encoded(&decided(PARTICIPANTS_MAX + 1)));
    let count_at = 1 + 16 + 8 + 8;
    encoded[count_at] += 1;
    encoded.extend_from_slice(&[0; 20]);
    let (found, max) = (PARTICIPANTS_MAX + 1, PARTICIPANTS_MAX);
    let refused = Malformed::TooLong { field: "participants", found, max };
    assert_eq!(Record::decode(Bytes::from(encoded)), Err(refused));
}

#[test]
fn the_most_stated_positions_pass_and_one_more_is_refused() {
    let stated = |count| Record::Stated(vec![(1, Position::UNKNOWN); count]);
    let mut encoded = encode_record(&stated(STATED_MAX));
    assert_eq!(Record::decode(Bytes::from(encoded.clone())), Ok(stated(STATED_MAX)));
    assert!(!is_record_encoded(&stated(STATED_MAX + 1)));
    encoded[1] += 1;
    encoded.extend_from_slice(&[0; 20]);
    let (found, max) = (STATED_MAX + 1, STATED_MAX);
    assert_eq!(Record::decode(Bytes::from(encoded)), Err(Malformed::TooLong { field: "peers", found, max }));
}

#[test]
fn the_most_outcomes_and_bins_pass_and_one_more_is_refused() {
    let outcome = CommittedOutcome { txn: TXN, attempt: ATTEMPT, digest: 1, coordinator: 1 };
    for (most, one_more) in [
        (
            Record::Outcomes(vec![outcome; OUTCOMES_PER_RECORD_MAX]),
            Record::Outcomes(vec![outcome; OUTCOMES_PER_RECORD_MAX + 1]),
        ),
        (Record::Bins { owners: vec![1; BINS as usize] }, Record::Bins { owners: vec![1; BINS as usize + 1] }),
    ] {
        let mut encoded = encode_record(&most);
        let each_bytes = (encoded.len() - 3) / u16::from_le_bytes([encoded[1], encoded[2]]) as usize;
        assert_eq!(Record::decode(Bytes::from(encoded.clone())), Ok(most));
        assert!(!is_record_encoded(&one_more));
        encoded[1] += 1;
        encoded.extend(std::iter::repeat_n(0, each_bytes));
        assert!(matches!(Record::decode(Bytes::from(encoded)), Err(Malformed::TooLong { .. })));
    }
}

#[test]
fn an_outcome_takes_what_its_limit_says() {
    let outcome = CommittedOutcome { txn: TXN, attempt: ATTEMPT, digest: 1, coordinator: 1 };
    assert_eq!(encode_record(&Record::Outcomes(vec![outcome; 2])).len(), 3 + 2 * OUTCOME_BYTES);
}

#[test]
fn the_largest_promise_fits_in_a_record() {
    let in_all = |bytes: usize, count: usize| vec![zeros(bytes / count); count];
    let writes = in_all(WRITE_SET_BYTES_MAX, OPERATIONS_MAX)
        .into_iter()
        .map(|value| Write { key: Bytes::new(), value: Some(value) })
        .collect();
    let reads = in_all(TXN_BYTES_MAX - OPERATIONS_MAX * 3, OPERATIONS_MAX);
    let largest = Record::Prepared(Promise {
        writes,
        reads,
        ranges: Vec::new(),
        participants: vec![1; PARTICIPANTS_MAX],
        ..promise()
    });
    assert_eq!(Record::decode(Bytes::from(encode_record(&largest))), Ok(largest));
}

#[test]
fn a_record_that_is_too_long_is_never_written() {
    let write = Write { key: Bytes::new(), value: Some(zeros(VALUE_BYTES_MAX)) };
    let writes = vec![write; RECORD_BYTES_MAX / VALUE_BYTES_MAX + 1];
    assert!(!is_record_encoded(&Record::Prepared(Promise { writes, ..promise() })));
}

#[test]
fn a_refused_operation_is_one_of_a_transaction() {
    let aborted = |operation| {
        Message::Client(ClientMessage::Aborted {
            txn: TXN,
            refusal: Refusal { reason: Reason::Bound, participant: None, operation },
            at_deadline: false,
        })
    };
    let last = aborted(Some(OPERATIONS_MAX as u16 - 1));
    let mut encoded = encode_message(&last);
    assert_eq!(decode_message(&encoded), Ok(last));
    assert!(!is_encoded(&aborted(Some(OPERATIONS_MAX as u16))));
    let operation_at = MESSAGE_HEAD_BYTES + 16 + 1 + 4;
    encoded[operation_at..operation_at + 2].copy_from_slice(&(OPERATIONS_MAX as u16).to_le_bytes());
    let (found, max) = (OPERATIONS_MAX, OPERATIONS_MAX - 1);
    assert_eq!(
        decode_message(&with_length(encoded)),
        Err(Malformed::TooLong { field: "refused operation", found, max })
    );
}

#[test]
fn the_longest_stats_pass_and_longer_ones_are_refused() {
    let stats = |sync_bytes, peers, address_bytes| {
        Message::Admin(AdminMessage::Stats(Stats {
            role: Role::Coordinator,
            node: 1,
            groups: 1,
            records: 1,
            bytes: 1,
            cpu_us: 1,
            sync_us: zeros(sync_bytes),
            peers: vec!["a".repeat(address_bytes); peers],
            scrubbed_bytes: 1,
            scrub_passes: 1,
            scrub_findings: 1,
            durable_lsn: 1,
            opening: 1,
            requests: 1,
        }))
    };
    let longest = stats(STATS_BYTES_MAX, PARTICIPANTS_MAX, KEY_BYTES_MAX);
    assert_eq!(decode_message(&encode_message(&longest)), Ok(longest));
    assert!(!is_encoded(&stats(STATS_BYTES_MAX + 1, 0, 0)));
    assert!(!is_encoded(&stats(0, PARTICIPANTS_MAX + 1, 0)));
    assert!(!is_encoded(&stats(0, 1, KEY_BYTES_MAX + 1)));
}

#[test]
fn a_count_that_the_bytes_cannot_hold_is_refused_before_its_first_item() {
    let mut encoded = encode_message(&submit(vec![Operation::Get { key: Bytes::new() }]));
    let count_at = MESSAGE_HEAD_BYTES + 16 + 4;
    encoded[count_at] = 2;
    assert_eq!(decode_message(&with_length(encoded)), Err(Malformed::Truncated("operations")));
}
