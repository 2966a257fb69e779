//! The loop that runs a machine: take in all that has arrived, let the machine answer, write one
//! group, let go what is stable.
//!
//! Invariants:
//! - one turn ends in a park of the thread: operations reach the kernel only then, so the driver is
//!   never runnable again by its own doing (timers are at least a millisecond away, and work that the
//!   machine has put off goes on after an operation that does nothing has come back from the kernel);
//! - the clock is read once a turn;
//! - when the log fails, nothing leaves any more.
//!
//! Not here: how a node begins and ends (`node`).

use std::future::poll_fn;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use planted::planted;
use protocol::{AdminMessage, Effects, HandshakeMessage, Machine, Message, NodeId, Outbox, Role, Tick};
use tokio::time::{Instant, Sleep};

use crate::alarms::{Watched, look_at_arrived};
use crate::checkpoint::Checkpoint;
use crate::clock::Clock;
use crate::connection::{CloseReason, Connection};
use crate::error::NodeError;
use crate::figures::Figures;
use crate::hub::Hub;
use crate::journal::TurnJournal;
use crate::limits::{KEPT_QUEUE_ENTRIES_MAX, SWEEP_EVERY};
use crate::links;
use crate::log::{Checkpoints, Log, OnStore, Progress};
use crate::memory::MemoryWatch;
use crate::outbox::OPEN;
use crate::peers::Peers;
use crate::scrub_link::ScrubLink;
use crate::stop::Stop;

/// A timer is never nearer than this: tokio's clock has this grain, and an expired timer would make
/// the loop runnable without a park.
const TIMER_US_MIN: u64 = 1_000;

pub(crate) struct Driver<M, L> {
    pub(crate) hub: Rc<Hub>,
    pub(crate) log: L,
    pub(crate) machine: M,
    pub(crate) stop: Stop,
    /// Watches what the process takes; a coordinator's is bounded by its settings.
    pub(crate) memory: Option<MemoryWatch>,
    figures: Figures,
    scrub: Arc<ScrubLink>,
    checkpoint: Checkpoint,
    /// What is being taken in; its memory is kept.
    batch: Vec<(Rc<Connection>, Message)>,
    hello_timeout: Duration,
    sweep_at: Tick,
    turns: u64,
}

impl<M: Machine, L: Log + Checkpoints + OnStore> Driver<M, L> {
    pub(crate) fn new(
        hub: Rc<Hub>,
        log: L,
        machine: M,
        stop: Stop,
        hello_timeout: Duration,
        peers: Vec<String>,
        scrub: Arc<ScrubLink>,
    ) -> Self {
        Self {
            hub,
            log,
            machine,
            stop,
            memory: None,
            figures: Figures::new(peers, Arc::clone(&scrub)),
            scrub,
            checkpoint: Checkpoint::Idle,
            batch: Vec::new(),
            hello_timeout,
            sweep_at: Tick(0),
            turns: 0,
        }
    }

    /// Runs until the node is asked to stop, or its log fails.
    pub(crate) async fn run(&mut self) -> Result<(), NodeError> {
        let mut timer = Timer::new();
        let wake = self.hub.wake.clone();
        timer.set_by(self.turn()?, &self.hub.clock);
        while !self.stop.is_requested() {
            if self.machine.has_work() {
                pass_through_kernel().await;
            } else {
                timer.or(std::pin::pin!(wake.notified())).await;
            }
            timer.set_by(self.turn()?, &self.hub.clock);
        }
        tracing::debug!(turns = self.turns, parks = parks(), "stopping");
        Ok(())
    }

    /// One turn; when the next one is due although nothing happens.
    pub(crate) fn turn(&mut self) -> Result<Option<Tick>, NodeError> {
        self.turns += 1;
        let now = self.hub.clock.now();
        self.log.owes(self.machine.owes());
        if let Some(memory) = &mut self.memory {
            memory.look(now, self.log.store().table());
        }
        self.take_in(now);
        if self.machine.has_work() || self.machine.next_tick().is_some_and(|due| due <= now) {
            let mut peers = self.hub.peers.borrow_mut();
            let mut outbox = Watched { peers: &mut peers, hub: &self.hub, now };
            self.machine.tick(now, &mut Effects::new(&mut TurnJournal(&mut self.log), &mut outbox));
        }
        links::tell_gone(&self.hub, &self.machine, now);
        self.flush(now)?;
        self.scrub.serve(self.log.store_mut());
        if self.checkpoint.is_due(&self.log, now) {
            let mut peers = self.hub.peers.borrow_mut();
            self.checkpoint.advance(now, &mut self.machine, &mut self.log, &mut *peers);
            drop(peers);
            self.flush(now)?;
        }
        if now >= self.sweep_at {
            self.sweep(now);
        }
        Ok(self.next_wake(now))
    }

    /// Hands the machine what was kept and what has arrived, as far as the answers have room.
    fn take_in(&mut self, now: Tick) {
        let hub = Rc::clone(&self.hub);
        let mut peers = hub.peers.borrow_mut();
        let keeping = peers.take_keeping();
        for connection in &keeping {
            while let Some((from, message)) = peers.next_kept(connection) {
                self.hand(now, from, message, &mut peers);
            }
        }
        peers.keep_on(keeping);
        let mut batch = std::mem::take(&mut self.batch);
        std::mem::swap(&mut *hub.inbox.borrow_mut(), &mut batch);
        if planted!("last-message-dropped") {
            _ = batch.pop();
        }
        for (connection, message) in batch.drain(..) {
            let Some(from) = connection.node.get() else { continue };
            if let Message::Handshake(HandshakeMessage::Hello(_)) = message
                && !self.introduce(from, &connection, &mut peers)
            {
                continue;
            }
            if !matches!(message, Message::Handshake(HandshakeMessage::Hello(_))) {
                links::answered(&hub, from, &connection);
            }
            // One that was refused, or whose place another one has taken, is not heard.
            if connection.is_heard.get()
                && let Some(message) = peers.pass_or_keep(&connection, message)
            {
                self.hand(now, from, message, &mut peers);
            }
        }
        if batch.capacity() <= KEPT_QUEUE_ENTRIES_MAX {
            self.batch = batch;
        }
    }

    /// Lets a process that is welcome take its place, and refuses any other; whether it was welcome.
    fn introduce(&self, node: NodeId, connection: &Rc<Connection>, peers: &mut Peers) -> bool {
        let (process, address) = (connection.process(), connection.address);
        let is_client = node.role() == Role::Client;
        if !is_client && let Err(unwelcome) = self.machine.welcome(node, process) {
            connection.refuse(CloseReason::Unwelcome { node, process, unwelcome });
            return false;
        }
        peers.introduce(node, connection);
        if is_client {
            tracing::debug!(peer = %node, %address, "connected");
        }
        true
    }

    fn hand(&mut self, now: Tick, from: NodeId, message: Message, peers: &mut Peers) {
        if matches!(message, Message::Admin(AdminMessage::AskStats)) {
            // Figures promise nothing.
            let stats = self.figures.stats(now, self.hub.hello, self.log.store());
            return peers.post(from, OPEN, &Message::Admin(AdminMessage::Stats(stats)));
        }
        self.figures.arrived(&message);
        look_at_arrived(&self.hub, now, from, &message);
        let mut journal = TurnJournal(&mut self.log);
        let mut outbox = Watched { peers, hub: &self.hub, now };
        self.machine.handle(now, from, message, &mut Effects::new(&mut journal, &mut outbox));
    }

    /// Takes what the disk has finished, starts the next group, and lets go what may leave.
    pub(crate) fn flush(&mut self, now: Tick) -> Result<(), NodeError> {
        let Progress { stable } = self.log.poll(now)?;
        let figures = &mut self.figures;
        self.log.store_mut().drain_write_times(&mut |elapsed_us| figures.group_took(elapsed_us));
        self.hub.peers.borrow_mut().flush(stable);
        Ok(())
    }

    fn sweep(&mut self, now: Tick) {
        self.hub.peers.borrow().sweep(now.0, self.hello_timeout.as_micros() as u64);
        links::tell_silent(&self.hub, &self.machine, now, self.log.progress().stable);
        let unreachable = self.hub.peers.borrow_mut().take_unreachable();
        if unreachable > 0 {
            tracing::debug!(unreachable, "messages to nodes that are not connected");
        }
        self.sweep_at = now.plus_us(SWEEP_EVERY.min(self.hello_timeout / 2).as_micros() as u64);
    }

    fn next_wake(&self, now: Tick) -> Option<Tick> {
        let sweep = (self.hub.peers.borrow().len() > 0).then_some(self.sweep_at);
        let log = self.log.next_wake();
        let work = self.machine.has_work().then_some(now);
        let all = [work, self.machine.next_tick(), log, self.checkpoint.next_wake(), sweep];
        all.into_iter().flatten().min().map(|tick| tick.max(now.plus_us(TIMER_US_MIN)))
    }
}

/// Parks the thread once and comes back at once: what was submitted reaches the kernel, what has arrived or finished is
/// taken in by its own tasks, and then the next part of the work is due.
async fn pass_through_kernel() {
    if let Err(error) = tokio_uring::no_op().await {
        tracing::error!(%error, "the ring refuses an operation that does nothing");
    }
}

/// How often this thread has been parked by its runtime.
pub(crate) fn parks() -> u64 {
    tokio::runtime::Handle::current().metrics().worker_park_count(0)
}

/// One timer, armed anew only when something is due earlier than before.
struct Timer {
    sleep: Pin<Box<Sleep>>,
    armed: Option<Tick>,
}

impl Timer {
    fn new() -> Self {
        Self { sleep: Box::pin(tokio::time::sleep(Duration::ZERO)), armed: None }
    }

    fn set_by(&mut self, due: Option<Tick>, clock: &Clock) {
        let Some(due) = due else { return };
        if self.armed.is_none_or(|armed| due < armed || armed <= clock.now()) {
            self.sleep.as_mut().reset(Instant::now() + clock.until(due));
            self.armed = Some(due);
        }
    }

    async fn or(&mut self, notified: Pin<&mut impl Future<Output = ()>>) {
        let mut notified = notified;
        poll_fn(|context| {
            if notified.as_mut().poll(context).is_ready() {
                return Poll::Ready(());
            }
            if self.armed.is_some() && self.sleep.as_mut().poll(context).is_ready() {
                self.armed = None;
                return Poll::Ready(());
            }
            Poll::Pending
        })
        .await;
    }
}

#[cfg(test)]
mod tests {
    use std::io::{ErrorKind, Read, Write};
    use std::net::{TcpListener, TcpStream};

    use engine::memory::{Fault, Memory, MemoryDisk};
    use engine::{Options, Owner, Store, Table, Worker};
    use protocol::frame::{self, FRAME_HEADER_BYTES};
    use protocol::message::{Hello, KnownOutcome};
    use protocol::{
        ClusterId, InDoubt, Logged, Origin, Owed, Process, Record, RecoveryMessage, Role, StartError, TxnId, Unwelcome,
    };

    use super::*;
    use crate::connection::serve;
    use crate::greeting::Expected;

    /// Logs what it is asked about, and answers when that is durable.
    struct Logger;

    impl Machine for Logger {
        fn replay(&mut self, _at: Logged, _record: Record) {}

        fn start(&mut self, _now: Tick, _origin: Origin, _effects: &mut Effects<'_>) -> Result<(), StartError> {
            Ok(())
        }

        fn handle(&mut self, _now: Tick, from: NodeId, message: Message, effects: &mut Effects<'_>) {
            if let Message::Recovery(RecoveryMessage::AskOutcome { txn, question }) = message {
                effects.log(&Record::Finished { txn });
                effects.send(
                    from,
                    &Message::Recovery(RecoveryMessage::Outcome { txn, question, known: KnownOutcome::Nothing }),
                );
            }
        }

        fn tick(&mut self, _now: Tick, _effects: &mut Effects<'_>) {}

        fn next_tick(&self) -> Option<Tick> {
            None
        }

        fn has_work(&self) -> bool {
            false
        }

        fn owes(&self) -> Owed {
            Owed::default()
        }

        fn in_doubt(&self) -> Vec<InDoubt> {
            Vec::new()
        }

        fn welcome(&self, _node: NodeId, _process: Process) -> Result<(), Unwelcome> {
            Ok(())
        }

        fn process(&self) -> Process {
            Process::NONE
        }

        fn checkpoint(&mut self, _from: u64, _effects: &mut Effects<'_>) -> Option<u64> {
            None
        }
    }

    fn hello(role: Role) -> Hello {
        Hello::daemon(role, 1, ClusterId(1), Process { log: 1, epoch: 1, start: 1 })
    }

    fn driver(memory: &Memory) -> Driver<Logger, Store<MemoryDisk>> {
        let (clock, stop) = (Clock::start(), Stop::new());
        let options = Options::new(Owner { role: 2, node: 1, cluster: 1 });
        let (store, _) =
            Store::open(options, memory.storage(), memory.disk(), Worker::inline(), Table::new(), &mut |_, _| {})
                .unwrap();
        let hub = Rc::new(Hub::new(clock, Arc::clone(stop.wake()), hello(Role::Participant), 8 << 20));
        let scrub = Arc::new(ScrubLink::new(Arc::clone(stop.wake())));
        Driver::new(hub, store, Logger, stop, Duration::from_secs(5), Vec::new(), scrub)
    }

    /// Connects a coordinator, which has asked one question already.
    fn connect(hub: &Rc<Hub>) -> TcpStream {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let mut coordinator = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (stream, address) = listener.accept().unwrap();
        let stream = tokio_uring::net::TcpStream::from_std(stream);
        tokio_uring::spawn(serve(Rc::clone(hub), stream, address, Expected::Anyone { clients_max: 1 }));
        coordinator
            .write_all(&frame::single(&Message::Handshake(HandshakeMessage::Hello(hello(Role::Coordinator)))))
            .unwrap();
        coordinator
            .write_all(&frame::single(&Message::Recovery(RecoveryMessage::AskOutcome { txn: TxnId(1), question: 1 })))
            .unwrap();
        coordinator.set_nonblocking(true).unwrap();
        coordinator
    }

    /// The bytes that have arrived, after the node's hello.
    fn arrived(coordinator: &mut TcpStream, hello_left: &mut usize) -> usize {
        let mut buffer = [0; 4_096];
        match coordinator.read(&mut buffer) {
            Ok(count) => {
                let of_hello = count.min(*hello_left);
                *hello_left -= of_hello;
                count - of_hello
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => 0,
            Err(error) => panic!("{error}"),
        }
    }

    fn hello_bytes() -> usize {
        let bytes = frame::single(&Message::Handshake(HandshakeMessage::Hello(hello(Role::Participant)))).len();
        assert!(bytes > FRAME_HEADER_BYTES);
        bytes
    }

    /// Turns the driver, with time for the tasks of the connection in between.
    async fn turn_often(driver: &mut Driver<Logger, Store<MemoryDisk>>) -> Result<(), NodeError> {
        for _ in 0..20 {
            driver.turn()?;
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        Ok(())
    }

    #[test]
    fn an_answer_leaves_when_its_record_is_durable_and_not_before() {
        tokio_uring::start(async {
            let memory = Memory::new();
            let mut driver = driver(&memory);
            let mut coordinator = connect(&driver.hub);
            let mut hello_left = hello_bytes();
            memory.hold(true);
            turn_often(&mut driver).await.unwrap();
            assert_eq!(driver.log.stats().records, 1);
            assert_eq!(arrived(&mut coordinator, &mut hello_left), 0);
            assert_eq!(hello_left, 0);
            memory.hold(false);
            while memory.release() {}
            turn_often(&mut driver).await.unwrap();
            assert!(arrived(&mut coordinator, &mut hello_left) > FRAME_HEADER_BYTES);
            driver.hub.peers.borrow().close_all();
            tokio::time::sleep(Duration::from_millis(20)).await;
        });
    }

    #[test]
    fn nothing_leaves_after_the_log_has_failed() {
        tokio_uring::start(async {
            let memory = Memory::new();
            let mut driver = driver(&memory);
            turn_often(&mut driver).await.unwrap();
            let mut coordinator = connect(&driver.hub);
            let mut hello_left = hello_bytes();
            memory.fail(1, Fault::Io);
            let error = turn_often(&mut driver).await.unwrap_err();
            assert!(error.is_disk_failure(), "{error}");
            assert!(driver.run().await.is_err());
            tokio::time::sleep(Duration::from_millis(20)).await;
            assert_eq!(arrived(&mut coordinator, &mut hello_left), 0);
            driver.hub.peers.borrow().close_all();
            tokio::time::sleep(Duration::from_millis(20)).await;
        });
    }
}
