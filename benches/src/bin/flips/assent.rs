//! This log: `engine::Store` on a directory, records appended and replayed.
//!
//! All options are the defaults, but for a small segment, so that a log of a hundred records spans several.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use engine::limits::BLOCK_BYTES;
use engine::{DirStorage, Options, Owner, Storage, Store, Table, UringDisk, Worker};
use tokio::sync::Notify;

use crate::record::record;
use crate::subject::{Refusal, Subject};

const SEGMENT_BYTES: u64 = 256 << 10;
const OWNER: Owner = Owner { role: 1, node: 1, cluster: 1 };

/// Longest wait for the disk between two looks at the clock: a seal is due by time.
const TURN: Duration = Duration::from_millis(5);

/// How the process that wrote the log ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Stop {
    /// Killed right after the last acknowledgement. The last group has no seal over it yet.
    Killed,
    /// Killed later, when the log was idle long enough to be sealed.
    KilledSealed,
    /// Stopped cleanly.
    Clean,
}

/// This log.
pub(crate) struct Assent(pub(crate) Stop);

struct Log {
    store: Store<UringDisk>,
    notify: Arc<Notify>,
    started: Instant,
}

impl Log {
    fn open(dir: &Path, each: &mut dyn FnMut(u64, &[u8])) -> Result<Log, Refusal> {
        let notify = Arc::new(Notify::new());
        let storage = Arc::new(DirStorage::open(dir)?);
        let disk = UringDisk::new(Arc::clone(&storage), Arc::clone(&notify));
        let worker = Worker::thread(Arc::clone(&notify))?;
        let options = Options { segment_bytes: SEGMENT_BYTES, ..Options::new(OWNER) };
        let storage: Arc<dyn Storage> = storage;
        let mut next = 0;
        let opened = Store::open(options, storage, disk, worker, Table::new(), &mut |_, payload| {
            each(next, &payload);
            next += 1;
        });
        let (store, _) = opened?;
        Ok(Log { store, notify, started: Instant::now() })
    }

    async fn until(&mut self, mut done: impl FnMut(&Store<UringDisk>) -> bool) -> Result<(), Refusal> {
        loop {
            self.store.poll(self.started.elapsed().as_micros() as u64)?;
            if done(&self.store) {
                return Ok(());
            }
            tokio::time::timeout(TURN, self.notify.notified()).await.ok();
        }
    }

    async fn write(&mut self, records: u64) -> Result<(), Refusal> {
        for content in (0..records).map(record) {
            self.store.append(&mut |into| into.extend_from_slice(&content));
            let end = self.store.end();
            self.until(|store| store.durable() >= end).await?;
        }
        Ok(())
    }
}

impl Subject for Assent {
    fn name(&self) -> &'static str {
        match self.0 {
            Stop::Killed => "assent-killed",
            Stop::KilledSealed => "assent-sealed",
            Stop::Clean => "assent-clean",
        }
    }

    fn engine(&self) -> String {
        format!("assent {}", env!("CARGO_PKG_VERSION"))
    }

    fn mode(&self) -> &'static str {
        match self.0 {
            Stop::Killed => "killed before the seal",
            Stop::KilledSealed => "killed after the seal",
            Stop::Clean => "stopped cleanly",
        }
    }

    fn is_log(&self, file: &str) -> bool {
        file.starts_with("segment-")
    }

    fn unit_bytes(&self) -> u64 {
        BLOCK_BYTES as u64
    }

    fn promises_none(&self) -> bool {
        self.0 != Stop::Killed
    }

    fn write(&self, dir: &Path, records: u64, acknowledged: &mut dyn FnMut()) -> Result<(), Refusal> {
        tokio_uring::start(async {
            let mut log = Log::open(dir, &mut |_, _| ())?;
            log.write(records).await?;
            let acknowledged_to = log.store.durable();
            match self.0 {
                Stop::Killed => {}
                Stop::KilledSealed => {
                    // Only a seal can follow.
                    log.until(|store| store.durable() > acknowledged_to).await?;
                }
                Stop::Clean => {
                    log.store.close_start();
                    log.until(Store::is_closed).await?;
                }
            }
            acknowledged();
            Ok(())
        })
    }

    fn read(&self, dir: &Path, each: &mut dyn FnMut(u64, &[u8])) -> Result<(), Refusal> {
        tokio_uring::start(async { Log::open(dir, each).map(drop) })
    }
}
