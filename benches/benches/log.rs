//! The log: what an append costs, and what group commit carries on the disk that the target folder lies on.
#![allow(clippy::unwrap_used, missing_docs)]

use std::collections::VecDeque;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use engine::memory::Memory;
use engine::{Buffer, Completion, DirStorage, Disk, Lsn, Options, Owner, Storage, Store, Table, UringDisk, Worker};
use tokio::sync::Notify;

const RECORD_BYTES: usize = 128;
const OWNER: Owner = Owner { role: 1, node: 1, cluster: 1 };

/// A disk that is always done.
#[derive(Default)]
struct NullDisk(VecDeque<Completion>);

impl Disk for NullDisk {
    fn write(&mut self, _slot: u32, _offset: u64, buffer: Buffer) {
        self.0.push_back(Completion { result: Ok(buffer.len()), buffer, elapsed_us: 0 });
    }

    fn reap(&mut self) -> Option<Completion> {
        self.0.pop_front()
    }
}

fn checkpoint_if_due<D: Disk>(store: &mut Store<D>) {
    if store.checkpoint_due() {
        store.checkpoint_begin();
        while store.checkpoint_slice() {}
        store.checkpoint_end();
    }
}

fn append<D: Disk>(store: &mut Store<D>, record: &[u8; RECORD_BYTES]) -> Lsn {
    store.append(&mut |into| into.extend_from_slice(record)).place.into()
}

/// Only the appends are timed; or with `whole`, the groups' checksums and hand-over too.
fn memory_run(store: &mut Store<NullDisk>, records: u64, whole: bool) -> Duration {
    const GROUP: u64 = 1024;
    let record = [7; RECORD_BYTES];
    let mut time = Duration::ZERO;
    let mut left = records;
    while left > 0 {
        let count = left.min(GROUP);
        let started = Instant::now();
        for _ in 0..count {
            std::hint::black_box(append(store, std::hint::black_box(&record)));
        }
        if !whole {
            time += started.elapsed();
        }
        while store.durable() < store.end() {
            store.poll(1).unwrap();
        }
        if whole {
            time += started.elapsed();
        }
        checkpoint_if_due(store);
        left -= count;
    }
    time
}

fn append_cost(criterion: &mut Criterion) {
    let memory = Memory::new();
    let (options, table) = (Options::new(OWNER), Table::new());
    let (mut store, _) =
        Store::open(options, memory.storage(), NullDisk::default(), Worker::inline(), table, &mut |_, _| ()).unwrap();
    let mut group = criterion.benchmark_group("log/memory");
    group.throughput(Throughput::Elements(1));
    group.bench_function("append 128 B", |bench| bench.iter_custom(|count| memory_run(&mut store, count, false)));
    group.bench_function("append 128 B and issue groups of 1024", |bench| {
        bench.iter_custom(|count| memory_run(&mut store, count, true));
    });
    group.finish();
}

/// A log on the disk, and the clock that it is told.
struct Rig {
    store: Store<UringDisk>,
    notify: Arc<Notify>,
    started: Instant,
}

impl Rig {
    /// Opens a new log and fills it until its segments are reused, as in a log that has run for a while.
    async fn open(dir: &Path) -> Rig {
        let notify = Arc::new(Notify::new());
        let storage = Arc::new(DirStorage::open(dir).unwrap());
        let disk = UringDisk::new(Arc::clone(&storage), Arc::clone(&notify));
        let worker = Worker::thread(Arc::clone(&notify)).unwrap();
        let storage: Arc<dyn Storage> = storage;
        let (store, _) = Store::open(Options::new(OWNER), storage, disk, worker, Table::new(), &mut |_, _| ()).unwrap();
        let mut rig = Rig { store, notify, started: Instant::now() };
        while rig.store.stats().checkpoints < 2 {
            rig.closed_loop(4096, 100_000).await;
        }
        rig
    }

    fn poll(&mut self) -> Lsn {
        self.store.poll(self.started.elapsed().as_micros() as u64).unwrap()
    }

    /// Each of `clients` has one record outstanding; runs until `records` are durable.
    async fn closed_loop(&mut self, clients: usize, records: u64) -> Duration {
        let record = [7; RECORD_BYTES];
        let mut outstanding: VecDeque<Lsn> = VecDeque::with_capacity(clients);
        let (mut issued, mut done) = (0_u64, 0_u64);
        let started = Instant::now();
        while done < records {
            let durable = self.poll();
            while outstanding.front().is_some_and(|&end| end <= durable) {
                outstanding.pop_front();
                done += 1;
            }
            while outstanding.len() < clients && issued < records {
                append(&mut self.store, &record);
                outstanding.push_back(self.store.end());
                issued += 1;
            }
            checkpoint_if_due(&mut self.store);
            self.poll();
            if done < records {
                self.notify.notified().await;
            }
        }
        started.elapsed()
    }
}

fn group_commit(criterion: &mut Criterion) {
    let temp = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let mut builder = tokio_uring::builder();
    builder.uring_builder(tokio_uring::uring_builder().setup_coop_taskrun().setup_single_issuer());
    let runtime = tokio_uring::Runtime::new(&builder).unwrap();
    let mut rig = runtime.block_on(Rig::open(temp.path()));
    let mut group = criterion.benchmark_group("log/group commit 128 B");
    group.throughput(Throughput::Elements(1)).sample_size(20);
    for clients in [1, 64, 256, 1024, 4096] {
        group.bench_function(format!("{clients} clients"), |bench| {
            bench.iter_custom(|count| runtime.block_on(rig.closed_loop(clients, count)));
        });
    }
    group.finish();
    let mut times_us = Vec::new();
    rig.store.drain_write_times(&mut |time_us| times_us.push(time_us));
    times_us.sort_unstable();
    println!(
        "the last {} groups: median {} us, slowest {:?} us",
        times_us.len(),
        times_us[times_us.len() / 2],
        times_us.last()
    );
    println!("{:?}", rig.store.stats());
    runtime.block_on(async { drop(rig) });
}

criterion_group!(log, append_cost, group_commit);
criterion_main!(log);
