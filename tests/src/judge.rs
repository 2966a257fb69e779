//! Checkers: a history in, a verdict out. No I/O, no clock, no chance.
//!
//! - [`history`]: what clients saw, and what was there at the end.
//! - [`lists`]: strict serializability, from lists that are only appended to; [`graph`] finds its cycles.
//!   [`adya`] and [`brute`] are second and third opinions on the same histories.
//! - [`bank`], [`ring`], [`sums`], [`pages`]: what every reader must find, whatever the order.
//! - [`outcomes`], [`retries`]: whether the answers are true, and stay the same.
//!
//! Each checker looks only at the keys of its own workload (`crate::workload`), so that all of them can judge one history.

pub mod adya;
pub mod bank;
pub mod brute;
pub mod graph;
pub mod history;
pub mod lists;
pub mod outcomes;
pub mod pages;
pub mod retries;
pub mod ring;
pub mod sums;

use std::fmt;

pub use history::{Asked, History, Outcome, Question, Said, Transaction};

/// Something that cannot be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// Its name: `G-single-realtime`, `lost-append`, `told-both`, ...
    pub name: &'static str,
    /// What was seen, for people.
    pub story: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.name, self.story)
    }
}

/// Notes a violation.
fn blame(violations: &mut Vec<Violation>, name: &'static str, story: String) {
    violations.push(Violation { name, story });
}

/// What the workloads of a history look like; 0 where one did not run.
#[derive(Clone, Copy, Debug, Default)]
pub struct Layout {
    /// Accounts of the bank.
    pub accounts: u32,
    /// Links of the ring.
    pub links: u32,
    /// Sets of counters whose sums are equal.
    pub sets: u32,
}

/// Everything that is wrong with a history. The second opinion of [`adya`] is not asked: it takes longer.
#[must_use]
pub fn judge(history: &History, layout: Layout) -> Vec<Violation> {
    let mut violations = outcomes::check(history);
    violations.extend(retries::check(history));
    violations.extend(lists::check(history));
    violations.extend(bank::check(history, layout.accounts));
    violations.extend(ring::check(history, layout.links));
    violations.extend(sums::check(history, layout.sets));
    violations.extend(pages::check(history));
    violations
}
