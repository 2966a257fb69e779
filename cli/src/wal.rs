//! `assent wal`: what a log holds, read without opening it.

use std::collections::BTreeSet;
use std::io::Write;
use std::path::{Path, PathBuf};

use clap::builder::FalseyValueParser;
use clap::{Args, Subcommand};
use engine::{DumpItem, OpenError, RecordKind};
use protocol::record::Promise;
use protocol::{Attempt, Record, TxnId};
use serde_json::{Value, json};

use crate::data_dir;
use crate::exit::Failure;
use crate::output::{json_bytes, show};

const AFTER_HELP: &str = "\
The log is read from its last checkpoint on; nothing is locked or written. Damage ends the dump with exit code 4.

Examples:
  assent wal dump data/p1 | head
  assent wal dump data/c1 --json | jq 'select(.kind == \"decided\")'";

/// Look at the log of a node.
#[derive(Args, Debug)]
#[command(after_help = AFTER_HELP)]
pub(crate) struct WalArgs {
    #[command(subcommand)]
    command: WalCommand,
}

#[derive(Subcommand, Debug)]
enum WalCommand {
    /// Print one record a line.
    #[command(after_help = AFTER_HELP)]
    Dump {
        /// The data directory of a node.
        dir: PathBuf,
        /// Print JSON, one document a line.
        #[arg(long, env = "ASSENT_JSON", value_parser = FalseyValueParser::new())]
        json: bool,
    },
}

impl WalArgs {
    pub(crate) fn json(&self) -> bool {
        let WalCommand::Dump { json, .. } = &self.command;
        *json
    }
}

/// Runs the command.
pub(crate) fn run(args: &WalArgs) -> Result<(), Failure> {
    let WalCommand::Dump { dir, json } = &args.command;
    // One lock and one buffer for all lines: a log has millions.
    let mut out = std::io::BufWriter::new(std::io::stdout().lock());
    for item in engine::dump(dir).map_err(|error| failure(dir, &error))? {
        let item = match item {
            Ok(item) => item,
            Err(error) => {
                out.flush()?;
                return Err(failure(dir, &error));
            }
        };
        let Some(line) = line_of(item, dir)? else { continue };
        if *json {
            writeln!(out, "{line}")?;
        } else {
            writeln!(out, "{}", people(&line))?;
        }
    }
    Ok(out.flush()?)
}

/// A record as JSON; none for the head of a group.
fn line_of(item: DumpItem, dir: &Path) -> Result<Option<Value>, Failure> {
    let (lsn, kind, payload) = match item {
        DumpItem::Group(_) => return Ok(None),
        DumpItem::Torn(torn) => {
            let torn = json!({ "lsn": torn.from.0, "kind": "torn-tail", "to": torn.to.0, "reason": torn.reason });
            return Ok(Some(torn));
        }
        DumpItem::Record { lsn, kind, payload } => (lsn, kind, payload),
    };
    let mut line = match kind {
        RecordKind::TableSlice => json!({ "kind": "table-slice", "bytes": payload.len() }),
        RecordKind::CheckpointBegin => json!({ "kind": "checkpoint-begin" }),
        RecordKind::CheckpointEnd => json!({ "kind": "checkpoint-end" }),
        RecordKind::Owner => record(&Record::decode(payload).map_err(|error| {
            Failure::Disk(format!(
                "{}: the record at LSN {lsn} is not one that this release knows: {error}",
                dir.display()
            ))
        })?),
    };
    line["lsn"] = json!(lsn.0);
    Ok(Some(line))
}

fn record(record: &Record) -> Value {
    match record {
        Record::Prepared(promise) => promised("prepared", promise),
        Record::CommittedOnePhase(promise) => promised("committed-one-phase", promise),
        Record::Committed { txn, attempt } => decided("committed", *txn, *attempt),
        Record::Aborted { txn, attempt } => decided("aborted", *txn, *attempt),
        Record::Fenced { coordinator, epoch } => {
            json!({ "kind": "fenced", "coordinator": coordinator, "epoch": epoch })
        }
        Record::Started { epoch } => json!({ "kind": "started", "epoch": epoch }),
        Record::Decided { txn, attempt, participants, .. } => {
            let mut line = decided("decided", *txn, *attempt);
            line["participants"] = participants
                .iter()
                .map(|(participant, prepared_at)| json!({ "id": participant, "prepared_at": prepared_at.0 }))
                .collect();
            line
        }
        Record::DecidedElsewhere { txn, attempt, .. } => decided("decided-elsewhere", *txn, *attempt),
        Record::Finished { txn } => json!({ "kind": "finished", "txn": txn.to_string() }),
        Record::Bins { owners } => json!({ "kind": "bins", "bins": owners.len(), "owners": distinct(owners) }),
        Record::Outcomes(outcomes) => {
            let txns: Vec<_> = outcomes.iter().map(|outcome| outcome.txn.to_string()).collect();
            json!({ "kind": "outcomes", "committed": txns })
        }
    }
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

/// The same for people: position, kind, and the rest as it is.
fn people(line: &Value) -> String {
    let text = |field: &str| line[field].as_str().map_or_else(|| line[field].to_string(), |text| show(text.as_bytes()));
    let mut people = format!("{:>12}  {:<20}", text("lsn"), text("kind"));
    for field in line.as_object().into_iter().flat_map(|fields| fields.keys()) {
        if field != "lsn" && field != "kind" {
            people += &format!(" {field}={}", text(field));
        }
    }
    people.trim_end().to_owned()
}

fn failure(dir: &Path, error: &OpenError) -> Failure {
    let said = match error {
        OpenError::Io { .. } if !dir.exists() => format!("{}: there is no such directory", dir.display()),
        OpenError::Io { .. }
        | OpenError::Corrupt { .. }
        | OpenError::Locked { .. }
        | OpenError::WrongOwner { .. }
        | OpenError::NewerFormat { .. }
        | OpenError::BadOptions(_) => data_dir::sentence(dir, error),
    };
    if matches!(error, OpenError::Corrupt { .. }) { Failure::Disk(said) } else { Failure::Start(said) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use protocol::record::Write;
    use protocol::{Age, Lsn};

    const TXN: TxnId = TxnId(0xab);
    const ATTEMPT: Attempt = Attempt { epoch: 2, number: 3 };

    fn dumped(of: &Record) -> Value {
        let mut payload = Vec::new();
        of.encode(&mut payload);
        let item = DumpItem::Record { lsn: engine::Lsn(4_096), kind: RecordKind::Owner, payload: payload.into() };
        line_of(item, Path::new("data")).unwrap().unwrap()
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
        assert_eq!(line["lsn"], 4_096);
        assert_eq!(line["writes"], json!([{ "key": "a", "value": "5" }, { "key": { "hex": "ff" }, "value": null }]));
        assert!(people(&line).starts_with("        4096  prepared "), "{}", people(&line));
    }

    #[test]
    fn a_decision_shows_whom_it_is_for() {
        let participants = vec![(1, Lsn(10)), (2, Lsn(20))];
        let line = dumped(&Record::Decided { txn: TXN, attempt: ATTEMPT, digest: 7, participants });
        assert_eq!(line["kind"], "decided");
        assert_eq!(line["attempt"], "2.3");
        assert_eq!(line["participants"][1], json!({ "id": 2, "prepared_at": 20 }));
    }

    #[test]
    fn what_is_no_record_is_named_with_its_place() {
        let item = DumpItem::Record { lsn: engine::Lsn(9), kind: RecordKind::Owner, payload: vec![250].into() };
        let error = line_of(item, Path::new("data")).unwrap_err();
        assert_eq!(error.code(), 4);
        assert!(error.to_string().contains("LSN 9"), "{error}");
    }
}
