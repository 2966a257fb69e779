//! A record's position is a function of the records alone: the same wherever groups, openings, crashes and checkpoints lie, when
//! it is appended and when it is replayed; and it names one record of one history.
#![allow(clippy::unwrap_used)]

use std::collections::BTreeSet;

use bytes::Bytes;
use engine::memory::{Memory, MemoryDisk};
use engine::{Index, Logged, Options, Owner, Position, Store, Table, Worker};

/// A log that is driven in a way of its own.
struct Log {
    memory: Memory,
    segment_bytes: u64,
    /// Drawn from for each step.
    random: u64,
    /// What was appended and is not lost, with where it lies.
    appended: Vec<(Logged, Bytes)>,
    durable: usize,
    /// The first one that replay begins with; before it, the checkpoint begins.
    replayed_from: usize,
    /// Records that were logged again, since there.
    again: usize,
    now_us: u64,
}

impl Log {
    fn new(seed: u64, segment_bytes: u64) -> Log {
        let (memory, appended) = (Memory::new(), Vec::new());
        Log { memory, segment_bytes, random: seed, appended, durable: 0, replayed_from: 0, again: 0, now_us: 0 }
    }

    fn below(&mut self, bound: u64) -> u64 {
        self.random = self.random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.random >> 33) % bound
    }

    /// Opens the log; what it replays is what was appended, all that was durable and nothing else.
    fn open(&mut self) -> Store<MemoryDisk> {
        let owner = Owner { role: 1, node: 2, cluster: 3 };
        let options = Options { segment_bytes: self.segment_bytes, ..Options::new(owner) };
        let begun = self.replayed_from.checked_sub(1).map_or(Index::ZERO, |at| self.appended[at].0.position.index);
        let (mut replayed, mut again, mut last) = (Vec::new(), 0, Index::ZERO);
        let mut replay = |at: Logged, payload| {
            if at.position.is_known() {
                last = at.position.index;
                replayed.push((at, payload));
            } else {
                // It says behind which record it stands.
                assert_eq!(at.position, Position { index: last.max(begun), hash: 0 });
                again += 1;
            }
        };
        let (storage, disk) = (self.memory.storage(), self.memory.disk());
        let (store, _) = Store::open(options, storage, disk, Worker::inline(), Table::new(), &mut replay).unwrap();
        let kept = self.replayed_from + replayed.len();
        assert!(kept >= self.durable, "{kept} of {} records", self.durable);
        self.appended.truncate(kept);
        assert!(replayed == self.appended[self.replayed_from..]);
        assert!(again >= self.again);
        assert_eq!(store.last(), self.appended.last().map_or(Index::ZERO, |(at, _)| at.position.index));
        assert_eq!(store.stable(), store.last());
        self.durable = kept;
        store
    }

    fn append(&mut self, store: &mut Store<MemoryDisk>, payload: &Bytes) {
        let at = store.append(&mut |into| into.extend_from_slice(payload));
        self.appended.push((at, payload.clone()));
        assert_eq!(store.last(), at.position.index);
        assert!(store.stable() < at.position.index);
    }

    fn flush(&mut self, store: &mut Store<MemoryDisk>) {
        while store.durable() < store.end() {
            let durable = store.durable();
            self.now_us += 1_000;
            store.poll(self.now_us).unwrap();
            let ends_before = |(at, _): &&(Logged, Bytes)| at.place < durable.into();
            let stable = self.appended.iter().rev().find(ends_before).map_or(Index::ZERO, |(at, _)| at.position.index);
            assert!(store.stable() >= stable);
        }
        assert_eq!(store.stable(), store.last());
        self.durable = self.appended.len();
    }

    /// A whole checkpoint, in which some records are logged again.
    fn checkpoint(&mut self, store: &mut Store<MemoryDisk>) {
        let finished = store.stats().checkpoints;
        store.checkpoint_begin();
        let (last, again) = (store.last(), self.below(5));
        for number in 0..again {
            let at = store.append_again(&mut |into| into.extend_from_slice(&number.to_le_bytes()));
            assert_eq!(at.position, Position { index: last, hash: 0 });
        }
        while store.checkpoint_slice() {}
        store.checkpoint_end();
        assert_eq!(store.last(), last, "nothing of a checkpoint is counted");
        let begun = self.appended.len();
        while store.stats().checkpoints == finished {
            self.now_us += 1_000;
            store.poll(self.now_us).unwrap();
        }
        self.flush(store);
        (self.replayed_from, self.again) = (begun, again as usize);
    }

    /// Appends these records, with flushes, openings, crashes and checkpoints where chance wants them; what a crash loses is
    /// appended again.
    fn grow(&mut self, records: &[Bytes]) {
        let mut store = self.open();
        while self.appended.len() < records.len() || self.durable < records.len() {
            match self.below(24) {
                0 => {
                    drop(store);
                    let seed = self.below(1 << 20);
                    self.memory.crash(seed);
                    store = self.open();
                }
                1 => self.checkpoint(&mut store),
                2..6 => self.flush(&mut store),
                _ => {
                    if let Some(record) = records.get(self.appended.len()) {
                        self.append(&mut store, record);
                    }
                }
            }
        }
    }

    fn positions(&self) -> Vec<Position> {
        self.appended.iter().map(|(at, _)| at.position).collect()
    }
}

#[test]
fn two_logs_of_the_same_records_have_the_same_positions() {
    // Up to a quarter of the smallest segment each: groups overflow, segments end.
    let mut sizes = Log::new(7, 64 << 10);
    let mut record = |number: u64| {
        let bound = if sizes.below(3) == 0 { 16 << 10 } else { 200 };
        let bytes = sizes.below(bound) as usize;
        Bytes::from([&number.to_le_bytes()[..], &vec![number as u8; bytes]].concat()).slice(..bytes)
    };
    let records: Vec<Bytes> = (0..150).map(&mut record).collect();
    let mut expected = Vec::new();
    records.iter().fold(Position::UNKNOWN, |before, record| {
        expected.push(before.next(record));
        before.next(record)
    });
    let mut places = BTreeSet::new();
    for seed in 0..40 {
        let mut log = Log::new(seed, (64 << 10) << (seed % 3));
        log.grow(&records);
        assert!(log.positions() == expected, "seed {seed}");
        places.insert(log.appended.last().unwrap().0.place);
    }
    assert!(places.len() > 30, "the logs lie otherwise on their disks: {}", places.len());
    let hashes: BTreeSet<u64> = expected.iter().map(|at| at.hash).collect();
    assert!(hashes.len() == records.len() && !hashes.contains(&0));
    assert_eq!(expected.last().unwrap().index, Index(150));
}

/// What a log loses and writes again has another position, unless it is the same after the same past.
#[test]
fn another_record_under_the_index_of_a_lost_one_has_another_position() {
    let grown_with = |payloads: &[&'static [u8]]| {
        let mut log = Log::new(1, 64 << 10);
        let mut store = log.open();
        log.append(&mut store, &Bytes::from(vec![1; 100]));
        log.flush(&mut store);
        drop(store);
        // Whatever came after is lost without a trace; the next opening writes on here.
        let mut store = log.open();
        payloads.iter().for_each(|payload| log.append(&mut store, &Bytes::from_static(payload)));
        log.positions()
    };
    let first = grown_with(&[b"before", b"promise"]);
    let same = grown_with(&[b"before", b"promise"]);
    let other_past = grown_with(&[b"BEFORE", b"promise"]);
    let other_record = grown_with(&[b"before", b"PROMISE"]);
    assert_eq!(first, same);
    assert_eq!(first[1], other_record[1]);
    for other in [other_past[2], other_record[2]] {
        assert_eq!(first[2].index, other.index);
        assert_ne!(first[2].hash, other.hash);
    }
}
