//! Small worlds explored whole, see `src/explorer.rs`. The number of states of each is pinned: another number is another
//! protocol. `README.md` has the same numbers.

use std::fmt::Write;
use std::path::Path;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering::Relaxed;
use std::thread;
use std::time::Instant;

use tests::explorer::{Broken, Failure, Fault, Rival, Scene, explore, explore_every_path, explore_rivals};

/// A world, and for each choice of faults the number of states, and whether they are too many for every day.
struct World {
    name: &'static str,
    scene: Scene,
    states: &'static [(&'static [Fault], usize, Size)],
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
    states: &'static [(&'static [Fault], usize, Size)],
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
                (&[], 34, Small),
                (&[Crash], 12_846, Small),
                (&[Disconnect], 1_767, Small),
                (&[Loss], 1_438, Small),
                (&[Double], 334, Small),
                (&[Overtaken], 7_702, Small),
                (&[Early], 18_058, Small),
                (&[Crash, Disconnect], 267_814, Large),
                (&[Crash, Loss], 168_383, Small),
                (&[Crash, Double], 402_885, Large),
                (&[Crash, Overtaken], 753_335, Large),
                (&[Crash, Early], 1_985_054, Large),
            ],
        ),
        world(
            "2 participants, a transfer that one refuses",
            2,
            &[&[(1, 1), (2, -1)]],
            &[
                (&[], 23, Small),
                (&[Crash], 3_875, Small),
                (&[Disconnect], 891, Small),
                (&[Loss], 102, Small),
                (&[Double], 176, Small),
                (&[Overtaken], 204, Small),
                (&[Early], 915, Small),
                (&[Crash, Loss], 20_786, Small),
                (&[Crash, Double], 86_202, Small),
            ],
        ),
        world(
            "3 participants, a transfer",
            3,
            &[&[(1, 1), (2, 1), (3, 1)]],
            &[
                (&[], 130, Small),
                (&[Crash], 323_664, Large),
                (&[Disconnect], 10_084, Small),
                (&[Loss], 34_910, Small),
                (&[Double], 1_798, Small),
                (&[Overtaken], 207_252, Small),
                (&[Early], 1_517_337, Small),
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
                (&[], 288, Small),
                (&[Crash], 99_423, Small),
                (&[Disconnect], 22_987, Small),
                (&[Loss], 3_900, Small),
                (&[Double], 3_820, Small),
                (&[Overtaken], 18_876, Small),
                (&[Early], 297_157, Small),
            ],
        ),
        world(
            "2 participants, two transfers that conflict",
            2,
            &[&[(1, 1), (2, 1)], &[(1, 1), (2, 1)]],
            &[
                (&[], 1_633, Small),
                (&[Crash], 434_377, Small),
                (&[Disconnect], 151_615, Small),
                (&[Loss], 37_073, Small),
                (&[Double], 36_635, Small),
                (&[Overtaken], 205_351, Small),
                (&[Early], 3_259_287, Large),
            ],
        ),
        world(
            "3 participants, two transfers that conflict at one",
            3,
            &[&[(1, 1), (2, 1)], &[(2, 1), (3, 1)]],
            &[
                (&[], 2_661, Small),
                (&[Crash], 2_756_017, Large),
                (&[Disconnect], 268_492, Small),
                (&[Loss], 36_333, Small),
                (&[Double], 55_771, Small),
                (&[Overtaken], 190_911, Small),
                (&[Early], 29_165_607, Large),
            ],
        ),
    ]
}

fn fault_words(faults: &[Fault]) -> String {
    let words = |fault: &Fault| match fault {
        Crash => "a crash",
        Disconnect => "a lost connection",
        Loss => "a lost message",
        Double => "a doubled message",
        Overtaken => "an overtaken message",
        Early => "an early timer",
    };
    if faults.is_empty() { "none".to_owned() } else { faults.iter().map(words).collect::<Vec<_>>().join(" and ") }
}

/// A number as the README writes it.
fn grouped(number: usize) -> String {
    let digits = number.to_string();
    let first = digits.len() % 3;
    let place = |(at, digit): (usize, char)| (at > 0 && at % 3 == first).then_some(',').into_iter().chain([digit]);
    digits.chars().enumerate().flat_map(place).collect()
}

fn row(name: &str, faults: &[Fault], states: usize, size: Size) -> String {
    let when = if size == Small { "always" } else { "`--ignored`" };
    format!("| {name} | {} | {} | {when} |", fault_words(faults), grouped(states))
}

fn with_faults(scene: &Scene, faults: &[Fault]) -> Scene {
    faults.iter().fold(scene.clone(), |scene, fault| scene.with(*fault))
}

/// Explores all worlds of a size, on all processors, the smallest first, until something does not hold in one. Returns what is wrong.
fn explore_all(wanted: Size) -> String {
    let of_world = |world: World| world.states.iter().map(move |states| (world.name, world.scene.clone(), *states));
    let mut all: Vec<_> = worlds().into_iter().flat_map(of_world).filter(|(.., states)| states.2 == wanted).collect();
    all.sort_by_key(|(_, _, (_, pinned, _))| *pinned);
    let next = AtomicUsize::new(0);
    let work = || {
        let mut wrong = String::new();
        while let Some((name, scene, (faults, pinned, size))) = all.get(next.fetch_add(1, Relaxed)) {
            let begun = Instant::now();
            match explore(&with_faults(scene, faults)) {
                Ok(report) => {
                    let row = row(name, faults, report.states, *size);
                    println!("{row} {report}, {:.1?}", begun.elapsed());
                    if report.states != *pinned || report.ends.is_empty() {
                        _ = writeln!(wrong, "{row}, not {pinned}");
                    }
                }
                Err(failure) => {
                    next.store(all.len(), Relaxed);
                    _ = writeln!(wrong, "{name}, {}: {failure}", fault_words(faults));
                }
            }
        }
        wrong
    };
    let threads = thread::available_parallelism().map_or(1, usize::from);
    thread::scope(|scope| {
        let workers: Vec<_> = (0..threads).map(|_| scope.spawn(work)).collect();
        workers.into_iter().map(|worker| worker.join().expect("the search panics nowhere")).collect()
    })
}

#[test]
fn small_worlds_hold_in_every_state() {
    let wrong = explore_all(Small);
    assert!(wrong.is_empty(), "the protocol has changed, or what is explored of it:\n{wrong}");
}

#[test]
#[ignore = "takes a minute"]
fn larger_worlds_hold_in_every_state() {
    let wrong = explore_all(Large);
    assert!(wrong.is_empty(), "the protocol has changed, or what is explored of it:\n{wrong}");
}

#[test]
fn the_readme_has_the_numbers() {
    let readme = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("README.md")).unwrap();
    for World { name, states, .. } in worlds() {
        for (faults, states, size) in states {
            let row = row(name, faults, *states, *size);
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

fn found(broken: Broken, faults: &[Fault]) -> Failure {
    let scene = Scene::new(2, &[&[(1, 1), (2, 1)]]).broken(broken);
    let failure = explore(&with_faults(&scene, faults)).expect_err("the harness is broken on purpose");
    println!("{failure}\n");
    failure
}

#[test]
fn a_vote_that_does_not_wait_for_its_promise_is_found() {
    let failure = found(Broken::Gate, &[]);
    assert!(failure.what.contains("no durable record says so"), "{}", failure.what);
    assert_eq!(failure.choices, 2, "{}", failure.tale);
    assert!(failure.tale.contains("submit t1 \"add a@p1 1 0..\" \"add a@p2 1 0..\"\n---\n"), "{}", failure.tale);
    assert!(failure.tale.contains("p1 -> c1 VoteYes t1 1.1"), "{}", failure.tale);
}

#[test]
fn a_log_that_loses_what_was_durable_is_found() {
    let failure = found(Broken::Log, &[Crash]);
    assert!(failure.what.contains("durable"), "{}", failure.what);
    assert!(failure.tale.contains("\ncrash "), "{}", failure.tale);
}

#[test]
fn a_node_that_forgets_all_is_found() {
    let failure = found(Broken::Memory, &[Crash]);
    assert!(failure.what.contains("is decided, and the promise of p"), "{}", failure.what);
    assert!(failure.tale.contains("\ncrash "), "{}", failure.tale);
}

fn assert_rival(rival: Rival, pinned: usize) {
    let begun = Instant::now();
    let states = explore_rivals(rival).unwrap_or_else(|what| panic!("{rival:?}: {what}"));
    println!("{rival:?}: {states} states, {:.1?}", begun.elapsed());
    assert_eq!(states, pinned, "{rival:?}: the protocol has changed, or what is explored of it");
}

#[test]
fn two_processes_under_one_number_never_contradict_each_other() {
    assert_rival(Rival::OwnLog, 374_014);
    assert_rival(Rival::EqualEpochs, 374_014);
}

#[test]
#[ignore = "takes a minute and some gigabytes"]
fn a_successor_on_a_copy_never_contradicts_at_a_participant_what_came_before() {
    assert_rival(Rival::Successor, 15_998_042);
}
