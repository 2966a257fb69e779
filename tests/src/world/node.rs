//! One node: a real machine on a log in memory, behind a gate.

use std::collections::BTreeMap;
use std::ops::ControlFlow;

use coordinator::Coordinator;
use engine::Table;
use participant::Participant;
use protocol::message::Hello;
use protocol::{
    ClusterId, CommitMessage, Effects, HandshakeMessage, Index, Journal, Machine, Message, NodeId, Origin, Outbox,
    Position, Process, Record, Role, Tick, TxnId,
};

use crate::world::gate::Gate;
use crate::world::log::{Again, Log, Rows};
use crate::world::trace::Trace;
use crate::world::words;

/// The cluster of every world.
pub const CLUSTER: ClusterId = ClusterId(7);

/// How far a repaired log goes on past its end: more than any story loses.
const REPAIR_SKIPS: u64 = 100;

/// What a node is.
pub enum Kind {
    /// A coordinator with these settings.
    Coordinator(coordinator::Config),
    /// A participant with these settings.
    Participant(participant::Config),
}

enum Running {
    Coordinator(Box<Coordinator>),
    Participant(Box<Participant>, Table),
}

impl Running {
    fn machine(&mut self) -> &mut dyn Machine {
        match self {
            Self::Coordinator(coordinator) => coordinator.as_mut(),
            Self::Participant(participant, _) => participant.as_mut(),
        }
    }
}

/// A node of a world.
pub struct Node {
    id: NodeId,
    kind: Kind,
    trace: Trace,
    running: Option<Running>,
    /// The id of its log.
    log_id: u64,
    /// What the last start drew.
    starts: u64,
    /// Which process of each node has said hello last and was welcome: nothing of any other is heard.
    introduced: BTreeMap<NodeId, Process>,
    /// Whether it stands still: neither receives nor flushes nor notices the time.
    pub paused: bool,
    /// Its log, which outlives it.
    pub log: Log,
    /// Its gate.
    pub gate: Gate,
}

impl Node {
    /// A node that does not run yet.
    #[must_use]
    pub fn new(id: NodeId, kind: Kind, trace: &Trace) -> Self {
        let log = Log::new(id, trace.clone());
        let gate = Gate::new(id, log.stable(), trace.clone());
        let log_id = u64::from(id.role().code()) << 8 | u64::from(id.number());
        let (starts, introduced) = (0, BTreeMap::new());
        Self { id, kind, trace: trace.clone(), running: None, log_id, starts, introduced, paused: false, log, gate }
    }

    /// Another process under the same number: its starts draw other numbers. On a log of its own, unless it runs on a copy.
    #[must_use]
    pub fn twin(mut self, is_copy: bool) -> Self {
        self.starts = 100;
        self.log_id += if is_copy { 0 } else { 0x80 };
        self
    }

    /// Which it is.
    #[must_use]
    pub fn id(&self) -> NodeId {
        self.id
    }

    /// Where it tells what happens.
    #[must_use]
    pub fn trace(&self) -> Trace {
        self.trace.clone()
    }

    /// Whether it runs.
    #[must_use]
    pub fn is_up(&self) -> bool {
        self.running.is_some()
    }

    /// Whether it runs and does not stand still.
    #[must_use]
    pub fn is_awake(&self) -> bool {
        self.is_up() && !self.paused
    }

    /// Starts from what is durable, and makes the start durable.
    pub fn start(&mut self, now: Tick) {
        let mut running = match &self.kind {
            Kind::Coordinator(config) => Running::Coordinator(Box::new(Coordinator::new(config.clone()))),
            Kind::Participant(config) => {
                let table = Table::new();
                for (key, value) in self.log.rows() {
                    table.apply(engine::Place::default(), 0, key, Some(value.clone()));
                }
                Running::Participant(Box::new(Participant::new(config.clone(), table.clone())), table)
            }
        };
        for (at, record) in self.log.durable_records() {
            running.machine().replay(at, record);
        }
        self.gate = Gate::new(self.id, self.log.stable(), self.trace.clone());
        self.running = Some(running);
        self.introduced.clear();
        self.starts += 1;
        let origin = Origin { log: self.log_id, start: self.starts, opening: self.starts, first_epoch: 1 };
        self.act(|machine, effects| {
            machine.start(now, origin, effects).expect("the log and the settings of a story fit together");
        });
        self.flush();
    }

    /// Ends at once. Returns whether it ran.
    pub fn crash(&mut self, lost: usize) -> bool {
        self.paused = false;
        self.log.crash(lost);
        self.gate = Gate::new(self.id, self.log.stable(), self.trace.clone());
        self.running.take().is_some()
    }

    /// The operator gives up what its log has lost: it goes on past all that stood there, and begins by saying so.
    pub fn repair(&mut self) {
        if !self.is_up() {
            self.log.skip(REPAIR_SKIPS);
            let until = Index(self.log.end().0 + 1);
            self.log.append(&Record::LossAccepted { until });
            self.log.flush();
        }
    }

    /// Lets the machine act.
    pub fn act<T>(&mut self, story: impl FnOnce(&mut dyn Machine, &mut Effects<'_>) -> T) -> Option<T> {
        let machine = self.running.as_mut()?.machine();
        Some(story(machine, &mut Effects::new(&mut self.log, &mut self.gate)))
    }

    /// Hears a message, as a connection hands it on: nothing of a process that is not welcome, or that another one has
    /// followed. `by` is the process that has sent it; nobody if the harness does not tell them apart.
    pub fn hear(&mut self, now: Tick, from: NodeId, by: Process, message: Message) {
        let is_heard = if from.role() == Role::Client {
            true
        } else if let Message::Handshake(HandshakeMessage::Hello(hello)) = &message {
            self.introduce(from, hello.process)
        } else {
            self.introduced.get(&from).is_some_and(|known| !by.is_some() || *known == by)
        };
        if is_heard {
            self.act(|machine, effects| machine.handle(now, from, message, effects));
        }
    }

    fn introduce(&mut self, from: NodeId, process: Process) -> bool {
        match self.act(|machine, _| machine.welcome(from, process)) {
            Some(Ok(())) => {
                self.introduced.insert(from, process);
                true
            }
            Some(Err(unwelcome)) => {
                self.gate.post(from, Index::ZERO, &Message::Handshake(HandshakeMessage::Unwelcome(unwelcome)));
                false
            }
            None => false,
        }
    }

    /// Its connection to another node has ended.
    pub fn cut(&mut self, from: NodeId) {
        self.gate.lose(from);
        self.introduced.remove(&from);
    }

    /// Makes its log durable, and lets go what waited for that.
    pub fn flush(&mut self) {
        self.log.flush();
        self.gate.open_up_to(self.log.stable());
    }

    /// Logs a checkpoint, which counts once it is durable, if it is awake.
    pub fn checkpoint(&mut self) {
        if !self.is_awake() {
            return;
        }
        let begin = self.log.end_place();
        let rows = self.rows();
        if let Some(running) = &mut self.running {
            let (machine, mut journal) = (running.machine(), Again(&mut self.log));
            let mut effects = Effects::new(&mut journal, &mut self.gate);
            let mut from = 0;
            while let Some(next) = machine.checkpoint(from, &mut effects) {
                from = next;
            }
        }
        self.log.checkpoint(begin, rows);
    }

    /// When something becomes due.
    pub fn next_tick(&mut self) -> Option<Tick> {
        self.running.as_mut()?.machine().next_tick()
    }

    /// Which process it is; nobody while it does not run.
    #[must_use]
    pub fn process(&self) -> Process {
        match &self.running {
            Some(Running::Coordinator(coordinator)) => coordinator.process(),
            Some(Running::Participant(participant, _)) => participant.process(),
            None => Process::NONE,
        }
    }

    /// How it introduces itself.
    pub fn hello(&self) -> Option<Message> {
        let process = self.process();
        self.running.as_ref()?;
        let hello = Hello::daemon(self.id.role(), self.id.number(), CLUSTER, process);
        Some(Message::Handshake(HandshakeMessage::Hello(hello)))
    }

    /// The rows of a participant.
    #[must_use]
    pub fn rows(&self) -> Rows {
        let mut rows = Rows::new();
        if let Some(Running::Participant(_, table)) = &self.running {
            let mut keep = |key: &bytes::Bytes, value: &bytes::Bytes| {
                rows.push((key.clone(), value.clone()));
                ControlFlow::Continue(())
            };
            table.scan(b"", b"", &mut keep).expect("a table in memory");
        }
        rows
    }

    /// Transactions that it has not done with.
    #[must_use]
    pub fn in_flight(&self) -> usize {
        match &self.running {
            Some(Running::Coordinator(coordinator)) => coordinator.unfinished_txns(),
            Some(Running::Participant(participant, _)) => participant.in_flight_txns(),
            None => 0,
        }
    }

    /// Checks that a message that leaves has its promise in the durable log.
    ///
    /// # Panics
    /// If it has not.
    pub fn assert_durable_before_said(&self, message: &Message) {
        let durable = self.log.durable_records();
        let is_durable =
            |meant: &dyn Fn(Position, &Record) -> bool| durable.iter().any(|(at, r)| meant(at.position, r));
        let holds = if let Message::Commit(CommitMessage::VoteYes { txn, attempt, prepared_at, .. }) = message {
            is_durable(&|at, record| {
                let said = (*txn, *attempt, *prepared_at);
                matches!(record, Record::Prepared(promise) if (promise.txn, promise.attempt, at) == said)
                    || matches!(record, Record::PreparedAgain { promise, first_at } if (promise.txn, promise.attempt, *first_at) == said)
            })
        } else if let Message::Commit(CommitMessage::Commit { txn, attempt, decided_at, .. }) = message {
            is_durable(&|at, record| {
                let said = (*txn, *attempt, *decided_at);
                matches!(record, Record::Decided { txn, attempt, .. } if (*txn, *attempt, at) == said)
                    || matches!(record, Record::DecidedAgain { txn, attempt, first_at, .. } if (*txn, *attempt, *first_at) == said)
                    || matches!(
                        record,
                        Record::Decided { txn: decided, .. } | Record::DecidedAgain { txn: decided, .. }
                            if decided == txn && !decided_at.is_known()
                    )
                    || (!decided_at.is_known() && remembers(record, *txn))
            })
        } else if let Message::Commit(
            CommitMessage::CommitAck { txn, .. } | CommitMessage::CommittedOnePhase { txn, .. },
        ) = message
        {
            let says = if let Message::Commit(CommitMessage::CommittedOnePhase { committed_at, .. }) = message {
                *committed_at
            } else {
                Position::UNKNOWN
            };
            is_durable(&|at, record| {
                matches!(record, Record::CommittedOnePhase(promise) if promise.txn == *txn && (at == says || !says.is_known()))
                    || (!says.is_known() && remembers(record, *txn))
                    || matches!(record, Record::Committed { txn: committed, .. } if committed == txn && !says.is_known())
            })
        } else if let Message::Handshake(HandshakeMessage::Hello(Hello {
            process: Process { epoch, start, .. }, ..
        })) = message
        {
            let started = Record::Started { epoch: *epoch, start: *start };
            let is_among = |record: &Record| matches!(record, Record::Starts(all) if all.contains(&(*epoch, *start)));
            is_durable(&|_, record| *record == started || is_among(record))
        } else {
            true
        };
        assert!(holds, "{} said {} before it was durable", self.id, words::message(message));
    }

    /// All that decides what it will do, as bytes: the same bytes, the same state.
    #[must_use]
    pub fn state(&self) -> Vec<u8> {
        let Self { id: _, kind: _, trace: _, running, log_id, starts, introduced, paused, log, gate } = self;
        let machine = running.as_ref().map(|running| match running {
            Running::Coordinator(coordinator) => format!("{coordinator:?}"),
            Running::Participant(participant, _) => format!("{participant:?}"),
        });
        let mut state = format!("{machine:?} {log_id} {starts} {introduced:?} {paused}").into_bytes();
        log.add_state(&mut state);
        gate.add_state(&mut state);
        state
    }
}

fn remembers(record: &Record, txn: TxnId) -> bool {
    matches!(record, Record::Outcomes(outcomes) if outcomes.iter().any(|outcome| outcome.txn == txn))
}
