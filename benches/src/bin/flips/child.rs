//! What runs in a process of its own: writing a log, and reading copies of it, one after the other.
//!
//! Invariants: a child ends when its standard input does or its parent dies; it cannot take more memory than its limit;
//! every case is read in a thread of its own, so no engine's thread-local cache carries a block to the next case.
//! Not here: starting, timing and killing children (`process`).

use std::any::Any;
use std::io::{self, BufRead, Write};
use std::path::Path;
use std::thread;

use rustix::process::{Resource, Rlimit, Signal, set_parent_process_death_signal, setrlimit};

use crate::limits::CHILD_ADDRESS_SPACE_BYTES;
use crate::record::{Outcome, Tally, shortened};
use crate::subject::{Refusal, Subject};

/// What a child that writes says when all records are acknowledged.
pub(crate) const ACKNOWLEDGED: &str = "acknowledged";

fn confine() -> io::Result<()> {
    set_parent_process_death_signal(Some(Signal::KILL))?;
    let limit = |bytes| Rlimit { current: Some(bytes), maximum: Some(bytes) };
    setrlimit(Resource::Core, limit(0))?;
    setrlimit(Resource::As, limit(CHILD_ADDRESS_SPACE_BYTES))?;
    Ok(())
}

fn say(line: &str) -> io::Result<()> {
    let mut out = io::stdout().lock();
    writeln!(out, "{line}")?;
    out.flush()
}

/// Writes the log to `dir`, says so, and waits to be killed with everything open.
pub(crate) fn write(subject: &dyn Subject, dir: &Path, records: u64) -> Result<(), Refusal> {
    confine()?;
    subject.write(dir, records, &mut || {
        let ended = say(ACKNOWLEDGED).and_then(|()| io::stdin().lock().read_line(&mut String::new()));
        // Whoever should kill this process is gone: nobody looks at the log any more.
        std::process::exit(i32::from(ended.is_err()));
    })
}

/// Reads the directories named on standard input, and answers each with its outcome.
pub(crate) fn read(subject: &dyn Subject, records: u64) -> Result<(), Refusal> {
    confine()?;
    for dir in io::stdin().lock().lines() {
        let dir = dir?;
        let outcome = thread::scope(|scope| {
            let case = scope.spawn(|| judge(subject, Path::new(&dir), records));
            case.join().unwrap_or_else(|panic| Outcome::Crashed { message: panic_message(&*panic) })
        });
        say(&serde_json::to_string(&outcome)?)?;
    }
    Ok(())
}

fn judge(subject: &dyn Subject, dir: &Path, records: u64) -> Outcome {
    let mut tally = Tally::new(records);
    match subject.read(dir, &mut |index, content| tally.take(index, content)) {
        Ok(()) => tally.outcome(),
        Err(refusal) => Outcome::Refused { message: shortened(&refusal.to_string()) },
    }
}

fn panic_message(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().copied();
    let text = text.or_else(|| panic.downcast_ref::<String>().map(String::as_str));
    format!("panicked: {}", shortened(text.unwrap_or("without a message")))
}
