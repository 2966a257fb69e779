//! A log of chosen records, written by the engine into a directory as a node would write it.
//!
//! For what no run of nodes leaves behind. Not here: damage to its bytes (`engine::inspect::corrupt`).

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use engine::{DirStorage, Options, Owner, Storage, Store, Table, UringDisk, Worker};
use protocol::{Record, Role};
use tokio::sync::Notify;

const PATIENCE: Duration = Duration::from_secs(20);

struct Writer {
    store: Store<UringDisk>,
    started: Instant,
}

impl Writer {
    fn open(dir: &Path, role: Role, node: u32) -> Self {
        let wake = Arc::new(Notify::new());
        let storage = Arc::new(DirStorage::open(dir).expect("a directory"));
        let disk = UringDisk::new(Arc::clone(&storage), wake);
        let options = Options {
            segment_bytes: engine::limits::SEGMENT_BYTES_TEST_MIN,
            ..Options::new(Owner { role: role.code(), node, cluster: 1 })
        };
        let storage: Arc<dyn Storage> = storage;
        let opened = Store::open(options, storage, disk, Worker::inline(), Table::new(), &mut |_, _| ());
        Self { store: opened.expect("a log").0, started: Instant::now() }
    }

    fn append(&mut self, records: &[Record]) {
        for record in records {
            self.store.append(&mut |into| record.encode(into));
        }
    }

    async fn until(&mut self, done: impl Fn(&Store<UringDisk>) -> bool) {
        while !done(&self.store) {
            self.store.poll(self.started.elapsed().as_micros() as u64).expect("the log goes on");
            assert!(self.started.elapsed() < PATIENCE, "nothing comes of it");
            tokio::time::sleep(Duration::from_micros(200)).await;
        }
    }
}

/// Writes the log of a node of cluster 1: these records, and, unless there are none, a checkpoint that logs those again which
/// the node still needs. It is stopped cleanly.
pub fn write_log(dir: &Path, (role, node): (Role, u32), records: &[Record], at_checkpoint: &[Record]) {
    tokio_uring::start(async {
        let mut writer = Writer::open(dir, role, node);
        writer.append(records);
        // A start reads the whole group in which the checkpoint begins.
        writer.until(|store| store.durable() >= store.end()).await;
        if !at_checkpoint.is_empty() {
            writer.store.checkpoint_begin();
            writer.append(at_checkpoint);
            while writer.store.checkpoint_slice() {}
            writer.store.checkpoint_end();
            writer.until(|store| store.stats().checkpoints == 1).await;
        }
        writer.store.close_start();
        writer.until(Store::is_closed).await;
    });
}
