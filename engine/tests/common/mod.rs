//! An owner for tests: each record sets or removes a key, and the table must equal some prefix of the history.
#![allow(dead_code, unreachable_pub)]

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::time::Duration;

use bytes::Bytes;
use engine::memory::{Memory, MemoryDisk};
use engine::{LogError, Logged, Lsn, OpenError, Options, Owner, Place, RecoveryReport, Store, Table, Worker};

pub const SEGMENT_BYTES: u64 = 64 << 10;
pub const OWNER: Owner = Owner { role: 1, node: 2, cluster: 3 };

pub fn options() -> Options {
    Options {
        segment_bytes: SEGMENT_BYTES,
        checkpoint_bytes: 2 * SEGMENT_BYTES,
        seal_idle: Duration::from_millis(20),
        ..Options::new(OWNER)
    }
}

pub type Change = (Vec<u8>, Option<Vec<u8>>);

pub fn encode(id: u64, change: &Change, into: &mut Vec<u8>) {
    into.extend_from_slice(&id.to_le_bytes());
    into.push(change.0.len() as u8);
    into.push(u8::from(change.1.is_some()));
    into.extend_from_slice(&change.0);
    into.extend_from_slice(change.1.as_deref().unwrap_or_default());
}

pub fn apply(table: &Table, at: Place, payload: &Bytes) -> u64 {
    let id = u64::from_le_bytes(payload[..8].try_into().unwrap());
    let key_end = 10 + usize::from(payload[8]);
    let value = (payload[9] == 1).then(|| payload.slice(key_end..));
    table.apply(at, key_end as u32, &payload[10..key_end], value);
    table.apply(at, 0, b"~last", Some(payload.slice(..8)));
    id
}

/// An open log and the time that it is told.
pub struct Node {
    pub store: Store<MemoryDisk>,
    pub report: RecoveryReport,
    pub now_us: u64,
    slices: bool,
}

/// A disk, what was written to it, and how much of that was acknowledged.
#[derive(Default)]
pub struct World {
    pub memory: Memory,
    pub history: Vec<Change>,
    pub ends: Vec<Lsn>,
    pub acknowledged: usize,
    pub durable: Lsn,
    /// No checkpoint begins, however long the log is.
    pub no_checkpoints: bool,
    /// How many segments the log may have, if not the default.
    pub segments_max: Option<usize>,
}

impl World {
    /// Opens the log and checks that the table is what some prefix of the history, with all acknowledged, makes it.
    pub fn open(&mut self) -> Result<Node, OpenError> {
        let table = Table::new();
        let mut ids = Vec::new();
        let mut replay = |at: Logged, payload: Bytes| ids.push(apply(&table, at.place, &payload));
        let (storage, disk) = (self.memory.storage(), self.memory.disk());
        let mut options = options();
        options.segments_max = self.segments_max.unwrap_or(options.segments_max);
        let opened = Store::open(options, storage, disk, Worker::inline(), table.clone(), &mut replay);
        let (store, report) = opened?;
        assert!(ids.windows(2).all(|pair| pair[1] == pair[0] + 1), "records come in order, without gaps: {ids:?}");
        let last = table.get(b"~last").unwrap();
        let kept = last.map_or(0, |id| u64::from_le_bytes(id[..8].try_into().unwrap()) as usize);
        assert!(ids.last().is_none_or(|&id| id as usize == kept));
        assert!(kept >= self.acknowledged, "{kept} records of {} acknowledged came back", self.acknowledged);
        self.history.truncate(kept);
        self.ends.truncate(kept);
        self.acknowledged = kept;
        self.check(&table);
        Ok(Node { store, report, now_us: 1, slices: false })
    }

    /// The table equals the whole history.
    pub fn check(&self, table: &Table) {
        let mut expected: BTreeMap<Vec<u8>, Vec<u8>> = BTreeMap::new();
        for (key, value) in &self.history {
            match value {
                Some(value) => expected.insert(key.clone(), value.clone()),
                None => expected.remove(key),
            };
        }
        let mut found = BTreeMap::new();
        table
            .scan(b"", b"~", &mut |key, value| {
                found.insert(key.to_vec(), value.to_vec());
                ControlFlow::Continue(())
            })
            .unwrap();
        assert!(found.keys().eq(expected.keys()), "the table has {} keys, not {}", found.len(), expected.len());
        for (key, value) in &found {
            let of = |value: &[u8]| (value.len(), value.first().copied());
            let (found, expected) = (of(value), of(&expected[key]));
            assert_eq!(found, expected, "value of {}", String::from_utf8_lossy(key));
        }
        assert!(found == expected);
    }

    /// The same world on a disk of its own.
    pub fn copy(&self) -> World {
        World {
            memory: self.memory.copy(),
            history: self.history.clone(),
            ends: self.ends.clone(),
            acknowledged: self.acknowledged,
            durable: self.durable,
            no_checkpoints: self.no_checkpoints,
            segments_max: self.segments_max,
        }
    }

    pub fn append(&mut self, node: &mut Node, change: Change) {
        let id = self.history.len() as u64 + 1;
        let mut payload = Vec::new();
        encode(id, &change, &mut payload);
        let at = node.store.append(&mut |into| into.extend_from_slice(&payload));
        apply(node.store.table(), at.place, &Bytes::from(payload));
        self.history.push(change);
        self.ends.push(node.store.end());
    }

    pub fn put(&mut self, node: &mut Node, key: &str, value: Vec<u8>) {
        self.append(node, (key.as_bytes().to_vec(), Some(value)));
    }

    /// One turn of the driver: 1 ms passes, and the checkpoint goes on.
    pub fn turn(&mut self, node: &mut Node) -> Result<(), LogError> {
        node.now_us += 1000;
        let durable = node.store.poll(node.now_us)?;
        self.durable = durable;
        assert_eq!(durable, node.store.durable());
        self.acknowledged = self.ends.partition_point(|&end| end <= durable);
        if node.store.checkpoint_due() && !node.slices && !self.no_checkpoints {
            node.store.checkpoint_begin();
            node.slices = true;
        }
        if node.slices && !node.store.checkpoint_slice() {
            node.store.checkpoint_end();
            node.slices = false;
        }
        Ok(())
    }

    pub fn turns(&mut self, node: &mut Node, turns: usize) {
        for _ in 0..turns {
            self.turn(node).unwrap();
        }
    }

    /// Turns until all is acknowledged.
    pub fn flush(&mut self, node: &mut Node) {
        for _ in 0..10_000 {
            self.turn(node).unwrap();
            if self.acknowledged == self.history.len() {
                return;
            }
        }
        panic!("the log does not get durable");
    }

    pub fn close(&mut self, mut node: Node) {
        node.store.close_start();
        for _ in 0..100 {
            node.now_us += 1000;
            self.durable = node.store.poll(node.now_us).unwrap();
            if node.store.is_closed() {
                self.acknowledged = self.history.len();
                return;
            }
        }
        panic!("the log does not close");
    }
}

/// Keeps the type checker happy where only the error counts.
pub fn error(opened: Result<Node, OpenError>) -> OpenError {
    match opened {
        Ok(_) => panic!("the log opened although it must refuse"),
        Err(error) => error,
    }
}
