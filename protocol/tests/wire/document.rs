//! `WIRE.md` and `RECORDS.md` say what the code does: their tables and their example are read here.

use std::collections::BTreeMap;

use protocol::frame::FRAME_HEADER_BYTES;
use protocol::message::{Hello, MESSAGE_HEAD_BYTES};
use protocol::{ClientMessage, ClusterId, HandshakeMessage, Message, TxnId, limits};

use crate::fixtures::old_record_lines;
use crate::frames::{frame_of, read};
use crate::samples::{REASONS, UNWELCOME, encode_message, encode_record, hex, messages, record_name, records, unhex};

const WIRE: &str = include_str!("../../WIRE.md");
const RECORDS: &str = include_str!("../../RECORDS.md");
const LIMITS: &str = include_str!("../../src/limits.rs");

/// The cells of each row of the table that begins with the header `head`.
fn table(document: &'static str, head: &str) -> Vec<Vec<&'static str>> {
    let rows = document.lines().skip_while(|line| !line.starts_with(head)).skip(2);
    let rows: Vec<Vec<_>> = rows
        .take_while(|line| line.starts_with('|'))
        .map(|line| line.trim_matches('|').split('|').map(|cell| cell.trim().trim_matches('`')).collect())
        .collect();
    assert!(!rows.is_empty(), "no table {head}");
    rows
}

/// Whether a table of kinds, names and sizes is about exactly these encoded samples.
fn assert_kinds(rows: &[Vec<&'static str>], samples: &[(&'static str, Vec<u8>)]) {
    let mut sampled: BTreeMap<u8, &str> = BTreeMap::new();
    samples.iter().for_each(|(name, bytes)| assert_eq!(*sampled.entry(bytes[0]).or_insert(name), *name));
    let written: BTreeMap<u8, &str> = rows.iter().map(|row| (row[0].parse().unwrap(), row[1])).collect();
    assert_eq!(written, sampled);
    for row in rows {
        let of_kind = samples.iter().filter(|(_, bytes)| bytes[0].to_string() == row[0]);
        of_kind.for_each(|(_, bytes)| assert_size(row[2], bytes.len(), row));
    }
}

/// Whether a size in a table, which may be the least one, is that of a sample.
fn assert_size(documented: &str, length: usize, row: &[&str]) {
    match documented.strip_suffix("..") {
        Some(least) => assert!(length >= least.parse().unwrap(), "{row:?}: {length}"),
        None => assert_eq!(length, documented.parse().unwrap(), "{row:?}"),
    }
}

#[test]
fn every_message_is_in_the_document_with_its_kind_and_size() {
    let documented = table(WIRE, "| family | kind | message |");
    let rows = Message::rows().map(|row| {
        let family = format!("{} {}", row.family as u8, format!("{:?}", row.family).to_lowercase());
        [family, row.kind.to_string(), row.name.to_owned()]
    });
    assert_eq!(
        documented.iter().map(|row| [0, 1, 2].map(|at| row[at].to_owned())).collect::<Vec<_>>(),
        rows.collect::<Vec<_>>()
    );
    for row in &documented {
        for message in messages().iter().filter(|message| message.name() == row[2]) {
            assert_size(row[3], encode_message(message).len(), row);
        }
    }
}

#[test]
fn the_document_says_who_sends_a_message_to_whom_and_what_it_waits_for() {
    let documented = table(WIRE, "| family | kind | message |").into_iter().map(|row| [row[4], row[5], row[6]]);
    let rows = Message::rows().map(|row| [row.from.name(), row.to.name(), row.gate.name()]);
    assert_eq!(documented.collect::<Vec<_>>(), rows.collect::<Vec<_>>());
}

#[test]
fn every_record_is_in_the_document_with_its_kind_and_size() {
    let mut samples: Vec<_> = records().iter().map(|record| (record_name(record), encode_record(record))).collect();
    samples.extend(old_record_lines());
    assert_kinds(&table(RECORDS, "| kind | record |"), &samples);
}

#[test]
fn every_message_and_record_has_its_fields_in_the_document() {
    let names = |document, head: &str| -> Vec<&str> {
        let cells = table(document, head).into_iter().map(|row| row[0]);
        cells.flat_map(|cell| cell.split(", ")).map(|name| name.trim_matches('`')).collect()
    };
    for head in ["| message | fields", "| message | offset"] {
        let documented = names(WIRE, head);
        messages().iter().map(Message::name).for_each(|name| assert!(documented.contains(&name), "{name} in {head}"));
    }
    let documented = names(RECORDS, "| record | offset");
    records().iter().map(record_name).for_each(|name| assert!(documented.contains(&name), "{name}"));
}

#[test]
fn every_reason_is_in_the_document() {
    let rows = table(WIRE, "| code | reason |");
    assert_eq!(rows.len(), REASONS.len());
    for (reason, row) in REASONS.iter().zip(rows) {
        let retryable = if reason.is_retryable() { "yes" } else { "no" };
        assert_eq!(row[..3], [reason.code().to_string().as_str(), reason.name(), retryable]);
    }
}

#[test]
fn every_reason_to_be_unwelcome_is_in_the_document() {
    let documented = table(WIRE, "| code | why unwelcome |").into_iter().map(|row| (row[0].to_owned(), row[1]));
    let reasons = UNWELCOME.map(|reason| {
        let encoded = encode_message(&Message::Handshake(HandshakeMessage::Unwelcome(reason.into())));
        (encoded[MESSAGE_HEAD_BYTES].to_string(), reason.name())
    });
    assert_eq!(documented.collect::<Vec<_>>(), reasons);
}

#[test]
fn every_limit_is_in_the_document() {
    let values = [
        ("FRAME_BYTES_MAX", limits::FRAME_BYTES_MAX),
        ("FRAME_BYTES_TARGET", limits::FRAME_BYTES_TARGET),
        ("MESSAGE_BYTES_MAX", limits::MESSAGE_BYTES_MAX),
        ("KEY_BYTES_MAX", limits::KEY_BYTES_MAX),
        ("VALUE_BYTES_MAX", limits::VALUE_BYTES_MAX),
        ("OPERATIONS_MAX", limits::OPERATIONS_MAX),
        ("TXN_BYTES_MAX", limits::TXN_BYTES_MAX),
        ("WRITE_SET_BYTES_MAX", limits::WRITE_SET_BYTES_MAX),
        ("RESULTS_BYTES_MAX", limits::RESULTS_BYTES_MAX),
        ("RECORD_BYTES_MAX", limits::RECORD_BYTES_MAX),
        ("PARTICIPANTS_MAX", limits::PARTICIPANTS_MAX),
        ("DECIDED_BYTES_MAX", limits::DECIDED_BYTES_MAX),
        ("BINS", limits::BINS as usize),
        ("OUTCOMES_PER_RECORD_MAX", limits::OUTCOMES_PER_RECORD_MAX),
        ("OUTCOME_BYTES", limits::OUTCOME_BYTES),
        ("STATED_MAX", limits::STATED_MAX),
        ("STARTS_MAX", limits::STARTS_MAX),
        ("TOLD_MAX", limits::TOLD_MAX),
        ("STATS_BYTES_MAX", limits::STATS_BYTES_MAX),
    ];
    let declared = LIMITS.lines().filter_map(|line| line.strip_prefix("pub const ")?.split(':').next());
    assert_eq!(declared.collect::<Vec<_>>(), values.map(|(name, _)| name));
    let written: Vec<_> =
        table(WIRE, "| limit | value").iter().map(|row| (row[0], row[1].parse::<usize>().unwrap())).collect();
    assert_eq!(written, values);
}

#[test]
fn the_worked_example_is_a_frame() {
    let example = WIRE.split("```hex\n").nth(1).and_then(|rest| rest.split("```").next()).expect("the example");
    let bytes = unhex(example);
    let said = [
        Message::Handshake(HandshakeMessage::Hello(Hello::client(ClusterId(1)))),
        Message::Client(ClientMessage::AskStatus { txn: TxnId(0x0011_2233_4455_6677_8899_aabb_ccdd_eeff) }),
    ];
    assert_eq!(read(&bytes), (said.to_vec(), Ok(())));
    assert_eq!(hex(&frame_of(&said)), hex(&bytes));
    assert_eq!(bytes.len(), 93);
    assert_eq!(bytes.len() - FRAME_HEADER_BYTES, 73);
}
