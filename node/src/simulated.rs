//! A node without sockets, threads and time of its own: the driver, gate, greeting, frames and machine of a real one, on a
//! disk, a network and a clock that somebody else moves. For simulations.
//!
//! Whoever moves it hands it bytes ([`SimulatedNode::receive`]), lets it turn, and takes the bytes that may leave
//! ([`SimulatedNode::take`]). Dropping it is a crash. Not here: the dialer, the listener, scrubbing, certificates, and
//! whatever else needs a real machine.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::net::{Shutdown, SocketAddr};
use std::rc::Rc;
use std::sync::Arc;

use engine::{Disk, Pace, RecoveryReport, Stats, Storage, Store, Table, Worker};
use protocol::message::Hello;
use protocol::{Machine, Role, Tick};

use crate::clock::Clock;
use crate::config::NodeConfig;
use crate::connection::{CloseReason, Intake, Line};
use crate::driver::Driver;
use crate::error::NodeError;
use crate::greeting::Expected;
use crate::hub::Hub;
use crate::limits::{START_DURABLE, STOP_CLOSE};
use crate::log::Log;
use crate::node::{open_log, start_machine};
use crate::scrub_link::ScrubLink;
use crate::stop::Stop;

/// How often the disk is asked whether it has finished, where a real node would wait for a bounded time.
const LOOKS_MAX: usize = 1_000;

/// A node whose world somebody else moves.
pub struct SimulatedNode<M, D> {
    driver: Driver<M, Store<D>>,
    now_us: Rc<Cell<u64>>,
    lines: BTreeMap<u64, (Intake, Rc<SimulatedLine>)>,
    config: NodeConfig,
    pace: Pace,
}

/// One end of a connection that somebody carries.
#[derive(Default)]
struct SimulatedLine {
    is_shut: Cell<bool>,
}

impl Line for SimulatedLine {
    fn shutdown(&self, how: Shutdown) {
        if how != Shutdown::Read {
            self.is_shut.set(true);
        }
    }
}

impl<M: Machine, D: Disk> SimulatedNode<M, D> {
    /// Opens the log, replays and starts the machine, and makes durable what that logged. `now_us` is the node's clock.
    ///
    /// # Errors
    /// As a real node, see [`NodeError`]; a disk that does not finish is [`NodeError::DiskSlow`].
    pub fn start(
        config: NodeConfig,
        storage: Arc<dyn Storage>,
        disk: D,
        now_us: u64,
        make_machine: impl FnOnce(Table) -> M,
    ) -> Result<(Self, RecoveryReport), NodeError> {
        let now = Rc::new(Cell::new(now_us));
        let pace = Pace::default();
        let worker = Worker::paced(pace.clone());
        let (mut store, mut machine, report) = open_log(&config, storage, disk, worker, make_machine)?;
        start_machine(&config, Tick(now_us), &report, &mut store, &mut machine)?;
        let end = Log::end(&store);
        let (first, log) = (("its first records", START_DURABLE.as_secs()), &mut store);
        wait(&config, first, || Ok(Log::poll(log, Tick(now_us))?.stable >= end))?;
        let hello = Hello::daemon(config.role, config.number, config.cluster, machine.process());
        let stop = Stop::new();
        let hub =
            Rc::new(Hub::new(Clock::Set(Rc::clone(&now)), Arc::clone(stop.wake()), hello, config.outbox_bytes_max));
        let scrub = Arc::new(ScrubLink::new(Arc::clone(stop.wake())));
        let driver = Driver::new(hub, store, machine, stop, config.hello_timeout, Vec::new(), scrub);
        Ok((Self { driver, now_us: now, lines: BTreeMap::new(), config, pace }, report))
    }

    /// Sets the node's clock, which must not go back.
    pub fn set_clock(&self, now_us: u64) {
        self.now_us.set(self.now_us.get().max(now_us));
    }

    /// One turn of the driver; when the next one is due although nothing happens, by the node's clock.
    ///
    /// # Errors
    /// The log has failed: nothing leaves any more, and the node is to be dropped.
    pub fn turn(&mut self) -> Result<Option<u64>, NodeError> {
        let wake = self.driver.turn()?;
        self.lines.retain(|_, (intake, line)| {
            if line.is_shut.get() {
                intake.end();
                self.driver.hub.peers.borrow_mut().forget(intake.id, &intake.connection);
            }
            !line.is_shut.get()
        });
        Ok(wake.map(|tick| tick.0))
    }

    /// A connection comes about; its number. `dialled` is the participant that this node has dialled, or nobody if the
    /// other end has dialled.
    pub fn connect(&mut self, dialled: Option<u32>) -> u64 {
        let line = Rc::new(SimulatedLine::default());
        let expected = dialled.map_or(Expected::Anyone { clients_max: usize::MAX }, Expected::Participant);
        let nowhere = SocketAddr::from(([0, 0, 0, 0], 0));
        let intake = Intake::begin(&self.driver.hub, Rc::clone(&line) as Rc<dyn Line>, nowhere, expected);
        let id = intake.id;
        self.lines.insert(id, (intake, line));
        id
    }

    /// Whether the connection is still open at this end.
    #[must_use]
    pub fn is_open(&self, line: u64) -> bool {
        self.lines.get(&line).is_some_and(|(_, line)| !line.is_shut.get())
    }

    /// Whether the node would read from the connection now.
    #[must_use]
    pub fn may_read(&self, line: u64) -> bool {
        self.lines.get(&line).is_some_and(|(intake, line)| !line.is_shut.get() && intake.may_read())
    }

    /// Bytes arrive. What they say is heard in the next turn; if they say what they must not, the node closes the
    /// connection and this is why.
    ///
    /// # Errors
    /// Why the node has closed the connection.
    pub fn receive(&mut self, line: u64, bytes: &[u8]) -> Result<(), String> {
        let Some((intake, _)) = self.lines.get_mut(&line) else { return Ok(()) };
        intake.take(bytes).map_err(|reason| {
            let told = reason.to_string();
            if reason.is_alarm() {
                // A real node writes it down when the connection has ended.
                let hub = &self.driver.hub;
                _ = hub.alarms.pass(hub.clock.now().0);
                hub.successions.update(|count| count + 1);
            }
            intake.connection.close(reason);
            told
        })
    }

    /// The bytes that may leave on a connection now; they count as written.
    pub fn take(&mut self, line: u64) -> Option<Vec<u8>> {
        let (intake, line) = self.lines.get(&line)?;
        let mut outbox = intake.connection.outbox.borrow_mut();
        let bytes = outbox.take(Vec::new()).ok().filter(|_| !line.is_shut.get())?;
        drop(outbox);
        intake.connection.written();
        self.driver.hub.peers.borrow_mut().note_unsent(&intake.connection);
        Some(bytes)
    }

    /// The connection has ended at the other end.
    pub fn hang_up(&mut self, line: u64) {
        if let Some((intake, _)) = self.lines.remove(&line) {
            intake.end();
            intake.connection.close(CloseReason::ByPeer);
            self.driver.hub.peers.borrow_mut().forget(intake.id, &intake.connection);
        }
    }

    /// Whether a turn is due at once, because messages that were kept for room may now be handed on.
    #[must_use]
    pub fn is_keeping(&self) -> bool {
        self.lines.values().any(|(intake, _)| intake.connection.is_keeping())
    }

    /// Bytes that wait to leave on a connection.
    #[must_use]
    pub fn unsent_bytes(&self, line: u64) -> usize {
        self.lines.get(&line).map_or(0, |(intake, _)| intake.connection.outbox.borrow().unsent_bytes())
    }

    /// When its log's background jobs run: at once, unless somebody holds them.
    #[must_use]
    pub fn pace(&self) -> &Pace {
        &self.pace
    }

    /// Alarms that the node has written down, for its operator.
    #[must_use]
    pub fn alarms(&self) -> u64 {
        self.driver.hub.alarms.asked()
    }

    /// Those of them that say that a process, this one or a peer, has been superseded, or is refused for another one.
    #[must_use]
    pub fn succession_alarms(&self) -> u64 {
        self.driver.hub.successions.get()
    }

    /// Stops the node cleanly, as SIGTERM does. Nobody is answered any more.
    ///
    /// # Errors
    /// The log has failed, or does not finish.
    pub fn stop(mut self) -> Result<(), NodeError> {
        let now = self.now_us.get();
        self.pace.hold(false);
        self.driver.flush(Tick(now))?;
        let store = &mut self.driver.log;
        store.close_start();
        wait(&self.config, ("the clean stop", STOP_CLOSE.as_secs()), || {
            store.poll(now)?;
            Ok(store.is_closed())
        })
    }

    /// The node's role and number.
    #[must_use]
    pub fn name(&self) -> (Role, u32) {
        (self.config.role, self.config.number)
    }

    /// The machine.
    #[must_use]
    pub fn machine(&self) -> &M {
        &self.driver.machine
    }

    /// The rows.
    #[must_use]
    pub fn table(&self) -> &Table {
        self.driver.log.table()
    }

    /// Figures of the log.
    #[must_use]
    pub fn stats(&self) -> Stats {
        self.driver.log.stats()
    }

    /// The log, to look at.
    #[must_use]
    pub fn store(&self) -> &Store<D> {
        &self.driver.log
    }
}

/// Looks until the disk has finished.
fn wait(
    config: &NodeConfig,
    (what, seconds): (&'static str, u64),
    mut is_done: impl FnMut() -> Result<bool, NodeError>,
) -> Result<(), NodeError> {
    for _ in 0..LOOKS_MAX {
        if is_done()? {
            return Ok(());
        }
    }
    Err(NodeError::DiskSlow { data: config.data.clone(), what, seconds })
}
