//! One connection: a reader task, a writer task, and what they share with the driver.
//!
//! Invariants:
//! - no operation in flight is ever dropped: a connection ends by `shutdown` of its socket, which
//!   ends the read and the write, which end their tasks;
//! - nothing is allocated for what a peer announces, only for what has arrived;
//! - a connection is closed for one reason, the first.
//!
//! Not here: who may be at the other end (`greeting`), the table of all connections (`peers`).

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::io;
use std::net::{Shutdown, SocketAddr};
use std::rc::Rc;

use bytes::Bytes;
use protocol::codec::Reader;
use protocol::frame::{FrameError, FrameReader};
use protocol::message::{Hello, Speaks};
use protocol::{
    AdminMessage, ClusterId, HandshakeMessage, Malformed, Message, NodeId, Process, Role, Unwelcome, UnwelcomeReason,
};
use tokio::sync::Notify;
use tokio_uring::net::TcpStream;

use crate::greeting::{Expected, greet};
use crate::hub::Hub;
use crate::limits::{
    ASK_STATS_PER_FRAME_MAX, CLIENT_OUTBOXES_FACTOR, FRAME_TIMEOUT, NODE_OUTBOX_FACTOR, READ_BYTES_MAX, READ_BYTES_MIN,
    SMALL_READS_BEFORE_SHRINKING, UNFINISHED_BYTES_MAX,
};
use crate::links::{self, Asked};
use crate::outbox::Outbox;

/// Why a connection was closed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CloseReason {
    #[error("the peer has closed it")]
    ByPeer,
    #[error("the peer has closed it within a frame")]
    WithinFrame,
    #[error("{0}")]
    Io(#[from] io::Error),
    #[error("{0}")]
    Frame(#[from] FrameError),
    #[error("the peer did not say hello in time")]
    HelloTimeout,
    #[error("the rest of a frame did not arrive within {} s", FRAME_TIMEOUT.as_secs())]
    FrameTimeout,
    #[error(
        "unfinished frames hold more than {UNFINISHED_BYTES_MAX} bytes, and this one has waited longest for its rest"
    )]
    TooMuchUnfinished,
    #[error("the peer began with {0} instead of Hello")]
    NoHello(&'static str),
    #[error("the peer belongs to cluster {found}, this node to cluster {own}; give both the same --cluster-id, or correct the address that is dialled", found = found.0, own = own.0)]
    WrongCluster { found: ClusterId, own: ClusterId },
    #[error(
        "{role} {node} answers there instead of participant {expected}; correct the address of participant {expected}"
    )]
    WrongPeer { role: Role, node: u32, expected: u32 },
    #[error("a {found} has no business with a {own}; connect it to another node")]
    WrongRole { found: Role, own: Role },
    #[error("{node} with {process} is refused, {unwelcome}")]
    Unwelcome { node: NodeId, process: Process, unwelcome: Unwelcome },
    #[error("the peer refuses this process, {own}, {unwelcome}")]
    TurnedAway { own: Process, unwelcome: Unwelcome },
    #[error("the same node has connected anew")]
    Replaced,
    #[error("an operator has given up what was known of this number; whoever has it may connect anew")]
    GivenUp,
    #[error("a {from} may not send {message} to a {own}")]
    NotAllowed { from: Role, own: Role, message: &'static str },
    #[error(
        "{unsent} bytes wait for the peer, which does not read them; {max} may \
         (network.outbox, and {NODE_OUTBOX_FACTOR} times as much for a node)"
    )]
    OutboxFull { unsent: usize, max: usize },
    #[error(
        "{unsent} of {all} bytes that wait for clients wait for this one, which does not read them; {max} may for all together \
         ({CLIENT_OUTBOXES_FACTOR} times network.outbox)"
    )]
    OutboxesFull { unsent: usize, all: usize, max: usize },
    #[error(
        "a frame asks for the figures more than {ASK_STATS_PER_FRAME_MAX} times; ask once, and wait for the answer"
    )]
    TooManyQuestions,
    #[error(
        "the hello names {role} {node} with {process}: a node has a number from 1 to {max}, a log id, an epoch and a start \
         id, none of them 0; a client has only zeros",
        max = u32::MAX - 1
    )]
    InvalidHello { role: Role, node: u32, process: Process },
    #[error("the peer speaks {theirs} of the messages, this node {ours}; bring the older of the two up to date")]
    NoCommonVersion { theirs: Speaks, ours: Speaks },
    #[error(
        "{max} clients are connected, no more than network.connections and the limit of open files allow; \
         some connections are kept for nodes"
    )]
    TooManyClients { max: usize },
    #[error("others came, all connections were taken, and the peer had not come further than its hello")]
    MadeRoom,
    #[error("this node stops")]
    Stopping,
}

impl CloseReason {
    /// What the peer is told before the connection ends, if it can be told.
    fn on_the_wire(&self) -> Option<Unwelcome> {
        let reason = match self {
            Self::Unwelcome { unwelcome, .. } => return Some(*unwelcome),
            Self::WrongCluster { .. } => UnwelcomeReason::WrongCluster,
            Self::WrongRole { .. } => UnwelcomeReason::WrongRole,
            Self::InvalidHello { .. } => UnwelcomeReason::InvalidHello,
            Self::NoCommonVersion { .. } => UnwelcomeReason::NoCommonVersion,
            Self::Frame(FrameError::Malformed(Malformed::UnknownMessage { .. })) => UnwelcomeReason::NotUnderstood,
            Self::TooManyClients { .. } => UnwelcomeReason::TooManyClients,
            Self::ByPeer
            | Self::WithinFrame
            | Self::Io(_)
            | Self::Frame(_)
            | Self::HelloTimeout
            | Self::FrameTimeout
            | Self::TooMuchUnfinished
            | Self::NoHello(_)
            | Self::WrongPeer { .. }
            | Self::TurnedAway { .. }
            | Self::Replaced
            | Self::GivenUp
            | Self::NotAllowed { .. }
            | Self::OutboxFull { .. }
            | Self::OutboxesFull { .. }
            | Self::TooManyQuestions
            | Self::MadeRoom
            | Self::Stopping => return None,
        };
        Some(reason.into())
    }

    /// Whether it is about which process may speak for a number.
    pub(crate) fn is_alarm(&self) -> bool {
        matches!(self, Self::Unwelcome { .. } | Self::TurnedAway { .. })
    }

    /// Whether one of the two ends refuses the other for what it is: no further attempt will do better until an operator has
    /// looked.
    pub(crate) fn is_refusal(&self) -> bool {
        let is_of_another_kind = matches!(
            self,
            Self::WrongCluster { .. } | Self::WrongPeer { .. } | Self::WrongRole { .. } | Self::NoCommonVersion { .. }
        );
        self.is_alarm() || is_of_another_kind || matches!(self, Self::Frame(FrameError::Version(_)))
    }
}

/// What carries a connection, as far as ending it goes.
pub(crate) trait Line {
    /// Ends the reading, the writing, or both; what is in flight ends with it.
    fn shutdown(&self, how: Shutdown);
}

impl Line for TcpStream {
    fn shutdown(&self, how: Shutdown) {
        // Fails only if the peer has ended the connection already, which ends the tasks just as well.
        let _ = TcpStream::shutdown(self, how);
    }
}

/// One connection.
pub(crate) struct Connection {
    line: Rc<dyn Line>,
    pub(crate) address: SocketAddr,
    pub(crate) opened_us: u64,
    /// Whether the other end asks, and this one answers: what was accepted, not what was dialled.
    pub(crate) is_asked: bool,
    /// Who is at the other end, once it has said so.
    pub(crate) node: Cell<Option<NodeId>>,
    /// What it said first.
    pub(crate) hello: Cell<Option<Hello>>,
    /// Whether what it says is heard: it is welcome, and no later connection has taken its place.
    pub(crate) is_heard: Cell<bool>,
    pub(crate) outbox: RefCell<Outbox>,
    pub(crate) asked: Asked,
    /// What of it is counted in what waits for all clients.
    pub(crate) counted: Cell<usize>,
    /// Messages that the machine is to have once the outbox has room for their answers, in order.
    /// Bounded: nothing is read meanwhile, but for the read that was in flight.
    pub(crate) kept: RefCell<VecDeque<Message>>,
    /// Whether the driver has it on its list of connections to look after.
    pub(crate) is_listed: Cell<bool>,
    /// Wakes the writer.
    pub(crate) has_bytes: Notify,
    /// Wakes the reader, when it waits for the outbox or for the end.
    has_drained: Notify,
    closed: RefCell<Option<CloseReason>>,
    /// Why it ends once the last word has left.
    leaving: RefCell<Option<CloseReason>>,
    is_closed: Cell<bool>,
    /// Bytes of a frame that is not whole yet, and since when.
    unfinished: Cell<usize>,
    unfinished_since_us: Cell<u64>,
    /// Whether this end does not read, so that the rest of a frame cannot arrive.
    is_paused: Cell<bool>,
}

impl Connection {
    pub(crate) fn new(line: Rc<dyn Line>, address: SocketAddr, opened_us: u64, is_asked: bool) -> Self {
        Self {
            line,
            address,
            opened_us,
            is_asked,
            node: Cell::new(None),
            hello: Cell::new(None),
            is_heard: Cell::new(false),
            outbox: RefCell::default(),
            asked: Asked::default(),
            counted: Cell::new(0),
            kept: RefCell::default(),
            is_listed: Cell::new(false),
            has_bytes: Notify::new(),
            has_drained: Notify::new(),
            closed: RefCell::new(None),
            leaving: RefCell::new(None),
            is_closed: Cell::new(false),
            unfinished: Cell::new(0),
            unfinished_since_us: Cell::new(0),
            is_paused: Cell::new(false),
        }
    }

    /// The process that it announced.
    pub(crate) fn process(&self) -> Process {
        self.hello.get().map_or(Process::NONE, |hello| hello.process)
    }

    /// Ends the connection; the first reason stays.
    pub(crate) fn close(&self, reason: CloseReason) {
        if self.is_closed.replace(true) {
            return;
        }
        *self.closed.borrow_mut() = Some(reason);
        *self.kept.borrow_mut() = VecDeque::new();
        if let Ok(mut outbox) = self.outbox.try_borrow_mut() {
            outbox.give_up();
        }
        self.line.shutdown(Shutdown::Both);
        self.has_bytes.notify_one();
        self.has_drained.notify_one();
    }

    /// Refuses the peer: tells it why if it can be told, then ends the connection. Nothing that it says after this is heard.
    pub(crate) fn refuse(&self, reason: CloseReason) {
        match reason.on_the_wire() {
            Some(unwelcome) => {
                self.outbox
                    .borrow_mut()
                    .post(crate::outbox::OPEN, &Message::Handshake(HandshakeMessage::Unwelcome(unwelcome)));
                *self.leaving.borrow_mut() = Some(reason);
                self.has_bytes.notify_one();
            }
            None => self.close(reason),
        }
    }

    /// Whether it ends as soon as its last word has left.
    pub(crate) fn is_leaving(&self) -> bool {
        self.leaving.borrow().is_some()
    }

    /// A write has ended: if that was the last word, so does the connection.
    pub(crate) fn written(&self) {
        self.outbox.borrow_mut().written();
        let has_said_all = !self.outbox.borrow().is_ready();
        if has_said_all && let Some(reason) = self.leaving.borrow_mut().take() {
            self.close(reason);
        }
    }

    /// Takes nothing more from the peer; what waits for it may still leave.
    pub(crate) fn stop_reading(&self) {
        self.line.shutdown(Shutdown::Read);
        self.has_drained.notify_one();
    }

    /// Whether the answers that wait are too many for more questions. Only the side that is asked
    /// may let the other wait: if both did, both could wait for each other.
    pub(crate) fn is_congested(&self, outbox_share: usize) -> bool {
        self.is_asked && self.outbox.borrow().unsent_bytes() > outbox_share
    }

    /// Whether messages wait for room in the outbox.
    pub(crate) fn is_keeping(&self) -> bool {
        !self.kept.borrow().is_empty()
    }

    /// Tells the reader that it may look again whether to read on.
    pub(crate) fn read_on(&self) {
        self.has_drained.notify_one();
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.is_closed.get()
    }

    /// Whether a node is at the other end, and each has taken the other for the node that it says it is.
    pub(crate) fn is_of_node(&self) -> bool {
        self.asked.is_met.get() && self.node.get().is_some_and(|node| node.role() != Role::Client)
    }

    /// Since when a begun frame waits for its rest, if one does. Those of nodes come last, and those that are not read.
    pub(crate) fn stalled(&self) -> Option<(bool, bool, u64)> {
        let is_stalled = self.unfinished.get() > 0 && !self.is_closed();
        is_stalled.then(|| (self.is_of_node(), self.is_paused.get(), self.unfinished_since_us.get()))
    }

    /// Whether a begun frame has been waiting for its rest for too long.
    pub(crate) fn is_stalled(&self, now_us: u64) -> bool {
        let waited_us = now_us.saturating_sub(self.unfinished_since_us.get());
        self.unfinished.get() > 0 && !self.is_paused.get() && u128::from(waited_us) > FRAME_TIMEOUT.as_micros()
    }
}

/// What became of a connection.
pub(crate) struct Served {
    pub(crate) reason: CloseReason,
    /// Whether it is told that the node is gone, and why.
    pub(crate) is_told: bool,
    /// Who it was, if it said so and could be that one.
    pub(crate) node: Option<NodeId>,
    /// What it said first.
    pub(crate) hello: Option<Hello>,
    /// Whether each was welcome to the other.
    pub(crate) was_met: bool,
}

/// Runs a connection to its end.
pub(crate) async fn serve(hub: Rc<Hub>, stream: TcpStream, address: SocketAddr, expected: Expected) -> Served {
    let stream = Rc::new(stream);
    let mut intake = Intake::begin(&hub, Rc::clone(&stream) as Rc<dyn Line>, address, expected);
    let (id, connection) = (intake.id, Rc::clone(&intake.connection));
    let writer = tokio_uring::spawn(write_all(Rc::clone(&hub), Rc::clone(&connection), Rc::clone(&stream)));

    let ended = read_all(&mut intake, &stream).await;
    intake.end();
    while hub.is_stopping.get() && !connection.is_closed() {
        connection.has_drained.notified().await;
    }
    connection.close(ended);
    hub.peers.borrow_mut().forget(id, &connection);
    if writer.await.is_err() {
        tracing::error!(peer = %address, "the writer of a connection has failed");
    }
    let reason = connection.closed.borrow_mut().take().unwrap_or(CloseReason::ByPeer);
    let is_told = links::ended(&hub, &connection, &reason);
    Served {
        reason,
        is_told,
        node: connection.node.get(),
        hello: connection.hello.get(),
        was_met: connection.asked.is_met.get(),
    }
}

/// Writes what the outbox lets go, one write at a time; meanwhile the next bytes collect.
async fn write_all(hub: Rc<Hub>, connection: Rc<Connection>, stream: Rc<TcpStream>) {
    let mut spare = Vec::new();
    while !connection.is_closed() {
        let taken = connection.outbox.borrow_mut().take(spare);
        match taken {
            Ok(frames) => {
                let (result, frames) = stream.write_all(frames).await;
                spare = frames;
                if let Err(error) = result {
                    return connection.close(error.into());
                }
                connection.written();
                hub.peers.borrow_mut().note_unsent(&connection);
                connection.has_drained.notify_one();
                let outbox_share = hub.peers.borrow().outbox_share();
                let may_hand_on = connection.is_keeping() && !connection.is_congested(outbox_share);
                if may_hand_on || hub.is_stopping.get() {
                    hub.wake.notify_one();
                }
            }
            Err(unused) => {
                spare = unused;
                connection.has_bytes.notified().await;
            }
        }
    }
}

/// Reads to the end of the connection, and says why it ended.
async fn read_all(intake: &mut Intake, stream: &TcpStream) -> CloseReason {
    let mut buffer = Vec::with_capacity(READ_BYTES_MIN);
    let mut small_reads = 0;
    loop {
        wait_for_outbox(intake).await;
        buffer.clear();
        let (result, filled) = stream.read(buffer).await;
        buffer = filled;
        let count = match result {
            Ok(0) if intake.frames.waiting_bytes() > 0 => return CloseReason::WithinFrame,
            Ok(0) => return CloseReason::ByPeer,
            Ok(count) => count,
            Err(error) => return error.into(),
        };
        if intake.hub.is_stopping.get() {
            continue;
        }
        if let Err(reason) = intake.take(&buffer[..count]) {
            return reason;
        }
        small_reads = if count < buffer.capacity() / 4 { small_reads + 1 } else { 0 };
        intake.resize(&mut buffer, count, &mut small_reads);
    }
}

/// Whoever asks faster than it takes the answers is not heard until it has taken some.
async fn wait_for_outbox(intake: &Intake) {
    let (hub, connection) = (&intake.hub, &intake.connection);
    while !connection.is_closed() && !hub.is_stopping.get() && !intake.may_read() {
        connection.is_paused.set(true);
        connection.has_drained.notified().await;
    }
    if connection.is_paused.replace(false) {
        connection.unfinished_since_us.set(hub.clock.now().0);
    }
}

/// What arrives on one connection: bytes in, messages to the hub.
pub(crate) struct Intake {
    hub: Rc<Hub>,
    /// Among all connections.
    pub(crate) id: u64,
    pub(crate) connection: Rc<Connection>,
    expected: Expected,
    frames: FrameReader,
}

impl Intake {
    /// Admits a connection, and says hello on it.
    pub(crate) fn begin(hub: &Rc<Hub>, line: Rc<dyn Line>, address: SocketAddr, expected: Expected) -> Self {
        let is_asked = matches!(expected, Expected::Anyone { .. });
        let connection = Rc::new(Connection::new(line, address, hub.clock.now().0, is_asked));
        let id = hub.peers.borrow_mut().admit(Rc::clone(&connection));
        connection
            .outbox
            .borrow_mut()
            .post(crate::outbox::OPEN, &Message::Handshake(HandshakeMessage::Hello(hub.hello)));
        Self { hub: Rc::clone(hub), id, connection, expected, frames: FrameReader::default() }
    }

    /// Whether there is room for the answers to what would be read now.
    pub(crate) fn may_read(&self) -> bool {
        let outbox_share = self.hub.peers.borrow().outbox_share();
        !self.connection.is_keeping() && !self.connection.is_congested(outbox_share)
    }

    /// Nothing more arrives.
    pub(crate) fn end(&self) {
        let unfinished = self.connection.unfinished.replace(0);
        self.hub.unfinished.set(self.hub.unfinished.get() - unfinished);
    }

    fn resize(&mut self, buffer: &mut Vec<u8>, count: usize, small_reads: &mut u32) {
        let capacity = buffer.capacity();
        if count == capacity && capacity < READ_BYTES_MAX {
            *buffer = Vec::with_capacity((capacity * 4).min(READ_BYTES_MAX));
        } else if *small_reads > SMALL_READS_BEFORE_SHRINKING && capacity > READ_BYTES_MIN {
            *buffer = Vec::with_capacity((capacity / 4).max(READ_BYTES_MIN));
            *small_reads = 0;
            if self.frames.waiting_bytes() == 0 {
                self.frames = FrameReader::default();
            }
        }
    }

    /// Takes what has arrived.
    pub(crate) fn take(&mut self, bytes: &[u8]) -> Result<(), CloseReason> {
        links::heard(&self.hub, &self.connection);
        self.frames.extend(bytes);
        let mut has_progressed = false;
        while let Some(payload) = self.frames.next_payload()? {
            self.take_payload(payload)?;
            has_progressed = true;
        }
        self.hub.wake.notify_one();
        self.count_unfinished(has_progressed)
    }

    fn take_payload(&self, payload: Bytes) -> Result<(), CloseReason> {
        let mut reader = Reader::new(payload);
        let own = self.hub.hello.role;
        let mut questions = 0;
        while reader.remaining() > 0 {
            if self.connection.is_leaving() {
                return Ok(());
            }
            let message = match Message::decode(&mut reader) {
                Ok(Some(message)) => message,
                Ok(None) => continue,
                Err(unknown @ Malformed::UnknownMessage { .. }) => {
                    self.connection.refuse(CloseReason::Frame(unknown.into()));
                    return Ok(());
                }
                Err(malformed) => return Err(FrameError::from(malformed).into()),
            };
            let Some(node) = self.connection.node.get() else {
                match greet(&self.hub, &self.connection, self.expected, &message) {
                    Ok(()) => self.hub.inbox.borrow_mut().push((Rc::clone(&self.connection), message)),
                    Err(reason) => self.connection.refuse(reason),
                }
                continue;
            };
            if let Message::Handshake(HandshakeMessage::Unwelcome(unwelcome)) = message {
                return Err(CloseReason::TurnedAway { own: self.hub.hello.process, unwelcome });
            }
            if !message.row().may_be_sent(node.role(), own) {
                return Err(CloseReason::NotAllowed { from: node.role(), own, message: message.name() });
            }
            questions += usize::from(matches!(message, Message::Admin(AdminMessage::AskStats)));
            if questions > ASK_STATS_PER_FRAME_MAX {
                return Err(CloseReason::TooManyQuestions);
            }
            self.hub.inbox.borrow_mut().push((Rc::clone(&self.connection), message));
        }
        Ok(())
    }

    fn count_unfinished(&self, has_progressed: bool) -> Result<(), CloseReason> {
        let unfinished = if self.connection.is_closed() { 0 } else { self.frames.waiting_bytes() };
        let before = self.connection.unfinished.replace(unfinished);
        if unfinished > 0 && (before == 0 || has_progressed) {
            self.connection.unfinished_since_us.set(self.hub.clock.now().0);
        }
        self.hub.unfinished.set(self.hub.unfinished.get() - before + unfinished);
        while self.hub.unfinished.get() > UNFINISHED_BYTES_MAX {
            let Some(stalled) = self.hub.peers.borrow().most_stalled() else { break };
            if Rc::ptr_eq(&stalled, &self.connection) {
                return Err(CloseReason::TooMuchUnfinished);
            }
            self.hub.unfinished.set(self.hub.unfinished.get() - stalled.unfinished.replace(0));
            stalled.close(CloseReason::TooMuchUnfinished);
        }
        Ok(())
    }
}
