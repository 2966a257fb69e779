//! A log for every row of the decision table: damage made by hand, by the layouts of `FORMAT.md`.
#![allow(clippy::unwrap_used)]

mod common;

use std::collections::BTreeSet;

use common::{SEGMENT_BYTES, World};
use engine::{OpenError, Rule, Verdict};

const BLOCK: usize = 4096;
const COPY: usize = 64 << 10;

/// The rules that opening this log went by.
fn open(world: &mut World) -> Vec<Rule> {
    match world.open() {
        Ok(node) => {
            let report = &node.report;
            let mut rules = vec![report.superblock, report.ended_by];
            rules.extend(report.cuts.iter().map(|cut| cut.rule));
            rules.extend((report.groups > 0).then_some(Rule::GroupSound));
            rules.extend((report.segments > 1).then_some(Rule::NextSegment));
            assert!(rules.iter().all(|rule| rule.verdict() != Verdict::Refuse), "{rules:?}");
            rules
        }
        Err(OpenError::Corrupt { rule, file, reason, .. }) => {
            assert!(rule.verdict() == Verdict::Refuse && !file.is_empty() && !reason.is_empty());
            vec![rule]
        }
        Err(OpenError::OtherFormat { .. }) => vec![Rule::SuperblockOtherVersion],
        Err(other) => panic!("{other}"),
    }
}

/// A log of so many groups of about 2 KiB, killed after the last one.
fn killed(groups: u8) -> World {
    let mut world = World::default();
    let mut node = world.open().unwrap();
    for round in 0..groups {
        world.put(&mut node, &format!("key {}", round % 5), vec![round; 2000]);
        world.flush(&mut node);
    }
    world
}

fn edit(world: &World, slot: u32, at: usize, change: &mut dyn FnMut(&mut [u8])) {
    world.memory.edit_segment(slot, |bytes| change(&mut bytes[at..])).unwrap();
}

/// Changes both copies of the superblock and makes their checksums right again.
fn edit_superblock(world: &World, change: &dyn Fn(&mut [u8])) {
    world
        .memory
        .edit_superblock(|bytes| {
            for copy in bytes.chunks_exact_mut(COPY) {
                change(copy);
                let crc = crc32c::crc32c(&copy[..COPY - 4]);
                copy[COPY - 4..].copy_from_slice(&crc.to_le_bytes());
            }
        })
        .unwrap();
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(bytes[at..at + 8].try_into().unwrap())
}

fn superblocks(reached: &mut BTreeSet<Rule>) {
    let mut world = World::default();
    assert!(open(&mut world).contains(&Rule::NewLog));
    reached.insert(Rule::NewLog);
    reached.extend(open(&mut world));

    let mut world = killed(2);
    world.memory.edit_superblock(|bytes| bytes[100] ^= 1).unwrap();
    reached.extend(open(&mut world));

    let mut world = killed(2);
    world.memory.edit_superblock(|bytes| bytes.fill(7)).unwrap();
    reached.extend(open(&mut world));

    let mut world = killed(2);
    assert!(world.memory.remove_superblock());
    reached.extend(open(&mut world));

    // An earlier and a later one: its groups, which are of another layout, must not pass for torn ones.
    for version in [1, 3] {
        let mut world = killed(2);
        edit_superblock(&world, &|copy| copy[8] = version);
        let rules = open(&mut world);
        assert_eq!(rules, [Rule::SuperblockOtherVersion], "version {version}");
        reached.extend(rules);
    }

    let mut world = killed(2);
    edit_superblock(&world, &|copy| copy[64..72].copy_from_slice(&8191_u64.to_le_bytes()));
    reached.extend(open(&mut world));
}

fn files(reached: &mut BTreeSet<Rule>) {
    let mut world = killed(25);
    assert!(world.memory.remove_segment(1));
    reached.extend(open(&mut world));

    let mut world = killed(25);
    world.memory.edit_segment(1, |bytes| bytes.truncate(BLOCK)).unwrap();
    reached.extend(open(&mut world));

    // The values before the checkpoint live in the first segment, which leaves the list.
    let mut world = World::default();
    let mut node = world.open().unwrap();
    for key in ["a", "b", "c", "d", "e"] {
        world.put(&mut node, key, vec![1; 9000]);
    }
    for round in 0..100 {
        world.put(&mut node, "other", vec![round; 2000]);
        world.flush(&mut node);
    }
    world.turns(&mut node, 20);
    assert!(node.store.stats().checkpoints > 0);
    world.close(node);
    assert!(!open(&mut world).contains(&Rule::SegmentUnlisted));
    edit_superblock(&world, &|copy| {
        let count = copy[104] as usize;
        assert_eq!(u64_at(copy, 120), 0, "the first segment is listed");
        copy.copy_within(132..120 + 12 * count, 120);
        copy[120 + 12 * (count - 1)..120 + 12 * count].fill(0);
        copy[104] -= 1;
    });
    reached.extend(open(&mut world));
}

/// The superblock is put back to an earlier state of its own.
fn old_superblocks(reached: &mut BTreeSet<Rule>) {
    let mut world = killed(2);
    let old = world.memory.edit_superblock(|bytes| bytes.clone()).unwrap();
    let mut node = world.open().unwrap();
    world.put(&mut node, "later", vec![1; 10]);
    world.flush(&mut node);
    drop(node);
    world.memory.edit_superblock(|bytes| bytes.clone_from(&old)).unwrap();
    let rules = open(&mut world);
    assert_eq!(rules, [Rule::SuperblockOld], "groups of a later opening");
    reached.extend(rules);

    let mut world = World::default();
    let mut node = world.open().unwrap();
    world.put(&mut node, "first", vec![1; 10]);
    world.turn(&mut node).unwrap();
    let old = world.memory.edit_superblock(|bytes| bytes.clone()).unwrap();
    while world.durable.0 < 3 * SEGMENT_BYTES {
        world.put(&mut node, "more", vec![1; 9000]);
        world.flush(&mut node);
    }
    drop(node);
    world.memory.edit_superblock(|bytes| bytes.clone_from(&old)).unwrap();
    assert_eq!(open(&mut world), [Rule::SuperblockOld], "segments that it does not list");
}

fn groups(reached: &mut BTreeSet<Rule>) {
    let mut world = killed(3);
    edit(&world, 0, 20, &mut |bytes| bytes[0] ^= 1);
    reached.extend(open(&mut world));

    // The first group, of three.
    let mut world = killed(3);
    edit(&world, 0, BLOCK + 200, &mut |bytes| bytes[0] ^= 1);
    reached.extend(open(&mut world));

    // The last group: nothing says that it was acknowledged.
    let mut world = killed(3);
    world.acknowledged = 2;
    edit(&world, 0, 3 * BLOCK + 200, &mut |bytes| bytes[0] ^= 1);
    reached.extend(open(&mut world));

    // Its magic alone: it names this log and this place, so it is no old block.
    let mut world = killed(3);
    world.acknowledged = 2;
    edit(&world, 0, 3 * BLOCK, &mut |bytes| bytes[0] ^= 1);
    assert!(open(&mut world).contains(&Rule::TornTail));

    // The only group of the newest segment, whose header is lost.
    let mut world = killed(16);
    assert_eq!(world.durable.0, SEGMENT_BYTES + 2 * BLOCK as u64);
    world.acknowledged = 15;
    edit(&world, 1, 20, &mut |bytes| bytes[0] ^= 1);
    let rules = open(&mut world);
    assert!(rules.contains(&Rule::TornTail), "{rules:?}");

    // The last group of the first segment, which the second one's header names.
    let mut world = killed(18);
    assert!(world.durable.0 > SEGMENT_BYTES);
    edit(&world, 0, SEGMENT_BYTES as usize - BLOCK, &mut |bytes| bytes[..BLOCK].fill(0));
    reached.extend(open(&mut world));

    // The second segment's header states another chain value.
    let mut world = killed(18);
    edit(&world, 1, 0, &mut |bytes| {
        bytes[40] ^= 1;
        let crc = crc32c::crc32c(&bytes[..BLOCK - 4]);
        bytes[BLOCK - 4..BLOCK].copy_from_slice(&crc.to_le_bytes());
    });
    reached.extend(open(&mut world));

    // The last group's only record is of a kind that does not exist, under right checksums.
    let mut world = killed(3);
    edit(&world, 0, 3 * BLOCK, &mut |bytes| {
        bytes[88 + 4] = 99;
        make_right(bytes);
    });
    reached.extend(open(&mut world));

    // The last group states another position of the record before it, under right checksums.
    for at in [64, 72] {
        let mut world = killed(3);
        edit(&world, 0, 3 * BLOCK, &mut |bytes| {
            bytes[at] ^= 1;
            make_right(bytes);
        });
        let rules = open(&mut world);
        assert!(rules.contains(&Rule::HistoryContradicts), "{rules:?}");
        reached.extend(rules);
    }
}

/// Makes the checksums of a group right that has one block.
fn make_right(bytes: &mut [u8]) {
    let seed = crc32c::crc32c(&[&bytes[8..16], &bytes[16..24]].concat());
    let payload = crc32c::crc32c_append(seed, &bytes[88..BLOCK]);
    bytes[80..84].copy_from_slice(&payload.to_le_bytes());
    let header = crc32c::crc32c(&bytes[..84]);
    bytes[84..88].copy_from_slice(&header.to_le_bytes());
}

fn ends(reached: &mut BTreeSet<Rule>) {
    let mut world = killed(25);
    reached.extend(open(&mut world));

    // A segment that was used before: past the end lie old groups.
    let mut world = World::default();
    let mut node = world.open().unwrap();
    while node.store.stats().freed < 8 {
        world.put(&mut node, "key", vec![1; 1500]);
        world.flush(&mut node);
    }
    world.put(&mut node, "key", vec![1; 1500]);
    world.flush(&mut node);
    drop(node);
    let rules = open(&mut world);
    assert!(rules.contains(&Rule::OldBlock), "{rules:?}");
    reached.extend(rules);

    // A torn group is cut, and stays where it was until something is written over it.
    let mut world = killed(3);
    let mut node = world.open().unwrap();
    world.memory.hold(true);
    world.put(&mut node, "torn", vec![1; 5000]);
    world.turn(&mut node).unwrap();
    drop(node);
    let mut sector = 0;
    world.memory.crash_choosing(&mut || {
        sector += 1;
        sector == 1
    });
    let rules = open(&mut world);
    assert!(rules.contains(&Rule::TornTail), "{rules:?}");
    let rules = open(&mut world);
    assert!(rules.contains(&Rule::CutBefore), "{rules:?}");
    reached.extend(rules);
}

#[test]
fn every_rule_is_reached_by_a_real_log() {
    let mut reached = BTreeSet::new();
    superblocks(&mut reached);
    files(&mut reached);
    old_superblocks(&mut reached);
    groups(&mut reached);
    ends(&mut reached);
    let missed: Vec<Rule> = Rule::ALL.into_iter().filter(|rule| !reached.contains(rule)).collect();
    assert!(missed.is_empty(), "never reached: {missed:?}");
}
