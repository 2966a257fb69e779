//! `assent wal verify`: whether a log is sound, and every place where it is not.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use bytes::Bytes;
use clap::Args;
use engine::inspect::{Soundness, Stray, Verified, verify};
use protocol::Role;
use serde_json::{Value, json};

use super::{failure, place, record, shown};
use crate::exit::Failure;
use crate::output::{line, progress_bar};
use crate::values::parse_switch;

const AFTER_HELP: &str = "\
Reads everything: both copies of the superblock, every segment (also those before the checkpoint, which a start does not
read), every group, record and value, and then says what a start would say. Writes nothing. The node must be stopped:
the end of a log that is being written looks torn; check a copy instead. Files that look like segments and are not part
of the log are told as `stray`; they are no damage.

Exit codes, of this command alone:
  0  sound
  1  torn tail: the last group was begun, and nothing in the log says that it was acknowledged; the next start cuts it off
  2  damage: something that was acknowledged, or one copy of it, is not what was written
  3  it could not be checked: no such directory, no permission, a node has it open, a wrong flag

Examples:
  assent wal verify data/p1
  assent wal verify data/p1 --json | jq '.findings[]'";

const MIB: u64 = 1 << 20;

/// Check a log: sound, torn tail, or damaged, and where.
#[derive(Args, Debug)]
#[command(after_help = AFTER_HELP)]
pub(crate) struct VerifyArgs {
    /// The data directory of a node that is not running.
    dir: PathBuf,
    /// Print JSON, one document.
    #[arg(long, env = "ASSENT_JSON", value_parser = parse_switch)]
    pub(super) json: bool,
}

/// Runs the command.
pub(super) fn run(args: &VerifyArgs) -> Result<(), Failure> {
    let started = Instant::now();
    let bar = progress_bar("verifying (MiB)", 0);
    let verified = verify(&args.dir, &mut |_, payload: Bytes| record::keys(payload), &mut |progress| {
        bar.set_length(progress.total.max(progress.done) / MIB);
        bar.set_position(progress.done / MIB);
    });
    bar.finish_and_clear();
    let verified = verified.map_err(|error| not_checked(&failure(&args.dir, &error)))?;
    let elapsed = started.elapsed();
    if args.json {
        line(&document(args, &verified, elapsed).to_string())?;
    } else {
        for finding in &verified.findings {
            line(&format!("{:<9}  {}", name(finding.soundness), shown(&finding.place)))?;
        }
        for Stray { file, reason } in &verified.strays {
            line(&format!("{:<9}  {file}: {reason}", "stray"))?;
        }
        line(&summary(args, &verified, elapsed))?;
    }
    match verified.soundness {
        Soundness::Sound => Ok(()),
        Soundness::TornTail => Err(Failure::AsPrinted(1)),
        Soundness::Damaged => Err(Failure::AsPrinted(2)),
    }
}

/// Whatever keeps this command from checking has one exit code.
fn not_checked(failure: &Failure) -> Failure {
    Failure::Start(failure.to_string())
}

fn name(soundness: Soundness) -> &'static str {
    match soundness {
        Soundness::Sound => "sound",
        Soundness::TornTail => "torn-tail",
        Soundness::Damaged => "damage",
    }
}

fn role_name(code: u8) -> String {
    Role::from_code(code).map_or_else(|| format!("unknown ({code})"), |role| role.to_string())
}

fn document(args: &VerifyArgs, verified: &Verified, elapsed: Duration) -> Value {
    let finding = |finding: &engine::inspect::Finding| {
        let mut document = place(&finding.place);
        document["soundness"] = json!(name(finding.soundness));
        document
    };
    json!({
        "dir": args.dir.display().to_string(),
        "soundness": name(verified.soundness),
        "advice": advice(verified),
        "findings": verified.findings.iter().map(finding).collect::<Vec<_>>(),
        "findings_dropped": verified.findings_dropped,
        "strays": verified.strays.iter().map(|stray| json!({ "file": stray.file, "reason": stray.reason }))
            .collect::<Vec<_>>(),
        "log_id": format!("{:016x}", verified.log_id),
        "owner": verified.owner.map(|owner| {
            json!({ "role": role_name(owner.role), "node": owner.node, "cluster": format!("{:016x}", owner.cluster) })
        }),
        "incarnation": verified.incarnation,
        "clean": verified.clean,
        "checkpoint": verified.checkpoint.map(|lsn| lsn.0),
        "tail": verified.tail.map(|lsn| lsn.0),
        "durable": verified.durable.map(|lsn| lsn.0),
        "segments": verified.segments,
        "groups": verified.groups,
        "records": verified.records,
        "bytes": verified.bytes,
        "values": verified.values,
        "bytes_read": verified.bytes_read,
        "seconds": elapsed.as_secs_f64(),
    })
}

fn summary(args: &VerifyArgs, verified: &Verified, elapsed: Duration) -> String {
    let Verified { segments, groups, records, values, bytes_read, findings_dropped, .. } = verified;
    let megabytes = *bytes_read as f64 / 1e6;
    let rate = megabytes / elapsed.as_secs_f64().max(1e-6);
    let dropped = if *findings_dropped > 0 { format!("{findings_dropped} further findings; ") } else { String::new() };
    format!(
        "{}: {}; {}{dropped}segments {segments}, groups {groups}, records {records}, values by pointer {values}; \
         {megabytes:.0} MB in {:.2} s, {rate:.0} MB/s",
        args.dir.display(),
        name(verified.soundness),
        advice(verified).map(|advice| format!("{advice}; ")).unwrap_or_default(),
        elapsed.as_secs_f64(),
    )
}

/// What to do now.
fn advice(verified: &Verified) -> Option<&'static str> {
    let causes: BTreeSet<&str> = verified.findings.iter().map(|finding| finding.place.cause.name()).collect();
    match verified.soundness {
        Soundness::Sound => None,
        Soundness::TornTail => Some(
            "the next start cuts it off: nothing in this log says that it was acknowledged (wal check-cluster asks the others)",
        ),
        Soundness::Damaged if causes.iter().all(|cause| *cause == "superblock-one-copy") => {
            Some("start the node: it writes both copies of the superblock anew")
        }
        Soundness::Damaged if verified.tail.is_some() => Some(
            "a start would read past this damage: restore the directory from a backup, \
             or start the node and write the damaged values again",
        ),
        Soundness::Damaged => {
            Some("do not delete anything: restore the directory from a backup, or see `assent wal repair --help`")
        }
    }
}
