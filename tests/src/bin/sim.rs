//! Runs simulated worlds, one a seed, and says what was seen. See `tests/README.md`.

use std::collections::BTreeSet;
use std::io::{IsTerminal, Write};
use std::process::ExitCode;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use clap::Parser;
use planted::{BUGS, Bug};
use tests::sim::minimise::minimise;
use tests::sim::plan::Plan;
use tests::sim::plant::{SEEDS_PER_BUG, Search, run_with, search};
use tests::sim::report::Counts;
use tests::sim::world::{Run, run};

/// From so many runs on, a fault that never happened is a failure.
const RUNS_FOR_ALL_FAULTS: u64 = 500;

/// Transactions that a run has to have, on average.
const TRANSACTIONS_PER_RUN_MIN: u64 = 1_000;

/// Runs that may fail before the rest is left out.
const FAILURES_MAX: usize = 10;

/// Simulates clusters: real nodes on a fake disk, network and clock, one history a seed. Judges what clients saw.
///
/// Exit codes: 0 all is well; 1 a run failed or, from 500 runs on, a fault never happened, there were fewer than 1,000 transactions
/// a run, fewer than half of them committed, or too much damage went unnoticed; 2 wrong usage.
#[derive(Parser)]
#[command(name = "sim", after_help = EXAMPLES)]
struct Flags {
    /// The seeds to run, the last one not included; `commit` stands for 500 that follow from the commit checked out here;
    /// 0..500 if not given
    #[arg(long, value_name = "FROM..TO", value_parser = parse_seeds)]
    seeds: Option<(u64, u64)>,
    /// Run this seed alone
    #[arg(long, conflicts_with = "seeds")]
    seed: Option<u64>,
    /// With --seed: leave out all faults but these, as in `3,8,13`; `none` leaves out all
    #[arg(long, requires = "seed", value_name = "NUMBERS", value_parser = parse_faults)]
    faults: Option<Numbers>,
    /// With --seed: print everything that happens
    #[arg(long, requires = "seed")]
    trace: bool,
    /// Threads; as many as there are processors if not given
    #[arg(long, value_parser = clap::value_parser!(u16).range(1..=256))]
    threads: Option<u16>,
    /// Do not look for the smallest list of faults when a run fails
    #[arg(long)]
    no_minimise: bool,
    /// Run with a planted bug, or search for one, for several with commas between them, or for `all`: until a seed finds it,
    /// of 0..1000 if no seeds are given
    #[arg(long, value_name = "NAME", value_parser = parse_bugs)]
    plant: Option<Bugs>,
    /// Print the report for programs
    #[arg(long, conflicts_with = "seed")]
    json: bool,
}

const EXAMPLES: &str = "Examples:
  cargo run --release -p tests --bin sim -- --seeds 0..10000
  cargo run --release -p tests --bin sim -- --seed 7 --faults 3,8 --trace
  RUSTFLAGS=\"--cfg planted\" cargo run --release --target-dir target/planted -p tests --bin sim -- --plant all";

impl Flags {
    fn range(&self) -> (u64, u64) {
        self.seeds.unwrap_or((0, RUNS_FOR_ALL_FAULTS))
    }

    fn threads(&self) -> usize {
        self.threads.map_or_else(|| std::thread::available_parallelism().map_or(2, Into::into), Into::into)
    }
}

#[derive(Clone)]
struct Numbers(BTreeSet<usize>);

#[derive(Clone)]
struct Bugs(Vec<Bug>);

fn parse_seeds(text: &str) -> Result<(u64, u64), String> {
    if text == "commit" {
        let told = git(&["rev-parse", "HEAD"]).ok_or("git does not say which commit is checked out here")?;
        let digits = told.get(..8).unwrap_or_default();
        let from = u64::from_str_radix(digits, 16).map_err(|_| format!("git names no commit: {told}"))?;
        return Ok((from, from + RUNS_FOR_ALL_FAULTS));
    }
    let parsed = text.split_once("..").and_then(|(from, to)| Some((from.parse().ok()?, to.parse().ok()?)));
    parsed.filter(|(from, to)| from < to).ok_or_else(|| "give seeds as FROM..TO, as in 0..10000".to_owned())
}

fn parse_faults(text: &str) -> Result<Numbers, String> {
    if text == "none" {
        return Ok(Numbers(BTreeSet::new()));
    }
    let numbers = text.split(',').map(str::parse).collect::<Result<_, _>>();
    numbers.map(Numbers).map_err(|_| "give the numbers of faults as in 3,8,13, or `none`".to_owned())
}

fn parse_bugs(text: &str) -> Result<Bugs, String> {
    if !planted::CONTAINED {
        return Err("this build contains no planted bugs; build it with RUSTFLAGS=\"--cfg planted\", in a target \
                    directory of its own: RUSTFLAGS=\"--cfg planted\" cargo run --release --target-dir target/planted \
                    -p tests --bin sim -- --plant NAME"
            .to_owned());
    }
    if text == "all" {
        return Ok(Bugs(BUGS.iter().filter(|bug| bug.is_simulated).copied().collect()));
    }
    let named = |name| BUGS.iter().find(|bug| bug.name == name).copied();
    let bugs: Option<Vec<Bug>> = text.split(',').map(named).collect();
    let names: Vec<&str> = BUGS.iter().map(|bug| bug.name).collect();
    bugs.map(Bugs).ok_or_else(|| format!("give `all` or some of {}", names.join(",")))
}

fn main() -> ExitCode {
    let flags = Flags::parse();
    if let (None, Some(bugs)) = (flags.seed, &flags.plant) {
        return search_all(bugs, &flags);
    }
    if let Some(seed) = flags.seed {
        return run_one(seed, &flags);
    }
    let started = Instant::now();
    let (counts, failed) = run_all(&flags);
    let elapsed = started.elapsed();
    failed.iter().for_each(|run| tell_failure(run, &flags));
    let wrong = if counts.runs >= RUNS_FOR_ALL_FAULTS { wrong_on_the_whole(&counts) } else { Vec::new() };
    let (from, to) = flags.range();
    let report = if flags.json {
        let mut report = counts.json();
        report["seeds"] = vec![from, to].into();
        report["seconds"] = elapsed.as_secs_f64().into();
        report["failed_seeds"] = failed.iter().map(|run| run.plan.seed).collect();
        report["wrong_on_the_whole"] = wrong.clone().into();
        report.to_string()
    } else {
        format!("{}\n{:>10.1}  seconds, seeds {from}..{to}", counts.table(), elapsed.as_secs_f64())
    };
    wrong.iter().for_each(|wrong| eprintln!("{wrong}"));
    if let Err(error) = writeln!(std::io::stdout(), "{report}") {
        eprintln!("the report cannot be written: {error}");
        return ExitCode::FAILURE;
    }
    if failed.is_empty() && wrong.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// What many runs show together, and one alone does not.
fn wrong_on_the_whole(counts: &Counts) -> Vec<String> {
    let missing = counts.missing();
    let checks = [
        (!missing.is_empty(), format!("never happened: {}: nothing is known of it", missing.join(", "))),
        (
            counts.too_much_unnoticed(),
            "more damage went unnoticed than the loss of records that nobody was told of explains".to_owned(),
        ),
        (
            counts.transactions < counts.runs * TRANSACTIONS_PER_RUN_MIN,
            format!("fewer than {TRANSACTIONS_PER_RUN_MIN} transactions a run: little was tested"),
        ),
        (counts.committed * 2 < counts.transactions, "fewer than half of the transactions committed".to_owned()),
    ];
    checks.into_iter().filter(|(is_wrong, _)| *is_wrong).map(|(_, what)| what).collect()
}

fn run_one(seed: u64, flags: &Flags) -> ExitCode {
    let whole = Plan::of(seed);
    if let Some(unknown) = flags.faults.iter().flat_map(|Numbers(kept)| kept).find(|kept| **kept >= whole.faults.len())
    {
        eprintln!("seed {seed} has no fault {unknown}: its {} faults count from 0", whole.faults.len());
        return ExitCode::from(2);
    }
    let plan = flags.faults.as_ref().map_or_else(|| whole.clone(), |Numbers(kept)| whole.with_only(kept));
    let bug = match flags.plant.as_ref().map(|Bugs(bugs)| bugs.as_slice()) {
        None => None,
        Some([bug]) => Some(*bug),
        Some(_) => {
            eprintln!("with --seed, give one bug to --plant");
            return ExitCode::from(2);
        }
    };
    let run = run_with(bug, &plan, flags.trace);
    let mut out = std::io::stdout().lock();
    for line in &run.lines {
        if writeln!(out, "{line}").is_err() {
            return ExitCode::FAILURE;
        }
    }
    drop(out);
    println!("{:#?}", plan.setup);
    plan.faults.iter().for_each(|planned| println!("{planned}"));
    println!("{}\ntrace {:016x}", run.counts.table(), run.hash);
    for failure in &run.unnoticed {
        println!("damage went unnoticed: {}: {}", failure.checker, failure.what);
    }
    if run.failures.is_empty() {
        return ExitCode::SUCCESS;
    }
    if flags.faults.is_some() || bug.is_some() {
        run.failures.iter().for_each(|failure| println!("FAILED: {}: {}", failure.checker, failure.what));
    } else {
        tell_failure(&run, flags);
    }
    ExitCode::FAILURE
}

/// Searches for planted bugs, one after the other.
fn search_all(Bugs(bugs): &Bugs, flags: &Flags) -> ExitCode {
    // Panics are failures like others, and expected here.
    std::panic::set_hook(Box::new(|_| ()));
    let mut searches = Vec::new();
    if !flags.json {
        println!("| bug | what it breaks | found by | after seeds |\n|---|---|---|---|");
    }
    for bug in bugs {
        let search = search(*bug, flags.seeds.unwrap_or((0, SEEDS_PER_BUG)), flags.threads());
        if !flags.json {
            println!("{}", search.row());
        }
        searches.push(search);
    }
    let missed: Vec<&str> =
        searches.iter().filter(|search| search.found.is_none()).map(|search| search.bug.name).collect();
    if flags.json {
        let searches: Vec<_> = searches.iter().map(Search::json).collect();
        println!("{}", serde_json::json!({ "bugs": searches, "missed": missed }));
    }
    if !missed.is_empty() {
        eprintln!("not found: {}", missed.join(", "));
    }
    if missed.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Runs all seeds in threads, each its own world.
fn run_all(flags: &Flags) -> (Counts, Vec<Run>) {
    let (from, to) = flags.range();
    let threads = flags.threads();
    let next = AtomicU64::new(from);
    let all = Mutex::new((Counts::default(), Vec::new()));
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                loop {
                    let take = |next: u64| (next < to).then(|| next + 1);
                    let Ok(seed) = next.fetch_update(Ordering::Relaxed, Ordering::Relaxed, take) else { return };
                    let run = run(&Plan::of(seed), false);
                    if let Some(first) = run.unnoticed.first() {
                        eprintln!("seed {seed}: damage went unnoticed: {}: {}", first.checker, first.what);
                    }
                    let mut all = all.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
                    all.0 += &run.counts;
                    if let Some(first) = run.failures.first() {
                        eprintln!("seed {seed} FAILED: {}: {}", first.checker, first.what);
                        all.1.push(run);
                        if all.1.len() == FAILURES_MAX {
                            eprintln!("{FAILURES_MAX} runs have failed, the rest is left out");
                            next.store(to, Ordering::Relaxed);
                        }
                    }
                }
            });
        }
        show_progress(&next, from, to);
    });
    let (counts, mut failed) = all.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner);
    failed.sort_by_key(|run| run.plan.seed);
    (counts, failed)
}

/// On a terminal, says how far it is.
fn show_progress(next: &AtomicU64, from: u64, to: u64) {
    if !std::io::stderr().is_terminal() {
        return;
    }
    loop {
        let done = next.load(Ordering::Relaxed).min(to) - from;
        eprint!("\r{done} of {} seeds ", to - from);
        if done >= to - from {
            eprintln!();
            return;
        }
        std::thread::sleep(Duration::from_millis(500));
    }
}

fn tell_failure(run: &Run, flags: &Flags) {
    let seed = run.plan.seed;
    let commit = git(&["describe", "--always", "--dirty", "--abbrev=12"]);
    eprintln!("seed {seed} FAILED at commit {}", commit.as_deref().unwrap_or("unknown"));
    run.failures.iter().for_each(|failure| eprintln!("  {}: {}", failure.checker, failure.what));
    if flags.no_minimise {
        return;
    }
    let name = run.failures[0].checker;
    let small = minimise(&run.plan, &|run| run.failures.iter().any(|failure| failure.checker == name));
    eprintln!("  it fails the same way with {} of its {} faults:", small.faults.len(), run.plan.faults.len());
    small.faults.iter().for_each(|planned| eprintln!("    {planned}"));
    let numbers: Vec<String> = small.faults.iter().map(|planned| planned.number.to_string()).collect();
    let numbers = if numbers.is_empty() { "none".to_owned() } else { numbers.join(",") };
    eprintln!("  again: cargo run --release -p tests --bin sim -- --seed {seed} --faults {numbers} --trace");
}

/// What git says, if it says anything.
fn git(arguments: &[&str]) -> Option<String> {
    let asked = std::process::Command::new("git").args(arguments).output().ok()?;
    asked.status.success().then(|| String::from_utf8_lossy(&asked.stdout).trim().to_owned())
}
