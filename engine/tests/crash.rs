//! Power cuts: any step of a random run, and again during recovery; a group that was cut. Not here: which sectors of the
//! last group survive (`torn`), every single operation (`steps`).
#![allow(clippy::unwrap_used)]

mod common;

use common::World;
use engine::Rule;
use engine::memory::Fault;
use proptest::prelude::*;

#[test]
fn a_group_that_was_cut_does_not_come_back_when_the_next_one_supplies_its_missing_sectors() {
    let mut world = World::default();
    let mut node = world.open().unwrap();
    world.put(&mut node, "kept", vec![1; 10]);
    world.flush(&mut node);
    // Garbage lies where the padding goes, as in a file that is used again.
    let at = world.durable.0 as usize;
    world.memory.edit_segment(0, |bytes| bytes[at + 512..at + 4096].fill(0xee)).unwrap();
    world.memory.hold(true);
    world.put(&mut node, "cut", vec![2; 100]);
    world.turn(&mut node).unwrap();
    drop(node);
    // Only the first sector of the group survives: header and record, but not the padding.
    let mut sector = 0;
    world.memory.crash_choosing(&mut || {
        sector += 1;
        sector == 1
    });
    let mut node = world.open().unwrap();
    assert_eq!((world.history.len(), node.report.cuts.len()), (1, 1));
    // Of the next group everything but the first sector survives, and that is all that the cut one lacked.
    world.memory.hold(true);
    world.put(&mut node, "next", vec![3; 100]);
    world.turn(&mut node).unwrap();
    drop(node);
    let mut sector = 0;
    world.memory.crash_choosing(&mut || {
        sector += 1;
        sector > 1
    });
    let node = world.open().unwrap();
    assert_eq!(world.history.len(), 1);
    assert_eq!((node.report.ended_by, node.report.cuts.len()), (Rule::CutBefore, 0));
}

#[derive(Clone, Debug)]
enum Step {
    Put(u8, u16),
    Remove(u8),
    Turn,
    Turns,
    Hold(bool),
    Release,
    PowerCutAt(u8),
    PowerCut(u64),
    CleanStop,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        20 => (0..20_u8, prop_oneof![4 => 0..300_u16, 2 => 300..9000_u16]).prop_map(|(key, size)| Step::Put(key, size)),
        2 => (0..20_u8).prop_map(Step::Remove),
        6 => Just(Step::Turn),
        4 => Just(Step::Turns),
        1 => any::<bool>().prop_map(Step::Hold),
        1 => Just(Step::Release),
        1 => (1..12_u8).prop_map(Step::PowerCutAt),
        1 => any::<u64>().prop_map(Step::PowerCut),
        1 => Just(Step::CleanStop),
    ];
    prop::collection::vec(step, 50..600)
}

/// Cuts the power, cuts it again in the middle of recovery, and recovers.
fn restart(world: &mut World, seed: u64) -> common::Node {
    world.memory.crash(seed);
    for nth in [1 + seed % 4, 2 + seed % 3] {
        world.memory.fail(nth, Fault::PowerCut);
        if world.open().is_ok() {
            // The cut is still to come; it comes now, with nothing in flight.
            world.memory.crash(seed);
        }
        world.memory.crash(seed.rotate_left(7));
    }
    world.open().unwrap()
}

fn run(steps: &[Step]) -> u64 {
    let mut world = World::default();
    let mut node = world.open().unwrap();
    let mut checkpoints = 0;
    for (at, step) in steps.iter().enumerate() {
        let alive = match step {
            Step::Put(key, size) => {
                let room = node.store.room() == engine::Room::Plenty;
                if room {
                    world.put(&mut node, &format!("key {key}"), vec![at as u8; usize::from(*size)]);
                }
                room || world.turn(&mut node).is_ok()
            }
            Step::Remove(key) => {
                world.append(&mut node, (format!("key {key}").into_bytes(), None));
                true
            }
            Step::Turn => world.turn(&mut node).is_ok(),
            Step::Turns => (0..25).all(|_| world.turn(&mut node).is_ok()),
            Step::Hold(held) => {
                world.memory.hold(*held);
                true
            }
            Step::Release => {
                world.memory.release();
                true
            }
            Step::PowerCutAt(nth) => {
                world.memory.fail(u64::from(*nth), Fault::PowerCut);
                true
            }
            Step::PowerCut(seed) => {
                checkpoints += node.store.stats().checkpoints;
                drop(node);
                node = restart(&mut world, *seed);
                true
            }
            Step::CleanStop => {
                world.memory.hold(false);
                node.store.close_start();
                let alive = (0..200).all(|_| {
                    node.now_us += 1000;
                    node.store.poll(node.now_us).is_ok()
                });
                if alive {
                    assert!(node.store.is_closed());
                    world.acknowledged = world.history.len();
                    drop(node);
                    world.memory.crash(at as u64);
                    node = world.open().unwrap();
                    assert!(node.report.clean && node.report.cuts.is_empty());
                }
                alive
            }
        };
        if !alive {
            checkpoints += node.store.stats().checkpoints;
            drop(node);
            node = restart(&mut world, at as u64);
        }
    }
    world.check(node.store.table());
    checkpoints + node.store.stats().checkpoints
}

proptest! {
    #![proptest_config(ProptestConfig { max_shrink_iters: 2000, ..ProptestConfig::default() })]

    #[test]
    fn any_run_with_power_cuts_keeps_what_was_acknowledged(steps in steps()) {
        run(&steps);
    }
}

#[test]
fn a_power_cut_at_every_operation_of_a_run_with_checkpoints_loses_nothing() {
    let mut total = None;
    let mut cut_at = 1;
    while total.is_none_or(|total| cut_at <= total) {
        let mut world = World::default();
        let mut node = world.open().unwrap();
        if total.is_some() {
            world.memory.fail(cut_at, Fault::PowerCut);
        }
        let before = world.memory.operations();
        let mut alive = true;
        for round in 0..180_u32 {
            let size = [5_usize, 300, 6000, 100][round as usize % 4];
            world.put(&mut node, &format!("key {}", round * 7 % 13), vec![round as u8; size]);
            alive = world.turn(&mut node).is_ok() && world.turn(&mut node).is_ok();
            if !alive {
                break;
            }
        }
        if total.is_none() {
            assert!(node.store.stats().checkpoints >= 1 && node.store.stats().freed >= 1);
            total = Some(world.memory.operations() - before);
            continue;
        }
        assert!(!alive, "the power was cut at operation {cut_at}");
        drop(node);
        world.memory.crash(cut_at);
        world.open().unwrap();
        cut_at += 1;
    }
    assert!(cut_at > 150, "{cut_at} operations");
}
