//! What waits for an answer, and the queue of bytes that asks for it.
//!
//! Shared by the callers, which put in, and the connection, which takes out. The lock is held for
//! the time of a hash map operation and an encoding, never across an await.
//!
//! Invariants: while connected, everything in flight has been queued on this connection exactly
//! once; while not, nothing is queued, and [`InFlight::connected`] queues it all again.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use hashbrown::HashMap;
use protocol::message::{Stats, Submit, TxnStatus};
use protocol::{AdminMessage, ClientMessage, HandshakeMessage, Message, Operation, Reason, Refusal, TxnId};
use rustc_hash::FxBuildHasher;
use tokio::sync::{Notify, OwnedSemaphorePermit, oneshot};

use crate::error::ClientError;
use crate::outgoing::Outgoing;
use crate::transaction::Outcome;

/// The coordinator's word on a transaction.
#[derive(Clone, Debug)]
pub(crate) enum Reply {
    Outcome(Outcome),
    /// Not admitted. `sends` counts how often it was sent: after more than one, an earlier
    /// connection may have admitted it. The operations come back to be sent again.
    Busy {
        sends: u32,
        operations: Vec<Operation>,
    },
}

pub(crate) type Answer<T> = Result<T, ClientError>;

/// What waits for an answer at one address.
#[derive(Debug)]
pub(crate) struct InFlight {
    pub(crate) address: String,
    /// Something is to be written.
    pub(crate) wake_writer: Notify,
    /// Something has a deadline.
    pub(crate) wake_sweeper: Notify,
    /// The connection is silent although answers are overdue.
    pub(crate) hang_up: Notify,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    connected: bool,
    outgoing: Outgoing,
    txns: HashMap<TxnId, Pending, FxBuildHasher>,
    statuses: HashMap<TxnId, Vec<Question<TxnStatus>>, FxBuildHasher>,
    stats: VecDeque<Question<Stats>>,
    last_heard: Instant,
    last_trouble: String,
    traffic: Traffic,
}

/// What one client has asked of its coordinator.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Traffic {
    /// Connections that it has begun to use, the present one included.
    pub connections: u64,
    /// How often it has sent a transaction: again after BUSY, and again on a new connection.
    pub submits: u64,
}

#[derive(Debug)]
struct Pending {
    submit: Message,
    deadline: Instant,
    give_up: Instant,
    sends: u32,
    answer: oneshot::Sender<Answer<Reply>>,
    also: Vec<oneshot::Sender<Answer<Reply>>>,
    _room: OwnedSemaphorePermit,
}

#[derive(Debug)]
struct Question<T> {
    give_up: Instant,
    answer: oneshot::Sender<Answer<T>>,
    _room: OwnedSemaphorePermit,
}

impl InFlight {
    pub(crate) fn new(address: String) -> Arc<Self> {
        Arc::new(Self {
            address,
            wake_writer: Notify::new(),
            wake_sweeper: Notify::new(),
            hang_up: Notify::new(),
            state: Mutex::new(State {
                connected: false,
                outgoing: Outgoing::default(),
                txns: HashMap::default(),
                statuses: HashMap::default(),
                stats: VecDeque::new(),
                last_heard: Instant::now(),
                last_trouble: "not connected yet".to_owned(),
                traffic: Traffic::default(),
            }),
        })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Queues a transaction and returns where its answer will come.
    pub(crate) fn submit(
        &self,
        submit: Submit,
        deadline: Instant,
        grace: Duration,
        room: OwnedSemaphorePermit,
    ) -> oneshot::Receiver<Answer<Reply>> {
        let (answer, receiver) = oneshot::channel();
        let txn = submit.txn;
        let mut pending = Pending {
            submit: Message::Client(ClientMessage::Submit(submit)),
            deadline,
            give_up: deadline + grace,
            sends: 0,
            answer,
            also: Vec::new(),
            _room: room,
        };
        let mut guard = self.state();
        let state = &mut *guard;
        if let Some(earlier) = state.txns.get_mut(&txn) {
            earlier.join(pending);
            return receiver;
        }
        let write = state.connected && pending.send(&mut state.outgoing, &mut state.traffic);
        let first = state.txns.is_empty();
        state.txns.insert(txn, pending);
        drop(guard);
        if write {
            self.wake_writer.notify_one();
        }
        if first {
            self.wake_sweeper.notify_one();
        }
        receiver
    }

    /// Queues a question for a transaction's status.
    pub(crate) fn ask_status(
        &self,
        txn: TxnId,
        give_up: Instant,
        room: OwnedSemaphorePermit,
    ) -> oneshot::Receiver<Answer<TxnStatus>> {
        let (answer, receiver) = oneshot::channel();
        let mut state = self.state();
        state.statuses.entry(txn).or_default().push(Question { give_up, answer, _room: room });
        self.ask(state, &Message::Client(ClientMessage::AskStatus { txn }));
        receiver
    }

    /// Queues a question for the daemon's figures.
    pub(crate) fn ask_stats(&self, give_up: Instant, room: OwnedSemaphorePermit) -> oneshot::Receiver<Answer<Stats>> {
        let (answer, receiver) = oneshot::channel();
        let mut state = self.state();
        state.stats.push_back(Question { give_up, answer, _room: room });
        self.ask(state, &Message::Admin(AdminMessage::AskStats));
        receiver
    }

    fn ask(&self, mut state: MutexGuard<'_, State>, message: &Message) {
        let write = state.connected && state.outgoing.push(message);
        drop(state);
        if write {
            self.wake_writer.notify_one();
        }
        self.wake_sweeper.notify_one();
    }

    /// A connection is up: everything in flight is queued on it.
    pub(crate) fn connected(&self) {
        let mut guard = self.state();
        let state = &mut *guard;
        let now = Instant::now();
        state.connected = true;
        state.last_heard = now;
        state.outgoing.clear();
        state.traffic.connections += 1;
        for pending in state.txns.values_mut() {
            pending.send_again(now, &mut state.outgoing, &mut state.traffic);
        }
        for (txn, questions) in &state.statuses {
            for _ in questions {
                state.outgoing.push(&Message::Client(ClientMessage::AskStatus { txn: *txn }));
            }
        }
        for _ in &state.stats {
            state.outgoing.push(&Message::Admin(AdminMessage::AskStats));
        }
        drop(guard);
        self.wake_writer.notify_one();
    }

    /// The connection is gone, or could not be made.
    pub(crate) fn disconnected(&self, trouble: &ClientError) {
        let mut state = self.state();
        state.connected = false;
        state.outgoing.clear();
        state.last_trouble = match trouble {
            // The address and what to look at are said by the error that this ends up in.
            ClientError::Unreachable { why, .. } => why.clone(),
            ClientError::NotAccepted { .. }
            | ClientError::WrongCluster { .. }
            | ClientError::NotACoordinator { .. }
            | ClientError::Violation { .. }
            | ClientError::Unsendable(_)
            | ClientError::Unknown { .. } => trouble.to_string(),
        };
    }

    /// What was asked so far.
    pub(crate) fn traffic(&self) -> Traffic {
        self.state().traffic
    }

    /// Exchanges what is queued for an empty buffer; false if nothing is.
    pub(crate) fn take_outgoing(&self, empty: &mut Vec<u8>) -> bool {
        self.state().outgoing.take(empty);
        !empty.is_empty()
    }

    /// Hands the answers to those who wait for them.
    ///
    /// # Errors
    /// What a coordinator may not say to a client. The connection is to be closed.
    pub(crate) fn deliver(&self, messages: &mut Vec<Message>) -> Result<(), String> {
        let mut state = self.state();
        state.last_heard = Instant::now();
        messages.drain(..).try_for_each(|message| state.deliver(message))
    }

    /// Whether anything waits for an answer.
    pub(crate) fn is_idle(&self) -> bool {
        let state = self.state();
        state.txns.is_empty() && state.statuses.is_empty() && state.stats.is_empty()
    }

    /// Gives up what is past its time.
    pub(crate) fn sweep(&self, now: Instant) {
        let mut guard = self.state();
        let state = &mut *guard;
        let mut overdue = false;
        for (txn, pending) in state.txns.extract_if(|_, pending| pending.is_over(now)) {
            overdue |= pending.sends > 0;
            let error = self.given_up(txn, &pending, state.connected, &state.last_trouble);
            pending.answer_all(Err(error));
        }
        let silent = ClientError::Unreachable {
            address: self.address.clone(),
            why: if state.connected { "no answer in time".to_owned() } else { state.last_trouble.clone() },
        };
        state.statuses.retain(|_, questions| {
            for question in questions.extract_if(.., |question| question.give_up <= now) {
                overdue |= state.connected;
                let _ = question.answer.send(Err(silent.clone()));
            }
            !questions.is_empty()
        });
        // An answer to a question that was given up would be taken for the next one's; a new
        // connection keeps them apart.
        let asked = state.stats.len();
        for question in std::mem::take(&mut state.stats) {
            if question.give_up <= now {
                let _ = question.answer.send(Err(silent.clone()));
            } else {
                state.stats.push_back(question);
            }
        }
        let lost_track = state.connected && state.stats.len() < asked;
        let silence = now.duration_since(state.last_heard);
        if lost_track || (overdue && state.connected && silence > crate::limits::SILENCE_MAX) {
            self.hang_up.notify_one();
        }
    }

    fn given_up(&self, txn: TxnId, pending: &Pending, connected: bool, last_trouble: &str) -> ClientError {
        let address = self.address.clone();
        if pending.sends == 0 {
            return ClientError::Unreachable { address, why: last_trouble.to_owned() };
        }
        let why = if connected { "no answer until after its deadline".to_owned() } else { last_trouble.to_owned() };
        ClientError::Unknown { txn, address, why }
    }
}

impl State {
    fn deliver(&mut self, message: Message) -> Result<(), String> {
        let name = message.name();
        match message {
            Message::Client(ClientMessage::Committed { txn, results }) => self.deliver_committed(txn, results)?,
            Message::Client(ClientMessage::Aborted { txn, refusal, at_deadline }) => {
                self.deliver_reply(txn, |_| Reply::Outcome(Outcome::Aborted { refusal, at_deadline }));
            }
            Message::Client(ClientMessage::Busy { txn }) => self.deliver_reply(txn, |pending| Reply::Busy {
                sends: pending.sends,
                operations: pending.take_operations(),
            }),
            Message::Client(ClientMessage::Status { txn, status }) => {
                for question in self.statuses.remove(&txn).unwrap_or_default() {
                    let _ = question.answer.send(Ok(status));
                }
            }
            Message::Admin(AdminMessage::Stats(stats)) => {
                let question = self.stats.pop_front().ok_or("figures that nobody asked for")?;
                let _ = question.answer.send(Ok(stats));
            }
            Message::Handshake(HandshakeMessage::Hello(_)) => return Err("a second greeting".to_owned()),
            Message::Handshake(HandshakeMessage::Unwelcome(unwelcome)) => {
                return Err(format!("it refuses this connection, {unwelcome}"));
            }
            Message::Client(ClientMessage::Submit(_) | ClientMessage::AskStatus { .. })
            | Message::Admin(
                AdminMessage::ReplaceLog { .. }
                | AdminMessage::Retire { .. }
                | AdminMessage::PeerChanged { .. }
                | AdminMessage::AskStats,
            )
            | Message::Handshake(
                HandshakeMessage::Claim { .. }
                | HandshakeMessage::Accept { .. }
                | HandshakeMessage::Accepted { .. }
                | HandshakeMessage::Superseded { .. }
                | HandshakeMessage::LogLost { .. },
            )
            | Message::Commit(_)
            | Message::Recovery(_) => return Err(format!("{name}, which is not for clients")),
        }
        Ok(())
    }

    fn deliver_committed(&mut self, txn: TxnId, results: Option<Vec<protocol::OperationResult>>) -> Result<(), String> {
        if let (Some(pending), Some(results)) = (self.txns.get(&txn), &results)
            && pending.operations() != results.len()
        {
            return Err(format!("{} results for {} operations", results.len(), pending.operations()));
        }
        self.deliver_reply(txn, |_| Reply::Outcome(Outcome::Committed { results }));
        Ok(())
    }

    /// An answer to what is not in flight was answered before, or given up.
    fn deliver_reply(&mut self, txn: TxnId, reply: impl FnOnce(&mut Pending) -> Reply) {
        if let Some(mut pending) = self.txns.remove(&txn) {
            let reply = reply(&mut pending);
            pending.answer_all(Ok(reply));
        }
    }
}

impl Pending {
    fn send(&mut self, outgoing: &mut Outgoing, traffic: &mut Traffic) -> bool {
        self.sends += 1;
        traffic.submits += 1;
        outgoing.push(&self.submit)
    }

    /// Under the deadline that is left of it.
    fn send_again(&mut self, now: Instant, outgoing: &mut Outgoing, traffic: &mut Traffic) {
        if self.is_over(now) {
            return;
        }
        if let Message::Client(ClientMessage::Submit(submit)) = &mut self.submit {
            submit.deadline_ms = deadline_ms(self.deadline.saturating_duration_since(now));
        }
        self.send(outgoing, traffic);
    }

    /// What was never sent needs no grace: its outcome is known.
    fn is_over(&self, now: Instant) -> bool {
        now >= if self.sends == 0 { self.deadline } else { self.give_up }
    }

    fn operations(&self) -> usize {
        if let Message::Client(ClientMessage::Submit(submit)) = &self.submit { submit.operations.len() } else { 0 }
    }

    fn take_operations(&mut self) -> Vec<Operation> {
        if let Message::Client(ClientMessage::Submit(submit)) = &mut self.submit {
            std::mem::take(&mut submit.operations)
        } else {
            Vec::new()
        }
    }

    /// The same transaction submitted while it is in flight: one answer for both.
    fn join(&mut self, other: Self) {
        let same = match (&self.submit, &other.submit) {
            (Message::Client(ClientMessage::Submit(one)), Message::Client(ClientMessage::Submit(two))) => {
                one.operations == two.operations
            }
            (_, _) => false,
        };
        if same {
            self.also.push(other.answer);
        } else {
            let refusal = Refusal::by_coordinator(Reason::IdReused);
            let _ = other.answer.send(Ok(Reply::Outcome(Outcome::Aborted { refusal, at_deadline: false })));
        }
    }

    /// A caller that has gone away does not hear its answer.
    fn answer_all(self, answer: Answer<Reply>) {
        for other in self.also {
            let _ = other.send(answer.clone());
        }
        let _ = self.answer.send(answer);
    }
}

/// A time to try on the wire: at least 1 ms, so that rounding does not make it none.
pub(crate) fn deadline_ms(left: Duration) -> u32 {
    u32::try_from(left.as_millis()).unwrap_or(u32::MAX).max(1)
}
