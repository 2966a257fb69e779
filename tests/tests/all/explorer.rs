//! Small worlds explored whole, see `src/explorer.rs`. The number of states of each is pinned: another number is another
//! protocol. `README.md` has the same numbers.

use std::fmt::Write;
use std::path::Path;
use std::time::Instant;

use tests::explorer::{Broken, Failure, Fault, Scene, explore, explore_every_path};

/// A world, and for each fault the number of states, and whether they are too many for every day.
struct World {
    name: &'static str,
    scene: Scene,
    states: &'static [(Option<Fault>, usize, Size)],
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Size {
    Small,
    Large,
}

use Fault::{Crash, Disconnect, Double, Early, Loss, Overtaken};
use Size::{Large, Small};

fn worlds() -> Vec<World> {
    worlds_of_one_transaction().into_iter().chain(worlds_of_two()).collect()
}

fn world(
    name: &'static str,
    participants: u32,
    txns: &[&[(u32, i64)]],
    states: &'static [(Option<Fault>, usize, Size)],
) -> World {
    World { name, scene: Scene::new(participants, txns), states }
}

fn worlds_of_one_transaction() -> Vec<World> {
    vec![
        world(
            "2 participants, a transfer",
            2,
            &[&[(1, 1), (2, 1)]],
            &[
                (None, 34, Small),
                (Some(Crash), 35_654, Small),
                (Some(Disconnect), 1_542, Small),
                (Some(Loss), 1_010, Small),
                (Some(Double), 334, Small),
                (Some(Overtaken), 4_940, Small),
                (Some(Early), 9_193, Small),
            ],
        ),
        world(
            "2 participants, a transfer that one refuses",
            2,
            &[&[(1, 1), (2, -1)]],
            &[
                (None, 21, Small),
                (Some(Crash), 7_187, Small),
                (Some(Disconnect), 652, Small),
                (Some(Loss), 200, Small),
                (Some(Double), 163, Small),
                (Some(Overtaken), 400, Small),
                (Some(Early), 645, Small),
            ],
        ),
        world(
            "3 participants, a transfer",
            3,
            &[&[(1, 1), (2, 1), (3, 1)]],
            &[
                (None, 130, Small),
                (Some(Crash), 2_894_541, Large),
                (Some(Disconnect), 8_810, Small),
                (Some(Loss), 13_862, Small),
                (Some(Double), 1_798, Small),
                (Some(Overtaken), 79_876, Large),
                (Some(Early), 519_914, Large),
            ],
        ),
    ]
}

fn worlds_of_two() -> Vec<World> {
    vec![
        world(
            "2 participants, a transfer and one phase that conflict",
            2,
            &[&[(1, 1), (2, 1)], &[(1, 1)]],
            &[
                (None, 288, Small),
                (Some(Crash), 349_418, Large),
                (Some(Disconnect), 19_197, Small),
                (Some(Loss), 3_044, Small),
                (Some(Double), 3_820, Small),
                (Some(Overtaken), 13_058, Small),
                (Some(Early), 174_746, Large),
            ],
        ),
        world(
            "2 participants, two transfers that conflict",
            2,
            &[&[(1, 1), (2, 1)], &[(1, 1), (2, 1)]],
            &[
                (None, 1_561, Small),
                (Some(Crash), 1_023_417, Large),
                (Some(Disconnect), 125_298, Large),
                (Some(Loss), 16_321, Small),
                (Some(Double), 34_071, Small),
                (Some(Overtaken), 84_139, Large),
                (Some(Early), 1_399_017, Large),
            ],
        ),
        world(
            "3 participants, two transfers that conflict at one",
            3,
            &[&[(1, 1), (2, 1)], &[(2, 1), (3, 1)]],
            &[(None, 2_613, Small), (Some(Loss), 21_841, Small), (Some(Double), 56_091, Large)],
        ),
    ]
}

fn fault_words(fault: Option<Fault>) -> &'static str {
    match fault {
        None => "none",
        Some(Crash) => "a crash",
        Some(Disconnect) => "a lost connection",
        Some(Loss) => "a lost message",
        Some(Double) => "a doubled message",
        Some(Overtaken) => "an overtaken message",
        Some(Early) => "an early timer",
    }
}

/// A number as the README writes it.
fn grouped(number: usize) -> String {
    let digits = number.to_string();
    let first = digits.len() % 3;
    let place = |(at, digit): (usize, char)| (at > 0 && at % 3 == first).then_some(',').into_iter().chain([digit]);
    digits.chars().enumerate().flat_map(place).collect()
}

fn row(name: &str, fault: Option<Fault>, states: usize, size: Size) -> String {
    let when = if size == Small { "always" } else { "`--ignored`" };
    format!("| {name} | {} | {} | {when} |", fault_words(fault), grouped(states))
}

fn explore_all(wanted: Size) {
    let mut wrong = String::new();
    for World { name, scene, states } in worlds() {
        for (fault, pinned, _) in states.iter().filter(|(_, _, size)| *size == wanted) {
            let scene = fault.iter().fold(scene.clone(), |scene, fault| scene.with(*fault));
            let begun = Instant::now();
            let report = explore(&scene).unwrap_or_else(|failure| panic!("{name}, {}: {failure}", fault_words(*fault)));
            assert!(!report.ends.is_empty());
            println!(
                "{} {} choices, {} deep, {} ends, node states {:?}, {:.1?}",
                row(name, *fault, report.states, wanted),
                report.choices,
                report.depth,
                report.ends.len(),
                report.node_states,
                begun.elapsed()
            );
            if report.states != *pinned {
                _ = writeln!(wrong, "{}, not {pinned}", row(name, *fault, report.states, wanted));
            }
        }
    }
    assert!(wrong.is_empty(), "the protocol has changed, or what is explored of it:\n{wrong}");
}

#[test]
fn small_worlds_hold_in_every_state() {
    explore_all(Small);
}

#[test]
#[ignore = "takes minutes"]
fn larger_worlds_hold_in_every_state() {
    explore_all(Large);
}

#[test]
fn the_readme_has_the_numbers() {
    let readme = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("README.md")).unwrap();
    for World { name, states, .. } in worlds() {
        for (fault, states, size) in states {
            let row = row(name, *fault, *states, *size);
            assert!(readme.contains(&row), "the README has no row\n{row}");
        }
    }
}

/// What is recognized as known is really the same: path by path, where nothing is recognized, the same ends are reached.
#[test]
fn pruning_loses_no_end() {
    let transfer: &[&[(u32, i64)]] = &[&[(1, 1), (2, 1)]];
    let refused: &[&[(u32, i64)]] = &[&[(1, 1), (2, -1)]];
    for scene in [
        Scene::new(2, transfer),
        Scene::new(2, refused),
        Scene::new(2, refused).with(Loss),
        Scene::new(2, refused).with(Double),
    ] {
        let every_path = explore_every_path(&scene).unwrap_or_else(|failure| panic!("{failure}"));
        let pruned = explore(&scene).unwrap_or_else(|failure| panic!("{failure}"));
        println!("{} paths, {} states, {} ends: {scene:?}", every_path.states, pruned.states, pruned.ends.len());
        assert!(every_path.states > pruned.states);
        assert_eq!(every_path.ends, pruned.ends);
        assert!(every_path.depth >= pruned.depth);
    }
}

fn found(broken: Broken, fault: Option<Fault>) -> Failure {
    let scene = Scene::new(2, &[&[(1, 1), (2, 1)]]).broken(broken);
    let scene = fault.iter().fold(scene, |scene, fault| scene.with(*fault));
    let failure = explore(&scene).expect_err("the harness is broken on purpose");
    println!("{failure}\n");
    failure
}

#[test]
fn a_vote_that_does_not_wait_for_its_promise_is_found() {
    let failure = found(Broken::Gate, None);
    assert!(failure.what.contains("no durable record says so"), "{}", failure.what);
    assert_eq!(failure.choices, 2, "{}", failure.tale);
    assert!(failure.tale.contains("submit t1 \"add a@p1 1 0..\" \"add a@p2 1 0..\"\n---\n"), "{}", failure.tale);
    assert!(failure.tale.contains("p1 -> c1 VoteYes t1 1.1"), "{}", failure.tale);
}

#[test]
fn a_log_that_loses_what_was_durable_is_found() {
    let failure = found(Broken::Log, Some(Crash));
    assert!(failure.what.contains("durable"), "{}", failure.what);
    assert!(failure.tale.contains("\ncrash "), "{}", failure.tale);
}

#[test]
fn a_node_that_forgets_all_is_found() {
    let failure = found(Broken::Memory, Some(Crash));
    assert!(failure.what.contains("is decided, and the promise of p"), "{}", failure.what);
    assert!(failure.tale.contains("\ncrash "), "{}", failure.tale);
}
