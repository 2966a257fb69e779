//! Failing writes, no space, and what checkpoints bound.
#![allow(clippy::unwrap_used)]

mod common;

use common::{SEGMENT_BYTES, World, options};
use engine::limits::{OWED_RECORD_BYTES_MAX, RECORD_BYTES_MAX, SEGMENT_BYTES_DEFAULT, SEGMENT_BYTES_MIN};
use engine::memory::{Fault, Memory, MemoryDisk};
use engine::{LogError, Options, Owed, Room, Store, Table, Worker};

/// The first poll asks for the next segment: to create, allocate, fill and sync it, rename it, sync the directory, open it;
/// then the superblock is opened, and written.
const SUPERBLOCK_WRITE: u64 = 9;

#[test]
fn the_first_failed_or_short_write_stops_the_log_for_good() {
    for fault in [Fault::Io, Fault::Short] {
        let mut world = World::default();
        let mut node = world.open().unwrap();
        world.put(&mut node, "kept", vec![1; 10]);
        world.flush(&mut node);
        world.turns(&mut node, 5);
        let durable = node.store.durable();
        world.put(&mut node, "lost", vec![2; 5000]);
        world.memory.fail(1, fault);
        let error = (0..3).find_map(|_| world.turn(&mut node).err()).unwrap();
        assert!(matches!(&error, LogError::Write { file, lsn, .. } if file == "segment-0000" && *lsn == durable));
        for _ in 0..20 {
            assert!(matches!(world.turn(&mut node), Err(LogError::Write { .. })));
            assert_eq!((node.store.durable(), node.store.room()), (durable, Room::Nothing));
        }
        assert_eq!(world.acknowledged, 1);
        drop(node);
        world.memory.crash(1);
        world.open().unwrap();
    }
}

#[test]
fn a_failed_superblock_stops_the_log() {
    let mut world = World::default();
    let mut node = world.open().unwrap();
    world.memory.fail(SUPERBLOCK_WRITE, Fault::Io);
    let error = (0..5).find_map(|_| world.turn(&mut node).err()).unwrap();
    assert!(matches!(error, LogError::Worker { operation: "writing the superblock", .. }), "{error}");
    assert!(world.turn(&mut node).is_err());
}

#[test]
fn a_superblock_without_space_is_written_again_and_its_segment_takes_no_group_before() {
    let mut world = World::default();
    let mut node = world.open().unwrap();
    world.memory.fail(SUPERBLOCK_WRITE, Fault::NoSpace);
    world.turns(&mut node, 500);
    for round in 0..5 {
        world.put(&mut node, "key", vec![round; 15_000]);
    }
    world.turns(&mut node, 100);
    assert!(world.acknowledged < 5, "the second segment is not listed yet");
    world.turns(&mut node, 1000);
    assert_eq!(world.acknowledged, 5);
    drop(node);
    world.open().unwrap();
}

#[test]
fn without_space_promises_are_refused_decisions_fit_and_service_resumes() {
    let mut world = World::default();
    world.memory.set_space(Some(2 * SEGMENT_BYTES));
    let mut node = world.open().unwrap();
    world.turns(&mut node, 5);
    let mut round = 0;
    while node.store.room() > Room::Nothing {
        world.put(&mut node, &format!("key {round}"), vec![1; 2000]);
        world.turns(&mut node, 3);
        round += 1;
        assert!(round < 200);
    }
    // Both segments may have been filled to the reserve, and that still takes decisions.
    assert!(node.store.end().0 > SEGMENT_BYTES);
    for _ in 0..30 {
        world.put(&mut node, "decision", vec![1; 10]);
    }
    world.flush(&mut node);
    world.turns(&mut node, 3000);
    assert_eq!(node.store.room(), Room::Nothing);
    world.memory.set_space(None);
    world.turns(&mut node, 1100);
    assert_eq!(node.store.room(), Room::Plenty);
    world.put(&mut node, "promise", vec![1; 10]);
    world.flush(&mut node);
    world.check(node.store.table());
    drop(node);
    world.open().unwrap();
}

/// As many promises as a participant makes at most.
const PROMISES_MAX: usize = 8192;

/// Appends records of so many bytes each and tells what is owed for them, as long as there is room; how many there were.
fn promise_all(store: &mut Store<MemoryDisk>, now_us: &mut u64, bytes: impl Fn(usize) -> usize) -> usize {
    let mut promised = 0;
    let mut told = 0;
    loop {
        // Some are made between two tellings, and between two writes.
        while store.room() > Room::Nothing && promised < PROMISES_MAX && promised < told + 100 {
            store.append(&mut |into| into.resize(into.len() + bytes(promised), 1));
            promised += 1;
        }
        *now_us += 1000;
        store.poll(*now_us).unwrap();
        told = promised;
        store.owes(Owed { records: promised, ..Owed::default() });
        assert!(*now_us < 3_600_000_000);
        if promised == PROMISES_MAX || (store.room() == Room::Nothing && store.durable() >= store.end()) {
            return promised;
        }
    }
}

#[test]
fn whatever_was_promised_before_space_ended_can_be_decided_one_by_one_in_what_is_left() {
    let (smallest, default) = (SEGMENT_BYTES_MIN, SEGMENT_BYTES_DEFAULT);
    for (segment_bytes, small, bytes) in [
        (smallest, 0, 100),
        (smallest, 0, 3000),
        (smallest, 0, 40_000),
        (smallest, 0, RECORD_BYTES_MAX),
        (smallest, 1000, RECORD_BYTES_MAX),
        (smallest, 1700, RECORD_BYTES_MAX),
        (default, 0, 100),
        (default, 0, 3000),
        (default, 5000, RECORD_BYTES_MAX),
    ] {
        for in_the_last_segment in [false, true] {
            decide_one_by_one(segment_bytes, in_the_last_segment, &|promise| if promise < small { 100 } else { bytes });
        }
    }
}

fn decide_one_by_one(segment_bytes: u64, in_the_last_segment: bool, bytes: &dyn Fn(usize) -> usize) {
    let memory = Memory::new();
    memory.set_space(Some(2 * segment_bytes));
    let options = Options { segment_bytes, ..options() };
    let (storage, disk) = (memory.storage(), memory.disk());
    let opened = Store::open(options, storage, disk, Worker::inline(), Table::new(), &mut |_, _| ());
    let (mut store, mut now_us) = (opened.unwrap().0, 1);
    (0..5).for_each(|turn| _ = store.poll(turn * 1000).unwrap());
    // The last segment that there is space for has begun.
    while in_the_last_segment && store.end().0 < segment_bytes {
        store.append(&mut |into| into.resize(into.len() + (1 << 20), 0));
        now_us += 1000;
        store.poll(now_us).unwrap();
    }
    let promised = promise_all(&mut store, &mut now_us, bytes);
    assert!(promised > 2, "{promised} promises in segments of {segment_bytes}");
    // Each decision is as large as one can be, and alone in its group.
    for left in (0..promised).rev() {
        store.append(&mut |into| into.resize(into.len() + OWED_RECORD_BYTES_MAX, 2));
        store.owes(Owed { records: left, ..Owed::default() });
        for _ in 0..4 {
            now_us += 1000;
            store.poll(now_us).unwrap();
        }
        let (end, durable) = (store.end(), store.durable());
        assert!(durable >= end, "{left} of {promised} decisions left, segments of {segment_bytes}");
    }
    println!("segments of {segment_bytes}: {promised} promises, in the last one: {in_the_last_segment}");
}

#[test]
fn a_log_that_fills_its_disk_frees_space_by_a_checkpoint_of_its_own_accord() {
    let mut world = World::default();
    world.memory.set_space(Some(4 * SEGMENT_BYTES));
    let mut node = world.open().unwrap();
    for round in 0..2000_u32 {
        while node.store.room() < Room::Plenty {
            world.turn(&mut node).unwrap();
            assert!(node.now_us < 60_000_000, "no room comes back at round {round}: {:?}", node.store.stats());
        }
        world.put(&mut node, &format!("key {}", round % 3), vec![round as u8; 900]);
        world.turn(&mut node).unwrap();
    }
    world.flush(&mut node);
    assert!(node.store.stats().checkpoints > 5);
    drop(node);
    world.open().unwrap();
}

#[test]
fn an_owner_that_ignores_scarce_room_is_stopped_before_memory_runs_out() {
    let mut world = World::default();
    world.memory.set_space(Some(SEGMENT_BYTES));
    let mut node = world.open().unwrap();
    let stopped = (0..10_000).find_map(|_| {
        for _ in 0..10 {
            world.put(&mut node, "key", vec![1; 15_000]);
        }
        world.turn(&mut node).err()
    });
    assert!(matches!(stopped, Some(LogError::Overrun { .. })));
}

#[test]
fn checkpoints_bound_the_log_and_what_is_replayed() {
    let mut world = World::default();
    let mut node = world.open().unwrap();
    let mut segments_max = 0;
    for round in 0..6000_u32 {
        world.put(&mut node, &format!("key {}", round % 50), vec![round as u8; 200]);
        if round % 4 == 0 {
            world.turn(&mut node).unwrap();
        }
        segments_max = segments_max.max(node.store.stats().segments);
    }
    world.flush(&mut node);
    let stats = node.store.stats();
    assert!(stats.bytes > 60 * SEGMENT_BYTES, "{stats:?}");
    assert!(segments_max <= 8 && world.memory.slots().len() <= 10, "{segments_max} segments, {stats:?}");
    assert!(stats.checkpoints >= 10 && stats.freed >= 50);
    drop(node);
    let node = world.open().unwrap();
    assert!(node.report.bytes < 6 * SEGMENT_BYTES, "{:?}", node.report);
}

#[test]
fn compaction_moves_the_large_values_out_of_nearly_empty_segments() {
    let mut world = World::default();
    let mut node = world.open().unwrap();
    // Values that stay are spread thinly between values that are written over and over.
    for round in 0..1500_u32 {
        let key = if round % 40 == 0 { format!("stays {round}") } else { format!("goes {}", round % 4) };
        world.put(&mut node, &key, vec![round as u8; 2000]);
        world.turn(&mut node).unwrap();
    }
    world.flush(&mut node);
    let live = node.store.table().stats().large_bytes;
    assert_eq!(live, (38 + 4) * 2000);
    let segments = node.store.stats().segments as u64;
    assert!(segments <= live / SEGMENT_BYTES * 2 + 8, "{segments} segments hold {live} live bytes");
    world.check(node.store.table());
    drop(node);
    let node = world.open().unwrap();
    world.check(node.store.table());
}

#[test]
fn old_groups_in_a_reused_segment_are_ignored() {
    let mut world = World::default();
    let mut node = world.open().unwrap();
    for round in 0..400_u32 {
        world.put(&mut node, "key", vec![round as u8; 1500]);
        world.flush(&mut node);
    }
    let stats = node.store.stats();
    assert!(stats.freed > stats.spares as u64 + 5, "segments were reused: {stats:?}");
    // Nothing of the old groups past the tail is taken for a group, or for a torn one.
    world.close(node);
    let node = world.open().unwrap();
    assert!(node.report.clean && node.report.cuts.is_empty());
}

#[test]
fn a_group_goes_out_by_itself_and_records_wait_for_the_group_before() {
    let mut world = World::default();
    let mut node = world.open().unwrap();
    world.memory.hold(true);
    world.put(&mut node, "a", vec![1]);
    world.turn(&mut node).unwrap();
    let groups = node.store.stats().groups;
    for _ in 0..10 {
        world.put(&mut node, "b", vec![1]);
        world.turn(&mut node).unwrap();
    }
    assert_eq!((node.store.stats().groups, world.acknowledged), (groups, 0));
    assert!(world.memory.release());
    world.turn(&mut node).unwrap();
    assert_eq!((node.store.stats().groups, world.acknowledged), (groups + 1, 1));
    assert!(world.memory.release());
    world.turn(&mut node).unwrap();
    assert_eq!(world.acknowledged, 11);
    assert_eq!(node.store.stats().records, 11);
}

#[test]
fn a_seal_is_written_once_after_the_idle_time() {
    let mut world = World::default();
    let mut node = world.open().unwrap();
    world.turns(&mut node, 100);
    assert_eq!(node.store.stats().seals, 0);
    world.put(&mut node, "a", vec![1]);
    world.flush(&mut node);
    assert_eq!(node.store.next_wake_us(), Some(node.now_us + 20_000));
    world.turns(&mut node, 19);
    assert_eq!(node.store.stats().seals, 0);
    world.turns(&mut node, 100);
    assert_eq!((node.store.stats().seals, node.store.next_wake_us()), (1, None));
}

#[test]
fn a_wrong_owner_and_a_bad_size_are_refused() {
    let mut world = World::default();
    drop(world.open().unwrap());
    let mut other = options();
    other.owner.cluster = 9;
    let open = |options| {
        let (storage, disk) = (world.memory.storage(), world.memory.disk());
        Store::open(options, storage, disk, Worker::inline(), Table::new(), &mut |_, _| ()).err().unwrap().to_string()
    };
    let said = open(other);
    assert!(said.contains("belongs to role 1 node 2 cluster 0000000000000003"), "{said}");
    let said = open(engine::Options { segment_bytes: 100_000, ..options() });
    assert!(said.contains("segment_bytes 100000"), "{said}");
}
