//! A coordinator: what it owes, asks again, takes on and decides.

use bytes::Bytes;
use coordinator::Coordinator;
use protocol::limits::DECIDED_BYTES_MAX;
use protocol::operation::operations_bytes;
use protocol::record::CommittedOutcome;
use protocol::{
    Attempt, ClientMessage, CommitMessage, InDoubt, Index, Machine, Message, NodeId, Operation, Owed, Position, Reason,
    RecoveryMessage, Refusal, StartError, TxnId,
};
use tests::kept::Kept;

use super::{Alone, CLUSTER, FIRST, START, acknowledge, ask, coordinator, decide, key_of, meet, put, submit, transfer};

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
        assert!(
            matches!(
                said.as_slice(),
                [Message::Commit(CommitMessage::Commit { .. }), Message::Commit(CommitMessage::Commit { .. })]
            ),
            "{said:?}"
        );
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
            alone.tell(
                NodeId::participant(1),
                Message::Commit(CommitMessage::VoteNo { txn: TxnId(txn), attempt, refusal }),
            );
            let (waited_us, said) = alone.wait();
            assert!(
                matches!(
                    said.as_slice(),
                    [Message::Commit(CommitMessage::Prepare(_)), Message::Commit(CommitMessage::Prepare(_))]
                ),
                "{said:?}"
            );
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
            assert!(matches!(
                ask(&mut alone, large(txn, EACH_BYTES)).as_slice(),
                [Message::Commit(CommitMessage::Prepare(_))]
            ));
        }
        let over = ask(&mut alone, large(from + 23, EACH_BYTES + 1));
        assert!(matches!(over.as_slice(), [Message::Client(ClientMessage::Busy { .. })]));
        assert!(matches!(
            ask(&mut alone, large(from + 23, EACH_BYTES)).as_slice(),
            [Message::Commit(CommitMessage::Prepare(_))]
        ));
        for txn in from..from + 24 {
            let committed = Message::Commit(CommitMessage::CommittedOnePhase {
                txn: TxnId(txn),
                attempt: FIRST,
                committed_at: Position { index: Index(5), hash: 7 },
                results: None,
            });
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
        assert!(matches!(ask(&mut alone, transfer(9)).as_slice(), [Message::Client(ClientMessage::Busy { .. })]));
        acknowledge(&mut alone, txn);
        assert_eq!(alone.machine.unfinished_txns(), 0);
    }
}

#[test]
fn nobody_commits_in_one_phase_what_it_was_not_asked_to() {
    let mut alone = coordinator(&[1, 2], |_| {});
    let committed = |txn: u128, number: u32| {
        let attempt = Attempt { epoch: 1, number };
        let committed_at = Position { index: Index(5), hash: 7 };
        Message::Commit(CommitMessage::CommittedOnePhase { txn: TxnId(txn), attempt, committed_at, results: None })
    };
    ask(&mut alone, transfer(1));
    assert_eq!(alone.tell(NodeId::participant(1), committed(1, 1)), []);
    ask(&mut alone, submit(2, vec![put(&key_of(1))]));
    assert_eq!(alone.tell(NodeId::participant(1), committed(2, 2)), [], "an attempt that was not made yet");
    let told = alone.tell(NodeId::participant(1), committed(2, 1));
    assert!(matches!(told.as_slice(), [Message::Client(ClientMessage::Committed { .. })]), "{told:?}");
}

#[test]
fn a_coordinator_keeps_no_more_questions_for_claims_than_it_may() {
    const DOUBTS_MAX: usize = 65_536;
    let mut alone = Alone::new(Coordinator::new(coordinator::Config::new(1, CLUSTER, vec![1, 2])));
    meet(&mut alone, NodeId::participant(1), 1);
    for txn in 0..=DOUBTS_MAX as u128 {
        let doubt = Message::Recovery(RecoveryMessage::AskDecision {
            txn: TxnId(txn),
            attempt: FIRST,
            participants: vec![1, 2],
        });
        assert_eq!(alone.tell(NodeId::participant(1), doubt), []);
    }
    let told = meet(&mut alone, NodeId::participant(2), 1);
    assert_eq!(
        told.iter().filter(|message| matches!(message, Message::Commit(CommitMessage::Abort { .. }))).count(),
        DOUBTS_MAX
    );
}

#[test]
fn no_question_has_the_number_of_another_or_of_one_of_an_earlier_start() {
    let numbers = |alone: &mut Alone<Coordinator>| {
        [1, 1, 2].map(|txn| {
            let asked = ask(alone, Message::Client(ClientMessage::AskStatus { txn: TxnId(txn) }));
            match asked.as_slice() {
                [Message::Recovery(RecoveryMessage::AskOutcome { question, .. })] => *question,
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
