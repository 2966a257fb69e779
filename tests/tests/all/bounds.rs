//! What one node may be made to hold.

use bytes::Bytes;
use coordinator::Coordinator;
use participant::Participant;
use protocol::limits::{DECIDED_BYTES_MAX, OPERATIONS_MAX, PARTICIPANTS_MAX, RECORD_BYTES_MAX, VALUE_BYTES_MAX};
use protocol::message::{Prepare, PrepareMode, Submit};
use protocol::{
    Age, Attempt, ClientMessage, ClusterId, CommitMessage, Index, Machine, Message, NodeId, Operation, Owed, Position,
    Reason, Record, Role, Tick, TxnId,
};
use tests::kept::{Kept, ORIGIN, greeting};

const CLUSTER: ClusterId = ClusterId(1);

fn large_put(number: u128) -> Operation {
    Operation::Put { key: Bytes::from(format!("k{number}")), value: Bytes::from(vec![b'x'; VALUE_BYTES_MAX]) }
}

/// As many operations with as little in them as there can be, on keys of its own.
fn tiny_deletes(number: u128) -> Vec<Operation> {
    let prefix = &number.to_le_bytes()[..2];
    let key = |of_it: usize| Bytes::from([prefix, &(of_it as u16).to_le_bytes()].concat());
    (0..OPERATIONS_MAX).map(|of_it| Operation::Delete { key: key(of_it) }).collect()
}

#[test]
fn a_participant_promises_no_more_than_a_checkpoint_can_log_at_once() {
    let empty = engine::Table::new();
    assert_bounded(&empty, 300, |number| vec![large_put(number)]);
    assert_bounded(&empty, 3_000, tiny_deletes);
}

/// What is appended is small, and what is promised is not.
#[test]
fn a_participant_counts_what_it_promises_not_what_it_was_asked() {
    let table = engine::Table::new();
    let key = |number: u128| Bytes::from(format!("k{number}"));
    for number in 0..100 {
        table.apply(engine::Place::default(), 0, &key(number), Some(Bytes::from(vec![b'x'; VALUE_BYTES_MAX - 1])));
    }
    assert_bounded(&table, 100, |number| vec![Operation::Append { key: key(number), value: Bytes::from_static(b"x") }]);
}

fn assert_bounded(table: &engine::Table, prepares: u128, operations: impl Fn(u128) -> Vec<Operation>) {
    let mut participant = Participant::new(participant::Config::new(1, CLUSTER), table.clone());
    let mut kept = Kept::default();
    for message in greeting(Role::Coordinator, 9, CLUSTER, 1) {
        kept.effects(|effects| participant.handle(Tick(1), NodeId::coordinator(9), message, effects));
    }
    for number in 0..prepares {
        let prepare = Prepare {
            txn: TxnId(number),
            attempt: Attempt { epoch: 1, number: 1 },
            cluster: CLUSTER,
            coordinator: 9,
            age: Age { admitted_us: number as u64, coordinator: 9 },
            participants: vec![1, 2],
            mode: PrepareMode::TwoPhase,
            lock_wait_ms: 100,
            answer_within_ms: 60_000,
            operations: operations(number),
        };
        let message = Message::Commit(CommitMessage::Prepare(prepare));
        kept.effects(|effects| participant.handle(Tick(1), NodeId::coordinator(9), message, effects));
    }
    let posted = kept.take_posted();
    let promised =
        posted.iter().filter(|message| matches!(message, Message::Commit(CommitMessage::VoteYes { .. }))).count();
    let busy = |message: &&Message| matches!(message, Message::Commit(CommitMessage::VoteNo { refusal, .. }) if refusal.reason == Reason::Busy);
    assert_eq!(promised + posted.iter().filter(busy).count(), prepares as usize);
    assert!(promised > 10 && promised < prepares as usize, "{promised} promises");

    let Owed { records, again_bytes, .. } = participant.owes();
    assert_eq!(records, promised, "an outcome is owed for each promise");
    kept.logged_bytes = 0;
    kept.effects(|effects| participant.checkpoint(0, effects));
    assert!(kept.logged_bytes <= again_bytes, "{} bytes are logged again, not {again_bytes}", kept.logged_bytes);
    let takes = engine::limits::QUEUE_BYTES_MAX - engine::limits::QUEUE_BYTES_SCARCE - RECORD_BYTES_MAX;
    assert!(kept.logged_bytes < takes, "a checkpoint logs {} bytes at once", kept.logged_bytes);
}

#[test]
fn what_ends_a_promise_fits_in_the_block_that_is_kept_for_it() {
    let (txn, attempt) = (TxnId(u128::MAX), Attempt { epoch: u32::MAX, number: u32::MAX });
    let at = Position { index: Index(u64::MAX), hash: u64::MAX };
    let participants: Vec<_> = (0..PARTICIPANTS_MAX as u32).map(|number| (number, at)).collect();
    for record in [
        Record::DecidedAgain { txn, attempt, digest: u64::MAX, participants: participants.clone(), first_at: at },
        Record::Decided { txn, attempt, digest: u64::MAX, participants },
        Record::DecidedElsewhere { txn, attempt, digest: u64::MAX, participant: Some(1), committed_at: at },
        Record::Finished { txn },
        Record::Committed { txn, attempt, decided_at: at },
        Record::Aborted { txn, attempt },
        Record::Released { txn, attempt },
    ] {
        let mut bytes = Vec::new();
        record.encode(&mut bytes);
        assert!(bytes.len() <= DECIDED_BYTES_MAX, "{record:?}: {}", bytes.len());
    }
}

#[test]
fn a_coordinator_asks_again_for_no_more_than_a_connection_can_hold() {
    let mut coordinator = Coordinator::new(coordinator::Config::new(1, CLUSTER, vec![1]));
    let mut kept = Kept::default();
    kept.effects(|effects| coordinator.start(Tick(1), ORIGIN, effects)).expect("it starts");
    for number in 0..300 {
        let submit = Submit { txn: TxnId(number), deadline_ms: 1_000, operations: vec![large_put(number)] };
        let message = Message::Client(ClientMessage::Submit(submit));
        kept.effects(|effects| coordinator.handle(Tick(1), NodeId::client(1), message, effects));
    }
    let busy = kept
        .take_posted()
        .iter()
        .filter(|message| matches!(message, Message::Client(ClientMessage::Busy { .. })))
        .count();
    assert!(busy > 200, "{busy} were answered BUSY");

    for message in greeting(Role::Participant, 1, CLUSTER, 1) {
        kept.effects(|effects| coordinator.handle(Tick(1), NodeId::participant(1), message, effects));
    }
    let mut bytes = Vec::new();
    kept.take_posted().iter().for_each(|message| message.encode(&mut bytes));
    assert!(!bytes.is_empty() && bytes.len() < 32 << 20, "{} bytes at once", bytes.len());
}
