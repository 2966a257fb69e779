//! Flips bits of write-ahead logs and counts what the engines make of it.
//!
//! Code map: `main` parses and prints, `sweep` runs the cases of one subject, `image` copies and flips, `process` and
//! `child` are the two ends of a child, `record` judges, `report` counts. A subject is an engine in one mode: `assent`,
//! with the feature `peers` `raft`, `rocks` and `sqlite`, and for tests of the harness `control`.

mod assent;
mod child;
mod control;
mod image;
mod limits;
mod process;
#[cfg(feature = "peers")]
mod raft;
mod record;
mod report;
#[cfg(feature = "peers")]
mod rocks;
#[cfg(feature = "peers")]
mod sqlite;
mod subject;
mod sweep;
#[cfg(feature = "peers")]
mod versions;

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::thread;
use std::time::Duration;

use clap::{Parser, Subcommand};
use indicatif::{ProgressBar, ProgressStyle};

use crate::limits::{RECORDS_MAX, WORKERS_MAX};
use crate::subject::{Refusal, Subject};
use crate::sweep::Plan;

/// Memory, where there is one to be had: thousands of copies are written and removed.
const MEMORY: &str = "/dev/shm";

/// Flips one bit of a fully synced write-ahead log, opens it, reads everything back, and counts: reported (refused),
/// harmless (intact), acknowledged records missing or changed without an error (silent), died (crashed). Again for
/// the next byte.
///
/// Exit codes: 0 done; 1 an engine that promises no silent loss had one; 2 a wrong flag; 3 a sweep failed.
///
/// Example: cargo run --release -p benches --features peers --bin flips
#[derive(Parser)]
#[command(name = "flips", args_conflicts_with_subcommands = true, verbatim_doc_comment)]
struct Arguments {
    /// Records in each log, of 256 bytes, each synced before the next
    #[arg(long, default_value_t = 128, value_parser = clap::value_parser!(u64).range(1..=RECORDS_MAX))]
    records: u64,
    /// Flip one bit in every so many bytes of log, 1 for all [default: what makes 5,000 cases of each log]
    #[arg(long, value_parser = clap::value_parser!(u64).range(1..))]
    stride: Option<u64>,
    /// Only this engine and mode; may be repeated. `--list` has the names
    #[arg(long, value_name = "NAME", value_parser = named)]
    only: Vec<&'static dyn Subject>,
    /// Names the engines and modes
    #[arg(long)]
    list: bool,
    /// One JSON document in place of the table, with an example of each outcome
    #[arg(long)]
    json: bool,
    /// Processes at a time [default: one a processor]
    #[arg(long, value_parser = clap::value_parser!(u64).range(1..=WORKERS_MAX))]
    workers: Option<u64>,
    /// Milliseconds after which a case counts as crashed
    #[arg(long, default_value_t = 20_000, value_parser = clap::value_parser!(u64).range(1..))]
    case_timeout_ms: u64,
    /// Where logs and copies go [default: logs in the temporary directory, copies in /dev/shm where that is there]
    #[arg(long)]
    dir: Option<PathBuf>,
    #[command(subcommand)]
    child: Option<ChildCommand>,
}

#[derive(Subcommand)]
enum ChildCommand {
    /// What a child of the sweep runs
    #[command(hide = true)]
    ChildWrite {
        #[arg(value_parser = named)]
        subject: &'static dyn Subject,
        records: u64,
        dir: PathBuf,
    },
    /// What a child of the sweep runs
    #[command(hide = true)]
    ChildRead {
        #[arg(value_parser = named)]
        subject: &'static dyn Subject,
        records: u64,
    },
}

fn named(name: &str) -> Result<&'static dyn Subject, String> {
    subject::find(name).ok_or_else(|| "no such engine and mode; --list has the names".to_owned())
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let ended = match &arguments.child {
        Some(ChildCommand::ChildWrite { subject, records, dir }) => {
            child::write(*subject, dir, *records).map(|()| ExitCode::SUCCESS)
        }
        Some(ChildCommand::ChildRead { subject, records }) => {
            child::read(*subject, *records).map(|()| ExitCode::SUCCESS)
        }
        None => run(&arguments),
    };
    ended.unwrap_or_else(|error| {
        eprintln!("{error}");
        ExitCode::from(3)
    })
}

fn run(arguments: &Arguments) -> Result<ExitCode, Refusal> {
    let subjects = if arguments.only.is_empty() { subject::subjects() } else { arguments.only.clone() };
    if arguments.list {
        subjects.iter().for_each(|one| println!("{:30} {}, {}", one.name(), one.engine(), one.mode()));
        return Ok(ExitCode::SUCCESS);
    }
    if cfg!(not(feature = "peers")) {
        eprintln!("built without the peers: this log only; add `--features peers` for the others");
    }
    let memory = Path::new(MEMORY);
    let copies = if memory.is_dir() { memory.to_owned() } else { std::env::temp_dir() };
    let inside = |dir: &Path| tempfile::Builder::new().prefix("flips-").tempdir_in(dir);
    let logs = inside(arguments.dir.as_deref().unwrap_or(&std::env::temp_dir()))?;
    let copies = inside(arguments.dir.as_deref().unwrap_or(&copies))?;
    let processors = thread::available_parallelism().map_or(1, |count| count.get() as u64);
    let plan = Plan {
        records: arguments.records,
        stride: arguments.stride,
        workers: arguments.workers.unwrap_or(processors.min(WORKERS_MAX)),
        case_timeout: Duration::from_millis(arguments.case_timeout_ms),
        logs: logs.path().to_owned(),
        copies: copies.path().to_owned(),
    };
    let style = ProgressStyle::with_template("[{bar:40}] {pos}/{len} {msg}")?;
    let bar = ProgressBar::new(0).with_style(style);
    let rows = subjects.iter().map(|one| sweep::sweep(*one, &plan, &bar)).collect::<Result<Vec<_>, _>>()?;
    bar.finish_and_clear();
    if arguments.json {
        println!("{}", serde_json::to_string(&rows)?);
    } else {
        print!("{}", report::table(&rows));
    }
    let broken = rows.iter().any(report::Row::breaks_promise);
    Ok(if broken { ExitCode::from(1) } else { ExitCode::SUCCESS })
}
