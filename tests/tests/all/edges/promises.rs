//! A participant: what it promises, refuses, keeps and ends.

use bytes::Bytes;
use engine::Table;
use participant::Participant;
use protocol::limits::VALUE_BYTES_MAX;
use protocol::message::{PeerChange, Prepare, PrepareMode};
use protocol::operation::operations_bytes;
use protocol::{
    AdminMessage, Attempt, ClusterId, CommitMessage, Condition, HandshakeMessage, InDoubt, Logged, Machine, Message,
    NodeId, Operation, Owed, Reason, Record, RecoveryMessage, Room, TxnId, UnwelcomeReason,
};
use tests::kept::made_up;

use super::{Alone, FIRST, is_promised, meet, participant, prepare, put, put_a, reason, send};

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

    alone.machine.replay(Logged::default(), Record::PreparedAgain { promise, first_at: at });
    assert_eq!(alone.machine.owes(), two, "what is held again takes the place of what was held");
    let waits = put_a(1);
    let waiting_bytes = operations_bytes(&waits.operations);
    assert_eq!(send(&mut alone, waits), []);
    let with_one_that_waits = Owed { again_bytes: two.again_bytes + waiting_bytes, ..two };
    assert_eq!(alone.machine.owes(), with_one_that_waits, "it is to be promised");
    assert_eq!(alone.machine.in_doubt(), [doubt(8), doubt(9)]);

    let mut abort = |txn: u128| {
        alone.tell(NodeId::coordinator(1), Message::Commit(CommitMessage::Abort { txn: TxnId(txn), attempt: FIRST }));
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
        assert!(matches!(said.as_slice(), [Message::Recovery(RecoveryMessage::AskDecision { .. })]), "{said:?}");
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
        reason(&alone.tell(NodeId::coordinator(1), Message::Commit(CommitMessage::Prepare(prepare))))
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
    let too_many = Message::Handshake(HandshakeMessage::Unwelcome(UnwelcomeReason::TooManyPeers.into()));
    let late = NodeId::coordinator(COORDINATORS_MAX + 1);
    assert_eq!(alone.machine.welcome(late, made_up(1)), Err(UnwelcomeReason::TooManyPeers.into()));
    assert_eq!(meet(&mut alone, late, 1), [too_many]);
    assert_eq!(reason(&send(&mut alone, of(COORDINATORS_MAX + 1))), Some(Reason::NoClaim));
    let operator = NodeId::client(1);
    assert!(is_promised(&send(&mut alone, of(COORDINATORS_MAX))));
    let retire = |alone: &mut Alone<Participant>, node: u32| match alone
        .tell(operator, Message::Admin(AdminMessage::Retire { node }))[..]
    {
        [Message::Admin(AdminMessage::PeerChanged { outcome, in_doubt, .. })] => (outcome, in_doubt),
        _ => unreachable!("an operator is answered"),
    };
    assert_eq!(retire(&mut alone, COORDINATORS_MAX), (PeerChange::HasPromises, 1));
    assert_eq!(retire(&mut alone, 7), (PeerChange::Done, 0));
    assert_eq!(retire(&mut alone, 7), (PeerChange::NotKnown, 0));
    assert!(matches!(meet(&mut alone, late, 1).as_slice(), [Message::Handshake(HandshakeMessage::Accepted { .. })]));
    assert_ne!(reason(&send(&mut alone, of(COORDINATORS_MAX + 1))), Some(Reason::NoClaim));
}

#[test]
pub(crate) fn a_prepare_that_has_no_meaning_is_refused() {
    let mut alone = participant(Table::new(), &[1]);
    let mut refused = |change: fn(&mut Prepare)| {
        let mut prepare = put_a(1);
        change(&mut prepare);
        reason(&alone.tell(NodeId::coordinator(1), Message::Commit(CommitMessage::Prepare(prepare))))
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
        alone.tell(
            NodeId::coordinator(1),
            Message::Commit(CommitMessage::Abort { txn: TxnId(1), attempt: Attempt { epoch: 1, number: 2 } }),
        );
        alone.tell(NodeId::coordinator(1), Message::Commit(CommitMessage::Abort { txn: TxnId(9), attempt: FIRST }));
        assert_eq!(reason(&send(&mut alone, of(2))), Some(Reason::Ended));
        assert_eq!(reason(&send(&mut alone, of(1))), Some(Reason::Ended));
        let said = send(&mut alone, of(3));
        assert!(
            matches!(
                said.as_slice(),
                [Message::Commit(CommitMessage::VoteYes { .. })
                    | Message::Commit(CommitMessage::CommittedOnePhase { .. })]
            ),
            "{said:?}"
        );
    }
}

#[test]
fn a_promise_is_kept_for_the_attempt_and_the_coordinator_that_it_was_made_to() {
    let mut alone = participant(Table::new(), &[1, 2]);
    send(&mut alone, put_a(1));
    let (prepared_at, _) = alone.last_record();
    let commit = |attempt: Attempt| {
        Message::Commit(CommitMessage::Commit { txn: TxnId(1), attempt, prepared_at, decided_at: prepared_at })
    };
    let later = Attempt { number: 2, ..FIRST };
    for (coordinator, attempt) in [(1, later), (2, FIRST)] {
        let said = alone.tell(NodeId::coordinator(coordinator), commit(attempt));
        assert!(matches!(said.as_slice(), [Message::Recovery(RecoveryMessage::PrepareLost { .. })]), "{said:?}");
        assert_eq!(
            alone.tell(NodeId::coordinator(2), Message::Commit(CommitMessage::Abort { txn: TxnId(1), attempt })),
            []
        );
    }
    let said = alone.tell(NodeId::coordinator(1), commit(FIRST));
    assert!(matches!(said.as_slice(), [Message::Commit(CommitMessage::CommitAck { .. })]), "{said:?}");
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
    let said =
        alone.tell(NodeId::coordinator(2), Message::Commit(CommitMessage::Abort { txn: TxnId(9), attempt: FIRST }));
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
    assert!(matches!(said.as_slice(), [Message::Commit(CommitMessage::CommittedOnePhase { .. })]), "{said:?}");
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
    let said =
        alone.tell(NodeId::coordinator(1), Message::Commit(CommitMessage::Abort { txn: TxnId(9), attempt: FIRST }));
    assert_eq!(reason(&said), Some(Reason::NoSpace));
}
