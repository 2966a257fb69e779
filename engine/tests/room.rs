//! A log that is full of live data: deletes always fit, give back the space that they free, and then it goes on.
#![allow(clippy::unwrap_used)]

mod common;

use common::{Node, SEGMENT_BYTES, World, error};
use engine::Room;

/// How a story begins: what bounds the log, and what it is filled with.
#[derive(Clone, Copy, Debug)]
struct Case {
    /// Segments that there is space for, and that the log may have.
    space: u64,
    segments_max: usize,
    /// Sizes of the values, one after the other.
    value_bytes: &'static [usize],
    /// One of so many keys stays.
    stays: usize,
}

const LARGE: &[usize] = &[6_000];
const MIXED: &[usize] = &[300, 12_000, 20, 900, 200, 4_000];
const INLINE: &[usize] = &[200];

const CASES: [Case; 8] = [
    Case { space: 40, segments_max: 1_000, value_bytes: LARGE, stays: 1_000 },
    Case { space: 40, segments_max: 1_000, value_bytes: MIXED, stays: 3 },
    Case { space: 40, segments_max: 1_000, value_bytes: INLINE, stays: 5 },
    Case { space: 1_000, segments_max: 40, value_bytes: LARGE, stays: 1_000 },
    Case { space: 1_000, segments_max: 40, value_bytes: MIXED, stays: 3 },
    Case { space: 1_000, segments_max: 40, value_bytes: INLINE, stays: 5 },
    Case { space: 12, segments_max: 1_000, value_bytes: LARGE, stays: 2 },
    Case { space: 120, segments_max: 100, value_bytes: LARGE, stays: 2 },
];

impl Case {
    fn world(&self) -> World {
        let world = World { segments_max: Some(self.segments_max), ..World::default() };
        world.memory.set_space(Some(self.space * SEGMENT_BYTES));
        world
    }

    /// Writes new keys until the log takes no more; how many there are then.
    fn fill(&self, world: &mut World, node: &mut Node, from: usize) -> usize {
        let mut next = from;
        let mut waited = 0;
        while waited < 3_000 {
            world.turn(node).unwrap();
            if node.store.room() < Room::Plenty {
                waited += 1;
                continue;
            }
            waited = 0;
            world.put(node, &key(next), vec![next as u8; self.value_bytes[next % self.value_bytes.len()]]);
            next += 1;
        }
        next
    }
}

fn key(number: usize) -> String {
    format!("key {number:06}")
}

/// Waits for room of this kind, for a bounded time.
fn await_room(world: &mut World, node: &mut Node, room: Room, what: &str) {
    for _ in 0..20_000 {
        if node.store.room() >= room {
            return;
        }
        world.turn(node).unwrap();
    }
    panic!("{what}: no room for {room:?} comes: {:?} {:?}", node.store.room(), node.store.stats());
}

fn delete(world: &mut World, node: &mut Node, number: usize, what: &str) {
    await_room(world, node, Room::Deletes, what);
    world.append(node, (key(number).into_bytes(), None));
    world.turn(node).unwrap();
}

#[test]
fn a_log_that_is_full_of_live_data_is_emptied_by_deletes_and_takes_as_much_again() {
    for case in CASES {
        let mut world = case.world();
        let mut node = world.open().unwrap();
        let filled = case.fill(&mut world, &mut node, 0);
        assert!(filled > 30, "{case:?}: {filled} keys");
        // It stays full, and is full after a restart.
        assert!(node.store.room() < Room::Plenty, "{case:?}");
        drop(node);
        let mut node = world.open().unwrap();
        world.turns(&mut node, 300);
        let what = format!("{case:?}, {filled} keys");
        // Each delete is a group of its own.
        for number in (0..filled).filter(|number| number % case.stays != 0) {
            delete(&mut world, &mut node, number, &what);
        }
        await_room(&mut world, &mut node, Room::Plenty, &what);
        world.check(node.store.table());
        let again = case.fill(&mut world, &mut node, filled) - filled;
        let gone = filled - filled.div_ceil(case.stays);
        println!("{case:?}: {filled} keys, {gone} deleted, {again} written again, {:?}", node.store.stats());
        assert!(again * 10 >= gone * 7, "{what}: {gone} were deleted, and only {again} fit again");
        drop(node);
        let node = world.open().unwrap();
        world.check(node.store.table());
    }
}

#[test]
fn a_full_log_is_deleted_and_filled_over_and_over() {
    for case in CASES {
        let mut world = case.world();
        let mut node = world.open().unwrap();
        let mut live: Vec<usize> = Vec::new();
        let (mut next, mut random) = (0, 7_usize);
        for round in 0..6 {
            let filled = case.fill(&mut world, &mut node, next);
            live.extend(next..filled);
            next = filled;
            for _ in 0..live.len() / 3 {
                random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                let number = live.swap_remove((random >> 33) % live.len());
                delete(&mut world, &mut node, number, &format!("{case:?}, round {round}"));
            }
        }
        world.flush(&mut node);
        world.check(node.store.table());
        drop(node);
        let node = world.open().unwrap();
        world.check(node.store.table());
    }
}

#[test]
fn smaller_values_take_the_place_of_larger_ones_in_a_full_log() {
    for case in CASES {
        let mut world = case.world();
        let mut node = world.open().unwrap();
        let filled = case.fill(&mut world, &mut node, 0);
        let what = format!("{case:?}, {filled} keys");
        // Small values, for which no space is given back but at a checkpoint.
        for number in 0..filled {
            await_room(&mut world, &mut node, Room::Deletes, &what);
            world.put(&mut node, &key(number), vec![number as u8; 10]);
            world.turn(&mut node).unwrap();
        }
        await_room(&mut world, &mut node, Room::Plenty, &what);
        let again = case.fill(&mut world, &mut node, filled) - filled;
        assert!(again > filled / 2, "{what}: {again} fit again");
    }
}

#[test]
fn a_log_with_all_its_segments_goes_on_when_it_may_have_more() {
    let case = Case { space: 1_000, segments_max: 20, value_bytes: LARGE, stays: 1 };
    let mut world = case.world();
    let mut node = world.open().unwrap();
    let filled = case.fill(&mut world, &mut node, 0);
    world.close(node);
    world.segments_max = Some(40);
    let mut node = world.open().unwrap();
    let more = case.fill(&mut world, &mut node, filled) - filled;
    assert!(more >= filled, "{filled} before, {more} more");
    world.close(node);
    // With fewer than it has it is not opened.
    world.segments_max = Some(20);
    let refused = error(world.open()).to_string();
    assert!(refused.contains("the log has") && refused.contains("at most 20"), "{refused}");
    world.segments_max = Some(40);
    let mut node = world.open().unwrap();
    for number in 0..filled + more {
        delete(&mut world, &mut node, number, "no more segments");
    }
    await_room(&mut world, &mut node, Room::Plenty, "no more segments");
    world.flush(&mut node);
    world.close(node);
    world.segments_max = Some(20);
    let node = world.open().unwrap();
    world.check(node.store.table());
}
