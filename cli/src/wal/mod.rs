//! `assent wal`: offline tools over the log of a node. The work is done in `engine::inspect`; here are flags and words.
//!
//! [`dump`]: what it holds. [`verify`]: whether it is sound. [`repair`]: saves what is sound. [`corrupt`]: damages it, to
//! test recovery. [`record`]: how a record is shown.

mod check_cluster;
mod corrupt;
mod dump;
mod record;
mod repair;
mod verify;

use std::io::ErrorKind;
use std::path::Path;

use clap::{Args, Subcommand};
use engine::OpenError;
use engine::inspect::Skipped;
use serde_json::{Value, json};

use crate::data_dir;
use crate::exit::Failure;

const AFTER_HELP: &str = "\
All work on the data directory of a participant or a coordinator that is not running; only `repair` and `corrupt`
write, and `dump` may look at a running one.

Examples:
  assent wal dump data/p1 | head
  assent wal verify data/p1 || assent wal repair data/p1 --dry-run --accept-loss-after 81920";

/// Look into the log of a node, check it, save what is left of it, damage it.
#[derive(Args, Debug)]
#[command(after_help = AFTER_HELP)]
pub(crate) struct WalArgs {
    #[command(subcommand)]
    command: WalCommand,
}

#[derive(Subcommand, Debug)]
enum WalCommand {
    Dump(dump::DumpArgs),
    Verify(verify::VerifyArgs),
    Repair(repair::RepairArgs),
    Corrupt(corrupt::CorruptArgs),
    CheckCluster(check_cluster::CheckClusterArgs),
}

impl WalArgs {
    pub(crate) fn json(&self) -> bool {
        match &self.command {
            WalCommand::Dump(args) => args.json,
            WalCommand::Verify(args) => args.json,
            WalCommand::Repair(args) => args.json,
            WalCommand::Corrupt(args) => args.json,
            WalCommand::CheckCluster(args) => args.json,
        }
    }
}

/// Runs the command.
pub(crate) fn run(args: &WalArgs) -> Result<(), Failure> {
    match &args.command {
        WalCommand::Dump(args) => dump::run(args),
        WalCommand::Verify(args) => verify::run(args),
        WalCommand::Repair(args) => repair::run(args),
        WalCommand::Corrupt(args) => corrupt::run(args),
        WalCommand::CheckCluster(args) => check_cluster::run(args),
    }
}

/// Why a directory cannot be used.
fn failure(dir: &Path, error: &OpenError) -> Failure {
    let said = match error {
        OpenError::Io { source, .. } if source.kind() == ErrorKind::NotFound && is_missing(dir) => {
            format!("{}: there is no such directory", dir.display())
        }
        OpenError::Locked { .. } => format!(
            "{}: a process has this data directory open; stop the node, or copy the directory and use the copy",
            dir.display()
        ),
        OpenError::Io { .. }
        | OpenError::Corrupt { .. }
        | OpenError::WrongOwner { .. }
        | OpenError::OtherFormat { .. }
        | OpenError::NotRegular { .. }
        | OpenError::BadOptions(_) => data_dir::sentence(dir, error),
    };
    if matches!(error, OpenError::Corrupt { .. }) { Failure::Disk(said) } else { Failure::Start(said) }
}

/// Whether there is nothing at all: what may not be looked at may be there.
fn is_missing(dir: &Path) -> bool {
    dir.symlink_metadata().is_err_and(|error| error.kind() == ErrorKind::NotFound)
}

/// A place in the log as JSON.
fn place(skipped: &Skipped) -> Value {
    json!({
        "lsn": skipped.from.0, "to": skipped.to.0, "file": skipped.file, "offset": skipped.offset,
        "rule": skipped.cause.name(), "reason": skipped.reason
    })
}

/// The same for people.
fn shown(skipped: &Skipped) -> String {
    let Skipped { file, offset, from, to, cause, reason, resumed: _ } = skipped;
    let until = if to > from { format!(" to {to}") } else { String::new() };
    format!("{file}: offset {offset} (LSN {from}{until}): {cause}: {reason}")
}
