//! Simulated worlds: pinned seeds, and what the simulator promises of itself. Many seeds: `cargo run --release -p tests --bin sim`.

use std::collections::BTreeSet;

use tests::sim::fault::{Fault, Kind};
use tests::sim::minimise::minimise;
use tests::sim::plan::Plan;
use tests::sim::world::run;

/// The first seeds, and some that once failed (their meaning has changed since).
const PINNED: [u64; 11] = [0, 1, 2, 3, 4, 5, 6, 7, 94, 384, 2140];

fn passes(seed: u64) -> Result<(), String> {
    let run = run(&Plan::of(seed), false);
    let told = run.failures.iter().map(|failure| format!("seed {seed}: {}: {}", failure.checker, failure.what));
    let told: Vec<String> = told.collect();
    if told.is_empty() { Ok(()) } else { Err(told.join("\n")) }
}

#[test]
fn pinned_seeds_pass() {
    let failed: Vec<String> = PINNED.iter().filter_map(|seed| passes(*seed).err()).collect();
    assert!(
        failed.is_empty(),
        "{}\nsee it happen: cargo run -p tests --bin sim -- --seed N --trace",
        failed.join("\n")
    );
}

#[test]
fn the_same_seed_is_the_same_history_and_another_one_is_not() {
    let once = run(&Plan::of(11), false);
    let again = run(&Plan::of(11), true);
    assert_eq!((once.hash, &once.counts), (again.hash, &again.counts));
    assert!(!again.lines.is_empty() && once.lines.is_empty());
    assert_ne!(once.hash, run(&Plan::of(12), false).hash);
    let fewer = Plan::of(11).with_only(&BTreeSet::from([0]));
    assert_ne!(once.hash, run(&fewer, false).hash);
}

#[test]
fn every_kind_of_fault_is_planned_and_damage_is_rare() {
    let plans: Vec<Plan> = (0..300).map(Plan::of).collect();
    let kinds: BTreeSet<Kind> =
        plans.iter().flat_map(|plan| &plan.faults).map(|planned| planned.fault.kind()).collect();
    assert_eq!(kinds, BTreeSet::from(Kind::ALL));
    let is_damaged = |plan: &&Plan| plan.faults.iter().any(|planned| planned.fault.kind().is_damage());
    let damaged = plans.iter().filter(is_damaged).count();
    assert!((10..100).contains(&damaged), "{damaged} of 300 plans destroy something");
}

#[test]
fn a_fresh_client_that_is_not_served_in_time_is_a_failure() {
    let mut plan = Plan::of(11);
    plan.setup.guest_served_us_max = 1;
    let failures = run(&plan, false).failures;
    assert!(failures.iter().any(|failure| failure.checker == "service"), "{failures:?}");
}

#[test]
fn a_failure_is_brought_down_to_the_faults_that_it_needs() {
    let is_crash = |fault: &Fault| fault.kind() == Kind::Crash;
    let has_crash = |plan: &Plan| plan.faults.iter().any(|planned| is_crash(&planned.fault));
    let plan = (0..).map(Plan::of).find(has_crash).expect("some seed has a crash");
    let small = minimise(&plan, &|run| run.plan.faults.iter().any(|planned| is_crash(&planned.fault)));
    assert_eq!(small.faults.iter().map(|planned| planned.fault.kind()).collect::<Vec<_>>(), [Kind::Crash]);
}
