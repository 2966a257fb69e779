//! Whom a machine hears and obeys: a process that it has accepted, in that process's own epoch.

use engine::Table;
use participant::Participant;
use protocol::message::{PeerChange, Prepare};
use protocol::{
    AdminMessage, Attempt, ClientMessage, CommitMessage, HandshakeMessage, Machine, Message, NodeId, Position, Reason,
    Record, Refusal, Role, TxnId,
};
use tests::kept::{greeting, made_up};

use super::{
    Alone, CLUSTER, FIRST, ask, coordinator, is_promised, key_of, meet, participant, put, put_a, reason, send, submit,
    transfer, vote_yes,
};

#[test]
pub(crate) fn a_coordinator_hears_whom_it_has_accepted() {
    let mut alone = coordinator(&[1, 2], |_| {});
    ask(&mut alone, transfer(1));
    vote_yes(&mut alone, 1, 1);
    let participant = NodeId::participant(2);
    let mut opening = greeting(Role::Participant, 2, CLUSTER, 2);
    let accepted = opening.pop().expect("a greeting ends with it");
    for message in opening {
        alone.tell(participant, message);
        let records = alone.kept.records.len();
        assert_eq!(vote_yes(&mut alone, 2, 1), []);
        assert_eq!(alone.kept.records.len(), records, "nothing is decided");
    }
    alone.tell(participant, accepted);
    vote_yes(&mut alone, 2, 1);
    assert!(matches!(alone.last_record().1, Record::Decided { .. }));
}

#[test]
pub(crate) fn a_participant_obeys_whom_it_has_accepted() {
    let mut alone = participant(Table::new(), &[1]);
    let coordinator = NodeId::coordinator(1);
    assert!(is_promised(&send(&mut alone, put_a(1))));
    let (prepared_at, _) = alone.last_record();
    let mut opening = greeting(Role::Coordinator, 1, CLUSTER, 2);
    let accept = opening.pop().expect("a greeting ends with it");
    for message in opening {
        alone.tell(coordinator, message);
        assert_eq!(reason(&send(&mut alone, put_a(2))), Some(Reason::NoClaim));
        assert_eq!(
            alone.tell(coordinator, Message::Commit(CommitMessage::Abort { txn: TxnId(1), attempt: FIRST })),
            []
        );
        let commit = Message::Commit(CommitMessage::Commit {
            txn: TxnId(1),
            attempt: FIRST,
            prepared_at,
            decided_at: prepared_at,
        });
        assert_eq!(alone.tell(coordinator, commit), []);
        assert_eq!(alone.machine.in_flight_txns(), 1, "the promise is kept");
    }
    alone.tell(coordinator, accept);
    alone.tell(coordinator, Message::Commit(CommitMessage::Abort { txn: TxnId(1), attempt: FIRST }));
    assert_eq!(alone.machine.in_flight_txns(), 0);
}

#[test]
pub(crate) fn a_prepare_is_of_its_senders_epoch() {
    let mut alone = participant(Table::new(), &[1]);
    meet(&mut alone, NodeId::coordinator(1), 2);
    let mut answer = |epoch: u32| send(&mut alone, Prepare { attempt: Attempt { epoch, number: 1 }, ..put_a(1) });
    assert_eq!(reason(&answer(1)), Some(Reason::StaleEpoch));
    assert_eq!(reason(&answer(3)), Some(Reason::WrongNode));
    assert!(is_promised(&answer(2)), "and nothing was fenced by these");
}

/// The same participant after a checkpoint and a restart.
fn restarted(alone: &mut Alone<Participant>) -> Alone<Participant> {
    let first = alone.kept.records.len();
    let mut from = Some(0);
    while let Some(at) = from {
        from = alone.kept.effects(|effects| alone.machine.checkpoint(at, effects));
    }
    let mut machine = Participant::new(participant::Config::new(1, CLUSTER), Table::new());
    alone.kept.records.drain(first..).for_each(|(at, record)| machine.replay(at, record));
    Alone::new(machine)
}

/// What a coordinator under this number claims to a participant that it connects to.
fn claim(alone: &mut Alone<Participant>, number: u32, epoch: u32, stated: Position) -> Vec<Message> {
    let from = NodeId::coordinator(number);
    let mut said = Vec::new();
    for message in greeting(Role::Coordinator, number, CLUSTER, epoch) {
        let message = if let Message::Handshake(HandshakeMessage::Claim { by, known, .. }) = message {
            Message::Handshake(HandshakeMessage::Claim { by, known, stated })
        } else {
            message
        };
        said.extend(alone.tell(from, message));
    }
    said
}

#[test]
fn a_number_that_was_retired_may_come_back_with_all_that_it_was_told() {
    for is_checkpointed in [false, true] {
        let mut alone = participant(Table::new(), &[1, 2]);
        assert!(is_promised(&send(&mut alone, put_a(1))));
        let (told, _) = alone.last_record();
        alone.tell(NodeId::coordinator(1), Message::Commit(CommitMessage::Abort { txn: TxnId(1), attempt: FIRST }));
        let said = alone.tell(NodeId::client(1), Message::Admin(AdminMessage::Retire { node: 1 }));
        assert!(
            matches!(said[..], [Message::Admin(AdminMessage::PeerChanged { outcome: PeerChange::Done, .. })]),
            "{said:?}"
        );
        if is_checkpointed {
            alone = restarted(&mut alone);
        }
        let said = claim(&mut alone, 1, 1, told);
        assert!(
            !said.iter().any(|message| matches!(message, Message::Handshake(HandshakeMessage::LogLost { .. }))),
            "{said:?}"
        );
        assert!(matches!(said.last(), Some(Message::Handshake(HandshakeMessage::Accepted { .. }))), "{said:?}");
    }
}

#[test]
fn a_process_whose_log_has_lost_records_moves_no_fence() {
    let mut alone = participant(Table::new(), &[1]);
    let coordinator = NodeId::coordinator(1);
    let by = made_up(3);
    let opening = greeting(Role::Coordinator, 1, CLUSTER, 3);
    let lost = Message::Handshake(HandshakeMessage::LogLost { stated: Position::UNKNOWN, held: Position::UNKNOWN });
    for message in opening {
        let is_last = matches!(message, Message::Handshake(HandshakeMessage::Accept { .. }));
        if is_last {
            alone.tell(coordinator, lost.clone());
            let records = alone.kept.records.len();
            let said = alone.tell(coordinator, Message::Handshake(HandshakeMessage::Accept { by, known: made_up(1) }));
            assert!(matches!(said[..], [Message::Handshake(HandshakeMessage::Accepted { .. })]), "{said:?}");
            assert_eq!(alone.kept.records.len(), records, "nothing is fenced");
        } else {
            alone.tell(coordinator, message);
        }
    }
    assert_eq!(alone.machine.heeded(1), made_up(1));
    assert_eq!(alone.machine.welcome(coordinator, made_up(2)), Ok(()), "the newest copy is welcome");
}

#[test]
fn in_one_phase_a_log_that_lacks_records_proves_nothing() {
    for reason in [Reason::LogLost, Reason::NoClaim] {
        let mut alone = coordinator(&[1, 2], |_| {});
        let [Message::Commit(CommitMessage::Prepare(prepare))] = &ask(&mut alone, submit(1, vec![put(&key_of(1))]))[..]
        else {
            unreachable!("it is asked for")
        };
        let (txn, attempt) = (prepare.txn, prepare.attempt);
        let refusal = Refusal { reason, participant: None, operation: None };
        let said = alone.tell(NodeId::participant(1), Message::Commit(CommitMessage::VoteNo { txn, attempt, refusal }));
        assert!(
            !said.iter().any(|message| matches!(message, Message::Client(ClientMessage::Aborted { .. }))),
            "{said:?}"
        );
        let said = std::iter::from_fn(|| Some(alone.wait().1)).take(8).flatten();
        let said: Vec<Message> = said.collect();
        assert!(
            said.iter().all(|message| matches!(message, Message::Commit(CommitMessage::Prepare(_)))),
            "it is asked on: {said:?}"
        );
        assert!(!said.is_empty());
    }
}
