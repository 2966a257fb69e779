//! Which of the faults of a plan a failure needs.

use std::collections::BTreeSet;

use crate::sim::plan::Plan;
use crate::sim::world::{Run, run};

/// Runs that a search may take.
const RUNS_MAX: usize = 300;

/// The smallest part of the plan's faults that was found to fail as well: halves, quarters and so on are left out as long as
/// that is so (delta debugging; Zeller and Hildebrandt 2002).
#[must_use]
pub fn minimise(plan: &Plan, fails: &dyn Fn(&Run) -> bool) -> Plan {
    let mut kept: Vec<usize> = plan.faults.iter().map(|planned| planned.number).collect();
    let mut parts = 2;
    let mut runs = 0;
    while !kept.is_empty() && runs < RUNS_MAX {
        let size = kept.len().div_ceil(parts);
        let mut has_shrunk = false;
        let mut from = 0;
        while from < kept.len() && runs < RUNS_MAX {
            let rest: BTreeSet<usize> =
                kept.iter().enumerate().filter(|(at, _)| !(from..from + size).contains(at)).map(|(_, n)| *n).collect();
            runs += 1;
            if fails(&run(&plan.with_only(&rest), false)) {
                kept = rest.into_iter().collect();
                has_shrunk = true;
            } else {
                from += size;
            }
        }
        if size == 1 && !has_shrunk {
            break;
        }
        parts = if has_shrunk { 2.max(parts - 1) } else { (parts * 2).min(kept.len().max(1)) };
    }
    plan.with_only(&kept.into_iter().collect())
}
