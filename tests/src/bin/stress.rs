//! Overloads small clusters of real nodes, one way after the other, and says what came of it. See `tests/README.md`.

use std::io::{IsTerminal, Write};
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::Duration;

use clap::Parser;
use rustix::process::{Pid, Signal, kill_process};
use tests::processes::use_assent;
use tests::stress::{LOADS, Load, Report, SECONDS_DEFAULT, SECONDS_MAX, interrupt, load, patience, run, table};
use tokio::signal::unix::{SignalKind, signal};

/// How often progress is shown where it is no terminal.
const PROGRESS_EVERY: Duration = Duration::from_secs(10);

/// How long the end of a run that was interrupted may take.
const INTERRUPTED_PATIENCE: Duration = Duration::from_secs(60);

/// Overloads small clusters of real nodes, and checks that it ends with the load: bounded memory, idle nodes, and a fresh
/// client that is served at the usual latency within five seconds.
///
/// Exit codes: 0 all is well, or skipped with a reason; 1 something is not; 2 wrong usage.
#[derive(Parser)]
#[command(name = "stress", after_help = EXAMPLES)]
struct Flags {
    /// Print the loads, and do nothing
    #[arg(long)]
    list: bool,
    /// Run this load alone; repeat it for several
    #[arg(long, value_name = "NAME", value_parser = parse_load)]
    only: Vec<&'static str>,
    /// How long each load presses
    #[arg(long, value_name = "N", default_value_t = SECONDS_DEFAULT, value_parser = clap::value_parser!(u32).range(1..=SECONDS_MAX as i64))]
    seconds: u32,
    /// Print the report for programs
    #[arg(long)]
    json: bool,
    /// The binary to test; built in the profile of this program if not given
    #[arg(long, value_name = "PATH")]
    assent: Option<PathBuf>,
}

const EXAMPLES: &str = "Examples:
  cargo run --release -p tests --bin stress
  cargo run --release -p tests --bin stress -- --only reads --only large --seconds 10
  cargo run --release -p tests --bin stress -- --assent /usr/local/bin/assent --json";

fn parse_load(name: &str) -> Result<&'static str, String> {
    let names: Vec<&str> = LOADS.iter().map(|load| load.name).collect();
    load(name).map(|load| load.name).ok_or_else(|| format!("give one of {}", names.join(", ")))
}

fn main() -> ExitCode {
    let flags = Flags::parse();
    if flags.list {
        return print(
            &LOADS.iter().map(|load| format!("{:<12} {}", load.name, load.about)).collect::<Vec<_>>().join("\n"),
        );
    }
    if let Some(binary) = &flags.assent {
        let found = binary.canonicalize().ok().filter(|binary| binary.is_file());
        let Some(found) = found else {
            eprintln!("--assent {}: there is no such file", binary.display());
            return ExitCode::from(2);
        };
        use_assent(found);
    }
    if let Err(error) = interrupt_on_signals() {
        eprintln!("signals cannot be waited for: {error}");
        return ExitCode::FAILURE;
    }
    let chosen = LOADS.iter().filter(|load| flags.only.is_empty() || flags.only.contains(&load.name));
    let reports: Vec<Report> = chosen.map(|load| run_bounded(load, flags.seconds)).collect();
    let told = if flags.json {
        let loads: Vec<_> = reports.iter().map(Report::json).collect();
        serde_json::json!({ "seconds": flags.seconds, "loads": loads }).to_string()
    } else {
        table(&reports)
    };
    let printed = print(&told);
    if reports.iter().all(|report| report.failures.is_empty()) { printed } else { ExitCode::FAILURE }
}

fn print(text: &str) -> ExitCode {
    match writeln!(std::io::stdout(), "{text}") {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("the report cannot be written: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Runs a load, and ends this program with all nodes if it does not come to its end.
fn run_bounded(load: &Load, seconds: u32) -> Report {
    let (over, is_over) = channel::<()>();
    let guard = std::thread::spawn(move || guard(&is_over, patience(seconds)));
    let report = run(load, seconds, &progress());
    drop(over);
    _ = guard.join();
    if std::io::stderr().is_terminal() {
        eprint!("\r\x1b[K");
    }
    if let Some(why) = &report.skipped {
        eprintln!("{}: skipped: {why}", report.name);
    }
    report.log_lines.iter().for_each(|line| eprintln!("    {line}"));
    report.failures.iter().for_each(|failure| eprintln!("{}: FAILED: {failure}", report.name));
    report
}

/// Shows how far it is: in place on a terminal, now and then elsewhere.
fn progress() -> impl Fn(&str) {
    let is_terminal = std::io::stderr().is_terminal();
    let shown = std::cell::Cell::new(None::<std::time::Instant>);
    move |what| {
        let every = if is_terminal { Duration::from_millis(200) } else { PROGRESS_EVERY };
        if shown.get().is_some_and(|shown| shown.elapsed() < every) {
            return;
        }
        shown.set(Some(std::time::Instant::now()));
        if is_terminal { eprint!("\r\x1b[K{what}") } else { eprintln!("{what}") }
    }
}

fn guard(is_over: &Receiver<()>, patience: Duration) {
    if is_over.recv_timeout(patience) == Err(RecvTimeoutError::Timeout) {
        eprintln!("FAILED: no end after {} s: all nodes are killed", patience.as_secs());
        kill_children();
        std::process::exit(1);
    }
}

/// Kills all processes that this one has started.
fn kill_children() {
    let tasks = std::fs::read_dir("/proc/self/task").into_iter().flatten().flatten();
    let children = tasks.filter_map(|task| std::fs::read_to_string(task.path().join("children")).ok());
    for child in children.flat_map(|children| children.split_whitespace().map(str::to_owned).collect::<Vec<_>>()) {
        if let Some(pid) = child.parse().ok().and_then(Pid::from_raw) {
            _ = kill_process(pid, Signal::KILL);
        }
    }
}

/// The first SIGINT or SIGTERM ends the run soon, a second one at once.
fn interrupt_on_signals() -> std::io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let (mut int, mut term) = {
        let _within = runtime.enter();
        (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?)
    };
    std::thread::spawn(move || {
        runtime.block_on(async {
            tokio::select! { _ = int.recv() => {}, _ = term.recv() => {} }
            interrupt();
            tokio::select! { _ = int.recv() => {}, _ = term.recv() => {}, () = tokio::time::sleep(INTERRUPTED_PATIENCE) => {} }
            kill_children();
            std::process::exit(1);
        });
    });
    Ok(())
}
