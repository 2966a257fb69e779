//! `assent wal dump`: one record a line, and a line for what cannot be read.

use std::io::{self, Write};
use std::path::PathBuf;

use clap::Args;
use engine::inspect::{Skipped, Stray, dump_from};
use engine::{DumpItem, Lsn};
use serde_json::{Value, json};

use super::{failure, place, record};
use crate::exit::Failure;
use crate::values::parse_switch;

const AFTER_HELP: &str = "\
The log is read from its last checkpoint on, or with --from from any place in the files that it has. Nothing is locked
or written; a running node's log is seen as of about now. Where it is damaged, a line of the kind `skipped` says what is
left out and why, and reading goes on at the next sound group. Without a valid superblock the files are put in order by
their headers. A torn tail, which the next start cuts off, is a line of the kind `torn-tail`; a file that
looks like a segment and is not part of the log, one of the kind `stray`. A record that has a position, which is the same in
every log of the same records, has its index and its hash; what a checkpoint has written has an LSN alone.

Exit codes: 0 everything was read; 4 something was skipped; 3 the directory cannot be read.

Examples:
  assent wal dump data/p1 | head
  assent wal dump data/p1 --from 0 | grep skipped
  assent wal dump data/c1 --json | jq 'select(.kind == \"decided\")'";

/// Print what a log holds, one record a line, past damage too.
#[derive(Args, Debug)]
#[command(after_help = AFTER_HELP)]
pub(crate) struct DumpArgs {
    /// The data directory of a node.
    dir: PathBuf,
    /// Print JSON, one document a line.
    #[arg(long, env = "ASSENT_JSON", value_parser = parse_switch)]
    pub(super) json: bool,
    /// Begin with the group that contains this LSN or follows it; 0 is the oldest segment.
    #[arg(long, value_name = "LSN")]
    from: Option<u64>,
}

/// Runs the command.
pub(super) fn run(args: &DumpArgs) -> Result<(), Failure> {
    let dir = &args.dir;
    // One lock and one buffer for all lines: a log has millions.
    let mut out = std::io::BufWriter::new(std::io::stdout().lock());
    let mut skipped: u64 = 0;
    let dump = dump_from(dir, args.from.map(Lsn)).map_err(|error| failure(dir, &error))?;
    for Stray { file, reason } in dump.strays() {
        write(&mut out, args, &json!({ "kind": "stray", "file": file, "reason": reason }))?;
    }
    for item in dump {
        let item = match item {
            Ok(item) => item,
            Err(error) => {
                out.flush()?;
                return Err(failure(dir, &error));
            }
        };
        let Some(line) = line_of(item) else { continue };
        skipped += u64::from(line["kind"] == "skipped" || line["kind"] == "unknown-record");
        write(&mut out, args, &line)?;
    }
    out.flush()?;
    if skipped > 0 { Err(Failure::AsPrinted(4)) } else { Ok(()) }
}

fn write(out: &mut impl Write, args: &DumpArgs, line: &Value) -> io::Result<()> {
    if args.json { writeln!(out, "{line}") } else { writeln!(out, "{}", record::people(line)) }
}

/// An item as JSON; none for the head of a group.
fn line_of(item: DumpItem) -> Option<Value> {
    match item {
        DumpItem::Group(_) => None,
        DumpItem::Record { at, kind, payload } => Some(record::line_of(at, kind, payload)),
        DumpItem::Skipped(gap) => Some(skipped_line(&gap)),
        DumpItem::Torn(cut) => Some(json!({
            "kind": "torn-tail", "lsn": cut.from.0, "to": cut.to.0, "file": cut.file, "offset": cut.offset,
            "rule": cut.rule.name(), "reason": cut.reason
        })),
    }
}

fn skipped_line(gap: &Skipped) -> Value {
    let mut line = place(gap);
    line["kind"] = json!("skipped");
    line["resumed"] = json!(gap.resumed);
    line
}
