//! How a node begins and ends.
//!
//! Beginning: open the log, replay it into the machine, start the machine, make durable what it
//! logged (its epoch), and only then listen and dial. Ending: stop listening and reading, let what
//! was promised become durable and the answers leave, close the log.

use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use engine::{DirStorage, Disk, Options, Owner, RecoveryReport, Rule, Storage, Store, Table, UringDisk, Worker};
use protocol::message::Hello;
use protocol::{Effects, Machine, Origin, Process, Record, Role, Tick};
use tokio::task::JoinHandle;
use tokio_uring::net::TcpListener;

use crate::certificate;
use crate::clock::Clock;
use crate::config::NodeConfig;
use crate::descriptors::Descriptors;
use crate::dialer::dial_for_ever;
use crate::driver::Driver;
use crate::error::NodeError;
use crate::hub::Hub;
use crate::journal::TurnJournal;
use crate::limits::{START_DURABLE, STOP_CLOSE, STOP_FLUSH};
use crate::listener::{Listener, accept_all};
use crate::log::Log;
use crate::memory::{Budget, MemoryWatch};
use crate::peers::Peers;
use crate::ring;
use crate::scrub;
use crate::scrub_link::ScrubLink;
use crate::stop::Stop;

/// How often a node that begins or ends looks whether the disk has finished.
const LOOK_EVERY: Duration = Duration::from_millis(5);

/// Runs a node on this thread until it is asked to stop or its log fails. `make_machine` is given
/// the table over the log; `on_ready` is told the bound address when the node listens.
///
/// The process must ignore SIGPIPE, as Rust programs do unless they choose otherwise.
///
/// # Errors
/// See [`NodeError`]; the node was not started, or has stopped without acknowledging anything that
/// is not durable.
pub fn run<M: Machine + 'static>(
    config: NodeConfig,
    stop: Stop,
    on_ready: impl FnOnce(SocketAddr),
    make_machine: impl FnOnce(Table) -> M,
) -> Result<(), NodeError> {
    let descriptors = Descriptors::reserve(&config)?;
    ring::block_on(run_on_ring(config, descriptors, stop, on_ready, make_machine))?
}

async fn run_on_ring<M: Machine + 'static>(
    config: NodeConfig,
    descriptors: Descriptors,
    stop: Stop,
    on_ready: impl FnOnce(SocketAddr),
    make_machine: impl FnOnce(Table) -> M,
) -> Result<(), NodeError> {
    let clock = Clock::start();
    let began = Instant::now();
    let (mut store, mut machine, report) = open(&config, &stop, make_machine)?;
    certificate::recovered(&config, &report, &machine.in_doubt(), began.elapsed());
    start(&config, &clock, &report, &mut store, &mut machine, &stop).await?;
    let hello = Hello::daemon(config.role, config.number, config.cluster, machine.process());
    let hub = Rc::new(Hub::new(clock, Arc::clone(stop.wake()), hello, config.outbox_bytes_max));
    let (listener, accepting) = Listener::bind(&config.listen)?;
    log_start(&config, listener.address, machine.process(), &report);
    let entrances = open_entrances(&hub, &config, descriptors, accepting);
    on_ready(listener.address);

    let addresses = config.peers.iter().map(|(_, address)| address.clone()).collect();
    let scrub_link = Arc::new(ScrubLink::new(Arc::clone(stop.wake())));
    scrub::start(&config, &scrub_link)?;
    let mut driver =
        Driver::new(Rc::clone(&hub), store, machine, stop, config.hello_timeout, addresses, Arc::clone(&scrub_link));
    driver.memory = watch_memory(&config);
    // In a task of its own, so that it runs after all readers that one completion queue has woken.
    let running = tokio_uring::spawn(async move {
        let result = driver.run().await;
        (driver, result)
    });
    let (driver, result) = running.await.unwrap_or_else(|failed| std::panic::resume_unwind(failed.into_panic()));
    scrub_link.close();
    end(&hub, driver, result, &listener, entrances, &config).await
}

/// Watches what a participant takes, which grows with its keys.
fn watch_memory(config: &NodeConfig) -> Option<MemoryWatch> {
    if config.role != Role::Participant {
        return None;
    }
    let watch = Budget::find(config.memory_max).and_then(|budget| {
        tracing::info!(bytes = budget.bytes, origin = ?budget.origin, "memory budget");
        MemoryWatch::new(budget, config.segment_bytes)
    });
    if watch.is_none() {
        tracing::warn!(
            "the system does not tell how much memory there is, or what this process takes: no memory budget holds"
        );
    }
    watch
}

/// Locks the data directory, opens the log and replays it; writes down why not.
fn open<M: Machine>(
    config: &NodeConfig,
    stop: &Stop,
    make_machine: impl FnOnce(Table) -> M,
) -> Result<(Store<UringDisk>, M, RecoveryReport), NodeError> {
    let locked = DirStorage::open(&config.data);
    let storage = Arc::new(locked.map_err(|source| NodeError::Open { data: config.data.clone(), source })?);
    // The lock lasts as long as `storage`.
    replay_log(config, stop, &storage, make_machine).inspect_err(|error| certificate::refused(config, error))
}

/// Opens the log of a data directory and replays it.
fn replay_log<M: Machine>(
    config: &NodeConfig,
    stop: &Stop,
    storage: &Arc<DirStorage>,
    make_machine: impl FnOnce(Table) -> M,
) -> Result<(Store<UringDisk>, M, RecoveryReport), NodeError> {
    let disk = UringDisk::new(Arc::clone(storage), Arc::clone(stop.wake()));
    let worker = Worker::thread(Arc::clone(stop.wake()))
        .map_err(|source| NodeError::System { what: "a thread for the log", source })?;
    open_log(config, Arc::clone(storage) as Arc<dyn Storage>, disk, worker, make_machine)
}

/// Opens the log on this disk and replays it into a new machine.
pub(crate) fn open_log<M: Machine, D: Disk>(
    config: &NodeConfig,
    storage: Arc<dyn Storage>,
    disk: D,
    worker: Worker,
    make_machine: impl FnOnce(Table) -> M,
) -> Result<(Store<D>, M, RecoveryReport), NodeError> {
    let refused = |source| NodeError::Open { data: config.data.clone(), source };
    let owner = Owner { role: config.role.code(), node: config.number, cluster: config.cluster.0 };
    let mut options = Options::new(owner);
    options.segment_bytes = config.segment_bytes;
    options.segments_max = config.segments_max;
    options.checkpoint_bytes = config.checkpoint_bytes;
    options.seal_idle = config.seal_idle;

    let table = Table::new();
    let mut machine = make_machine(table.clone());
    let mut unknown = None;
    let (store, report) = Store::open(options, storage, disk, worker, table, &mut |at, payload| {
        if unknown.is_none() {
            match Record::decode(payload) {
                Ok(record) => machine.replay(at, record),
                Err(source) => {
                    unknown = Some(NodeError::Replay { data: config.data.clone(), at: at.place.into(), source })
                }
            }
        }
    })
    .map_err(refused)?;
    match unknown {
        Some(error) => Err(error),
        None => Ok((store, machine, report)),
    }
}

/// Starts the machine and makes durable what it logged: an epoch is announced only then.
async fn start<M: Machine>(
    config: &NodeConfig,
    clock: &Clock,
    report: &RecoveryReport,
    store: &mut Store<UringDisk>,
    machine: &mut M,
    stop: &Stop,
) -> Result<(), NodeError> {
    start_machine(config, clock.now(), report, store, machine)?;
    let deadline = Instant::now() + START_DURABLE;
    let end = Log::end(store);
    while Log::poll(store, clock.now())?.stable < end {
        wait_for_disk(stop, deadline, config, "its first records", START_DURABLE).await?;
    }
    Ok(())
}

/// Starts the machine on the log that it was replayed from.
pub(crate) fn start_machine<M: Machine>(
    config: &NodeConfig,
    now: Tick,
    report: &RecoveryReport,
    log: &mut impl Log,
    machine: &mut M,
) -> Result<(), NodeError> {
    let origin = Origin {
        log: report.log_id,
        start: report.opening_id,
        opening: report.incarnation,
        first_epoch: config.first_epoch,
    };
    // Nobody is connected: what the machine says now is said again when somebody is.
    let mut nobody = Peers::new(config.outbox_bytes_max);
    machine
        .start(now, origin, &mut Effects::new(&mut TurnJournal(log), &mut nobody))
        .map_err(|source| NodeError::Start { data: config.data.clone(), source })
}

async fn wait_for_disk(
    stop: &Stop,
    deadline: Instant,
    config: &NodeConfig,
    what: &'static str,
    bound: Duration,
) -> Result<(), NodeError> {
    if Instant::now() > deadline {
        return Err(NodeError::DiskSlow { data: config.data.clone(), what, seconds: bound.as_secs() });
    }
    // Either way the caller looks again.
    let _ = tokio::time::timeout(LOOK_EVERY, stop.wake().notified()).await;
    Ok(())
}

fn log_start(config: &NodeConfig, address: SocketAddr, process: Process, report: &RecoveryReport) {
    if report.superblock == Rule::SuperblockOneCopy {
        tracing::warn!(data = %config.data.display(), "one copy of the superblock was damaged; the other one was used");
    }
    tracing::info!(
        role = %config.role,
        id = config.number,
        cluster = config.cluster.0,
        %address,
        epoch = process.epoch,
        log = format_args!("{:016x}", process.log),
        data = %config.data.display(),
        direct_io = report.direct,
        new = report.created,
        stopped_cleanly = report.clean,
        replayed_records = report.records,
        replayed_bytes = report.bytes,
        log_end = %report.tail,
        "ready"
    );
}

/// Begins to accept and to dial.
fn open_entrances(hub: &Rc<Hub>, config: &NodeConfig, descriptors: Descriptors, accepting: TcpListener) -> Entrances {
    let accepting = tokio_uring::spawn(accept_all(Rc::clone(hub), accepting, descriptors));
    let dialling = config
        .peers
        .iter()
        .map(|(number, address)| tokio_uring::spawn(dial_for_ever(Rc::clone(hub), *number, address.clone())))
        .collect();
    Entrances { accepting, dialling }
}

struct Entrances {
    accepting: JoinHandle<()>,
    dialling: Vec<JoinHandle<()>>,
}

/// Stops a node that was asked to, or whose log has failed.
async fn end<M: Machine>(
    hub: &Rc<Hub>,
    mut driver: Driver<M, Store<UringDisk>>,
    result: Result<(), NodeError>,
    listener: &Listener,
    entrances: Entrances,
    config: &NodeConfig,
) -> Result<(), NodeError> {
    hub.is_stopping.set(true);
    listener.close();
    entrances.dialling.iter().for_each(JoinHandle::abort);
    let closed = match result {
        Ok(()) => {
            hub.peers.borrow().stop_reading();
            flush(hub, &mut driver).await
        }
        Err(error) => Err(error),
    };
    hub.peers.borrow().close_all();
    let closed = match closed {
        Ok(()) => close(&mut driver, config).await,
        Err(error) => Err(error),
    };
    // The connections end by themselves now, and the accept has ended; nothing depends on it.
    let deadline = Instant::now() + STOP_FLUSH;
    while hub.peers.borrow().len() > 0 && Instant::now() < deadline {
        tokio::time::sleep(LOOK_EVERY).await;
    }
    let _ = tokio::time::timeout(STOP_FLUSH, entrances.accepting).await;
    match &closed {
        Ok(()) => {
            tracing::info!(role = %config.role, id = config.number, log_end = %driver.log.end(), "stopped cleanly")
        }
        Err(error) => tracing::error!(role = %config.role, id = config.number, %error, "stopped"),
    }
    closed
}

/// Lets all that was logged become durable, and the answers leave, for a bounded time.
async fn flush<M: Machine>(hub: &Hub, driver: &mut Driver<M, Store<UringDisk>>) -> Result<(), NodeError> {
    let deadline = Instant::now() + STOP_FLUSH;
    loop {
        driver.flush(hub.clock.now())?;
        let is_stable = driver.log.progress().stable >= Log::end(&driver.log);
        if is_stable && hub.peers.borrow().is_flushed() {
            return Ok(());
        }
        if Instant::now() > deadline {
            tracing::warn!(is_stable, "stopping although not all answers have left");
            return Ok(());
        }
        let _ = tokio::time::timeout(LOOK_EVERY, hub.wake.notified()).await;
    }
}

/// Seals the log and marks it clean.
async fn close<M: Machine>(driver: &mut Driver<M, Store<UringDisk>>, config: &NodeConfig) -> Result<(), NodeError> {
    let deadline = Instant::now() + STOP_CLOSE;
    driver.log.close_start();
    loop {
        let Tick(now_us) = driver.hub.clock.now();
        driver.log.poll(now_us)?;
        if driver.log.is_closed() {
            return Ok(());
        }
        wait_for_disk(&driver.stop, deadline, config, "the clean stop", STOP_CLOSE).await?;
    }
}
