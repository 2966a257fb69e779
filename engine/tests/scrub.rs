//! Checking sealed segments beside the writer: no false alarm, no missed damage, and what a finding leads to.
#![allow(clippy::unwrap_used)]

mod common;

use common::{Node, World};
use engine::{Damage, SealedSegments, SegmentEnd, SegmentPlace};
use proptest::prelude::*;

fn bytes_of(world: &World, place: SegmentPlace) -> Vec<u8> {
    world.memory.edit_segment(place.slot, |bytes| bytes.clone()).unwrap()
}

fn end_of(world: &World, sealed: &SealedSegments, place: SegmentPlace) -> Option<SegmentEnd> {
    let successor = sealed.successor(place)?;
    sealed.end_of(place, successor, &bytes_of(world, successor))
}

fn check(
    sealed: &SealedSegments,
    place: SegmentPlace,
    end: Option<SegmentEnd>,
    bytes: &[u8],
    piece: usize,
) -> Vec<Damage> {
    let mut found = Vec::new();
    let mut check = sealed.check(place, end);
    bytes.chunks(piece).for_each(|piece| check.feed(piece, &mut |damage| found.push(damage)));
    check.finish(&mut |damage| found.push(damage));
    found
}

fn places(sealed: &SealedSegments) -> Vec<SegmentPlace> {
    std::iter::successors(sealed.next(None), |place| sealed.next(Some(place.index))).collect()
}

/// Checks all sealed segments, with their ends and without; how many had one.
fn assert_sound(world: &World, node: &Node) -> usize {
    let sealed = node.store.sealed_segments();
    let mut with_end = 0;
    for place in places(&sealed) {
        assert!(sealed.holds(place));
        let end = end_of(world, &sealed, place);
        with_end += usize::from(end.is_some());
        let bytes = bytes_of(world, place);
        for (end, piece) in [(end, bytes.len()), (end, 4096), (end, 1000), (None, 4096)] {
            assert_eq!(check(&sealed, place, end, &bytes, piece), [], "{place:?} {end:?} in pieces of {piece}");
        }
    }
    with_end
}

fn busy(world: &mut World, node: &mut Node, rounds: u32) {
    for round in 0..rounds {
        let value = vec![round as u8; if round % 7 == 0 { 1500 } else { 100 }];
        world.put(node, &format!("key-{}", round % 20), value);
        if round % 3 == 0 {
            world.turn(node).unwrap();
        }
    }
    world.flush(node);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn a_log_that_is_written_cut_opened_again_and_reuses_its_files_gives_no_alarm(
        seeds in proptest::collection::vec(any::<u64>(), 1..6),
        rounds in 20_u32..1500,
    ) {
        let mut world = World::default();
        for seed in seeds {
            let mut node = world.open().unwrap();
            busy(&mut world, &mut node, rounds);
            assert_sound(&world, &node);
            // The power is cut while a group, perhaps the first of a segment, is on its way.
            world.memory.hold(true);
            let records = seed % 40;
            (0..records).for_each(|record| world.put(&mut node, "lost", vec![record as u8; 1000]));
            world.turn(&mut node).unwrap();
            drop(node);
            world.memory.crash(seed);
            world.memory.hold(false);
        }
        let node = world.open().unwrap();
        assert_sound(&world, &node);
    }
}

#[test]
fn segments_between_which_others_were_freed_are_checked_without_their_end() {
    let mut world = World::default();
    let mut node = world.open().unwrap();
    for stay in 0..3 {
        // Values that stay keep their segments; what follows is freed and its files are used again.
        for number in 0..80 {
            world.put(&mut node, &format!("stays-{stay}-{number}"), vec![stay; 1500]);
            world.flush(&mut node);
        }
        busy(&mut world, &mut node, 2000);
    }
    assert!(node.store.stats().freed > 20);
    let sealed = places(&node.store.sealed_segments());
    let with_end = assert_sound(&world, &node);
    assert!(with_end > 0 && with_end < sealed.len(), "{with_end} of {} have a known end", sealed.len());
}

#[test]
fn a_flipped_bit_of_a_sealed_segment_is_found_where_it_is() {
    let mut world = World::default();
    let mut node = world.open().unwrap();
    while places(&node.store.sealed_segments()).len() < 2 {
        world.put(&mut node, "key", vec![1; 700]);
        world.put(&mut node, "more", vec![2; 9000]);
        world.flush(&mut node);
    }
    let sealed = node.store.sealed_segments();
    let place = places(&sealed)[0];
    let end = end_of(&world, &sealed, place).unwrap();
    let sound = bytes_of(&world, place);
    assert_eq!(check(&sealed, place, Some(end), &sound, 4096), []);
    let mut missed_without_end = 0;
    for bit in (0..end.lsn.0 * 8).step_by(61) {
        let at = bit / 8;
        let mut bytes = sound.clone();
        bytes[at as usize] ^= 1 << (bit % 8);
        let found = check(&sealed, place, Some(end), &bytes, 4096);
        assert!(found.len() == 1 && found[0].offset <= at && at < found[0].to.0, "bit {bit}: {found:?}");
        assert_eq!(found[0].from.0, found[0].offset);
        let found = check(&sealed, place, None, &bytes, 4096);
        missed_without_end += u64::from(found.is_empty());
        assert!(found.len() <= 1);
    }
    // Without the end, damage to the last group looks like the end: at most 12 KiB here.
    assert!(missed_without_end <= 3 * 4096 * 8 / 61 + 2, "{missed_without_end}");
    for sector in 0..end.lsn.0 / 512 {
        let mut bytes = sound.clone();
        let range = sector as usize * 512..(sector as usize + 1) * 512;
        if bytes[range.clone()].iter().all(|&byte| byte == 0) {
            continue;
        }
        bytes[range].fill(0);
        assert_eq!(check(&sealed, place, Some(end), &bytes, 4096).len(), 1, "sector {sector}");
    }
    for length in (0..end.lsn.0 as usize).step_by(4096) {
        assert_eq!(check(&sealed, place, Some(end), &sound[..length], 4096).len(), 1, "length {length}");
    }
}

#[test]
fn several_damaged_places_of_a_segment_are_several_findings() {
    let mut world = World::default();
    let mut node = world.open().unwrap();
    while places(&node.store.sealed_segments()).is_empty() {
        world.put(&mut node, "key", vec![1; 700]);
        world.flush(&mut node);
    }
    let sealed = node.store.sealed_segments();
    let place = places(&sealed)[0];
    let end = end_of(&world, &sealed, place);
    let mut bytes = bytes_of(&world, place);
    for at in [3 * 4096, 7 * 4096 + 100, 8 * 4096] {
        bytes[at] ^= 1;
    }
    let found = check(&sealed, place, end, &bytes, 4096);
    let ranges: Vec<(u64, u64)> = found.iter().map(|damage| (damage.offset / 4096, damage.to.0 / 4096)).collect();
    // Neighbours are one place.
    assert_eq!(ranges, [(3, 4), (7, 9)], "{found:?}");
}

/// A log whose first segment holds a sound and a damaged large value, and where replay starts there.
fn damaged_world() -> (World, Node, SegmentPlace) {
    let mut world = World::default();
    let mut node = world.open().unwrap();
    world.put(&mut node, "damaged", vec![0xaa; 1500]);
    world.put(&mut node, "sound", vec![0xbb; 1500]);
    while places(&node.store.sealed_segments()).is_empty() {
        world.put(&mut node, "key", vec![1; 100]);
        world.flush(&mut node);
    }
    let place = places(&node.store.sealed_segments())[0];
    world.memory.edit_segment(place.slot, |bytes| {
        let at = bytes.windows(8).position(|window| window == [0xaa; 8]).unwrap();
        bytes[at + 10] ^= 1;
    });
    (world, node, place)
}

fn checkpoints_after_finding(world: &mut World, node: &mut Node, place: SegmentPlace, is_readable: bool) -> u64 {
    let before = node.store.stats().checkpoints;
    for _ in 0..3 {
        node.store.damage_found(place, is_readable);
        world.turns(node, 50);
    }
    node.store.stats().checkpoints - before
}

#[test]
fn a_finding_makes_one_checkpoint_after_which_the_log_opens_and_only_the_damaged_value_is_lost() {
    let (mut world, mut node, place) = damaged_world();
    let refused = common::error(World { memory: world.memory.copy(), ..World::default() }.open());
    assert!(matches!(refused, engine::OpenError::Corrupt { .. }), "without the checkpoint: {refused}");

    assert_eq!(checkpoints_after_finding(&mut world, &mut node, place, true), 1);
    let table = node.store.table().clone();
    assert!(table.get(b"damaged").unwrap_err().to_string().contains("the value's checksum does not match"));
    assert_eq!(table.get(b"sound").unwrap().unwrap(), vec![0xbb; 1500]);
    drop(node);
    world.memory.crash(1);
    let opened = engine::Table::new();
    let (storage, disk) = (world.memory.storage(), world.memory.disk());
    let options = common::options();
    let worker = engine::Worker::inline();
    engine::Store::open(options, storage, disk, worker, opened.clone(), &mut |_, _| ()).unwrap();
    assert!(opened.get(b"damaged").is_err());
    assert_eq!(opened.get(b"sound").unwrap().unwrap(), vec![0xbb; 1500]);
    // The sound value was moved: it does not need the damaged file any more.
    world.memory.edit_segment(place.slot, |bytes| bytes.fill(0));
    assert_eq!(opened.get(b"sound").unwrap().unwrap(), vec![0xbb; 1500]);
}

#[test]
fn a_segment_that_cannot_be_read_is_not_touched_by_the_checkpoint_that_makes_it_unneeded() {
    let (mut world, mut node, place) = damaged_world();
    assert_eq!(checkpoints_after_finding(&mut world, &mut node, place, false), 1);
    // Nothing was moved, so the segment still holds both values.
    assert!(node.store.sealed_segments().holds(place));
    world.memory.edit_segment(place.slot, |bytes| bytes.fill(0));
    assert!(node.store.table().get(b"sound").is_err());
}
