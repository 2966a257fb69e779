//! Committed bytes: a change of the format breaks these tests. It then takes a new version
//! (`WIRE.md`) or a new record kind (`RECORDS.md`), and new lines in the fixtures beside this file;
//! old lines of `records.hex` stay, because old logs do.
//!
//! `ASSENT_PRINT_FIXTURES=1 cargo test -p protocol --test wire fixtures -- --nocapture` prints the
//! lines of today.

use std::collections::BTreeSet;

use bytes::Bytes;
use protocol::message::OPTIONAL_KIND_MIN;
use protocol::{Malformed, Message, Record};

use crate::samples::{
    decode_message, encode_message, encode_record, hex, messages, old_records, record_name, records, unhex,
};

const MESSAGES: &str = include_str!("fixtures/messages.hex");
const RECORDS: &str = include_str!("fixtures/records.hex");

fn lines(fixture: &'static str) -> Vec<(&'static str, Vec<u8>)> {
    let lines = fixture.lines().filter(|line| !line.starts_with('#'));
    lines.map(|line| line.split_once(' ').expect("a name and bytes")).map(|(name, hex)| (name, unhex(hex))).collect()
}

fn is_old(record: &[u8]) -> bool {
    old_records().iter().any(|(kind, _)| *kind == record[0])
}

/// Records of kinds that are read and not written any more.
pub(crate) fn old_record_lines() -> Vec<(&'static str, Vec<u8>)> {
    lines(RECORDS).into_iter().filter(|(_, bytes)| is_old(bytes)).collect()
}

fn print(lines: impl Iterator<Item = (&'static str, Vec<u8>)>) {
    if std::env::var_os("ASSENT_PRINT_FIXTURES").is_some() {
        lines.for_each(|(name, bytes)| println!("{name} {}", hex(&bytes)));
    }
}

#[test]
fn messages_have_the_bytes_that_they_always_had() {
    print(messages().iter().map(|message| (message.name(), encode_message(message))));
    let fixture = lines(MESSAGES);
    assert_eq!(fixture.len(), messages().len());
    for (message, (name, bytes)) in messages().iter().zip(fixture) {
        assert_eq!(name, message.name());
        assert_eq!(hex(&encode_message(message)), hex(&bytes), "{name} is written otherwise than before");
        assert_eq!(decode_message(&bytes).as_ref(), Ok(message), "{name} is read otherwise than before");
    }
}

#[test]
fn records_have_the_bytes_that_they_always_had() {
    print(records().iter().map(|record| (record_name(record), encode_record(record))));
    assert_eq!(old_record_lines().len(), old_records().len());
    for ((kind, record), (name, bytes)) in old_records().iter().zip(old_record_lines()) {
        assert_eq!((*kind, record_name(record)), (bytes[0], name));
        assert_eq!(Record::decode(Bytes::from(bytes)).as_ref(), Ok(record), "{name} is read otherwise than before");
    }
    let fixture: Vec<_> = lines(RECORDS).into_iter().filter(|(_, bytes)| !is_old(bytes)).collect();
    assert_eq!(fixture.len(), records().len());
    for (record, (name, bytes)) in records().iter().zip(fixture) {
        assert_eq!(name, record_name(record));
        assert_eq!(hex(&encode_record(record)), hex(&bytes), "{name} is written otherwise than before");
        assert_eq!(Record::decode(Bytes::from(bytes)).as_ref(), Ok(record), "{name} is read otherwise than before");
    }
}

/// Kinds are numbered from 1 without gaps; the code after the last sample's is unknown, so there
/// is no kind without a sample.
#[test]
fn every_kind_has_a_sample() {
    let kinds: BTreeSet<(u8, u8)> =
        messages().iter().map(|message| (encode_message(message)[4], encode_message(message)[5])).collect();
    assert_eq!(kinds, Message::rows().map(|row| (row.family as u8, row.kind)).collect());
    for (family, kind) in (0..=u8::MAX).flat_map(|family| (0..OPTIONAL_KIND_MIN).map(move |kind| (family, kind))) {
        if !kinds.contains(&(family, kind)) {
            let decoded = decode_message(&[2, 0, 0, 0, family, kind]);
            assert_eq!(decoded, Err(Malformed::UnknownMessage { family, kind }));
        }
    }
    let old = old_records().into_iter().map(|(kind, _)| kind);
    let kinds: BTreeSet<u8> = records().iter().map(|record| encode_record(record)[0]).chain(old).collect();
    let last = kinds.len() as u8;
    assert_eq!(kinds, (1..=last).collect());
    for code in [0].into_iter().chain(last + 1..=u8::MAX) {
        let decoded = Record::decode(Bytes::from(vec![code]));
        assert_eq!(decoded, Err(Malformed::UnknownCode { field: "record kind", code }));
    }
}
