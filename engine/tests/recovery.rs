//! What a recovery says: where damage is, what was cut off, and its figures; and what it makes of files that are not listed.
#![allow(clippy::unwrap_used)]

mod common;

use common::{Node, SEGMENT_BYTES, World, error};
use engine::memory::Fault;
use engine::{Cut, Lsn, OpenError, Rule};

const BLOCK: u64 = 4096;

/// A log of so many groups, each of one record with a value of so many bytes, killed after the last one.
fn killed(groups: u8, value_bytes: usize) -> World {
    let mut world = World { no_checkpoints: true, ..World::default() };
    let mut node = world.open().unwrap();
    for round in 0..groups {
        world.put(&mut node, "key", vec![round; value_bytes]);
        world.flush(&mut node);
    }
    world
}

/// Groups of one block: fifteen fill a segment to its last byte.
fn of_one_block(groups: u8) -> World {
    killed(groups, 2_000)
}

/// Groups of two blocks: after seven a segment has a block left.
fn of_two_blocks(groups: u8) -> World {
    killed(groups, 5_000)
}

fn flip(world: &World, slot: u32, at: u64) {
    world.memory.edit_segment(slot, |bytes| bytes[at as usize] ^= 1).unwrap();
}

/// Where the log refuses to open, by which rule, and why.
fn refusal(world: &mut World) -> (String, u64, Lsn, Rule, String) {
    let OpenError::Corrupt { file, offset, lsn, rule, reason } = error(world.open()) else {
        panic!("it refuses for another reason");
    };
    (file, offset, lsn, rule, reason)
}

/// The same without the reason: the segment's file, the offset, and the rule.
fn place(world: &mut World) -> (String, u64, Rule) {
    let (file, offset, lsn, rule, _) = refusal(world);
    assert_eq!(lsn.0 % SEGMENT_BYTES, offset);
    (file, offset, rule)
}

fn name(world: &World, slot: u32) -> String {
    world.memory.storage().segment_name(slot)
}

#[test]
fn the_report_has_the_figures_of_what_was_read() {
    let mut world = of_two_blocks(9);
    let report = world.open().unwrap().report;
    assert_eq!((report.segments, report.groups, report.records, report.bytes), (2, 9, 9, 9 * 2 * BLOCK));
    let end = Lsn(SEGMENT_BYTES + BLOCK + 2 * 2 * BLOCK);
    assert_eq!((report.from, report.tail, report.ended_by), (Lsn(BLOCK), end, Rule::EndOfLog));
    // The last group states it as well.
    assert_eq!((report.durable, report.durable_by), (Lsn(end.0 - 2 * BLOCK), "the superblock".to_owned()));
    let report = of_one_block(3).open().unwrap().report;
    assert_eq!((report.durable, report.durable_by), (Lsn(3 * BLOCK), format!("the group at LSN {}", 3 * BLOCK)));
}

#[test]
fn records_before_the_checkpoint_are_not_handed_out_again() {
    let mut world = World { no_checkpoints: true, ..World::default() };
    let mut node = world.open().unwrap();
    world.put(&mut node, "before", vec![1; 100]);
    node.store.checkpoint_begin();
    world.put(&mut node, "after", vec![2; 100]);
    while node.store.checkpoint_slice() {}
    node.store.checkpoint_end();
    world.flush(&mut node);
    world.turns(&mut node, 20);
    assert_eq!(node.store.stats().checkpoints, 1);
    drop(node);
    assert_eq!(world.open().unwrap().report.records, 1);
}

#[test]
fn what_is_cut_off_reaches_as_far_as_its_header_says() {
    let cut = |world: &mut World| {
        world.acknowledged -= 1;
        match world.open().unwrap().report.cuts.as_slice() {
            [Cut { file, offset, from, to, rule: Rule::TornTail, reason }] => {
                assert_eq!((from.0 % SEGMENT_BYTES, file), (*offset, &name(world, (from.0 / SEGMENT_BYTES) as u32)));
                (*from, to.0 - from.0, reason.clone())
            }
            other => panic!("{other:?}"),
        }
    };
    let payload = "the group's payload checksum does not match".to_owned();
    let header = "the group header's checksum does not match".to_owned();
    let mut world = of_two_blocks(3);
    flip(&world, 0, 5 * BLOCK + 200);
    assert_eq!(cut(&mut world), (Lsn(5 * BLOCK), 2 * BLOCK, payload.clone()));
    let mut world = of_two_blocks(3);
    flip(&world, 0, 5 * BLOCK + 30);
    assert_eq!(cut(&mut world), (Lsn(5 * BLOCK), BLOCK, header), "nobody knows its length");
    let mut world = of_one_block(15);
    flip(&world, 0, SEGMENT_BYTES - BLOCK + 200);
    assert_eq!(cut(&mut world), (Lsn(SEGMENT_BYTES - BLOCK), BLOCK, payload), "the segment ends with it");

    // The only group of a segment whose header is lost, at the end of the log and at its start.
    let lost = "the segment's header is not valid".to_owned();
    let mut world = of_two_blocks(8);
    flip(&world, 1, 20);
    assert_eq!(cut(&mut world), (Lsn(SEGMENT_BYTES + BLOCK), 2 * BLOCK, lost.clone()));
    let mut world = of_two_blocks(1);
    flip(&world, 0, 20);
    assert_eq!(cut(&mut world), (Lsn(BLOCK), 2 * BLOCK, lost));
}

#[test]
fn a_read_that_fails_is_not_taken_for_damage() {
    let mut reads = 0;
    for nth in 1..=60 {
        let mut world = of_two_blocks(9);
        world.memory.fail(nth, Fault::Io);
        match world.open() {
            Ok(_) => {}
            Err(OpenError::Io { operation, .. }) => reads += u32::from(operation == "reading a segment"),
            Err(other) => panic!("operation {nth}: {other}"),
        }
    }
    assert!(reads >= 2, "of two segments, {reads}");
}

#[test]
fn a_segment_of_another_size_is_named_with_where_it_ends() {
    let resized = |bytes: u64| {
        let mut world = of_one_block(18);
        world.memory.edit_segment(1, |file| file.resize(bytes as usize, 0)).unwrap();
        assert_eq!(place(&mut world).0, name(&world, 1));
        refusal(&mut world)
    };
    for (bytes, end) in [(BLOCK, BLOCK), (SEGMENT_BYTES + BLOCK, SEGMENT_BYTES - 1)] {
        let (_, offset, lsn, rule, _) = resized(bytes);
        assert_eq!((offset, lsn, rule), (end, Lsn(SEGMENT_BYTES + end), Rule::SegmentSize));
    }
}

#[test]
fn a_lost_header_is_looked_for_in_the_segment_that_has_lost_it() {
    // The first segment has a block left, or is full to its last byte.
    for world in [of_two_blocks(18), of_one_block(33)] {
        assert!(world.durable.0 > 2 * SEGMENT_BYTES + BLOCK);
        let refused = |damage: &dyn Fn(&World)| {
            let mut damaged = world.copy();
            damage(&damaged);
            let (file, offset, lsn, rule, reason) = refusal(&mut damaged);
            assert_eq!((file, offset, lsn), (name(&world, 1), 0, Lsn(SEGMENT_BYTES)));
            (rule, reason.split_once(", but ").unwrap().0.to_owned())
        };
        let header = "the segment's header is not valid".to_owned();
        assert_eq!(refused(&|damaged| flip(damaged, 1, 20)), (Rule::SegmentHeaderDamaged, header.clone()));
        let with_its_group = |damaged: &World| {
            flip(damaged, 1, 20);
            flip(damaged, 1, BLOCK + 200);
        };
        assert_eq!(refused(&with_its_group), (Rule::DurableDamaged, header));
        let another = |damaged: &World| {
            let other = damaged.memory.edit_segment(2, |bytes| bytes.clone()).unwrap();
            damaged.memory.edit_segment(1, |bytes| *bytes = other).unwrap();
        };
        let header = "the file's header is that of segment 2, not 1".to_owned();
        assert_eq!(refused(&another), (Rule::DurableDamaged, header));
    }
    // With the last group before it damaged as well, that is where the log goes no further.
    let mut world = of_two_blocks(18);
    flip(&world, 1, 20);
    flip(&world, 0, SEGMENT_BYTES - 3 * BLOCK + 200);
    assert_eq!(place(&mut world), (name(&world, 0), SEGMENT_BYTES - 3 * BLOCK, Rule::DurableDamaged));
}

#[test]
fn a_segment_that_says_where_the_one_before_ends_is_believed() {
    let mut world = of_two_blocks(9);
    let last = SEGMENT_BYTES - 3 * BLOCK;
    flip(&world, 0, last + 200);
    let (file, offset, _, rule, reason) = refusal(&mut world);
    assert_eq!((file, offset, rule), (name(&world, 0), last, Rule::LogWentOn));
    assert!(reason.ends_with(&format!("the log goes on to LSN {}", SEGMENT_BYTES - BLOCK)), "{reason}");

    let mut world = of_two_blocks(9);
    world.memory.edit_segment(1, |bytes| edit_header(bytes, &mut |header| header[40] ^= 1)).unwrap();
    assert_eq!(place(&mut world), (name(&world, 1), 0, Rule::OtherHistory));
}

#[test]
fn what_a_damaged_group_is_held_against_is_the_latest_that_was_stated() {
    let mut world = of_one_block(33);
    world.memory.edit_segment(1, |bytes| bytes.fill(0)).unwrap();
    flip(&world, 0, SEGMENT_BYTES - BLOCK + 200);
    let (_, _, lsn, rule, reason) = refusal(&mut world);
    assert_eq!((lsn, rule), (Lsn(SEGMENT_BYTES - BLOCK), Rule::DurableDamaged));
    let last = Lsn(world.durable.0 - BLOCK);
    let stated = format!("the group at LSN {last} says that all before LSN {last} was durable");
    assert!(reason.ends_with(&stated), "{reason}");
}

/// The first write to the second segment is torn: its header is there, its group is not. The log goes on in the block that the first
/// segment has left, and what the header says is no other history.
#[test]
fn a_log_may_go_on_before_a_segment_whose_first_write_was_torn() {
    let mut world = of_two_blocks(8);
    flip(&world, 1, BLOCK + 200);
    world.acknowledged -= 1;
    let mut node = world.open().unwrap();
    assert_eq!(node.report.ended_by, Rule::TornTail);
    world.put(&mut node, "small", vec![1; 100]);
    world.flush(&mut node);
    assert_eq!(world.durable, Lsn(SEGMENT_BYTES));
    drop(node);
    assert_eq!(world.open().unwrap().report.tail, Lsn(SEGMENT_BYTES));
}

fn churn(world: &mut World, node: &mut Node, rounds: u8) {
    for round in 0..rounds {
        world.put(node, "other", vec![round; 2_000]);
        world.flush(node);
    }
}

#[test]
fn a_segment_in_which_values_live_and_which_is_not_listed_is_named() {
    const COPY: usize = 64 << 10;
    let mut world = World::default();
    let mut node = world.open().unwrap();
    churn(&mut world, &mut node, 20);
    for key in ["a", "b", "c", "d", "e"] {
        world.put(&mut node, key, vec![1; 9_000]);
    }
    churn(&mut world, &mut node, 120);
    world.turns(&mut node, 20);
    world.close(node);
    let first = |copy: &[u8]| u64::from_le_bytes(copy[120..128].try_into().unwrap());
    let taken_out = world.memory.edit_superblock(|bytes| {
        let index = first(bytes);
        for copy in bytes.chunks_exact_mut(COPY) {
            let end = 120 + 12 * copy[104] as usize;
            copy.copy_within(132..end, 120);
            copy[end - 12..end].fill(0);
            copy[104] -= 1;
            let (fields, crc) = copy.split_at_mut(COPY - 4);
            crc.copy_from_slice(&crc32c::crc32c(fields).to_le_bytes());
        }
        index
    });
    let index = taken_out.unwrap();
    assert!(index > 0, "the first segment was freed");
    let (_, offset, lsn, rule, _) = refusal(&mut world);
    assert_eq!((offset, lsn, rule), (0, Lsn(index * SEGMENT_BYTES), Rule::SegmentUnlisted));
}

/// Changes a segment's header and makes its checksum right again.
fn edit_header(bytes: &mut [u8], change: &mut dyn FnMut(&mut [u8])) {
    let header = &mut bytes[..BLOCK as usize];
    change(header);
    let (fields, crc) = header.split_at_mut(BLOCK as usize - 4);
    crc.copy_from_slice(&crc32c::crc32c(fields).to_le_bytes());
}

/// Puts a file that the superblock does not list beside a log: a copy of its second segment, with this header.
fn beside(world: &World, slot: u32, change: &mut dyn FnMut(&mut [u8])) {
    let mut bytes = world.memory.edit_segment(1, |bytes| bytes.clone()).unwrap();
    edit_header(&mut bytes, change);
    world.memory.storage().segment_create(slot, SEGMENT_BYTES).unwrap();
    world.memory.edit_segment(slot, |file| *file = bytes).unwrap();
}

#[test]
fn a_file_that_is_not_listed_counts_if_it_holds_a_later_segment() {
    let with_index = |index: u64| {
        let mut world = of_one_block(18);
        beside(&world, 77, &mut |header| header[16..24].copy_from_slice(&index.to_le_bytes()));
        match world.open() {
            Ok(_) => None,
            Err(OpenError::Corrupt { file, rule, .. }) => Some((file, rule)),
            Err(other) => panic!("{other}"),
        }
    };
    let later = |slot| Some((name(&World::default(), slot), Rule::SuperblockOld));
    assert_eq!(with_index(2), None, "the last one that is listed, which is ready and empty");
    assert_eq!(with_index(3), later(77));
    assert_eq!(with_index(100_000), later(77));
    for nonsense in [u64::MAX / SEGMENT_BYTES, u64::MAX] {
        assert_eq!(with_index(nonsense), None, "no log is that long");
    }
}

#[test]
fn a_file_that_is_not_listed_becomes_a_segment_only_if_it_has_the_size_of_one() {
    const SPARE_SEGMENTS_MAX: usize = 4;
    let mut world = of_one_block(3);
    for slot in 10..20 {
        world.memory.storage().segment_create(slot, if slot % 2 == 0 { BLOCK } else { SEGMENT_BYTES }).unwrap();
    }
    let mut node = world.open().unwrap();
    assert_eq!(node.store.stats().spares, SPARE_SEGMENTS_MAX);
    world.turns(&mut node, 50);
    let kept = world.memory.slots().into_iter().filter(|slot| *slot >= 10).collect::<Vec<_>>();
    assert_eq!(kept.len(), SPARE_SEGMENTS_MAX, "{kept:?}");
    assert!(kept.iter().all(|slot| slot % 2 == 1), "{kept:?}");
    while world.durable.0 < 6 * SEGMENT_BYTES {
        world.put(&mut node, "key", vec![1; 2_000]);
        world.flush(&mut node);
    }
    drop(node);
    assert_eq!(world.open().unwrap().report.ended_by, Rule::EndOfLog);
}

/// A file may have been another log's, and a place of it may have been written for another place.
#[test]
fn only_this_log_at_this_place_says_what_was_durable() {
    for (log, place) in [(1, 0), (0, BLOCK)] {
        let mut world = of_one_block(3);
        let at = 5 * BLOCK as usize;
        let stated = 5 * BLOCK + place;
        world
            .memory
            .edit_segment(0, |bytes| {
                bytes.copy_within(3 * BLOCK as usize..4 * BLOCK as usize, at);
                let header = &mut bytes[at..at + 88];
                header[8] ^= log;
                header[16..24].copy_from_slice(&stated.to_le_bytes());
                header[48..56].copy_from_slice(&(5 * BLOCK).to_le_bytes());
                let crc = crc32c::crc32c(&header[..84]);
                header[84..88].copy_from_slice(&crc.to_le_bytes());
            })
            .unwrap();
        let report = world.open().unwrap().report;
        assert_eq!((report.tail, report.durable), (Lsn(4 * BLOCK), Lsn(3 * BLOCK)));
    }
}
