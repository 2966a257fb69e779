//! A small world for tests: two machines that do next to nothing, nodes in threads, a client on a
//! plain socket.

// Each test binary uses a part of it.
#![allow(dead_code, clippy::unwrap_used)]

use std::collections::{BTreeSet, VecDeque};
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::sync::mpsc;
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use node::{Config, NodeConfig, NodeError, Stop};
use protocol::frame::{self, FRAME_HEADER_BYTES, FrameReader};
use protocol::message::{Hello, KnownOutcome, Submit, TxnStatus};
use protocol::{
    Attempt, ClientMessage, ClusterId, CommitMessage, Effects, HandshakeMessage, InDoubt, Logged, Machine, Message,
    NodeId, OperationResult, Origin, Owed, Position, Process, Record, RecoveryMessage, Role, StartError, Tick, TxnId,
    Unwelcome, UnwelcomeReason,
};

pub(crate) const CLUSTER: ClusterId = ClusterId(1);

/// A process that no machine here welcomes.
pub(crate) const UNWELCOME_START: u64 = 99;

/// Remembers in its log which transactions it was asked about, and says whether it knew one.
#[derive(Default)]
pub(crate) struct Rememberer {
    known: BTreeSet<TxnId>,
}

impl Machine for Rememberer {
    fn replay(&mut self, _at: Logged, record: Record) {
        if let Record::Finished { txn } = record {
            self.known.insert(txn);
        }
    }

    fn start(&mut self, _now: Tick, _origin: Origin, _effects: &mut Effects<'_>) -> Result<(), StartError> {
        Ok(())
    }

    fn handle(&mut self, _now: Tick, from: NodeId, message: Message, effects: &mut Effects<'_>) {
        if let Message::Recovery(RecoveryMessage::AskOutcome { txn, question }) = message {
            let known = if self.known.insert(txn) {
                effects.log(&Record::Finished { txn });
                KnownOutcome::Nothing
            } else {
                KnownOutcome::Committed
            };
            effects.send(from, &Message::Recovery(RecoveryMessage::Outcome { txn, question, known }));
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

    fn welcome(&self, _node: NodeId, process: Process) -> Result<(), Unwelcome> {
        if process.start == UNWELCOME_START { Err(UnwelcomeReason::Copy.into()) } else { Ok(()) }
    }

    fn process(&self) -> Process {
        Process { log: 1, epoch: 1, start: 1 }
    }

    /// Logs eight transactions a slice, so that a checkpoint takes many.
    fn checkpoint(&mut self, from: u64, effects: &mut Effects<'_>) -> Option<u64> {
        let slice: Vec<TxnId> = self.known.iter().skip(from as usize).take(8).copied().collect();
        for txn in &slice {
            effects.log(&Record::Finished { txn: *txn });
        }
        let next = from + slice.len() as u64;
        (next < self.known.len() as u64).then_some(next)
    }
}

/// Asks participant 1 whatever a client submits, and asks again when it meets it anew.
#[derive(Default)]
pub(crate) struct Asker {
    epoch: u32,
    waiting: Vec<(TxnId, NodeId)>,
}

impl Machine for Asker {
    fn replay(&mut self, _at: Logged, record: Record) {
        if let Record::Started { epoch, .. } = record {
            self.epoch = epoch;
        }
    }

    fn start(&mut self, _now: Tick, _origin: Origin, effects: &mut Effects<'_>) -> Result<(), StartError> {
        self.epoch += 1;
        effects.log(&Record::Started { epoch: self.epoch, start: 1 });
        Ok(())
    }

    fn handle(&mut self, _now: Tick, from: NodeId, message: Message, effects: &mut Effects<'_>) {
        let participant = NodeId::participant(1);
        if let Message::Handshake(HandshakeMessage::Hello(Hello { role: Role::Participant, .. })) = message {
            for (txn, _) in &self.waiting {
                effects
                    .send_now(participant, &Message::Recovery(RecoveryMessage::AskOutcome { txn: *txn, question: 1 }));
            }
        } else if let Message::Client(ClientMessage::Submit(submit)) = message {
            self.waiting.push((submit.txn, from));
            effects.send_now(
                participant,
                &Message::Recovery(RecoveryMessage::AskOutcome { txn: submit.txn, question: 1 }),
            );
        } else if let Message::Recovery(RecoveryMessage::Outcome { txn, known, .. }) = message {
            let status = if known == KnownOutcome::Committed { TxnStatus::Committed } else { TxnStatus::Unknown };
            self.waiting.retain(|(waiting, client)| {
                if *waiting == txn {
                    effects.send(*client, &Message::Client(ClientMessage::Status { txn, status }));
                }
                *waiting != txn
            });
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

    fn welcome(&self, _node: NodeId, process: Process) -> Result<(), Unwelcome> {
        if process.start == UNWELCOME_START { Err(UnwelcomeReason::Copy.into()) } else { Ok(()) }
    }

    fn process(&self) -> Process {
        Process { log: 1, epoch: self.epoch, start: 1 }
    }

    fn checkpoint(&mut self, _from: u64, effects: &mut Effects<'_>) -> Option<u64> {
        effects.log(&Record::Started { epoch: self.epoch, start: 1 });
        None
    }
}

/// Answers each question with a vote of a mebibyte, and each transaction with as much.
#[derive(Default)]
pub(crate) struct Loud;

impl Machine for Loud {
    fn replay(&mut self, _at: Logged, _record: Record) {}

    fn start(&mut self, _now: Tick, _origin: Origin, _effects: &mut Effects<'_>) -> Result<(), StartError> {
        Ok(())
    }

    fn handle(&mut self, _now: Tick, from: NodeId, message: Message, effects: &mut Effects<'_>) {
        let value = OperationResult::Value(Some(vec![7; 512 << 10].into()));
        let results = vec![value.clone(), value];
        if let Message::Recovery(RecoveryMessage::AskOutcome { txn, .. }) = message {
            let attempt = Attempt { epoch: 1, number: 1 };
            effects.send(from, &Message::Commit(CommitMessage::VoteReadOnly { txn, attempt, results }));
        } else if let Message::Client(ClientMessage::Submit(submit)) = message {
            effects.send(from, &Message::Client(ClientMessage::Committed { txn: submit.txn, results: Some(results) }));
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

    fn welcome(&self, _node: NodeId, process: Process) -> Result<(), Unwelcome> {
        if process.start == UNWELCOME_START { Err(UnwelcomeReason::Copy.into()) } else { Ok(()) }
    }

    fn process(&self) -> Process {
        Process { log: 1, epoch: 1, start: 1 }
    }

    fn checkpoint(&mut self, _from: u64, _effects: &mut Effects<'_>) -> Option<u64> {
        None
    }
}

/// A node in a thread of its own, with what it writes down.
pub(crate) struct Running {
    pub(crate) address: SocketAddr,
    stop: Stop,
    thread: Option<JoinHandle<Result<(), NodeError>>>,
    log: Log,
}

#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Running {
    pub(crate) fn participant(config: NodeConfig) -> Running {
        Self::start(config, Rememberer::default)
    }

    pub(crate) fn coordinator(config: NodeConfig) -> Running {
        Self::start(config, Asker::default)
    }

    pub(crate) fn loud(config: NodeConfig) -> Running {
        Self::start(config, Loud::default)
    }

    fn start<M: Machine + 'static>(config: NodeConfig, make: fn() -> M) -> Running {
        let (stop, log) = (Stop::new(), Log::default());
        let (ready, is_ready) = mpsc::channel();
        let (stop_there, log_there) = (stop.clone(), log.clone());
        let thread = std::thread::spawn(move || {
            let writer = move || log_there.clone();
            let subscriber = tracing_subscriber::fmt()
                .with_max_level(tracing::Level::DEBUG)
                .with_ansi(false)
                .with_writer(writer)
                .finish();
            tracing::subscriber::with_default(subscriber, || {
                node::run(config, stop_there, |address| ready.send(address).unwrap(), |_| make())
            })
        });
        let address = is_ready.recv_timeout(Duration::from_secs(20)).expect("the node is ready");
        Running { address, stop, thread: Some(thread), log }
    }

    pub(crate) fn log(&self) -> String {
        String::from_utf8(self.log.0.lock().unwrap().clone()).unwrap()
    }

    pub(crate) fn wait_for_log(&self, text: &str) {
        self.wait_for_logs(1, text);
    }

    pub(crate) fn wait_for_logs(&self, count: usize, text: &str) {
        let deadline = Instant::now() + Duration::from_secs(10);
        while self.log().matches(text).count() < count {
            assert!(Instant::now() < deadline, "not {count} times {text:?} in:\n{}", self.log());
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    pub(crate) fn stop(mut self) -> String {
        self.stop.request();
        self.thread.take().unwrap().join().unwrap().unwrap();
        self.log()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.stop.request();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

pub(crate) fn config(role: Role, number: u32, listen: &str, data: &Path) -> NodeConfig {
    let mut config = Config::new(role).node;
    config.number = number;
    config.cluster = CLUSTER;
    config.listen = listen.to_owned();
    config.data = data.to_owned();
    config.segment_bytes = 8 << 20;
    config
}

/// A client, or something that pretends to be a node.
pub(crate) struct Client {
    pub(crate) stream: TcpStream,
    reader: FrameReader,
    received: VecDeque<Message>,
}

impl Client {
    pub(crate) fn connect(address: SocketAddr) -> Client {
        Self::connect_as(address, Hello::client(CLUSTER))
    }

    pub(crate) fn connect_as(address: SocketAddr, hello: Hello) -> Client {
        let mut client = Self::silent(address);
        client.send(&Message::Handshake(HandshakeMessage::Hello(hello)));
        client
    }

    /// A connection that says nothing, and has received the node's hello.
    pub(crate) fn silent(address: SocketAddr) -> Client {
        let stream = TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        stream.set_nodelay(true).unwrap();
        let mut client = Client { stream, reader: FrameReader::default(), received: VecDeque::new() };
        assert!(matches!(client.receive(), Some(Message::Handshake(HandshakeMessage::Hello(_)))));
        client
    }

    pub(crate) fn send(&mut self, message: &Message) {
        self.stream.write_all(&frame::single(message)).unwrap();
    }

    /// Sends messages in one frame.
    pub(crate) fn send_together(&mut self, messages: impl IntoIterator<Item = Message>) {
        let mut bytes = vec![0; FRAME_HEADER_BYTES];
        messages.into_iter().for_each(|message| message.encode(&mut bytes));
        frame::seal(&mut bytes);
        self.stream.write_all(&bytes).unwrap();
    }

    /// The next message; `None` when the node has closed the connection.
    pub(crate) fn receive(&mut self) -> Option<Message> {
        let mut buffer = [0; 65_536];
        while self.received.is_empty() {
            let count = match self.stream.read(&mut buffer) {
                Ok(0) => return None,
                Ok(count) => count,
                Err(error) if error.kind() == io::ErrorKind::ConnectionReset => return None,
                Err(error) => panic!("{error}"),
            };
            self.reader.extend(&buffer[..count]);
            let received = &mut self.received;
            self.reader.drain(|message| received.push_back(message)).unwrap();
        }
        self.received.pop_front()
    }

    /// Submits, and tells whether the participant knew the transaction already.
    pub(crate) fn ask(&mut self, txn: u128) -> TxnStatus {
        self.send(&submit(txn));
        match self.receive() {
            Some(Message::Client(ClientMessage::Status { txn: found, status })) if found == TxnId(txn) => status,
            other => panic!("{other:?}"),
        }
    }

    /// It is closed, with a word on why or without.
    pub(crate) fn assert_closed(mut self) {
        let last = self.receive();
        assert!(matches!(last, None | Some(Message::Handshake(HandshakeMessage::Unwelcome(_)))), "{last:?}");
        assert_eq!(last.and_then(|_| self.receive()), None);
    }
}

pub(crate) fn submit(txn: u128) -> Message {
    Message::Client(ClientMessage::Submit(Submit { txn: TxnId(txn), deadline_ms: 1_000, operations: Vec::new() }))
}

pub(crate) fn prepare_lost() -> Message {
    let (voted_at, held_at) = (Position::UNKNOWN, Position::UNKNOWN);
    Message::Recovery(RecoveryMessage::PrepareLost {
        txn: TxnId(1),
        attempt: Attempt { epoch: 1, number: 1 },
        voted_at,
        held_at,
    })
}
