//! The real form: io_uring, O_DIRECT, a directory with its lock and modes.
#![allow(clippy::unwrap_used)]

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use engine::{
    DirStorage, DumpItem, Logged, OpenError, Options, Owner, RecordKind, RecoveryReport, Storage, Store, Table,
    UringDisk, Worker, dump,
};
use tokio::sync::Notify;

const OWNER: Owner = Owner { role: 1, node: 2, cluster: 3 };

struct Node {
    store: Store<UringDisk>,
    notify: Arc<Notify>,
    started: Instant,
    report: RecoveryReport,
    replayed: Vec<(Logged, Bytes)>,
}

fn open(dir: &Path) -> Result<Node, OpenError> {
    let notify = Arc::new(Notify::new());
    let storage = Arc::new(DirStorage::open(dir)?);
    let disk = UringDisk::new(Arc::clone(&storage), Arc::clone(&notify));
    let worker = Worker::thread(Arc::clone(&notify)).unwrap();
    let options = Options { segment_bytes: 1 << 20, seal_idle: Duration::from_millis(2), ..Options::new(OWNER) };
    let mut replayed = Vec::new();
    let mut replay = |at, payload| replayed.push((at, payload));
    let storage: Arc<dyn Storage> = storage;
    let (store, report) = Store::open(options, storage, disk, worker, Table::new(), &mut replay)?;
    Ok(Node { store, notify, started: Instant::now(), report, replayed })
}

impl Node {
    fn now_us(&self) -> u64 {
        self.started.elapsed().as_micros() as u64
    }

    async fn until(&mut self, mut done: impl FnMut(&mut Store<UringDisk>) -> bool) {
        loop {
            let now_us = self.now_us();
            self.store.poll(now_us).unwrap();
            if done(&mut self.store) {
                return;
            }
            assert!(self.started.elapsed() < Duration::from_secs(20), "nothing came of it");
            tokio::time::timeout(Duration::from_millis(5), self.notify.notified()).await.ok();
        }
    }

    async fn flush(&mut self) {
        let end = self.store.end();
        self.until(|store| store.durable() >= end).await;
    }
}

#[test]
fn records_come_back_after_a_clean_stop_and_after_none() {
    let temp = tempfile::tempdir().unwrap();
    let dir = temp.path().join("data");
    tokio_uring::start(async {
        let mut node = open(&dir).unwrap();
        assert!(node.report.created && node.replayed.is_empty());
        let mut expected = Vec::new();
        for round in 0..40_u32 {
            let payload = vec![round as u8; 100_000];
            expected.push((node.store.append(&mut |into| into.extend_from_slice(&payload)), Bytes::from(payload)));
            node.flush().await;
        }
        assert!(node.store.stats().segments > 3);
        let mut times = 0;
        node.store.drain_write_times(&mut |_| times += 1);
        assert!(times >= 40);
        let direct = node.store.stats().direct;
        drop(node);

        let mut node = open(&dir).unwrap();
        assert_eq!(node.replayed, expected);
        assert_eq!((node.report.clean, node.report.incarnation, node.report.direct), (false, 2, direct));
        node.store.close_start();
        node.until(|store| store.is_closed()).await;
        drop(node);

        let node = open(&dir).unwrap();
        assert!(node.report.clean && node.report.cuts.is_empty());
        assert_eq!(node.replayed, expected);
    });
    let dumped: Vec<Bytes> = dump(&dir)
        .unwrap()
        .filter_map(|item| match item.unwrap() {
            DumpItem::Record { kind: RecordKind::Owner, payload, .. } => Some(payload),
            DumpItem::Record { .. } | DumpItem::Group(_) | DumpItem::Skipped(_) | DumpItem::Torn(_) => None,
        })
        .collect();
    assert_eq!(dumped.len(), 40);
}

#[test]
fn a_directory_has_one_opener_one_owner_and_no_other_readers() {
    let temp = tempfile::tempdir().unwrap();
    let dir = temp.path().join("data");
    tokio_uring::start(async {
        let node = open(&dir).unwrap();
        assert!(matches!(open(&dir), Err(OpenError::Locked { .. })));
        for entry in std::fs::read_dir(&dir).unwrap() {
            let entry = entry.unwrap();
            assert_eq!(entry.metadata().unwrap().permissions().mode() & 0o777, 0o600, "{entry:?}");
        }
        assert_eq!(std::fs::metadata(&dir).unwrap().permissions().mode() & 0o777, 0o700);
        drop(node);
        let storage: Arc<dyn Storage> = Arc::new(DirStorage::open(&dir).unwrap());
        let options = Options::new(Owner { node: 9, ..OWNER });
        let disk = engine::memory::Memory::new().disk();
        let other = Store::open(options, storage, disk, Worker::inline(), Table::new(), &mut |_, _| ());
        assert!(matches!(other, Err(OpenError::WrongOwner { .. })));
    });
}

#[test]
fn large_values_are_read_through_the_map() {
    let temp = tempfile::tempdir().unwrap();
    tokio_uring::start(async {
        let mut node = open(temp.path()).unwrap();
        let value = Bytes::from(vec![7; 5000]);
        let at = node.store.append(&mut |into| into.extend_from_slice(&value));
        node.store.table().apply(at.place, 0, b"key", Some(value.clone()));
        assert_eq!(node.store.table().stats().pending, 1);
        node.flush().await;
        assert_eq!(node.store.table().stats().pending, 0);
        assert_eq!(node.store.table().get(b"key").unwrap(), Some(value));
    });
}
