//! Planted bugs (`planted`): how many seeds it takes until the simulator finds one.

use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use planted::Bug;
use serde_json::{Value, json};

use crate::sim::check::Failure;
use crate::sim::plan::Plan;
use crate::sim::world::{Run, run};

/// Seeds that may be needed to find a planted bug.
pub const SEEDS_PER_BUG: u64 = 1_000;

/// What came of the search for a planted bug.
pub struct Search {
    /// Which.
    pub bug: Bug,
    /// Seeds that were run, the one that found it included.
    pub seeds: u64,
    /// The seed that found it, and the first thing that it showed.
    pub found: Option<(u64, Failure)>,
}

/// Runs seeds with a bug on, in threads, until one fails that does not fail the same way without it.
#[must_use]
pub fn search(bug: Bug, (from, to): (u64, u64), threads: usize) -> Search {
    let next = AtomicU64::new(from);
    let end = AtomicU64::new(to);
    let found: Mutex<Option<(u64, Failure)>> = Mutex::new(None);
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= end.load(Ordering::Relaxed) {
                        return;
                    }
                    let Some(failure) = shows(bug, seed) else { continue };
                    let mut found = found.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
                    // Another thread may still find it with an earlier seed.
                    if found.as_ref().is_none_or(|(earlier, _)| seed < *earlier) {
                        *found = Some((seed, failure));
                        end.fetch_min(seed, Ordering::Relaxed);
                    }
                }
            });
        }
    });
    let found = found.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner);
    let seeds = found.as_ref().map_or(to, |(seed, _)| seed + 1) - from;
    Search { bug, seeds, found }
}

/// Runs a plan with a bug on.
#[must_use]
pub fn run_with(bug: Option<Bug>, plan: &Plan, is_told: bool) -> Run {
    planted::with(bug.map(|bug| bug.name), || run(plan, is_told))
}

/// What a seed shows of a bug.
fn shows(bug: Bug, seed: u64) -> Option<Failure> {
    let plan = Plan::of(seed);
    let failure = run_with(Some(bug), &plan, false).failures.into_iter().next()?;
    let without = run_with(None, &plan, false);
    without.failures.iter().all(|known| known.checker != failure.checker).then_some(failure)
}

impl Search {
    /// A row of the table.
    #[must_use]
    pub fn row(&self) -> String {
        let Bug { name, breaks, .. } = self.bug;
        let (checker, seeds) = match &self.found {
            Some((_, failure)) => (failure.checker, self.seeds.to_string()),
            None => ("nothing", format!("not in {}", self.seeds)),
        };
        format!("| `{name}` | {breaks} | {checker} | {seeds} |")
    }

    /// For programs.
    #[must_use]
    pub fn json(&self) -> Value {
        json!({
            "bug": self.bug.name,
            "breaks": self.bug.breaks,
            "seeds": self.seeds,
            "found": self.found.is_some(),
            "seed": self.found.as_ref().map(|(seed, _)| seed),
            "checker": self.found.as_ref().map(|(_, failure)| failure.checker),
            "shown": self.found.as_ref().map(|(_, failure)| &failure.what),
        })
    }
}
