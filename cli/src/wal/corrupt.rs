//! `assent wal corrupt`: damages a log, for people who test recovery.

use std::path::PathBuf;

use clap::{Args, ValueEnum};
use engine::inspect::{Change, CorruptError, Corruption, Kind, Target, corrupt};
use serde_json::{Value, json};

use super::failure;
use crate::exit::Failure;
use crate::output::Output;
use crate::values::parse_switch;

const AFTER_HELP: &str = "\
DESTROYS DATA: use a copy of the directory. The same seed on the same directory does the same.

By default the damage lies in groups since the checkpoint that are known to be durable, in a place that the seed chooses:
a start must refuse the log. --file chooses a file, `superblock` or one of the segments; --at is an offset in that file
(without --file: in the file that the seed chooses); for `truncate` it is the new size.

  bit             one bit is flipped
  zero            one sector of 512 bytes is zeroed
  tear            some sectors of a group are zeroed, as if its write had not been finished
  swap            two different sectors of the file are exchanged
  truncate        the file is cut off
  delete-segment  the file is removed
  stale-segment   the file gets the content of an older segment

Exit codes: 0 done; 1 there is nothing that this kind can damage; 2 a wrong flag; 3 the directory cannot be used.

Examples:
  cp -a data/p1 broken && assent wal corrupt broken --seed 7 --kind bit && assent wal verify broken
  assent wal corrupt broken --seed 7 --kind zero --file superblock --at 0 --json";

/// Bytes of a change that are shown to people, from its beginning.
const SHOWN_BYTES: usize = 16;

/// Damage a log in one stated way, to test recovery.
#[derive(Args, Debug)]
#[command(after_help = AFTER_HELP)]
pub(crate) struct CorruptArgs {
    /// The data directory of a node that is not running: a copy.
    dir: PathBuf,
    /// Chooses the place, and which bit or sectors.
    #[arg(long)]
    seed: u64,
    /// What is done.
    #[arg(long, value_enum)]
    kind: KindName,
    /// The file: `superblock` or a segment's name.
    #[arg(long, value_name = "NAME")]
    file: Option<String>,
    /// The offset in the file, in bytes.
    #[arg(long, value_name = "OFFSET")]
    at: Option<u64>,
    /// Print JSON, one document.
    #[arg(long, env = "ASSENT_JSON", value_parser = parse_switch)]
    pub(super) json: bool,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum KindName {
    Bit,
    Zero,
    Tear,
    Swap,
    Truncate,
    DeleteSegment,
    StaleSegment,
}

impl KindName {
    fn kind(self) -> Kind {
        match self {
            Self::Bit => Kind::Bit,
            Self::Zero => Kind::Zero,
            Self::Tear => Kind::Tear,
            Self::Swap => Kind::Swap,
            Self::Truncate => Kind::Truncate,
            Self::DeleteSegment => Kind::DeleteSegment,
            Self::StaleSegment => Kind::StaleSegment,
        }
    }

    fn name(self) -> String {
        self.to_possible_value().map(|value| value.get_name().to_owned()).unwrap_or_default()
    }
}

/// Runs the command.
pub(super) fn run(args: &CorruptArgs) -> Result<(), Failure> {
    let target = Target { file: args.file.clone(), at: args.at };
    let done = corrupt(&args.dir, args.seed, args.kind.kind(), &target).map_err(|error| match error {
        CorruptError::Open(error) => failure(&args.dir, &error),
        CorruptError::Surgery(_) => Failure::Start(error.to_string()),
        CorruptError::NoSuchFile(_) | CorruptError::DoesNotFit { .. } => Failure::Usage(error.to_string()),
        CorruptError::Nothing { .. } => Failure::No(error.to_string()),
    })?;
    Output { json: args.json }.say(&document(args, &done), people(args, &done))
}

fn document(args: &CorruptArgs, done: &Corruption) -> Value {
    let change = |change: &Change| {
        json!({
            "offset": change.offset, "lsn": change.lsn.map(|lsn| lsn.0), "bytes": change.after.len(),
            "before": hex(&change.before), "after": hex(&change.after)
        })
    };
    json!({
        "kind": args.kind.name(),
        "seed": args.seed,
        "file": done.file,
        "segment": done.segment,
        "lsn": done.lsn.map(|lsn| lsn.0),
        "changes": done.changes.iter().map(change).collect::<Vec<_>>(),
        "size_before": done.size.map(|(before, _)| before),
        "size_after": done.size.and_then(|(_, after)| after),
        "copied_from": done.copied_from,
    })
}

fn people(args: &CorruptArgs, done: &Corruption) -> String {
    let lsn = |lsn: Option<engine::Lsn>| lsn.map_or_else(|| "not in the log".to_owned(), |lsn| format!("LSN {lsn}"));
    let mut lines: Vec<String> = done
        .changes
        .iter()
        .map(|change| {
            format!(
                "{}: offset {} ({}), {} bytes: {} -> {}",
                done.file,
                change.offset,
                lsn(change.lsn),
                change.after.len(),
                shown(&change.before),
                shown(&change.after)
            )
        })
        .collect();
    match (done.size, &done.copied_from) {
        (_, Some(from)) => lines.push(format!("{}: now has the content of {from} ({})", done.file, lsn(done.lsn))),
        (Some((before, Some(after))), None) => {
            lines.push(format!("{}: {before} bytes -> {after} bytes ({})", done.file, lsn(done.lsn)));
        }
        (Some((before, None)), None) => {
            lines.push(format!("{}: removed, {before} bytes ({})", done.file, lsn(done.lsn)))
        }
        (None, None) => {}
    }
    format!("{} with seed {}:\n  {}", args.kind.name(), args.seed, lines.join("\n  "))
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn shown(bytes: &[u8]) -> String {
    let more = if bytes.len() > SHOWN_BYTES { "..." } else { "" };
    hex(&bytes[..bytes.len().min(SHOWN_BYTES)]) + more
}
