//! What must hold at the end of a run, judged by what clients were told and by what the logs hold.

use std::io;
use std::path::PathBuf;

use audit::{Fault, Finding};
use engine::memory::Memory;
use tempfile::TempDir;

use crate::judge::{self, History, Layout, Violation};

/// What must not be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// Who noticed.
    pub checker: &'static str,
    /// What.
    pub what: String,
}

/// Judges what clients saw; `history.rows` is what the logs held after a power cut of everything and a new start.
/// `by_all` asks for the second opinion on lists as well.
#[must_use]
pub fn judge(history: &History, layout: Layout, by_all: bool) -> Vec<Failure> {
    let mut violations = judge::judge(history, layout);
    if by_all {
        violations.extend(judge::adya::check(history));
    }
    if history.rows.contains_key(&b"never"[..]) {
        let story = "an id that was known was used for something else".to_owned();
        violations.push(Violation { name: "reused-id", story });
    }
    violations.into_iter().map(|violation| Failure { checker: violation.name, what: violation.story }).collect()
}

/// Reads the logs of all nodes against each other, as `assent wal check-cluster` does. After damage, what is missing is no failure,
/// but what has been decided stays decided. Logs that damage keeps from being read tell nothing.
#[must_use]
pub fn audit<'a>(disks: impl Iterator<Item = &'a Memory>, is_damaged: bool) -> Option<Failure> {
    let (dir, dirs) = match save(disks) {
        Ok(saved) => saved,
        Err(error) => {
            let what = format!("the logs cannot be copied to be read: {error}");
            return Some(Failure { checker: "simulator", what });
        }
    };
    let logs = dirs.iter().map(|node| audit::read(node));
    let report = logs.collect::<Result<Vec<_>, _>>().and_then(|logs| audit::judge(&logs));
    drop(dir);
    let counts = |finding: &&Finding| {
        let is_contradiction = matches!(finding.fault, Fault::DecidedDifferently { .. } | Fault::CommittedTwice { .. });
        is_contradiction || !is_damaged
    };
    let what = match report {
        Ok(report) => format!("{:?}", report.findings.iter().find(counts)?),
        Err(_) if is_damaged => return None,
        Err(error) => error.to_string(),
    };
    Some(Failure { checker: if is_damaged { "decided-differently" } else { "audit" }, what })
}

/// Copies logs to directories that are there as long as the first one is.
fn save<'a>(disks: impl Iterator<Item = &'a Memory>) -> io::Result<(TempDir, Vec<PathBuf>)> {
    let dir = tempfile::tempdir()?;
    let mut dirs = Vec::new();
    for (number, memory) in disks.enumerate() {
        let node = dir.path().join(number.to_string());
        std::fs::create_dir(&node)?;
        memory.save(&node)?;
        dirs.push(node);
    }
    Ok((dir, dirs))
}
