//! Every small damage to whole logs, and what becomes of them: a table, and exit code 1 if any of them lost an
//! acknowledged record silently, panicked, or was refused wrongly.
//!
//! `cargo run --release -p engine --example sweep [-- --json] [-- --step N]`: `--json` prints the table as JSON, `--step N`
//! takes every Nth bit and byte.
#![allow(clippy::unwrap_used)]

#[path = "../tests/sweep/mod.rs"]
mod sweep;

use std::process::ExitCode;

use sweep::damage::Sweep;
use sweep::logs::Log;
use sweep::report::{Row, json, table};
use sweep::run::run;

/// Sweeps with fewer cases are never sampled.
const LARGE_CASES_MIN: usize = 100_000;

struct Arguments {
    json: bool,
    step: usize,
}

fn arguments() -> Result<Arguments, String> {
    let mut arguments = Arguments { json: false, step: 1 };
    let mut words = std::env::args().skip(1);
    while let Some(word) = words.next() {
        match word.as_str() {
            "--json" => arguments.json = true,
            "--step" => {
                let step = words.next().and_then(|step| step.parse().ok()).filter(|step| *step > 0);
                arguments.step = step.ok_or("--step takes a number from 1")?;
            }
            word => return Err(format!("{word} is unknown; there are --json and --step N")),
        }
    }
    Ok(arguments)
}

/// Every one; of the bits of a log that is like another one, one in nine, so another bit in each byte.
fn step(log: &Log, family: Sweep, asked: usize) -> usize {
    if family.cases(log) < LARGE_CASES_MIN {
        return 1;
    }
    asked * if log.alike.contains(&family) { 9 } else { 1 }
}

fn main() -> ExitCode {
    let arguments = match arguments() {
        Ok(arguments) => arguments,
        Err(error) => {
            eprintln!("{error}");
            return ExitCode::from(2);
        }
    };
    // Panics are counted, with their text.
    std::panic::set_hook(Box::new(|_| {}));
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let (mut rows, mut complaints) = (Vec::new(), Vec::new());
    for log in &sweep::logs::all() {
        for family in Sweep::ALL {
            let tally = run(log, family, step(log, family, arguments.step), threads);
            complaints.extend(tally.complaints(family.is_local()));
            eprintln!("{}, {}: {} cases in {:.1} s", log.name, family.name(), tally.cases, tally.elapsed.as_secs_f64());
            rows.push(Row { log: log.name, sweep: family.name(), tally });
        }
    }
    print!("{}", if arguments.json { json(&rows) } else { table(&rows) });
    complaints.iter().for_each(|complaint| eprintln!("{complaint}"));
    ExitCode::from(u8::from(!complaints.is_empty()))
}
