//! Bytes that pass their checksum and are not what they should be: an error, never a panic, and
//! never more memory than the bytes that came justify.

use bytes::Bytes;
use proptest::prelude::*;
use protocol::codec::Reader;
use protocol::message::{Hello, MESSAGE_HEAD_BYTES, OPTIONAL_KIND_MIN};
use protocol::{AdminMessage, HandshakeMessage, Malformed, Message, Operation, OperationResult, Record};

use crate::fixtures::old_record_lines;
use crate::frames::read;
use crate::samples::{decode_message, encode_message, encode_record, messages, records, with_length};

/// Kinds of records that are read and not written any more (`RECORDS.md`): they are written as their successors.
const RETIRED_KINDS: [u8; 5] = [3, 5, 6, 7, 8];

/// What is decoded is encoded again to the same bytes: nothing is read that is not written so.
fn decode_both(bytes: &[u8]) {
    match Message::decode(&mut Reader::new(Bytes::copy_from_slice(bytes))) {
        // A later build may say more in its hello.
        Ok(Some(hello @ Message::Handshake(HandshakeMessage::Hello(_)))) => {
            assert!(bytes[4..].starts_with(&encode_message(&hello)[4..]));
        }
        Ok(Some(message)) => assert!(bytes.starts_with(&encode_message(&message))),
        Ok(None) => assert!(bytes[5] >= OPTIONAL_KIND_MIN),
        Err(_) => {}
    }
    if let Ok(record) = Record::decode(Bytes::copy_from_slice(bytes)) {
        let again = encode_record(&record);
        if RETIRED_KINDS.contains(&bytes[0]) {
            assert_eq!(Record::decode(again.into()), Ok(record));
        } else {
            assert_eq!(again, bytes);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn arbitrary_bytes_are_refused_or_mean_themselves(mut bytes in proptest::collection::vec(any::<u8>(), 0..300), kind: u8) {
        decode_both(&bytes);
        if let Some(first) = bytes.first_mut() {
            *first = kind % 24;
        }
        decode_both(&bytes);
        if let Some(kinds) = bytes.get_mut(4..6) {
            kinds.copy_from_slice(&[kind % 6, kind / 6 % 9]);
            decode_both(&with_length(bytes));
        }
    }

    #[test]
    fn an_arbitrary_stream_is_refused_or_waits(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        let (taken, outcome) = read(&bytes);
        prop_assert_eq!(taken, []);
        prop_assert_eq!(outcome.is_err(), bytes.len() >= 4);
    }

    #[test]
    fn overwritten_samples_are_refused_or_mean_themselves(
        which in any::<prop::sample::Index>(),
        at in any::<prop::sample::Index>(),
        bytes in proptest::collection::vec(prop_oneof![Just(0u8), Just(0xff), any::<u8>()], 1..9),
    ) {
        let mut encoded: Vec<Vec<u8>> = messages().iter().map(encode_message).collect();
        encoded.extend(records().iter().map(encode_record));
        let mut damaged = which.get(&encoded).clone();
        let at = at.index(damaged.len());
        for (into, byte) in damaged[at..].iter_mut().zip(bytes) {
            *into = byte;
        }
        decode_both(&damaged);
    }
}

/// Arbitrary bytes rarely have the length of one of these.
#[test]
fn records_of_retired_kinds_are_written_as_their_successors() {
    let lines = old_record_lines();
    assert_eq!(lines.iter().map(|(_, bytes)| bytes[0]).collect::<Vec<_>>(), RETIRED_KINDS);
    for (_, bytes) in lines {
        for (at, value) in (1..bytes.len()).flat_map(|at| [0, 1, 0x7f, 0xff].map(|value| (at, value))) {
            let mut changed = bytes.clone();
            changed[at] = value;
            decode_both(&changed);
        }
    }
}

#[test]
fn every_flipped_bit_is_refused_or_means_itself() {
    let encoded = messages().iter().map(encode_message).chain(records().iter().map(encode_record)).collect::<Vec<_>>();
    for bytes in encoded {
        for bit in 0..bytes.len() * 8 {
            let mut damaged = bytes.clone();
            damaged[bit / 8] ^= 1 << (bit % 8);
            decode_both(&damaged);
        }
    }
}

#[test]
fn what_ends_early_or_late_is_refused() {
    for message in messages() {
        let encoded = encode_message(&message);
        for length in 0..encoded.len() {
            assert!(matches!(decode_message(&encoded[..length]), Err(Malformed::Truncated(_))), "{message:?}");
        }
        assert_eq!(decode_message(&[&encoded[..], &[0]].concat()), Err(Malformed::LeftOver(1)));
        let longer = decode_message(&with_length([&encoded[..], &[0]].concat()));
        let may_be_longer = matches!(message, Message::Handshake(HandshakeMessage::Hello(_)));
        assert_eq!(longer, if may_be_longer { Ok(message) } else { Err(Malformed::LeftOver(1)) });
    }
    for record in records() {
        let encoded = encode_record(&record);
        for length in 0..encoded.len() {
            let decoded = Record::decode(Bytes::copy_from_slice(&encoded[..length]));
            assert!(matches!(decoded, Err(Malformed::Truncated(_))), "{record:?}");
        }
        let longer = Bytes::from([&encoded[..], &[0]].concat());
        assert_eq!(Record::decode(longer), Err(Malformed::LeftOver(1)));
    }
}

#[test]
fn unknown_codes_are_named() {
    let hello = Hello::client(protocol::ClusterId(1));
    let mut encoded = encode_message(&Message::Handshake(HandshakeMessage::Hello(hello)));
    encoded[MESSAGE_HEAD_BYTES] = 3;
    assert_eq!(decode_message(&encoded), Err(Malformed::UnknownCode { field: "role", code: 3 }));
    for (name, last_byte_field) in [("Status", "status"), ("Outcome", "known"), ("Aborted", "at_deadline")] {
        for message in messages().iter().filter(|message| message.name() == name) {
            let mut encoded = encode_message(message);
            *encoded.last_mut().unwrap() = 0xff;
            let refused = Malformed::UnknownCode { field: last_byte_field, code: 0xff };
            assert_eq!(decode_message(&encoded), Err(refused));
        }
    }
}

#[test]
fn an_address_that_is_no_text_is_refused() {
    let stats =
        messages().into_iter().find(|message| matches!(message, Message::Admin(AdminMessage::Stats(_)))).unwrap();
    let mut encoded = encode_message(&stats);
    let last_of_addresses = encoded.len() - 6 * 8 - 1;
    encoded[last_of_addresses] = 0xff;
    assert_eq!(decode_message(&encoded), Err(Malformed::NotText("peer address")));
}

/// `WIRE.md` states how much memory a byte of a frame can become; it rests on these.
#[test]
fn a_decoded_item_is_small_beside_its_bytes() {
    assert!(size_of::<Operation>() <= 88, "{}", size_of::<Operation>());
    assert!(size_of::<OperationResult>() <= 64, "{}", size_of::<OperationResult>());
    assert!(size_of::<(Bytes, Bytes)>() <= 64);
    assert!(size_of::<Message>() <= 160, "{}", size_of::<Message>());
}
