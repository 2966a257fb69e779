//! `assent wal repair`: keeps the sound part of a damaged log, and says what is lost.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use bytes::Bytes;
use clap::Args;
use engine::inspect::{Accept, Lost, Plan, Repair, RepairError, Step};
use engine::{DumpItem, Index, Lsn, RecordKind};
use protocol::{Record, TxnId};
use serde_json::{Value, json};

use super::{failure, place, record, shown};
use crate::exit::Failure;
use crate::output::{Output, line};
use crate::values::parse_switch;

const AFTER_HELP: &str = "\
Of a damaged log, --accept-loss-after LSN keeps everything before the last group that ends at or before the LSN, if all of it
is sound from the checkpoint on, and drops the rest. What is dropped was acknowledged: other nodes may rely on it, and will
say so. Restore a backup instead if there is one. `assent wal verify` names the first damage; an LSN that is too large is
refused with the greatest one that is possible.

Of a sound log, --accept-loss-until INDEX drops nothing. The log then says that what others have heard of and what is not
in it was given up, up to its present end or to the record with this index, whichever is later: give the index that the
error of a node names whose log has lost records. That works once: a loss that was accepted already is not accepted again.

First the plan is printed. With --dry-run that is all. Otherwise the directory is copied to DIR.backup-TIME, a report of
what is lost is written into it (loss-report-N.json, N is the opening that the repair counts as), and the log is cut.
The repaired log goes on past every LSN and every index that it ever gave out. A repair that was interrupted leaves the log as it was or
the repaired one; run it again.

Exit codes: 0 done, or this loss was accepted before; 1 not possible there; 3 the directory cannot be used, or the backup
failed; 4 no repair can help: restore a backup.

Examples:
  assent wal repair data/p1 --dry-run --accept-loss-after 81920
  assent wal repair data/p1 --accept-loss-after 81920
  assent wal repair data/p1 --accept-loss-until 5234";

/// Transactions of the lost part that a report names: enough to find out by hand, little enough to hold and to read.
const LOST_TRANSACTIONS_MAX: usize = 100_000;

/// Of these the ones that are printed for people.
const SHOWN_TRANSACTIONS_MAX: usize = 20;

/// Cut a damaged log back to what is sound, or accept that a sound one lacks records; with a backup and a report.
#[derive(Args, Debug)]
#[command(after_help = AFTER_HELP)]
pub(crate) struct RepairArgs {
    /// The data directory of a node that is not running.
    dir: PathBuf,
    #[command(flatten)]
    accept: AcceptArgs,
    /// Say what would be kept and lost, and change nothing.
    #[arg(long)]
    dry_run: bool,
    /// Print JSON, one document.
    #[arg(long, env = "ASSENT_JSON", value_parser = parse_switch)]
    pub(super) json: bool,
}

/// Which loss is accepted.
#[derive(Args, Debug)]
#[group(required = true, multiple = false)]
struct AcceptArgs {
    /// The log is damaged: everything from this LSN on may be lost.
    #[arg(long, value_name = "LSN")]
    accept_loss_after: Option<u64>,
    /// The log is sound: others may have heard of more than it holds, up to the record with this index.
    #[arg(long, value_name = "INDEX")]
    accept_loss_until: Option<u64>,
}

impl AcceptArgs {
    fn loss(&self) -> Accept {
        match (self.accept_loss_after, self.accept_loss_until) {
            (Some(lsn), _) => Accept::After(Lsn(lsn)),
            (None, index) => Accept::Until(Index(index.unwrap_or_default())),
        }
    }
}

/// What the lost part says of transactions, as far as it can be read.
#[derive(Default)]
struct LostTransactions {
    /// Kinds of their records, in log order.
    kinds: BTreeMap<TxnId, Vec<&'static str>>,
    /// Records of further transactions.
    dropped: u64,
    unknown: u64,
}

impl LostTransactions {
    fn take(&mut self, item: DumpItem) {
        let DumpItem::Record { kind: RecordKind::Owner | RecordKind::OwnerAgain, payload, .. } = item else { return };
        let Ok(record) = Record::decode(payload) else {
            self.unknown += 1;
            return;
        };
        let Some((txn, kind)) = record::transaction(&record) else { return };
        if kind == record::RELEASED {
            return self.forget_read(txn);
        }
        let full = self.kinds.len() >= LOST_TRANSACTIONS_MAX;
        match self.kinds.get_mut(&txn) {
            Some(kinds) => kinds.push(kind),
            None if full => self.dropped += 1,
            None => _ = self.kinds.insert(txn, vec![kind]),
        }
    }
}

impl LostTransactions {
    /// A promise that wrote nothing has ended: nothing is lost with it.
    fn forget_read(&mut self, txn: TxnId) {
        let Some(kinds) = self.kinds.get_mut(&txn) else { return };
        if kinds.last() == Some(&record::PREPARED) {
            kinds.pop();
        }
        if kinds.is_empty() {
            self.kinds.remove(&txn);
        }
    }
}

/// Runs the command.
pub(super) fn run(args: &RepairArgs) -> Result<(), Failure> {
    let mut transactions = LostTransactions::default();
    let mut accepted = Index::ZERO;
    let mut accepts = |payload: &[u8]| {
        let until = accepted_by(payload)?;
        accepted = accepted.max(until);
        Some(until)
    };
    let planned = Repair::plan(&args.dir, args.accept.loss(), &mut accepts, &mut |item| transactions.take(item));
    let Some(mut repair) = planned.map_err(|error| refused(&args.dir, &error))? else {
        let said = format!(
            "{}: the log is sound, and says already that everything before index {accepted} which is not in it was given up: \
             there is nothing to repair",
            args.dir.display()
        );
        let document =
            json!({ "dir": args.dir.display().to_string(), "repaired": false, "accepted": accepted.0, "reason": said });
        return Output { json: args.json }.say(&document, &said);
    };
    let mut record = Vec::new();
    Record::LossAccepted { until: repair.plan_made().goes_on_with }.encode(&mut record);
    repair.begin_with(&record);
    let plan = repair.plan_made();
    let now = humantime::format_rfc3339_seconds(SystemTime::now()).to_string();
    let backup = backup_path(&args.dir, &now);
    let mut report = document(args, plan, &transactions, &backup, &now);
    if !args.json {
        people(plan, &transactions)?;
    }
    if !args.dry_run {
        let name = report_name(&args.dir, plan.incarnation);
        let text = serde_json::to_string_pretty(&report).map_err(std::io::Error::other)? + "\n";
        let mut say = |step: Step| {
            if !args.json {
                crate::output::line_if_heard(&format!("done: {}", what(step, &backup, &name)));
            }
        };
        repair.apply(&backup, &name, text.as_bytes(), &mut say).map_err(|error| refused(&args.dir, &error))?;
        report["loss_report"] = json!(args.dir.join(&name).display().to_string());
    }
    report["repaired"] = json!(!args.dry_run);
    if args.json {
        line(&report.to_string())
    } else if args.dry_run {
        line("nothing was changed (--dry-run)")
    } else {
        let done = if plan.damage.is_some() { "repaired" } else { "the loss is accepted" };
        line(&format!("{}: {done}; `assent wal verify` agrees, and the node can be started", args.dir.display()))
    }
}

/// Before which index a record accepts a loss.
fn accepted_by(payload: &[u8]) -> Option<Index> {
    match Record::decode(Bytes::copy_from_slice(payload)) {
        Ok(Record::LossAccepted { until }) => Some(until),
        Ok(_) | Err(_) => None,
    }
}

fn backup_path(dir: &Path, now: &str) -> PathBuf {
    let time: String = now.chars().filter(|c| c.is_ascii_alphanumeric()).collect();
    let mut name = dir.components().as_path().as_os_str().to_owned();
    name.push(format!(".backup-{time}"));
    name.into()
}

/// The first name that is free: a repair that was cut off has left its report, which says more than the next.
fn report_name(dir: &Path, incarnation: u64) -> String {
    let first = format!("loss-report-{incarnation}.json");
    let further = (2..).map(|attempt: u32| format!("loss-report-{incarnation}-{attempt}.json"));
    std::iter::once(first.clone()).chain(further).find(|name| !dir.join(name).exists()).unwrap_or(first)
}

fn refused(dir: &Path, error: &RepairError) -> Failure {
    match error {
        RepairError::Open(error) => failure(dir, error),
        RepairError::PastDamage { .. }
        | RepairError::BeforeCheckpoint { .. }
        | RepairError::NotBegun
        | RepairError::Damaged { .. }
        | RepairError::Sound { .. }
        | RepairError::NoSuchIndex { .. } => Failure::No(format!("{}: {error}", dir.display())),
        RepairError::Surgery(_) => Failure::Start(error.to_string()),
        RepairError::NoSuperblock(_)
        | RepairError::CheckpointDamaged { .. }
        | RepairError::OlderSegment { .. }
        | RepairError::NoRoom
        | RepairError::NotAsPlanned(..) => Failure::Disk(error.to_string()),
    }
}

fn document(args: &RepairArgs, plan: &Plan, transactions: &LostTransactions, backup: &Path, now: &str) -> Value {
    let lost = |lost: &Lost| {
        json!({
            "file": lost.file, "offset": lost.offset, "bytes": lost.bytes, "lsn": lost.from.0, "to": lost.to.0,
            "whole_file": lost.whole_file
        })
    };
    let transaction = |(txn, kinds): (&TxnId, &Vec<&str>)| json!({ "txn": txn.to_string(), "records": kinds });
    json!({
        "dir": args.dir.display().to_string(),
        "time": now,
        "version": env!("CARGO_PKG_VERSION"),
        "accept_loss_after": args.accept.accept_loss_after,
        "accept_loss_until": args.accept.accept_loss_until,
        "damage": plan.damage,
        "checkpoint": plan.checkpoint.0,
        "keep_to": plan.keep_to.0,
        "possible": plan.possible.0,
        "groups_kept": plan.groups_kept,
        "records_kept": plan.records_kept,
        "durable": plan.durable.0,
        "lost": plan.lost.iter().map(lost).collect::<Vec<_>>(),
        "groups_lost": plan.groups_lost,
        "records_lost": plan.records_lost,
        "records_unknown": transactions.unknown,
        "unreadable": plan.unreadable.iter().map(place).collect::<Vec<_>>(),
        "transactions": transactions.kinds.iter().map(transaction).collect::<Vec<_>>(),
        "transactions_dropped": transactions.dropped,
        "incarnation": plan.incarnation,
        "accepted": plan.goes_on_with.0,
        "goes_on_at": plan.goes_on_at.0,
        "goes_on_with": plan.goes_on_with.0,
        "new_file": plan.new_file,
        "backup": if args.dry_run { Value::Null } else { json!(backup.display().to_string()) },
    })
}

fn people(plan: &Plan, transactions: &LostTransactions) -> Result<(), Failure> {
    let Some(damage) = &plan.damage else {
        line(&format!("damage:  none; all of the log is kept, LSN {} to {}", plan.checkpoint, plan.keep_to))?;
        line("accept:  the loss of what other nodes have heard of and what is not in this log")?;
        return line(&goes_on(plan));
    };
    line(&format!("damage:  {damage}"))?;
    line(&format!(
        "keep:    LSN {} to {}: {} groups, {} records; at most LSN {} is possible",
        plan.checkpoint, plan.keep_to, plan.groups_kept, plan.records_kept, plan.possible
    ))?;
    for lost in &plan.lost {
        let whole = if lost.whole_file { ", the file leaves the log" } else { "" };
        let Lost { file, offset, bytes, from, to, .. } = lost;
        line(&format!("lose:    {file}: offset {offset}, {bytes} bytes (LSN {from} to {to}){whole}"))?;
    }
    line(&format!(
        "lose:    {} groups with {} records can be read there; all before LSN {} was durable",
        plan.groups_lost, plan.records_lost, plan.durable
    ))?;
    for gap in &plan.unreadable {
        line(&format!("unknown: {}", shown(gap)))?;
    }
    for (txn, kinds) in transactions.kinds.iter().take(SHOWN_TRANSACTIONS_MAX) {
        line(&format!("lose:    transaction {txn}: {}", kinds.join(", ")))?;
    }
    let further = transactions.kinds.len().saturating_sub(SHOWN_TRANSACTIONS_MAX);
    if further > 0 {
        line(&format!("lose:    {further} further transactions; the report names them, and so does --json"))?;
    }
    line(&goes_on(plan))
}

fn goes_on(plan: &Plan) -> String {
    let Plan { goes_on_at, goes_on_with, new_file, .. } = plan;
    format!("then:    the log goes on at LSN {goes_on_at} with index {goes_on_with} in {new_file}")
}

fn what(step: Step, backup: &Path, report: &str) -> String {
    match step {
        Step::Backup => format!("the directory was copied to {}", backup.display()),
        Step::Report => format!("what is lost was written to {report}"),
        Step::StateEvidence => "what had been durable was stated in one copy of the superblock".to_owned(),
        Step::StateEvidenceAgain => "and in the other".to_owned(),
        Step::NewSegment => "the file in which the log goes on was made".to_owned(),
        Step::ZeroTail => "what follows the end in the last kept segment was overwritten".to_owned(),
        Step::Superblock => "the superblock of the repaired log was written".to_owned(),
        Step::SuperblockAgain => "and its other copy".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use protocol::record::Promise;
    use protocol::{Age, Attempt, Position};

    use super::*;

    #[test]
    fn what_only_read_is_not_lost() {
        let attempt = Attempt { epoch: 1, number: 1 };
        let promise = |txn: u128| {
            Record::Prepared(Promise {
                txn: TxnId(txn),
                attempt,
                coordinator: 1,
                age: Age { admitted_us: 1, coordinator: 1 },
                digest: 7,
                writes: Vec::new(),
                reads: Vec::new(),
                ranges: Vec::new(),
                participants: vec![1, 2],
            })
        };
        let mut lost = LostTransactions::default();
        for record in [
            promise(1),
            promise(2),
            promise(3),
            Record::Released { txn: TxnId(1), attempt },
            Record::Committed { txn: TxnId(2), attempt, decided_at: Position::UNKNOWN },
            Record::Released { txn: TxnId(4), attempt },
        ] {
            let mut payload = Vec::new();
            record.encode(&mut payload);
            let payload = payload.into();
            lost.take(DumpItem::Record { at: engine::Logged::default(), kind: RecordKind::Owner, payload });
        }
        let kinds: Vec<_> = lost.kinds.into_iter().map(|(txn, kinds)| (txn.0, kinds)).collect();
        assert_eq!(kinds, [(2, vec!["prepared", "committed"]), (3, vec!["prepared"])]);
    }
}
