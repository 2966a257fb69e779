//! One log of `engine` in a directory, with the real disk, driven from creation through checkpoints and clean stops, whose
//! whole content follows from how many records it holds.
//!
//! Record `n` sets or removes a key that `n` names, so a log that holds the first `k` records holds exactly the table that
//! they make. Whoever opens it checks all keys and values. Not here: what goes wrong meanwhile (`fuse`, `image`).

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use engine::{
    DirStorage, LogError, Logged, Lsn, OpenError, Options, Owner, Place, RecoveryReport, Room, Storage, Store, Table,
    TableError, UringDisk, Worker,
};
use tokio::sync::Notify;

/// Small, so that a short life has many segments.
const SEGMENT_BYTES: u64 = 64 << 10;

/// How far the log's own clock goes at each look: what it waits for by the clock comes soon.
const LOOK_US: u64 = 20_000;

/// How long the disk may take, in looks of a millisecond each.
const LOOKS_MAX: u32 = 20_000;

/// How long it may rest, likewise: many times what a small segment takes.
const REST_LOOKS: u32 = 200;

/// Why a life ended early.
#[derive(Debug)]
pub enum Ended {
    /// The log could not be opened.
    Refused(OpenError),
    /// It stopped.
    Stopped(LogError),
    /// A value cannot be read.
    Unreadable(TableError),
}

/// What was promised of a log: the first records, so many at least.
#[derive(Clone, Copy, Default, Debug)]
pub struct Promised {
    /// Records that were called durable.
    pub acknowledged: u64,
}

/// An open log.
pub struct Life {
    store: Store<UringDisk>,
    wake: Arc<Notify>,
    now_us: u64,
    written: u64,
    ends: Vec<(u64, Lsn)>,
    is_checkpointing: bool,
    /// What the opening found.
    pub report: RecoveryReport,
}

/// What record `n` does: the key, and the value that it gets.
fn change(n: u64) -> (String, Option<Vec<u8>>) {
    let bytes = [5, 300, 6000, 100, 2500][n as usize % 5];
    (format!("key {}", n * 7 % 13), (!n.is_multiple_of(11)).then(|| vec![n as u8; bytes]))
}

fn apply(table: &Table, at: Place, n: u64, payload: &Bytes) {
    let (key, value) = change(n);
    let value = value.map(|value| payload.slice(payload.len() - value.len()..));
    let offset = value.as_ref().map_or(0, |value| payload.len() - value.len()) as u32;
    table.apply(at, offset, key.as_bytes(), value);
    table.apply(at, 0, b"~last", Some(payload.slice(..8)));
}

fn number(bytes: &[u8]) -> u64 {
    u64::from_le_bytes(bytes[..8].try_into().expect("a number of eight bytes"))
}

fn check(table: &Table, records: u64) -> Result<(), TableError> {
    let mut expected = BTreeMap::new();
    for n in 1..=records {
        let (key, value) = change(n);
        match value {
            Some(value) => _ = expected.insert(key.into_bytes(), value),
            None => _ = expected.remove(key.as_bytes()),
        }
    }
    let mut found = BTreeMap::new();
    table.scan(b"", b"~", &mut |key, value| {
        found.insert(key.to_vec(), value.to_vec());
        ControlFlow::Continue(())
    })?;
    assert!(found == expected, "the table is not what {records} records make");
    Ok(())
}

impl Life {
    /// Opens the log, and checks that it holds the first records, all that were promised among them, and nothing else.
    /// What it hands out is promised from now on.
    ///
    /// # Errors
    /// It could not be opened, or a value not read.
    pub fn open(dir: &Path, promised: &mut Promised) -> Result<Self, Ended> {
        let wake = Arc::new(Notify::new());
        let storage = Arc::new(DirStorage::open(dir).map_err(Ended::Refused)?);
        let disk = UringDisk::new(Arc::clone(&storage), Arc::clone(&wake));
        let worker = Worker::thread(Arc::clone(&wake)).expect("a thread");
        let options = Options {
            segment_bytes: SEGMENT_BYTES,
            segments_max: engine::limits::SEGMENTS_DEFAULT,
            checkpoint_bytes: 2 * SEGMENT_BYTES,
            seal_idle: Duration::from_secs(3600),
            ..Options::new(Owner { role: 1, node: 2, cluster: 3 })
        };
        let table = Table::new();
        let mut replayed = Vec::new();
        let mut replay = |at: Logged, payload: Bytes| {
            let n = number(&payload);
            apply(&table, at.place, n, &payload);
            replayed.push(n);
        };
        let storage: Arc<dyn Storage> = storage;
        let opened = Store::open(options, storage, disk, worker, table.clone(), &mut replay);
        let (store, report) = opened.map_err(Ended::Refused)?;
        assert!(replayed.windows(2).all(|pair| pair[1] == pair[0] + 1), "records come in order, without gaps");
        let written = table.get(b"~last").expect("a value").map_or(0, |last| number(&last));
        assert!(replayed.last().is_none_or(|&last| last == written));
        let acknowledged = promised.acknowledged;
        assert!(written >= acknowledged, "{written} records came back of {acknowledged} acknowledged");
        check(&table, written).map_err(Ended::Unreadable)?;
        promised.acknowledged = written;
        Ok(Self { store, wake, now_us: 1, written, ends: Vec::new(), is_checkpointing: false, report })
    }

    /// Writes so many groups of one to three records, each durable before the next.
    ///
    /// # Errors
    /// The log stopped; what it had called durable by then is promised.
    pub async fn write(&mut self, groups: u64, promised: &mut Promised) -> Result<(), Ended> {
        for group in 0..groups {
            self.wait(|store| store.room() == Room::Plenty, promised).await?;
            for _ in 0..=group % 3 {
                self.append();
            }
            let end = self.store.end();
            self.wait(|store| store.durable() >= end, promised).await?;
        }
        self.wait(|store| store.durable() >= store.end(), promised).await
    }

    /// Lets the worker finish what it is about: the next segment, and its listing.
    ///
    /// # Errors
    /// The log stopped.
    pub async fn rest(&mut self, promised: &mut Promised) -> Result<(), Ended> {
        for _ in 0..REST_LOOKS {
            self.turn(promised)?;
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        Ok(())
    }

    fn append(&mut self) {
        self.written += 1;
        let n = self.written;
        let mut payload = n.to_le_bytes().to_vec();
        payload.extend(change(n).1.unwrap_or_default());
        let at = self.store.append(&mut |into| into.extend_from_slice(&payload));
        apply(self.store.table(), at.place, n, &Bytes::from(payload));
        self.ends.push((n, self.store.end()));
    }

    /// Stops cleanly.
    ///
    /// # Errors
    /// The log stopped otherwise.
    pub async fn close(mut self, promised: &mut Promised) -> Result<(), Ended> {
        self.store.close_start();
        self.wait(Store::is_closed, promised).await?;
        assert_eq!(promised.acknowledged, self.written, "what is closed is durable");
        Ok(())
    }

    async fn wait(&mut self, done: impl Fn(&Store<UringDisk>) -> bool, promised: &mut Promised) -> Result<(), Ended> {
        for _ in 0..LOOKS_MAX {
            self.turn(promised)?;
            if done(&self.store) {
                return Ok(());
            }
            let _ = tokio::time::timeout(Duration::from_millis(1), self.wake.notified()).await;
        }
        panic!("nothing comes of it: {:?}", self.store.stats());
    }

    fn turn(&mut self, promised: &mut Promised) -> Result<(), Ended> {
        self.now_us += LOOK_US;
        let polled = self.store.poll(self.now_us);
        let durable = self.store.durable();
        while let Some(&(n, end)) = self.ends.first().filter(|(_, end)| *end <= durable) {
            assert!(end <= durable);
            promised.acknowledged = n;
            self.ends.remove(0);
        }
        if let Err(error) = polled {
            self.now_us += 10_000_000;
            assert!(self.store.poll(self.now_us).is_err(), "a log that has stopped does not go on");
            assert_eq!(self.store.durable(), durable, "nothing is acknowledged after a failure");
            return Err(Ended::Stopped(error));
        }
        if self.store.checkpoint_due() && !self.is_checkpointing {
            self.store.checkpoint_begin();
            self.is_checkpointing = true;
        }
        if self.is_checkpointing && !self.store.checkpoint_slice() {
            self.store.checkpoint_end();
            self.is_checkpointing = false;
        }
        Ok(())
    }

    /// Reads the values of all keys.
    ///
    /// # Errors
    /// A value that cannot be read.
    pub fn read(&self) -> Result<(), TableError> {
        self.store.table().scan(b"", b"~", &mut |_key, _value| ControlFlow::Continue(()))
    }
}
