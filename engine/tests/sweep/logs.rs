//! The logs that are damaged, with what was acknowledged and what states it.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

use engine::Lsn;
use engine::memory::Memory;

use super::common::{Change, Node, SEGMENT_BYTES, World, encode};
use super::damage::Sweep;

const BLOCK: usize = 4096;
const GROUP_HEADER_BYTES: usize = 88;
const COPY_BYTES: usize = 64 << 10;

/// A file of a log.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum File {
    Superblock,
    Segment(u32),
}

/// Bytes that say that the log was durable up to a position.
#[derive(Clone, Debug)]
pub struct Statement {
    pub file: File,
    pub bytes: Range<usize>,
    pub durable: Lsn,
}

/// A log on a fake disk, and the truth about it.
pub struct Log {
    pub name: &'static str,
    /// Bits of which one in nine is flipped in the long run, because another log has all of the kind.
    pub alike: &'static [Sweep],
    pub memory: Memory,
    /// The files as they are without damage.
    pub files: BTreeMap<File, Vec<u8>>,
    /// What some files were before.
    pub older: Vec<(File, Vec<u8>)>,
    /// Segment index to slot, as the superblock has it.
    pub listed: BTreeMap<u64, u32>,
    pub history: Vec<Change>,
    /// The records as they were appended.
    pub payloads: Vec<Vec<u8>>,
    /// Where each record ends.
    pub ends: Vec<Lsn>,
    pub acknowledged: usize,
    /// Where the acknowledged log ends.
    pub tail: Lsn,
    pub statements: Vec<Statement>,
    /// Start and end of each group that is in the files, up to the tail.
    pub groups: Vec<(Lsn, Lsn)>,
}

/// All logs.
pub fn all() -> Vec<Log> {
    vec![closed(), killed(), killed_at_a_segment_start(), checkpointed(), torn(), torn_without_header(), reopened()]
}

/// A log while it is written, with what its files were on the way.
struct Build {
    world: World,
    older: BTreeSet<(File, Vec<u8>)>,
}

impl Build {
    fn begin() -> (Build, Node) {
        Build::begin_with(World { no_checkpoints: true, ..World::default() })
    }

    fn begin_with(mut world: World) -> (Build, Node) {
        let node = world.open().unwrap();
        (Build { world, older: BTreeSet::new() }, node)
    }

    fn put(&mut self, node: &mut Node, key: &str, value_bytes: usize) {
        let fill = self.world.history.len() as u8 + 1;
        self.world.put(node, key, vec![fill; value_bytes]);
        self.world.flush(node);
    }

    fn keep_older(&mut self) {
        self.older.extend(files(&self.world.memory));
    }

    /// Writes groups of different sizes until `stop`; now and then what the files are is kept.
    fn fill(&mut self, node: &mut Node, keys: usize, stop: &dyn Fn(&World, &Node) -> bool) {
        for round in 0..10_000 {
            if stop(&self.world, node) {
                return;
            }
            if round % 8 == 7 {
                self.keep_older();
            }
            self.put(node, &format!("key {}", round % keys), 200 * (round % 4) + [100, 3000, 9000][round % 3]);
        }
        panic!("the log does not get where it should");
    }

    /// Cuts the power while a group of some blocks is written; `keep` says which of its sectors are on the disk.
    fn tear(&mut self, mut node: Node, keep: &dyn Fn(usize) -> bool) {
        self.world.memory.hold(true);
        self.world.put(&mut node, "torn", vec![0xee; 9000]);
        self.world.turns(&mut node, 2);
        drop(node);
        let mut sector = 0;
        self.world.memory.crash_choosing(&mut || {
            sector += 1;
            keep(sector - 1)
        });
    }

    fn kill(&mut self, node: Node) {
        drop(node);
        self.world.memory.crash_choosing(&mut || false);
    }

    fn end(mut self, name: &'static str) -> Log {
        let files = files(&self.world.memory);
        self.older.retain(|(file, bytes)| files.get(file) != Some(bytes));
        let listed = listed(&files[&File::Superblock]);
        let tail = self.world.durable;
        let (statements, groups) = read(&files, &listed, tail);
        let acknowledged = self.world.acknowledged;
        Log {
            name,
            alike: &[],
            memory: self.world.memory,
            files,
            older: self.older.into_iter().collect(),
            listed,
            payloads: payloads(&self.world.history),
            history: self.world.history,
            ends: self.world.ends,
            acknowledged,
            tail,
            statements,
            groups,
        }
    }
}

fn in_third_segment(world: &World) -> bool {
    world.durable.0 > 2 * SEGMENT_BYTES
}

/// Three segments, closed cleanly.
fn closed() -> Log {
    let (mut build, mut node) = Build::begin();
    build.fill(&mut node, 5, &|_, node| node.store.stats().segments == 4);
    build.world.close(node);
    build.end("closed")
}

/// Three segments, killed right after the last group was acknowledged.
fn killed() -> Log {
    let (mut build, mut node) = Build::begin();
    build.fill(&mut node, 5, &|world, _| world.durable.0 > 2 * SEGMENT_BYTES + SEGMENT_BYTES / 2);
    build.put(&mut node, "last but one", 7000);
    build.put(&mut node, "last", 3000);
    build.kill(node);
    Log { alike: &[Sweep::SuperblockBits], ..build.end("killed") }
}

/// The last group is the first of its segment, whose header was written with it.
fn killed_at_a_segment_start() -> Log {
    let (mut build, mut node) = Build::begin();
    build.fill(&mut node, 5, &|world, _| in_third_segment(world));
    build.kill(node);
    Log { alike: &[Sweep::Bits, Sweep::SuperblockBits], ..build.end("killed-at-start") }
}

/// Checkpoints, large values in old segments, files used again; the last group is sealed.
fn checkpointed() -> Log {
    let (mut build, mut node) = Build::begin_with(World::default());
    for key in 0..12 {
        build.put(&mut node, &format!("kept {key}"), 3500);
    }
    build.fill(&mut node, 9, &|world, node| {
        let stats = node.store.stats();
        stats.checkpoints >= 3 && stats.freed >= 4 && world.durable.0 % SEGMENT_BYTES > SEGMENT_BYTES / 2
    });
    build.world.turns(&mut node, 30);
    assert!(node.store.stats().seals > 0);
    build.kill(node);
    build.end("checkpointed")
}

/// A group was cut off by a power cut; its header is on the disk.
fn torn() -> Log {
    let (mut build, mut node) = Build::begin();
    build.fill(&mut node, 5, &|world, _| in_third_segment(world));
    build.put(&mut node, "last", 3000);
    build.tear(node, &|sector| sector % 2 == 0);
    Log { alike: &[Sweep::SuperblockBits], ..build.end("torn") }
}

/// A group was cut off by a power cut; its header is not on the disk.
fn torn_without_header() -> Log {
    let (mut build, mut node) = Build::begin();
    build.fill(&mut node, 5, &|world, _| in_third_segment(world));
    build.put(&mut node, "last", 3000);
    build.tear(node, &|sector| sector % 2 == 1);
    Log { alike: &[Sweep::Bits, Sweep::SuperblockBits], ..build.end("torn-no-header") }
}

/// Opened three times, with a torn group each time that the next opening wrote over.
fn reopened() -> Log {
    let (mut build, mut node) = Build::begin();
    for length in [1, 2] {
        build.fill(&mut node, 5, &|world, _| world.durable.0 > length * SEGMENT_BYTES + SEGMENT_BYTES / 3);
        build.keep_older();
        build.tear(node, &|sector| sector % 5 != 3);
        node = build.world.open().unwrap();
        build.put(&mut node, "after", 500);
    }
    build.put(&mut node, "last but one", 5000);
    build.put(&mut node, "last", 3000);
    build.kill(node);
    Log { alike: &[Sweep::Bits, Sweep::SuperblockBits], ..build.end("reopened") }
}

fn files(memory: &Memory) -> BTreeMap<File, Vec<u8>> {
    let segment = |slot: u32| (File::Segment(slot), memory.edit_segment(slot, |bytes| bytes.clone()).unwrap());
    let superblock = (File::Superblock, memory.edit_superblock(|bytes| bytes.clone()).unwrap());
    memory.slots().into_iter().map(segment).chain([superblock]).collect()
}

fn payloads(history: &[Change]) -> Vec<Vec<u8>> {
    let payload = |(index, change): (usize, &Change)| {
        let mut payload = Vec::new();
        encode(index as u64 + 1, change, &mut payload);
        payload
    };
    history.iter().enumerate().map(payload).collect()
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(bytes[at..at + 8].try_into().unwrap())
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap())
}

fn listed(superblock: &[u8]) -> BTreeMap<u64, u32> {
    let copies = [&superblock[..COPY_BYTES], &superblock[COPY_BYTES..]];
    let newest = copies.into_iter().max_by_key(|copy| u64_at(copy, 24)).unwrap();
    let entries = newest[120..].chunks(12).take(u32_at(newest, 104) as usize);
    entries.map(|entry| (u64_at(entry, 0), u32_at(entry, 8))).collect()
}

/// What states how far the log was durable, and the groups up to the tail, read as `FORMAT.md` says.
fn read(files: &BTreeMap<File, Vec<u8>>, listed: &BTreeMap<u64, u32>, tail: Lsn) -> (Vec<Statement>, Vec<(Lsn, Lsn)>) {
    let superblock = &files[&File::Superblock];
    let log_id = u64_at(superblock, 16);
    let mut statements = Vec::new();
    let mut groups = Vec::new();
    for copy in [0, COPY_BYTES] {
        let durable = Lsn(u64_at(superblock, copy + 96));
        statements.push(Statement { file: File::Superblock, bytes: copy..copy + COPY_BYTES, durable });
    }
    for (&index, &slot) in listed {
        let (file, start) = (File::Segment(slot), index * SEGMENT_BYTES);
        let bytes = &files[&file];
        if bytes.starts_with(b"asntSEG\x01") && u64_at(bytes, 8) == log_id && u64_at(bytes, 16) == index {
            statements.push(Statement { file, bytes: 0..BLOCK, durable: Lsn(u64_at(bytes, 32)) });
        }
        for at in (BLOCK..bytes.len()).step_by(BLOCK) {
            let header = &bytes[at..at + GROUP_HEADER_BYTES];
            let here = header.starts_with(b"asntGRP\x02")
                && crc32c::crc32c(&header[..84]) == u32_at(header, 84)
                && u64_at(header, 8) == log_id
                && u64_at(header, 16) == start + at as u64;
            if !here {
                continue;
            }
            let durable = Lsn(u64_at(header, 48));
            statements.push(Statement { file, bytes: at..at + GROUP_HEADER_BYTES, durable });
            let lsn = start + at as u64;
            let end = (lsn + GROUP_HEADER_BYTES as u64 + u64::from(u32_at(header, 32))).next_multiple_of(BLOCK as u64);
            if end <= tail.0 {
                groups.push((Lsn(lsn), Lsn(end)));
            }
        }
    }
    (statements, groups)
}
