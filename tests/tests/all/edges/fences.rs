//! Whom a machine hears and obeys: a process that it has accepted, in that process's own epoch.

use engine::Table;
use protocol::message::Prepare;
use protocol::{Attempt, Message, NodeId, Reason, Record, Role, TxnId};
use tests::kept::greeting;

use super::{
    CLUSTER, FIRST, ask, coordinator, is_promised, meet, participant, put_a, reason, send, transfer, vote_yes,
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
        assert_eq!(alone.tell(coordinator, Message::Abort { txn: TxnId(1), attempt: FIRST }), []);
        let commit = Message::Commit { txn: TxnId(1), attempt: FIRST, prepared_at, decided_at: prepared_at };
        assert_eq!(alone.tell(coordinator, commit), []);
        assert_eq!(alone.machine.in_flight_txns(), 1, "the promise is kept");
    }
    alone.tell(coordinator, accept);
    alone.tell(coordinator, Message::Abort { txn: TxnId(1), attempt: FIRST });
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
