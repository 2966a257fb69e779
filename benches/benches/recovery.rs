//! Recovery: how fast a log is read back, in how much memory, and how soon a participant with a million keys is open.
//!
//! The logs lie in memory (`/dev/shm`), so that what is timed is the engine, not the disk: start-up reads past the page
//! cache, and on a file system in memory that is a copy. Everything runs on the thread that opens the log, and what
//! criterion is given is the processor time of that thread: on one core of its own it is the time that passes.
#![allow(clippy::unwrap_used, missing_docs)]

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use engine::{DirStorage, Options, Owner, RecoveryReport, Storage, Store, Table, UringDisk, Worker};
use participant::{Config, Participant};
use protocol::message::{Hello, Prepare, PrepareMode};
use protocol::{
    Age, Attempt, ClusterId, CommitMessage, Effects, HandshakeMessage, Index, Journal, Logged, Machine, Message,
    NodeId, Operation, Origin, Outbox, Process, Record, Role, Room, Tick, TxnId,
};
use rustix::time::{ClockId, clock_gettime};
use tempfile::TempDir;
use tokio::sync::Notify;

const OWNER: Owner = Owner { role: 1, node: 1, cluster: 1 };
const RECORD_BYTES: usize = 128;
const MIB: u64 = 1 << 20;
const LOG_BYTES: u64 = 1024 * MIB;
const SMALL_LOG_BYTES: u64 = 128 * MIB;
const KEYS: u64 = 1_000_000;

fn folder() -> TempDir {
    tempfile::tempdir_in("/dev/shm").unwrap()
}

/// Runs `work` where a log can be written.
fn on_ring<T>(work: impl Future<Output = T>) -> T {
    let mut builder = tokio_uring::builder();
    builder.uring_builder(tokio_uring::uring_builder().setup_coop_taskrun().setup_single_issuer());
    tokio_uring::Runtime::new(&builder).unwrap().block_on(work)
}

/// Opens the log in `dir` and hands out what it holds.
fn open(dir: &Path, table: Table, replay: &mut dyn FnMut(Logged, Bytes)) -> (Store<UringDisk>, RecoveryReport) {
    let notify = Arc::new(Notify::new());
    let storage = Arc::new(DirStorage::open(dir).unwrap());
    let disk = UringDisk::new(Arc::clone(&storage), Arc::clone(&notify));
    let worker = Worker::thread(notify).unwrap();
    let storage: Arc<dyn Storage> = storage;
    Store::open(Options::new(OWNER), storage, disk, worker, table, replay).unwrap()
}

/// Waits until all that was appended is durable.
async fn settle(store: &mut Store<UringDisk>) {
    while store.poll(0).unwrap() < store.end() {
        tokio::time::sleep(Duration::from_micros(100)).await;
    }
}

async fn close(mut store: Store<UringDisk>) {
    store.close_start();
    while !store.is_closed() {
        store.poll(0).unwrap();
        tokio::time::sleep(Duration::from_micros(100)).await;
    }
}

/// A log of `bytes` with no checkpoint since its beginning.
async fn write_log(dir: &Path, bytes: u64) {
    let (mut store, _) = open(dir, Table::new(), &mut |_, _| ());
    let record = [7; RECORD_BYTES];
    while store.end().0 < bytes {
        for _ in 0..4096 {
            store.append(&mut |into| into.extend_from_slice(&record));
        }
        settle(&mut store).await;
    }
    close(store).await;
}

struct StoreJournal<'a>(&'a mut Store<UringDisk>);

impl Journal for StoreJournal<'_> {
    fn append(&mut self, record: &Record) -> Logged {
        self.0.append(&mut |out| record.encode(out))
    }

    fn end(&self) -> Index {
        self.0.last()
    }

    fn room(&self) -> Room {
        Room::Plenty
    }
}

/// Nobody is connected.
struct Nobody;

impl Outbox for Nobody {
    fn post(&mut self, _to: NodeId, _gate: Index, message: &Message) {
        assert!(!matches!(message, Message::Commit(CommitMessage::VoteNo { .. })), "{message:?}");
    }

    fn link(&self, _to: NodeId) -> protocol::Link {
        protocol::Link::Open
    }

    fn disconnect(&mut self, _to: NodeId) {}
}

fn new_participant(table: Table) -> Participant {
    Participant::new(Config::new(1, ClusterId(1)), table)
}

/// Two accounts, in one phase.
fn open_two_accounts(number: u64) -> Message {
    let account = |number: u64| Operation::Put {
        key: Bytes::from(format!("balance/{{{number}}}")),
        value: Bytes::from_static(b"1000"),
    };
    Message::Commit(CommitMessage::Prepare(Prepare {
        txn: TxnId(u128::from(number) << 64 | u128::from(number)),
        attempt: Attempt { epoch: 1, number: 1 },
        cluster: ClusterId(1),
        coordinator: 1,
        age: Age { admitted_us: number, coordinator: 1 },
        participants: vec![1],
        mode: PrepareMode::OnePhase,
        lock_wait_ms: 0,
        answer_within_ms: 1_000,
        operations: vec![account(2 * number), account(2 * number + 1)],
    }))
}

/// A participant's log with `KEYS` keys, half as many remembered outcomes, and a checkpoint over all of it.
async fn write_participant(dir: &Path) {
    let table = Table::new();
    let (mut store, _) = open(dir, table.clone(), &mut |_, _| ());
    let mut machine = new_participant(table);
    let coordinator = NodeId::coordinator(1);
    let by = Process { log: 1, epoch: 1, start: 1 };
    let hello = Hello::daemon(Role::Coordinator, 1, ClusterId(1), by);
    let claim =
        Message::Handshake(HandshakeMessage::Claim { by, known: Process::NONE, stated: protocol::Position::UNKNOWN });
    for greeting in [
        Message::Handshake(HandshakeMessage::Hello(hello)),
        claim,
        Message::Handshake(HandshakeMessage::Accept { by, known: Process::NONE }),
    ] {
        machine.handle(Tick(0), coordinator, greeting, &mut Effects::new(&mut StoreJournal(&mut store), &mut Nobody));
    }
    for number in 0..KEYS / 2 {
        let (mut journal, mut nobody) = (StoreJournal(&mut store), Nobody);
        let mut effects = Effects::new(&mut journal, &mut nobody);
        machine.handle(Tick(number), coordinator, open_two_accounts(number), &mut effects);
        if number % 4096 == 0 {
            settle(&mut store).await;
        }
    }
    store.checkpoint_begin();
    let mut from = Some(0);
    while let Some(at) = from {
        from = machine.checkpoint(at, &mut Effects::new(&mut StoreJournal(&mut store), &mut Nobody));
        settle(&mut store).await;
    }
    while store.checkpoint_slice() {
        settle(&mut store).await;
    }
    store.checkpoint_end();
    while store.stats().checkpoints == 0 {
        settle(&mut store).await;
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    assert_eq!(store.table().len() as u64, KEYS);
    close(store).await;
}

fn open_participant(dir: &Path) -> (Participant, Store<UringDisk>, RecoveryReport) {
    let table = Table::new();
    let mut machine = new_participant(table.clone());
    let (mut store, report) = open(dir, table, &mut |at, payload| {
        machine.replay(at, Record::decode(payload).unwrap());
    });
    machine
        .start(
            Tick(0),
            Origin { log: 1, start: 1, opening: 1, first_epoch: 1 },
            &mut Effects::new(&mut StoreJournal(&mut store), &mut Nobody),
        )
        .unwrap();
    (machine, store, report)
}

/// Processor time of this thread.
fn cpu() -> Duration {
    let used = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(used.tv_sec as u64, used.tv_nsec as u32)
}

/// Forgets the largest memory so far, and gives the present one in bytes.
fn memory_begin() -> u64 {
    std::fs::write("/proc/self/clear_refs", "5").unwrap();
    memory("VmRSS:")
}

fn memory(what: &str) -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with(what)).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() * 1024
}

fn read_back(criterion: &mut Criterion) {
    let (small, large) = (folder(), folder());
    on_ring(write_log(small.path(), SMALL_LOG_BYTES));
    on_ring(write_log(large.path(), LOG_BYTES));
    on_ring(async {
        for dir in [&small, &large] {
            let before = memory_begin();
            let (opened, busy) = (Instant::now(), cpu());
            let mut records = 0_u64;
            let (store, report) = open(dir.path(), Table::new(), &mut |_, _| records += 1);
            let (took, busy) = (opened.elapsed(), cpu() - busy);
            println!(
                "{} MiB of log, {records} records: {took:.0?}, {busy:.0?} of processor time, {:.2} GB a second of it; \
                 {} MiB of memory more than before",
                report.bytes / MIB,
                report.bytes as f64 / 1e9 / busy.as_secs_f64(),
                memory("VmHWM:").saturating_sub(before) / MIB,
            );
            drop(store);
        }
    });
    let mut group = criterion.benchmark_group("recovery");
    group.throughput(Throughput::Bytes(LOG_BYTES)).sample_size(10);
    group.bench_function("read back 1 GiB of records of 128 B", |bench| {
        bench.iter_custom(|count| {
            on_ring(async {
                let mut time = Duration::ZERO;
                for _ in 0..count {
                    let started = cpu();
                    let (store, _) = open(large.path(), Table::new(), &mut |_, record| {
                        std::hint::black_box(record);
                    });
                    time += cpu() - started;
                    drop(store);
                }
                time
            })
        });
    });
    group.finish();
}

fn open_a_million_keys(criterion: &mut Criterion) {
    let dir = folder();
    on_ring(write_participant(dir.path()));
    on_ring(async {
        memory_begin();
        let (opened, busy) = (Instant::now(), cpu());
        let (machine, store, report) = open_participant(dir.path());
        let (took, busy) = (opened.elapsed(), cpu() - busy);
        println!(
            "a participant with {} keys, {} records, {} MiB of log: {took:.0?}, {busy:.0?} of processor time; \
             {} MiB of memory at most",
            store.table().len(),
            report.records,
            report.bytes / MIB,
            memory("VmHWM:") / MIB,
        );
        drop((machine, store));
    });
    let mut group = criterion.benchmark_group("recovery");
    group.sample_size(10);
    group.bench_function("open a participant with 1,000,000 keys", |bench| {
        bench.iter_custom(|count| {
            on_ring(async {
                let mut time = Duration::ZERO;
                for _ in 0..count {
                    let started = cpu();
                    let opened = open_participant(dir.path());
                    time += cpu() - started;
                    drop(opened);
                }
                time
            })
        });
    });
    group.finish();
}

criterion_group!(recovery, read_back, open_a_million_keys);
criterion_main!(recovery);
