//! A record's position is the same when it is appended and when it is replayed, and names one record of one history.
#![allow(clippy::unwrap_used)]

use std::collections::BTreeSet;

use bytes::Bytes;
use engine::memory::{Memory, MemoryDisk};
use engine::{Options, Owner, Position, Store, Table, Worker};

const SEGMENT_BYTES: u64 = 64 << 10;

struct Log {
    memory: Memory,
    appended: Vec<(Position, Bytes)>,
    durable: usize,
    now_us: u64,
}

impl Log {
    fn new() -> Log {
        Log { memory: Memory::new(), appended: Vec::new(), durable: 0, now_us: 0 }
    }

    /// Opens the log; what it replays is what was appended, all that was durable and nothing else.
    fn open(&mut self) -> Store<MemoryDisk> {
        let options = Options { segment_bytes: SEGMENT_BYTES, ..Options::new(Owner { role: 1, node: 2, cluster: 3 }) };
        let mut replayed = Vec::new();
        let mut replay = |at, payload| replayed.push((at, payload));
        let (storage, disk) = (self.memory.storage(), self.memory.disk());
        let (store, _) = Store::open(options, storage, disk, Worker::inline(), Table::new(), &mut replay).unwrap();
        assert!(replayed.len() >= self.durable, "{} of {} records", replayed.len(), self.durable);
        self.appended.truncate(replayed.len());
        assert!(replayed == self.appended);
        self.durable = replayed.len();
        store
    }

    fn append(&mut self, store: &mut Store<MemoryDisk>, bytes: usize) {
        let payload = vec![self.appended.len() as u8; bytes];
        let at = store.append(&mut |into| into.extend_from_slice(&payload));
        self.appended.push((at, payload.into()));
    }

    fn flush(&mut self, store: &mut Store<MemoryDisk>) {
        while store.durable() < store.end() {
            self.now_us += 1_000;
            store.poll(self.now_us).unwrap();
        }
        self.durable = self.appended.len();
    }
}

#[test]
fn replay_gives_the_positions_that_append_gave() {
    for seed in 0..40 {
        let mut log = Log::new();
        for round in 0..4_u64 {
            let mut store = log.open();
            for step in 0..30_u64 {
                // Up to a quarter of a segment each, several before a flush: groups overflow, segments end.
                let mixed = (seed * 1_000 + round * 100 + step + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32;
                let bytes = if mixed.is_multiple_of(3) { mixed % (16 << 10) } else { mixed % 200 };
                log.append(&mut store, bytes as usize);
                if mixed.is_multiple_of(5) {
                    log.flush(&mut store);
                }
            }
            drop(store);
            log.memory.crash(seed + round);
        }
        assert!(log.appended.last().unwrap().0.lsn.0 > SEGMENT_BYTES);
        let positions: BTreeSet<_> = log.appended.iter().map(|(at, _)| (at.lsn, at.chain)).collect();
        let chains: BTreeSet<_> = log.appended.iter().map(|(at, _)| at.chain).collect();
        assert_eq!((positions.len(), chains.len()), (log.appended.len(), log.appended.len()));
        assert!(!chains.contains(&0));
    }
}

/// What a log loses and writes again in the same place has another position, unless it is the same after the same past.
#[test]
fn another_record_in_the_place_of_a_lost_one_has_another_position() {
    let grown_with = |payloads: &[&[u8]]| {
        let mut log = Log::new();
        let mut store = log.open();
        log.append(&mut store, 100);
        log.flush(&mut store);
        drop(store);
        // Whatever came after is lost without a trace; the next opening writes on here.
        let mut store = log.open();
        let each = |payload: &&[u8]| store.append(&mut |into| into.extend_from_slice(payload));
        payloads.iter().map(each).collect::<Vec<_>>()
    };
    let first = grown_with(&[b"before", b"promise"]);
    let same = grown_with(&[b"before", b"promise"]);
    let other_past = grown_with(&[b"BEFORE", b"promise"]);
    let other_record = grown_with(&[b"before", b"PROMISE"]);
    assert_eq!(first, same);
    assert_eq!(first[0], other_record[0]);
    for other in [other_past[1], other_record[1]] {
        assert_eq!(first[1].lsn, other.lsn);
        assert_ne!(first[1].chain, other.chain);
    }
}
