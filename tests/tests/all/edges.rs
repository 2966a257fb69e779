//! One machine alone at its edges: bounds that are met exactly, messages that nobody should send, pauses, and what it says
//! that it owes.

mod decisions;
pub(crate) mod fences;
pub(crate) mod promises;
mod work;

use bytes::Bytes;
use coordinator::Coordinator;
use engine::Table;
use participant::Participant;
use protocol::message::{Prepare, PrepareMode, Submit};
use protocol::routing::{BinTable, bin_of};
use protocol::{
    Age, Attempt, ClientMessage, ClusterId, CommitMessage, Index, Machine, Message, NodeId, Operation, Position,
    Reason, Record, StartError, Tick, TxnId,
};
use tests::kept::{Kept, ORIGIN, greeting};

const CLUSTER: ClusterId = ClusterId(1);
const FIRST: Attempt = Attempt { epoch: 1, number: 1 };
const START: Tick = Tick(1_000_000);

/// A machine with what it has logged and sent.
struct Alone<M: Machine> {
    machine: M,
    kept: Kept,
    now: Tick,
}

impl<M: Machine> Alone<M> {
    fn new(machine: M) -> Self {
        let mut alone = Self { machine, kept: Kept::default(), now: START };
        alone.start().expect("it starts");
        alone
    }

    fn start(&mut self) -> Result<(), StartError> {
        self.kept.effects(|effects| self.machine.start(self.now, ORIGIN, effects))
    }

    /// What it answers to a message.
    fn tell(&mut self, from: NodeId, message: Message) -> Vec<Message> {
        self.kept.take_posted();
        self.kept.effects(|effects| self.machine.handle(self.now, from, message, effects));
        self.kept.take_posted()
    }

    /// How long it waits until something is due, and what it then says.
    fn wait(&mut self) -> (u64, Vec<Message>) {
        let due = self.machine.next_tick().expect("something becomes due");
        let waited_us = due.0 - self.now.0;
        self.now = due;
        self.kept.take_posted();
        self.kept.effects(|effects| self.machine.tick(due, effects));
        (waited_us, self.kept.take_posted())
    }

    fn last_record(&self) -> (Position, Record) {
        let (at, record) = self.kept.records.last().cloned().expect("something was logged");
        (at.position, record)
    }
}

/// A peer that is made up connects and is accepted; what it is then told.
fn meet<M: Machine>(alone: &mut Alone<M>, id: NodeId, epoch: u32) -> Vec<Message> {
    let greeting = greeting(id.role(), id.number(), CLUSTER, epoch);
    greeting.into_iter().map(|message| alone.tell(id, message)).last().unwrap_or_default()
}

fn put(key: &Bytes) -> Operation {
    Operation::Put { key: key.clone(), value: Bytes::from_static(b"x") }
}

// ---- coordinators

/// A coordinator whose participants have been accepted.
fn coordinator(participants: &[u32], change: impl FnOnce(&mut coordinator::Config)) -> Alone<Coordinator> {
    let mut config = coordinator::Config::new(1, CLUSTER, participants.to_vec());
    change(&mut config);
    let mut alone = Alone::new(Coordinator::new(config));
    for number in participants {
        meet(&mut alone, NodeId::participant(*number), 1);
    }
    alone
}

/// A key that this one of two participants holds.
fn key_of(participant: u32) -> Bytes {
    let bins = BinTable::even(&[1, 2]);
    let mut keys = (0..).map(|number| Bytes::from(format!("k{number}")));
    keys.find(|key| bins.participant_of(bin_of(key)) == participant).expect("it holds a half of all")
}

fn submit(txn: u128, operations: Vec<Operation>) -> Message {
    Message::Client(ClientMessage::Submit(Submit { txn: TxnId(txn), deadline_ms: 60_000, operations }))
}

/// Writes at both of two participants.
fn transfer(txn: u128) -> Message {
    submit(txn, vec![put(&key_of(1)), put(&key_of(2))])
}

fn ask(alone: &mut Alone<Coordinator>, message: Message) -> Vec<Message> {
    alone.tell(NodeId::client(1), message)
}

fn vote_yes(alone: &mut Alone<Coordinator>, participant: u32, txn: u128) -> Vec<Message> {
    let prepared_at = Position { index: Index(5), hash: 7 };
    let results = vec![protocol::OperationResult::Done];
    let vote = Message::Commit(CommitMessage::VoteYes { txn: TxnId(txn), attempt: FIRST, prepared_at, results });
    alone.tell(NodeId::participant(participant), vote)
}

fn decide(alone: &mut Alone<Coordinator>, txn: u128) {
    ask(alone, transfer(txn));
    vote_yes(alone, 1, txn);
    let said = vote_yes(alone, 2, txn);
    assert!(matches!(
        said.as_slice(),
        [
            Message::Client(ClientMessage::Committed { .. }),
            Message::Commit(CommitMessage::Commit { .. }),
            Message::Commit(CommitMessage::Commit { .. })
        ]
    ));
}

fn acknowledge(alone: &mut Alone<Coordinator>, txn: u128) {
    for participant in [1, 2] {
        alone.tell(
            NodeId::participant(participant),
            Message::Commit(CommitMessage::CommitAck { txn: TxnId(txn), attempt: FIRST }),
        );
    }
}

// ---- participants

/// A participant that has met these coordinators, in their first epochs.
fn participant(table: Table, coordinators: &[u32]) -> Alone<Participant> {
    let mut alone = Alone::new(Participant::new(participant::Config::new(1, CLUSTER), table));
    coordinators.iter().for_each(|number| _ = meet(&mut alone, NodeId::coordinator(*number), 1));
    alone
}

/// The first attempt of a transaction of coordinator 1, which is as old as its number.
fn prepare(txn: u128, mode: PrepareMode, operations: Vec<Operation>) -> Prepare {
    Prepare {
        txn: TxnId(txn),
        attempt: FIRST,
        cluster: CLUSTER,
        coordinator: 1,
        age: Age { admitted_us: txn as u64, coordinator: 1 },
        participants: if mode == PrepareMode::OnePhase { vec![1] } else { vec![1, 2] },
        mode,
        lock_wait_ms: 500,
        answer_within_ms: 60_000,
        operations,
    }
}

fn put_a(txn: u128) -> Prepare {
    prepare(txn, PrepareMode::TwoPhase, vec![put(&Bytes::from_static(b"a"))])
}

fn send(alone: &mut Alone<Participant>, prepare: Prepare) -> Vec<Message> {
    alone.tell(NodeId::coordinator(prepare.coordinator), Message::Commit(CommitMessage::Prepare(prepare)))
}

/// Why the only answer is NO.
fn reason(said: &[Message]) -> Option<Reason> {
    match said {
        [Message::Commit(CommitMessage::VoteNo { refusal, .. })] => Some(refusal.reason),
        _ => None,
    }
}

fn is_promised(said: &[Message]) -> bool {
    matches!(said, [Message::Commit(CommitMessage::VoteYes { .. })])
}

/// Whoever explores states tells them apart by this text.
#[test]
fn what_a_machine_holds_is_in_its_text() {
    let bins = |participants: &[u32]| {
        let config = coordinator::Config::new(1, CLUSTER, participants.to_vec());
        format!("{:?}", Alone::new(Coordinator::new(config)).machine)
    };
    assert_ne!(bins(&[1, 2]), bins(&[1, 3]));
    let rows = |value: &'static [u8]| {
        let table = Table::new();
        table.apply(engine::Place::default(), 0, b"a", Some(Bytes::from_static(value)));
        format!("{:?}", participant(table, &[]).machine)
    };
    assert_ne!(rows(b"1"), rows(b"2"));
}
