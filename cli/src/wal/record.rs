//! How a record is shown, and what the tools ask of it: which keys it writes, which transaction it is about.

use std::collections::BTreeSet;

use bytes::Bytes;
use engine::{Logged, Lsn, RecordKind};
use protocol::record::Promise;
use protocol::{Attempt, Position, Record, TxnId};
use serde_json::{Value, json};

use crate::output::{json_bytes, show};

/// The kind of a promise.
pub(super) const PREPARED: &str = "prepared";

/// The kind of the end of a promise that wrote nothing.
pub(super) const RELEASED: &str = "released";

/// A record as JSON; one that cannot be read says so. Only one that has a position has an index and a hash.
pub(super) fn line_of(at: Logged, kind: RecordKind, payload: Bytes) -> Value {
    let bytes = payload.len();
    let mut line = match kind {
        RecordKind::TableSlice => json!({ "kind": "table-slice", "bytes": bytes }),
        RecordKind::CheckpointBegin => json!({ "kind": "checkpoint-begin" }),
        RecordKind::CheckpointEnd => json!({ "kind": "checkpoint-end" }),
        RecordKind::Resumed => json!({ "kind": "resumed", "after_index": index_in(&payload) }),
        RecordKind::Owner | RecordKind::OwnerAgain => match Record::decode(payload) {
            Ok(known) => record(&known),
            Err(error) => json!({ "kind": "unknown-record", "bytes": bytes, "reason": error.to_string() }),
        },
    };
    line["lsn"] = json!(Lsn::from(at.place).0);
    if at.position.is_known() {
        line["index"] = json!(at.position.index.0);
        line["hash"] = json!(hash(at.position));
    }
    line
}

fn index_in(payload: &[u8]) -> Option<u64> {
    Some(u64::from_le_bytes(payload.try_into().ok()?))
}

fn hash(position: Position) -> String {
    format!("{:016x}", position.hash)
}

/// The keys that a record may write.
pub(super) fn keys(payload: Bytes) -> Result<Vec<Bytes>, String> {
    let record = Record::decode(payload).map_err(|error| error.to_string())?;
    let promise = match record {
        Record::Prepared(promise) | Record::CommittedOnePhase(promise) | Record::PreparedAgain { promise, .. } => {
            promise
        }
        Record::Committed { .. }
        | Record::Aborted { .. }
        | Record::Released { .. }
        | Record::Fenced { .. }
        | Record::Retired { .. }
        | Record::Started { .. }
        | Record::Starts(_)
        | Record::Decided { .. }
        | Record::DecidedAgain { .. }
        | Record::DecidedElsewhere { .. }
        | Record::Finished { .. }
        | Record::Bins { .. }
        | Record::Outcomes(_)
        | Record::Stated(_)
        | Record::StatedDecisions(_)
        | Record::LossAccepted { .. } => return Ok(Vec::new()),
    };
    Ok(promise.writes.into_iter().map(|write| write.key).collect())
}

/// The transaction that a record is about, and the record's kind.
pub(super) fn transaction(record: &Record) -> Option<(TxnId, &'static str)> {
    match record {
        Record::Prepared(promise) | Record::PreparedAgain { promise, .. } => Some((promise.txn, PREPARED)),
        Record::CommittedOnePhase(promise) => Some((promise.txn, "committed-one-phase")),
        Record::Committed { txn, .. } => Some((*txn, "committed")),
        Record::Aborted { txn, .. } => Some((*txn, "aborted")),
        Record::Released { txn, .. } => Some((*txn, RELEASED)),
        Record::Decided { txn, .. } | Record::DecidedAgain { txn, .. } => Some((*txn, "decided")),
        Record::DecidedElsewhere { txn, .. } => Some((*txn, "decided-elsewhere")),
        Record::Finished { txn } => Some((*txn, "finished")),
        Record::Fenced { .. }
        | Record::Retired { .. }
        | Record::Started { .. }
        | Record::Starts(_)
        | Record::Bins { .. }
        | Record::Outcomes(_)
        | Record::Stated(_)
        | Record::StatedDecisions(_)
        | Record::LossAccepted { .. } => None,
    }
}

fn record(record: &Record) -> Value {
    match record {
        Record::Prepared(promise) => promised("prepared", promise),
        Record::PreparedAgain { promise, first_at } => {
            let mut line = promised("prepared-again", promise);
            line["first_at"] = place(*first_at);
            line
        }
        Record::CommittedOnePhase(promise) => promised("committed-one-phase", promise),
        Record::Committed { txn, attempt, decided_at } => {
            let mut line = decided("committed", *txn, *attempt);
            line["decided_at"] = place(*decided_at);
            line
        }
        Record::Aborted { txn, attempt } => decided("aborted", *txn, *attempt),
        Record::Released { txn, attempt } => decided(RELEASED, *txn, *attempt),
        Record::Fenced { peer, process } => json!({
            "kind": "fenced",
            "peer": peer,
            "log": format!("{:016x}", process.log),
            "epoch": process.epoch,
            "start": format!("{:016x}", process.start),
        }),
        Record::Retired { coordinator } => json!({ "kind": "retired", "coordinator": coordinator }),
        Record::Started { epoch, start } => {
            json!({ "kind": "started", "epoch": epoch, "start": format!("{start:016x}") })
        }
        Record::Starts(starts) => {
            let epochs: Vec<u32> = starts.iter().map(|(epoch, _)| *epoch).collect();
            json!({ "kind": "starts", "starts": starts.len(), "first_epoch": epochs.first(), "last_epoch": epochs.last() })
        }
        Record::Decided { txn, attempt, participants, .. } => {
            let mut line = decided("decided", *txn, *attempt);
            line["participants"] = promises(participants);
            line
        }
        Record::DecidedAgain { txn, attempt, participants, first_at, .. } => {
            let mut line = decided("decided-again", *txn, *attempt);
            line["participants"] = promises(participants);
            line["first_at"] = place(*first_at);
            line
        }
        Record::DecidedElsewhere { txn, attempt, participant, committed_at, .. } => {
            let mut line = decided("decided-elsewhere", *txn, *attempt);
            line["participant"] = json!(participant);
            line["committed_at"] = place(*committed_at);
            line
        }
        Record::Finished { txn } => json!({ "kind": "finished", "txn": txn.to_string() }),
        Record::Bins { owners } => json!({ "kind": "bins", "bins": owners.len(), "owners": distinct(owners) }),
        Record::Outcomes(outcomes) => {
            let txns: Vec<_> = outcomes.iter().map(|outcome| outcome.txn.to_string()).collect();
            json!({ "kind": "outcomes", "committed": txns })
        }
        Record::Stated(stated) => json!({ "kind": "stated", "peers": peers(stated) }),
        Record::StatedDecisions(stated) => json!({ "kind": "stated-decisions", "peers": peers(stated) }),
        Record::LossAccepted { until } => json!({ "kind": "loss-accepted", "until": until.0 }),
    }
}

fn promises(participants: &[(u32, Position)]) -> Value {
    participants
        .iter()
        .map(|(participant, prepared_at)| json!({ "id": participant, "prepared_at": place(*prepared_at) }))
        .collect()
}

fn peers(stated: &[(u32, Position)]) -> Value {
    stated.iter().map(|(peer, at)| json!({ "id": peer, "stated": place(*at) })).collect()
}

/// Null where none is known.
fn place(position: Position) -> Value {
    if position.is_known() { json!({ "index": position.index.0, "hash": hash(position) }) } else { Value::Null }
}

fn decided(kind: &str, txn: TxnId, attempt: Attempt) -> Value {
    json!({ "kind": kind, "txn": txn.to_string(), "attempt": attempt.to_string() })
}

fn promised(kind: &str, promise: &Promise) -> Value {
    let mut line = decided(kind, promise.txn, promise.attempt);
    line["coordinator"] = json!(promise.coordinator);
    line["participants"] = json!(promise.participants);
    line["writes"] = promise
        .writes
        .iter()
        .map(|write| json!({ "key": json_bytes(&write.key), "value": write.value.as_deref().map(json_bytes) }))
        .collect();
    if !promise.reads.is_empty() {
        line["reads"] = promise.reads.iter().map(|key| json_bytes(key)).collect();
    }
    if !promise.ranges.is_empty() {
        line["ranges"] =
            promise.ranges.iter().map(|(start, end)| json!([json_bytes(start), json_bytes(end)])).collect();
    }
    line
}

fn distinct(owners: &[u32]) -> Vec<u32> {
    owners.iter().copied().collect::<BTreeSet<_>>().into_iter().collect()
}

/// The same for people: LSN, index, kind, and the rest as it is.
pub(super) fn people(line: &Value) -> String {
    let text = |field: &str| line[field].as_str().map_or_else(|| line[field].to_string(), |text| show(text.as_bytes()));
    let number = |field: &str| if line[field].is_null() { "-".to_owned() } else { text(field) };
    let mut people = format!("{:>12} {:>9}  {:<20}", number("lsn"), number("index"), text("kind"));
    for field in line.as_object().into_iter().flat_map(|fields| fields.keys()) {
        if !["lsn", "index", "kind"].contains(&field.as_str()) {
            people += &format!(" {field}={}", text(field));
        }
    }
    people.trim_end().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use engine::{Index, Place};
    use protocol::Age;
    use protocol::record::Write;

    const TXN: TxnId = TxnId(0xab);
    const ATTEMPT: Attempt = Attempt { epoch: 2, number: 3 };

    fn at() -> Logged {
        let position = Position { index: Index(11), hash: 7 };
        Logged { position, place: Place::of_address(4_096) }
    }

    fn dumped(of: &Record) -> Value {
        let mut payload = Vec::new();
        of.encode(&mut payload);
        line_of(at(), RecordKind::Owner, payload.into())
    }

    #[test]
    fn a_promise_shows_what_it_writes() {
        let promise = Promise {
            txn: TXN,
            attempt: ATTEMPT,
            coordinator: 1,
            age: Age { admitted_us: 1, coordinator: 1 },
            digest: 7,
            writes: vec![
                Write { key: "a".into(), value: Some("5".into()) },
                Write { key: vec![0xff].into(), value: None },
            ],
            reads: Vec::new(),
            ranges: Vec::new(),
            participants: vec![1, 2],
        };
        let line = dumped(&Record::Prepared(promise));
        assert_eq!(
            (&line["lsn"], &line["index"], &line["hash"]),
            (&json!(4_096), &json!(11), &json!("0000000000000007"))
        );
        assert_eq!(line["writes"], json!([{ "key": "a", "value": "5" }, { "key": { "hex": "ff" }, "value": null }]));
        assert!(people(&line).starts_with("        4096        11  prepared "), "{}", people(&line));
    }

    #[test]
    fn a_decision_shows_whom_it_is_for() {
        let participants = vec![(1, Position::UNKNOWN), (2, Position { index: Index(20), hash: 7 })];
        let line = dumped(&Record::Decided { txn: TXN, attempt: ATTEMPT, digest: 7, participants });
        assert_eq!(line["kind"], "decided");
        assert_eq!(line["attempt"], "2.3");
        assert_eq!(line["participants"][0], json!({ "id": 1, "prepared_at": null }));
        let prepared_at = json!({ "index": 20, "hash": "0000000000000007" });
        assert_eq!(line["participants"][1], json!({ "id": 2, "prepared_at": prepared_at }));
    }

    #[test]
    fn what_is_no_record_is_named_with_its_place() {
        let line = line_of(at(), RecordKind::Owner, vec![250].into());
        assert_eq!((&line["kind"], &line["lsn"]), (&json!("unknown-record"), &json!(4_096)));
        assert!(keys(vec![250].into()).is_err());
    }
}
