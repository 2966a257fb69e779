//! Small clusters overloaded for a few seconds each, one after the other. All loads, a minute each:
//! `cargo run --release -p tests --bin stress`.

use std::sync::{Mutex, PoisonError};

use tests::stress::{load, run};

/// How long each load presses.
const SECONDS: u32 = 3;

/// What presses must not press on another one's measurements.
static ALONE: Mutex<()> = Mutex::new(());

fn ends_with_the_load(name: &str) {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let report = run(load(name).expect("a load of this name"), SECONDS, &|_| ());
    if let Some(why) = &report.skipped {
        eprintln!("skipped: {name}: {why}");
    }
    assert!(report.failures.is_empty(), "{name}: {}\n{}", report.failures.join("\n"), report.log_lines.join("\n"));
}

#[test]
fn a_node_whose_log_lines_nobody_reads_goes_on_and_stops() {
    ends_with_the_load("pipe");
}

#[test]
fn idle_connections_leave_the_log_its_descriptors() {
    ends_with_the_load("descriptors");
}

#[test]
fn clients_that_do_not_read_pay_for_it_themselves() {
    ends_with_the_load("deaf");
}

#[test]
fn a_participant_under_a_memory_limit_refuses_growth_and_starts_again() {
    ends_with_the_load("memory");
}

#[test]
fn a_full_log_refuses_what_stores_more_and_takes_it_again_when_it_is_emptied() {
    ends_with_the_load("full-log");
}
