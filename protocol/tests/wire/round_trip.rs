//! What is written is read again as it was, and lengths that are computed are the real ones.

use bytes::Bytes;
use proptest::prelude::*;
use protocol::message::Submit;
use protocol::operation::{check, digest, result_bytes, results_bytes};
use protocol::{Attempt, ClientMessage, CommitMessage, Message, Position, Record, TxnId};

use crate::samples::{decode_message, encode_message, encode_record, promise, results};
use crate::strategies;

/// Kind, transaction, attempt and position stand before the results of a YES vote.
const BEFORE_RESULTS_BYTES: usize = protocol::message::MESSAGE_HEAD_BYTES + 16 + 8 + 16;

fn encoded_results_bytes(results: Vec<protocol::OperationResult>) -> usize {
    let attempt = Attempt { epoch: 1, number: 1 };
    encode_message(&Message::Commit(CommitMessage::VoteYes {
        txn: TxnId(1),
        attempt,
        prepared_at: Position::UNKNOWN,
        results,
    }))
    .len()
        - BEFORE_RESULTS_BYTES
}

proptest! {
    #[test]
    fn messages_come_back_as_they_were(message in strategies::message()) {
        prop_assert_eq!(decode_message(&encode_message(&message)), Ok(message));
    }

    #[test]
    fn records_come_back_as_they_were(record in strategies::record()) {
        prop_assert_eq!(Record::decode(Bytes::from(encode_record(&record))), Ok(record));
    }

    #[test]
    fn a_promise_knows_where_its_values_stand(promise in strategies::promise()) {
        values_stand_where_the_promise_says(&promise)?;
    }

    #[test]
    fn results_take_what_results_bytes_says(results in proptest::collection::vec(strategies::result(), 0..8)) {
        prop_assert_eq!(results_bytes(&results), 2 + results.iter().map(result_bytes).sum::<usize>());
        prop_assert_eq!(encoded_results_bytes(results.clone()), results_bytes(&results));
    }

    #[test]
    fn a_digest_tells_lists_apart_and_does_not_depend_on_the_scratch_space(
        left in proptest::collection::vec(strategies::operation(), 0..6),
        right in proptest::collection::vec(strategies::operation(), 0..6),
    ) {
        prop_assert_eq!(check(&left), Ok(()));
        let (mut clean, mut used) = (Vec::new(), vec![7; 100]);
        prop_assert_eq!(digest(&left, &mut clean), digest(&left, &mut used));
        // A collision of 64 bits in a few hundred cases is a defect, not bad luck.
        prop_assert_eq!(left == right, digest(&left, &mut clean) == digest(&right, &mut used));
    }
}

fn values_stand_where_the_promise_says(promise: &protocol::record::Promise) -> Result<(), TestCaseError> {
    let encoded = encode_record(&Record::Prepared(promise.clone()));
    prop_assert_eq!(promise.value_offsets().count(), promise.writes.len());
    for (write, offset) in promise.writes.iter().zip(promise.value_offsets()) {
        if let Some(value) = &write.value {
            let at = offset as usize;
            prop_assert_eq!(&encoded[at..at + value.len()], &value[..]);
        }
    }
    Ok(())
}

#[test]
fn values_stand_behind_a_removal_too() {
    values_stand_where_the_promise_says(&promise()).unwrap();
    let encoded = encode_record(&Record::Prepared(promise()));
    let offsets: Vec<_> = promise().value_offsets().collect();
    assert_eq!(&encoded[offsets[0] as usize..][..2], b"95");
    assert_eq!(offsets[2] as usize, offsets[1] as usize + 2 + 1 + 4);
}

#[test]
fn the_sample_results_take_what_results_bytes_says() {
    assert_eq!(encoded_results_bytes(results()), results_bytes(&results()));
}

#[test]
fn an_empty_transaction_is_a_message() {
    let submit =
        Message::Client(ClientMessage::Submit(Submit { txn: TxnId(0), deadline_ms: 0, operations: Vec::new() }));
    assert_eq!(decode_message(&encode_message(&submit)), Ok(submit));
}
