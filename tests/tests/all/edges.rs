//! One machine alone at its edges: bounds that are met exactly, messages that nobody should send, pauses, and what it says
//! that it owes.

pub(crate) mod fences;
mod work;

use bytes::Bytes;
use coordinator::Coordinator;
use engine::Table;
use participant::Participant;
use protocol::limits::{DECIDED_BYTES_MAX, VALUE_BYTES_MAX};
use protocol::message::{PeerChange, Prepare, PrepareMode, Submit};
use protocol::operation::operations_bytes;
use protocol::record::CommittedOutcome;
use protocol::routing::{BinTable, bin_of};
use protocol::{
    Age, Attempt, ClusterId, Condition, InDoubt, Lsn, Machine, Message, NodeId, Operation, Owed, Position, Reason,
    Record, Refusal, Room, StartError, Tick, TxnId, UnwelcomeReason,
};
use tests::kept::{Kept, ORIGIN, greeting, made_up};

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
        self.kept.records.last().cloned().expect("something was logged")
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
    Message::Submit(Submit { txn: TxnId(txn), deadline_ms: 60_000, operations })
}

/// Writes at both of two participants.
fn transfer(txn: u128) -> Message {
    submit(txn, vec![put(&key_of(1)), put(&key_of(2))])
}

fn ask(alone: &mut Alone<Coordinator>, message: Message) -> Vec<Message> {
    alone.tell(NodeId::client(1), message)
}

fn vote_yes(alone: &mut Alone<Coordinator>, participant: u32, txn: u128) -> Vec<Message> {
    let prepared_at = Position { lsn: Lsn(5), chain: 7 };
    let results = vec![protocol::OperationResult::Done];
    let vote = Message::VoteYes { txn: TxnId(txn), attempt: FIRST, prepared_at, results };
    alone.tell(NodeId::participant(participant), vote)
}

fn decide(alone: &mut Alone<Coordinator>, txn: u128) {
    ask(alone, transfer(txn));
    vote_yes(alone, 1, txn);
    let said = vote_yes(alone, 2, txn);
    assert!(matches!(said.as_slice(), [Message::Committed { .. }, Message::Commit { .. }, Message::Commit { .. }]));
}

fn acknowledge(alone: &mut Alone<Coordinator>, txn: u128) {
    for participant in [1, 2] {
        alone.tell(NodeId::participant(participant), Message::CommitAck { txn: TxnId(txn), attempt: FIRST });
    }
}

#[test]
fn a_coordinator_owes_a_decision_and_its_end_for_each_transaction_under_way() {
    let mut alone = coordinator(&[1, 2], |_| {});
    assert_eq!(alone.machine.next_tick(), None);
    decide(&mut alone, 1);
    ask(&mut alone, transfer(2));
    ask(&mut alone, transfer(3));
    assert_eq!(alone.machine.owes(), Owed { records: 6, again_bytes: 3 * DECIDED_BYTES_MAX, again_later_bytes: 0 });
    let decided = InDoubt { txn: TxnId(1), attempt: FIRST, coordinator: 1 };
    assert_eq!(alone.machine.in_doubt(), [decided], "what is not decided is nobody's doubt");
    acknowledge(&mut alone, 1);
    let remembered = CommittedOutcome::ENCODED_BYTES;
    let left = Owed { records: 4, again_bytes: 2 * DECIDED_BYTES_MAX, again_later_bytes: remembered };
    assert_eq!(alone.machine.owes(), left);
    assert_eq!(alone.machine.in_doubt(), []);
}

#[test]
fn a_decision_is_told_again_after_one_two_four_and_then_eight_seconds() {
    let mut alone = coordinator(&[1, 2], |config| config.prepare_timeout_us = 100_000_000);
    decide(&mut alone, 1);
    let pauses_s = [(); 5].map(|()| {
        let (waited_us, said) = alone.wait();
        assert!(matches!(said.as_slice(), [Message::Commit { .. }, Message::Commit { .. }]), "{said:?}");
        waited_us / 1_000_000
    });
    assert_eq!(pauses_s, [1, 2, 4, 8, 8]);
}

/// Twice as long each time, up to 64 ms, less up to a half of it which follows from the transaction and the attempt, so
/// that those which collide do not do so again.
#[test]
fn the_pauses_between_attempts_grow_and_differ() {
    let pauses_ms = |txn: u128| {
        let mut alone = coordinator(&[1, 2], |config| config.prepare_timeout_us = 100_000_000);
        ask(&mut alone, transfer(txn));
        [1, 2, 3, 4, 5, 6, 7, 8].map(|number| {
            let attempt = Attempt { epoch: 1, number };
            let refusal = Refusal::by_participant(1, Reason::Conflict);
            alone.tell(NodeId::participant(1), Message::VoteNo { txn: TxnId(txn), attempt, refusal });
            let (waited_us, said) = alone.wait();
            assert!(matches!(said.as_slice(), [Message::Prepare(_), Message::Prepare(_)]), "{said:?}");
            let longest_us = 1_000_u64 << (number - 1).min(6);
            assert!((longest_us / 2..=longest_us).contains(&waited_us), "attempt {number}: {waited_us} us");
            waited_us / 1_000
        })
    };
    assert_eq!(pauses_ms(1), [1, 2, 3, 5, 14, 32, 55, 37]);
    assert_eq!(pauses_ms(0x1234_5678_9abc_def0), [1, 2, 3, 5, 16, 24, 46, 37]);
}

#[test]
fn a_coordinator_does_not_start_with_other_participants_than_hold_the_keys() {
    let dealt = coordinator(&[1, 2], |_| {}).kept.records;
    let mut other = Coordinator::new(coordinator::Config::new(1, CLUSTER, vec![1, 3]));
    dealt.into_iter().for_each(|(at, record)| other.replay(at, record));
    let mut alone = Alone { machine: other, kept: Kept::default(), now: START };
    let refused = StartError::OtherParticipants { dealt: vec![1, 2], configured: vec![1, 3] };
    assert_eq!(alone.start(), Err(refused));
}

#[test]
fn prepares_may_fill_what_waits_for_a_connection_to_the_last_byte() {
    const PREPARES_BYTES_MAX: usize = 12 << 20;
    const EACH_BYTES: usize = 512 << 10;
    let mut alone = coordinator(&[1], |config| config.retry_delay_us_min = 1);
    let large = |txn: u128, bytes: usize| {
        let put = |bytes| Operation::Put { key: Bytes::from_static(b"k"), value: Bytes::from(vec![0; bytes]) };
        let operations = vec![put(bytes - operations_bytes(&[put(0)]))];
        assert_eq!(operations_bytes(&operations), bytes);
        submit(txn, operations)
    };
    let mut fill = |from: u128| {
        for txn in from..from + 23 {
            assert!(matches!(ask(&mut alone, large(txn, EACH_BYTES)).as_slice(), [Message::Prepare(_)]));
        }
        let over = ask(&mut alone, large(from + 23, EACH_BYTES + 1));
        assert!(matches!(over.as_slice(), [Message::Busy { .. }]));
        assert!(matches!(ask(&mut alone, large(from + 23, EACH_BYTES)).as_slice(), [Message::Prepare(_)]));
        for txn in from..from + 24 {
            let committed = Message::CommittedOnePhase {
                txn: TxnId(txn),
                attempt: FIRST,
                committed_at: Position { lsn: Lsn(5), chain: 7 },
                results: None,
            };
            alone.tell(NodeId::participant(1), committed);
        }
    };
    assert_eq!(24 * EACH_BYTES, PREPARES_BYTES_MAX);
    fill(0);
    fill(100);
}

#[test]
fn what_is_acknowledged_counts_no_more() {
    let mut alone = coordinator(&[1, 2], |config| config.max_concurrent_txns = 1);
    for txn in 1..=3 {
        decide(&mut alone, txn);
        assert!(matches!(ask(&mut alone, transfer(9)).as_slice(), [Message::Busy { .. }]));
        acknowledge(&mut alone, txn);
        assert_eq!(alone.machine.unfinished_txns(), 0);
    }
}

#[test]
fn nobody_commits_in_one_phase_what_it_was_not_asked_to() {
    let mut alone = coordinator(&[1, 2], |_| {});
    let committed = |txn: u128, number: u32| {
        let attempt = Attempt { epoch: 1, number };
        let committed_at = Position { lsn: Lsn(5), chain: 7 };
        Message::CommittedOnePhase { txn: TxnId(txn), attempt, committed_at, results: None }
    };
    ask(&mut alone, transfer(1));
    assert_eq!(alone.tell(NodeId::participant(1), committed(1, 1)), []);
    ask(&mut alone, submit(2, vec![put(&key_of(1))]));
    assert_eq!(alone.tell(NodeId::participant(1), committed(2, 2)), [], "an attempt that was not made yet");
    let told = alone.tell(NodeId::participant(1), committed(2, 1));
    assert!(matches!(told.as_slice(), [Message::Committed { .. }]), "{told:?}");
}

#[test]
fn a_coordinator_keeps_no_more_questions_for_claims_than_it_may() {
    const DOUBTS_MAX: usize = 65_536;
    let mut alone = Alone::new(Coordinator::new(coordinator::Config::new(1, CLUSTER, vec![1, 2])));
    meet(&mut alone, NodeId::participant(1), 1);
    for txn in 0..=DOUBTS_MAX as u128 {
        let doubt = Message::AskDecision { txn: TxnId(txn), attempt: FIRST, participants: vec![1, 2] };
        assert_eq!(alone.tell(NodeId::participant(1), doubt), []);
    }
    let told = meet(&mut alone, NodeId::participant(2), 1);
    assert_eq!(told.iter().filter(|message| matches!(message, Message::Abort { .. })).count(), DOUBTS_MAX);
}

#[test]
fn no_question_has_the_number_of_another_or_of_one_of_an_earlier_start() {
    let numbers = |alone: &mut Alone<Coordinator>| {
        [1, 1, 2].map(|txn| {
            let asked = ask(alone, Message::AskStatus { txn: TxnId(txn) });
            match asked.as_slice() {
                [Message::AskOutcome { question, .. }] => *question,
                _ => unreachable!("{asked:?}"),
            }
        })
    };
    let mut first = coordinator(&[1], |_| {});
    let mut asked = numbers(&mut first).to_vec();
    let mut again = Coordinator::new(coordinator::Config::new(1, CLUSTER, vec![1]));
    first.kept.records.into_iter().for_each(|(at, record)| again.replay(at, record));
    asked.extend(numbers(&mut Alone::new(again)));
    asked.sort_unstable();
    asked.dedup();
    assert_eq!(asked.len(), 6);
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
        table.apply(engine::Lsn(0), 0, b"a", Some(Bytes::from_static(value)));
        format!("{:?}", participant(table, &[]).machine)
    };
    assert_ne!(rows(b"1"), rows(b"2"));
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
    alone.tell(NodeId::coordinator(prepare.coordinator), Message::Prepare(prepare))
}

/// Why the only answer is NO.
fn reason(said: &[Message]) -> Option<Reason> {
    match said {
        [Message::VoteNo { refusal, .. }] => Some(refusal.reason),
        _ => None,
    }
}

fn is_promised(said: &[Message]) -> bool {
    matches!(said, [Message::VoteYes { .. }])
}

#[test]
fn a_participant_owes_an_outcome_for_each_promise_and_what_a_checkpoint_logs_again() {
    const AGAIN_BYTES: usize = 32;
    const PEERS_AGAIN_BYTES: usize = 256 * 96 + 1_024 * 12 + 64;
    let mut alone = participant(Table::new(), &[1]);
    let nothing = Owed { records: 0, again_bytes: PEERS_AGAIN_BYTES, again_later_bytes: 0 };
    assert_eq!((alone.machine.owes(), alone.machine.process().epoch, alone.machine.next_tick()), (nothing, 1, None));
    let b = prepare(8, PrepareMode::TwoPhase, vec![put(&Bytes::from_static(b"b"))]);
    assert!(is_promised(&send(&mut alone, b)));
    assert!(is_promised(&send(&mut alone, put_a(9))));
    let (at, record) = alone.last_record();
    let Record::Prepared(promise) = record else { unreachable!("{record:?}") };
    let promised_bytes = 2 * promise.encoded_bytes();
    let two = Owed { records: 2, again_bytes: promised_bytes + 2 * AGAIN_BYTES + PEERS_AGAIN_BYTES, ..nothing };
    assert_eq!(alone.machine.owes(), two);
    let doubt = |txn: u128| InDoubt { txn: TxnId(txn), attempt: FIRST, coordinator: 1 };
    assert_eq!(alone.machine.in_doubt(), [doubt(8), doubt(9)]);

    alone.machine.replay(at, Record::PreparedAgain { promise, first_at: at });
    assert_eq!(alone.machine.owes(), two, "what is held again takes the place of what was held");
    let waits = put_a(1);
    let waiting_bytes = operations_bytes(&waits.operations);
    assert_eq!(send(&mut alone, waits), []);
    let with_one_that_waits = Owed { again_bytes: two.again_bytes + waiting_bytes, ..two };
    assert_eq!(alone.machine.owes(), with_one_that_waits, "it is to be promised");
    assert_eq!(alone.machine.in_doubt(), [doubt(8), doubt(9)]);

    let mut abort = |txn: u128| {
        alone.tell(NodeId::coordinator(1), Message::Abort { txn: TxnId(txn), attempt: FIRST });
        alone.machine.owes()
    };
    assert_eq!(abort(1), two);
    assert_ne!(abort(8), nothing);
    assert_eq!(abort(9), nothing);
    assert_eq!(alone.machine.in_doubt(), []);
}

#[test]
fn promises_may_fill_what_is_held_to_the_last_byte() {
    const HELD_BYTES_MAX: usize = 24 << 20;
    let mut alone = participant(Table::new(), &[1]);
    let large = |txn: u128, bytes: usize| {
        let key = Bytes::from(format!("k{txn:02}"));
        prepare(txn, PrepareMode::TwoPhase, vec![Operation::Put { key, value: Bytes::from(vec![0; bytes]) }])
    };
    assert!(is_promised(&send(&mut alone, large(0, VALUE_BYTES_MAX))));
    let (_, record) = alone.last_record();
    let Record::Prepared(promise) = record else { unreachable!("{record:?}") };
    let each_bytes = promise.encoded_bytes();
    let fit = (HELD_BYTES_MAX / each_bytes) as u128;
    (1..fit).for_each(|txn| assert!(is_promised(&send(&mut alone, large(txn, VALUE_BYTES_MAX)))));
    let last_bytes = HELD_BYTES_MAX % each_bytes - (each_bytes - VALUE_BYTES_MAX);
    assert_eq!(reason(&send(&mut alone, large(fit, last_bytes + 1))), Some(Reason::Busy));
    assert!(is_promised(&send(&mut alone, large(fit, last_bytes))));
}

#[test]
fn a_participant_in_doubt_asks_after_one_two_four_and_then_eight_seconds() {
    let mut alone = participant(Table::new(), &[1]);
    send(&mut alone, put_a(1));
    let pauses_s = [(); 5].map(|()| {
        let (waited_us, said) = alone.wait();
        assert!(matches!(said.as_slice(), [Message::AskDecision { .. }]), "{said:?}");
        waited_us / 1_000_000
    });
    assert_eq!(pauses_s, [1, 2, 4, 8, 8]);
}

#[test]
fn a_prepare_for_somebody_else_is_refused() {
    let mut alone = participant(Table::new(), &[1]);
    let mut refused = |change: fn(&mut Prepare)| {
        let mut prepare = put_a(1);
        change(&mut prepare);
        reason(&alone.tell(NodeId::coordinator(1), Message::Prepare(prepare)))
    };
    assert_eq!(refused(|prepare| prepare.cluster = ClusterId(2)), Some(Reason::WrongNode));
    assert_eq!(refused(|prepare| prepare.coordinator = 2), Some(Reason::WrongNode));
    assert_eq!(refused(|prepare| prepare.participants = vec![2, 3]), Some(Reason::WrongNode));
    assert_eq!(refused(|_| {}), None);
}

#[test]
fn a_participant_obeys_so_many_coordinators_and_no_more() {
    const COORDINATORS_MAX: u32 = 256;
    let all: Vec<u32> = (1..=COORDINATORS_MAX).collect();
    let mut alone = participant(Table::new(), &all);
    let of = |number: u32| Prepare { coordinator: number, ..put_a(u128::from(number)) };
    let too_many = Message::Unwelcome(UnwelcomeReason::TooManyPeers.into());
    let late = NodeId::coordinator(COORDINATORS_MAX + 1);
    assert_eq!(alone.machine.welcome(late, made_up(1)), Err(UnwelcomeReason::TooManyPeers.into()));
    assert_eq!(meet(&mut alone, late, 1), [too_many]);
    assert_eq!(reason(&send(&mut alone, of(COORDINATORS_MAX + 1))), Some(Reason::NoClaim));
    let operator = NodeId::client(1);
    assert!(is_promised(&send(&mut alone, of(COORDINATORS_MAX))));
    let retire = |alone: &mut Alone<Participant>, node: u32| match alone.tell(operator, Message::Retire { node })[..] {
        [Message::PeerChanged { outcome, in_doubt, .. }] => (outcome, in_doubt),
        _ => unreachable!("an operator is answered"),
    };
    assert_eq!(retire(&mut alone, COORDINATORS_MAX), (PeerChange::HasPromises, 1));
    assert_eq!(retire(&mut alone, 7), (PeerChange::Done, 0));
    assert_eq!(retire(&mut alone, 7), (PeerChange::NotKnown, 0));
    assert!(matches!(meet(&mut alone, late, 1).as_slice(), [Message::Accepted { .. }]));
    assert_ne!(reason(&send(&mut alone, of(COORDINATORS_MAX + 1))), Some(Reason::NoClaim));
}

#[test]
pub(crate) fn a_prepare_that_has_no_meaning_is_refused() {
    let mut alone = participant(Table::new(), &[1]);
    let mut refused = |change: fn(&mut Prepare)| {
        let mut prepare = put_a(1);
        change(&mut prepare);
        reason(&alone.tell(NodeId::coordinator(1), Message::Prepare(prepare)))
    };
    assert_eq!(refused(|prepare| prepare.mode = PrepareMode::OnePhase), Some(Reason::Invalid));
    assert_eq!(refused(|prepare| prepare.attempt.number = 0), Some(Reason::Invalid));
    assert_eq!(refused(|prepare| prepare.attempt.epoch = 0), Some(Reason::Invalid));
    assert_eq!(refused(|prepare| prepare.participants = vec![1, 2, 1]), Some(Reason::Invalid));
    assert_eq!(refused(|prepare| prepare.participants = vec![1, u32::MAX]), Some(Reason::Invalid));
    assert_eq!(refused(|prepare| prepare.participants = vec![0, 1]), Some(Reason::Invalid));
    assert_eq!(refused(|prepare| prepare.participants = Vec::new()), Some(Reason::Invalid));
    assert_eq!(refused(|prepare| prepare.attempt.epoch = u32::MAX), Some(Reason::WrongNode));
    assert_eq!(refused(|_| {}), None, "and nothing was fenced by any of these");
}

#[test]
pub(crate) fn an_attempt_that_was_ended_does_not_begin_anew() {
    for mode in [PrepareMode::TwoPhase, PrepareMode::OnePhase] {
        let participants = if mode == PrepareMode::OnePhase { vec![1] } else { vec![1, 2] };
        let of = |number: u32| Prepare {
            attempt: Attempt { epoch: 1, number },
            mode,
            participants: participants.clone(),
            ..put_a(1)
        };
        let mut alone = participant(Table::new(), &[1]);
        assert!(is_promised(&send(&mut alone, put_a(9))));
        assert_eq!(send(&mut alone, of(2)), [], "it waits");
        alone.tell(NodeId::coordinator(1), Message::Abort { txn: TxnId(1), attempt: Attempt { epoch: 1, number: 2 } });
        alone.tell(NodeId::coordinator(1), Message::Abort { txn: TxnId(9), attempt: FIRST });
        assert_eq!(reason(&send(&mut alone, of(2))), Some(Reason::Ended));
        assert_eq!(reason(&send(&mut alone, of(1))), Some(Reason::Ended));
        let said = send(&mut alone, of(3));
        assert!(matches!(said.as_slice(), [Message::VoteYes { .. } | Message::CommittedOnePhase { .. }]), "{said:?}");
    }
}

#[test]
fn a_promise_is_kept_for_the_attempt_and_the_coordinator_that_it_was_made_to() {
    let mut alone = participant(Table::new(), &[1, 2]);
    send(&mut alone, put_a(1));
    let (prepared_at, _) = alone.last_record();
    let commit = |attempt: Attempt| Message::Commit { txn: TxnId(1), attempt, prepared_at, decided_at: prepared_at };
    let later = Attempt { number: 2, ..FIRST };
    for (coordinator, attempt) in [(1, later), (2, FIRST)] {
        let said = alone.tell(NodeId::coordinator(coordinator), commit(attempt));
        assert!(matches!(said.as_slice(), [Message::PrepareLost { .. }]), "{said:?}");
        assert_eq!(alone.tell(NodeId::coordinator(2), Message::Abort { txn: TxnId(1), attempt }), []);
    }
    let said = alone.tell(NodeId::coordinator(1), commit(FIRST));
    assert!(matches!(said.as_slice(), [Message::CommitAck { .. }]), "{said:?}");
}

#[test]
fn each_coordinator_ends_what_it_began_and_no_other() {
    let mut alone = participant(Table::new(), &[1, 2]);
    let of_second = Prepare { coordinator: 2, ..put_a(9) };
    assert!(is_promised(&send(&mut alone, of_second)));
    assert_eq!(send(&mut alone, put_a(1)), [], "it waits");
    let second_waits = Prepare { coordinator: 2, ..put_a(2) };
    assert_eq!(
        reason(&send(&mut alone, second_waits)),
        Some(Reason::Conflict),
        "it is younger than the one that waits"
    );
    meet(&mut alone, NodeId::coordinator(2), 2);
    assert_eq!(alone.machine.in_flight_txns(), 2, "what the first waits for is not ended by the second");
    let said = alone.tell(NodeId::coordinator(2), Message::Abort { txn: TxnId(9), attempt: FIRST });
    assert!(is_promised(&said), "{said:?}");
}

#[test]
fn an_attempt_before_one_that_was_refused_is_not_carried_out() {
    let mut alone = participant(Table::new(), &[1]);
    let absent = Operation::Expect { key: Bytes::from_static(b"b"), condition: Condition::Absent };
    let exists = Operation::Expect { key: Bytes::from_static(b"b"), condition: Condition::Exists };
    let one_phase = |number: u32, expected: &Operation| Prepare {
        attempt: Attempt { epoch: 1, number },
        participants: vec![1],
        ..prepare(1, PrepareMode::OnePhase, vec![expected.clone(), put(&Bytes::from_static(b"a"))])
    };
    assert_eq!(reason(&send(&mut alone, one_phase(2, &exists))), Some(Reason::Expectation));
    assert_eq!(send(&mut alone, one_phase(1, &absent)), []);
    let said = send(&mut alone, one_phase(3, &absent));
    assert!(matches!(said.as_slice(), [Message::CommittedOnePhase { .. }]), "{said:?}");
}

#[test]
fn a_full_disk_refuses_at_once_whatever_writes_and_what_has_waited_too() {
    let mut alone = participant(Table::new(), &[1]);
    assert!(is_promised(&send(&mut alone, put_a(9))));
    assert_eq!(send(&mut alone, put_a(1)), [], "it waits");
    alone.kept.room = Room::Nothing;
    let exists = Operation::Expect { key: Bytes::from_static(b"b"), condition: Condition::Exists };
    let writes = prepare(2, PrepareMode::OnePhase, vec![exists.clone(), put(&Bytes::from_static(b"c"))]);
    assert_eq!(reason(&send(&mut alone, writes)), Some(Reason::NoSpace));
    let promises = prepare(3, PrepareMode::TwoPhase, vec![exists.clone()]);
    assert_eq!(reason(&send(&mut alone, promises)), Some(Reason::NoSpace));
    let reads = prepare(4, PrepareMode::OnePhase, vec![exists]);
    assert_eq!(reason(&send(&mut alone, reads)), Some(Reason::Expectation), "it needs no room");
    let said = alone.tell(NodeId::coordinator(1), Message::Abort { txn: TxnId(9), attempt: FIRST });
    assert_eq!(reason(&said), Some(Reason::NoSpace));
}
