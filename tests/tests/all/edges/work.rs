//! Work that takes time: what is asked for again, given up, or put off.

use bytes::Bytes;
use engine::Table;
use participant::Participant;
use protocol::message::{Prepare, PrepareMode, Submit};
use protocol::{
    Attempt, ClientMessage, CommitMessage, Link, Machine, Message, NodeId, Operation, Reason, ScanOf, TxnId,
};

use super::{
    Alone, FIRST, ask, coordinator, is_promised, key_of, meet, participant, prepare, put, put_a, reason, send, submit,
    transfer, vote_yes,
};

#[test]
fn silence_is_asked_about_with_growing_pauses_and_ends_at_the_deadline() {
    let mut alone = coordinator(&[1, 2], |_| {});
    ask(&mut alone, transfer(1));
    let asked = [(); 6].map(|()| {
        let (waited_us, said) = alone.wait();
        assert!(said.iter().all(
            |message| matches!(message, Message::Commit(CommitMessage::Prepare(prepare)) if prepare.attempt == FIRST)
        ));
        (waited_us / 1_000_000, said.len())
    });
    assert_eq!(asked, [(1, 2), (2, 2), (4, 2), (8, 2), (8, 2), (8, 2)]);
    vote_yes(&mut alone, 1, 1);
    let rest: Vec<_> = (0..4).map(|_| alone.wait()).collect();
    assert_eq!(rest.iter().map(|(waited_us, _)| waited_us / 1_000_000).sum::<u64>(), 60 - 31);
    let last = &rest[3].1;
    assert!(
        matches!(last.as_slice(), [.., Message::Client(ClientMessage::Aborted { at_deadline: true, .. })]),
        "{last:?}"
    );
}

#[test]
fn nothing_is_begun_whose_participant_is_not_connected() {
    let mut alone = coordinator(&[1, 2], |_| {});
    alone.kept.link = Link::Down;
    let short = |txn: u128, operations: Vec<Operation>| {
        Message::Client(ClientMessage::Submit(Submit { txn: TxnId(txn), deadline_ms: 500, operations }))
    };
    assert_eq!(ask(&mut alone, short(1, vec![put(&key_of(1)), put(&key_of(2))])), []);
    let begun = alone.now;
    let mut said = Vec::new();
    while alone.machine.next_tick().is_some() {
        said.extend(alone.wait().1);
    }
    assert_eq!(alone.now.0 - begun.0, 500_000, "of several participants nothing is decided yet");
    let refused = |message: &Message| {
        let Message::Client(ClientMessage::Aborted { txn, refusal, at_deadline: true }) = message else {
            unreachable!("{message:?}")
        };
        (txn.0, refusal.reason, refusal.participant)
    };
    assert_eq!(said.iter().map(refused).collect::<Vec<_>>(), [(1, Reason::Unavailable, Some(1))]);
}

/// An earlier process of the coordinator may have had it done, so that nobody but its participant can say that it was not.
#[test]
fn a_write_in_one_phase_is_asked_for_though_its_participant_is_not_connected_and_not_begun_past_its_deadline() {
    let mut alone = coordinator(&[1, 2], |_| {});
    alone.kept.link = Link::Down;
    let submit = Submit { txn: TxnId(2), deadline_ms: 500, operations: vec![put(&key_of(1))] };
    ask(&mut alone, Message::Client(ClientMessage::Submit(submit)));
    let deadline = alone.now.plus_us(500_000);
    for _ in 0..8 {
        let (_, said) = alone.wait();
        let [Message::Commit(CommitMessage::Prepare(prepare))] = said.as_slice() else { unreachable!("{said:?}") };
        assert_eq!(
            prepare.answer_within_ms == 0,
            alone.now >= deadline,
            "past its deadline it asks only what is known"
        );
    }
    assert!(alone.now > deadline);
}

#[test]
fn a_read_whose_client_has_gone_is_given_up() {
    let mut alone = coordinator(&[1, 2], |_| {});
    let get = |participant: u32| Operation::Get { key: key_of(participant) };
    ask(&mut alone, submit(1, vec![get(1)]));
    ask(&mut alone, submit(2, vec![get(1), get(2)]));
    ask(&mut alone, transfer(3));
    alone.kept.link = Link::Down;
    alone.now = alone.machine.next_tick().expect("votes are awaited");
    alone.kept.take_posted();
    alone.kept.effects(|effects| alone.machine.tick(alone.now, effects));
    let aborted = alone.kept.take_posted();
    let aborts = |txn: u128| {
        aborted.iter().any(
            |message| matches!(message, Message::Commit(CommitMessage::Abort { txn: other, .. }) if other.0 == txn),
        )
    };
    assert!(aborts(1) && aborts(2), "{aborted:?}");
    assert_eq!(alone.machine.unfinished_txns(), 1, "what writes goes on to its deadline");
}

const LONG_ROWS: u32 = 40_000;

/// A participant with more rows than fit in a slice of a scan, between `r` and `s`.
fn with_many_rows() -> Alone<Participant> {
    let table = Table::new();
    for row in 0..LONG_ROWS {
        let key = [b"r", row.to_be_bytes().as_slice()].concat();
        table.apply(engine::Place::default(), 0, &key, Some(Bytes::from_static(b"1")));
    }
    participant(table, &[1, 2])
}

fn long_read(txn: u128, number: u32) -> Prepare {
    let (start, end) = (Bytes::from_static(b"r"), Bytes::from_static(b"s"));
    Prepare {
        attempt: Attempt { epoch: 1, number },
        participants: vec![1],
        ..prepare(txn, PrepareMode::OnePhase, vec![Operation::Scan { start, end, limit: 0, of: ScanOf::Totals }])
    }
}

/// Lets it work until it has nothing left to do; what it says, and in how many parts it has worked.
fn work(alone: &mut Alone<Participant>) -> (Vec<Message>, usize) {
    let (mut said, mut parts) = (Vec::new(), 0);
    while alone.machine.has_work() {
        alone.now = alone.now.plus_us(100);
        alone.kept.take_posted();
        alone.kept.effects(|effects| alone.machine.tick(alone.now, effects));
        said.extend(alone.kept.take_posted());
        parts += 1;
        assert!(parts < 1_000, "it works for ever");
    }
    (said, parts)
}

fn has_read_all(said: &[Message], attempt: u32) -> bool {
    matches!(said, [Message::Commit(CommitMessage::VoteReadOnly { results, attempt: Attempt { number, .. }, .. })] if *number == attempt
        && matches!(results.as_slice(), [protocol::OperationResult::Totals(totals)] if totals.keys == u64::from(LONG_ROWS)))
}

#[test]
fn a_long_scan_lets_others_pass_between_its_slices() {
    let mut alone = with_many_rows();
    assert_eq!(send(&mut alone, long_read(1, 1)), []);
    assert!(alone.machine.has_work());
    assert!(is_promised(&send(&mut alone, put_a(2))), "it does not wait for the scan");
    let into_the_range = prepare(3, PrepareMode::TwoPhase, vec![put(&Bytes::from_static(b"r"))]);
    assert_eq!(reason(&send(&mut alone, into_the_range)), Some(Reason::Conflict), "the range stays locked meanwhile");
    let (said, parts) = work(&mut alone);
    assert!(has_read_all(&said, 1), "{said:?}");
    assert!(parts > 3, "{parts} parts");
    assert_eq!(alone.machine.next_tick().map(|due| due > alone.now), Some(true), "only what is promised is left");
}

#[test]
fn what_is_under_way_is_not_begun_again() {
    let mut alone = with_many_rows();
    send(&mut alone, long_read(1, 1));
    assert_eq!(send(&mut alone, long_read(1, 1)), []);
    assert_eq!(send(&mut alone, long_read(1, 2)), []);
    let (said, parts) = work(&mut alone);
    assert!(has_read_all(&said, 2), "one vote, on the latest attempt: {said:?}");
    alone.now = alone.now.plus_us(1);
    send(&mut alone, long_read(2, 1));
    assert_eq!(work(&mut alone).1, parts, "as much work as if it had been asked for once");
}

#[test]
fn a_vote_on_a_scan_is_given_again_in_slices_and_once() {
    let mut alone = with_many_rows();
    let promises = Prepare { mode: PrepareMode::TwoPhase, participants: vec![1, 2], ..long_read(1, 1) };
    send(&mut alone, promises.clone());
    assert!(is_promised(&work(&mut alone).0));
    assert_eq!(send(&mut alone, promises.clone()), []);
    assert_eq!(send(&mut alone, promises.clone()), []);
    let (said, parts) = work(&mut alone);
    assert!(is_promised(&said) && parts > 3, "{parts} parts: {said:?}");
    send(&mut alone, promises);
    alone.tell(NodeId::coordinator(1), Message::Commit(CommitMessage::Abort { txn: TxnId(1), attempt: FIRST }));
    assert_eq!(work(&mut alone).0, [], "nobody waits for the vote on what is over");
    assert_eq!(alone.machine.in_flight_txns(), 0);
}

#[test]
fn work_that_nobody_waits_for_is_dropped() {
    type Way = fn(&mut Alone<Participant>);
    let ways: [(&str, Way); 4] = [
        ("aborted", |alone| {
            alone.tell(NodeId::coordinator(1), Message::Commit(CommitMessage::Abort { txn: TxnId(1), attempt: FIRST }));
        }),
        ("replaced", |alone| {
            meet(alone, NodeId::coordinator(1), 2);
        }),
        ("gone", |alone| alone.kept.link = Link::Down),
        ("too late", |alone| alone.now = alone.now.plus_us(2_000_000)),
    ];
    for (way, ends) in ways {
        let mut alone = with_many_rows();
        send(&mut alone, Prepare { answer_within_ms: 1_000, ..long_read(1, 1) });
        ends(&mut alone);
        let (said, parts) = work(&mut alone);
        assert!(parts <= 1, "{way}: {parts} parts");
        let expected = if way == "too late" { Some(Reason::Unavailable) } else { None };
        assert_eq!((reason(&said), said.len()), (expected, usize::from(expected.is_some())), "{way}");
        assert_eq!(alone.machine.in_flight_txns(), 0, "{way}");
        alone.kept.link = Link::Open;
        let into_the_range = prepare(3, PrepareMode::OnePhase, vec![put(&Bytes::from_static(b"r"))]);
        let attempt = Attempt { epoch: if way == "replaced" { 2 } else { 1 }, number: 1 };
        let said = send(&mut alone, Prepare { attempt, participants: vec![1], ..into_the_range });
        assert!(
            matches!(said.as_slice(), [Message::Commit(CommitMessage::CommittedOnePhase { .. })]),
            "{way}: its locks are free: {said:?}"
        );
    }
}

#[test]
fn what_is_asked_for_too_late_is_not_begun() {
    let mut alone = participant(Table::new(), &[1]);
    assert_eq!(reason(&send(&mut alone, Prepare { answer_within_ms: 0, ..put_a(1) })), Some(Reason::Unavailable));
    assert!(is_promised(&send(&mut alone, put_a(2))), "its locks are free");
    let again = Prepare { answer_within_ms: 0, ..put_a(2) };
    assert!(is_promised(&send(&mut alone, again)), "what is promised is said at any time");
}

#[test]
fn what_would_wait_past_its_time_is_refused_at_once() {
    let mut alone = with_many_rows();
    let asked_for = |txn: u128, answer_within_ms: u32| Prepare { answer_within_ms, ..long_read(txn, 1) };
    // How long one takes is not known before one has ended.
    send(&mut alone, asked_for(1, 60_000));
    let (_, parts) = work(&mut alone);
    let waits = (2..=200).map(|txn| send(&mut alone, asked_for(txn, 60_000)));
    assert_eq!(waits.map(|said| said.len()).sum::<usize>(), 0);
    let begin = |alone: &mut Alone<Participant>, txn: u128, answer_within_ms: u32| {
        alone.now = alone.now.plus_us(1);
        send(alone, asked_for(txn, answer_within_ms));
        alone.kept.take_posted();
        let mut said = Vec::new();
        for _ in 0..3 * LONG_ROWS / 8_192 * 200 {
            alone.now = alone.now.plus_us(1);
            alone.kept.effects(|effects| alone.machine.tick(alone.now, effects));
            said.extend(alone.kept.take_posted());
            if said.iter().any(|message| matches!(message, Message::Commit(CommitMessage::VoteNo { .. }))) {
                return reason(&said[said.len() - 1..]);
            }
        }
        None
    };
    assert_eq!(begin(&mut alone, 1_000, 2), Some(Reason::Busy), "some 200 are before it, of {parts} parts each");
}

#[test]
fn answers_that_are_not_taken_stop_the_work_that_makes_more() {
    let mut alone = with_many_rows();
    send(&mut alone, long_read(1, 1));
    alone.kept.link = Link::Congested;
    let (said, parts) = work(&mut alone);
    assert_eq!((said, parts), (Vec::new(), 1));
    let looks_at = alone.machine.next_tick().expect("it looks again");
    assert!(looks_at > alone.now && looks_at <= alone.now.plus_us(10_000));
    alone.kept.link = Link::Open;
    alone.now = looks_at;
    alone.kept.effects(|effects| alone.machine.tick(looks_at, effects));
    assert!(has_read_all(&work(&mut alone).0, 1));
}

// ---- answers that wait for others

fn audit(txn: u128) -> Message {
    let scan = Operation::Scan { start: Bytes::new(), end: Bytes::new(), limit: 0, of: ScanOf::Rows };
    submit(txn, vec![scan])
}

/// A participant reads a row of so many bytes; what the coordinator then says.
fn read_row(
    alone: &mut Alone<coordinator::Coordinator>,
    participant: u32,
    (txn, number): (u128, u32),
    bytes: usize,
) -> Vec<Message> {
    let rows = vec![(Bytes::from(format!("row{participant}")), Bytes::from(vec![0; bytes]))];
    let results = vec![protocol::OperationResult::Rows { rows, more: false }];
    let attempt = Attempt { epoch: 1, number };
    alone.tell(
        NodeId::participant(participant),
        Message::Commit(CommitMessage::VoteReadOnly { txn: TxnId(txn), attempt, results }),
    )
}

#[test]
fn what_is_expected_to_fit_in_memory_is_let_in_and_what_does_not_fit_after_all_is_read_again() {
    const EACH_BYTES: usize = 1 << 20;
    const SMALL: u128 = 100;
    const LARGE: u128 = 200;
    let mut alone = coordinator(&[1, 2], |config| config.prepare_timeout_us = 100_000_000);
    let let_in = (1..=LARGE).filter(|txn| {
        let said = ask(&mut alone, audit(*txn));
        !matches!(said.as_slice(), [Message::Client(ClientMessage::Busy { .. })])
    });
    assert_eq!(let_in.count(), 32, "64 MiB, and a MiB is expected of each of two participants");
    let mut alone = coordinator(&[1, 2], |config| config.prepare_timeout_us = 100_000_000);
    for txn in 1..=SMALL {
        ask(&mut alone, audit(txn));
        read_row(&mut alone, 1, (txn, 1), 1);
        let said = read_row(&mut alone, 2, (txn, 1), 1);
        assert!(matches!(said.as_slice(), [Message::Client(ClientMessage::Committed { .. })]), "{said:?}");
    }
    let large = SMALL + 1..=SMALL + LARGE;
    for txn in large.clone() {
        let said = ask(&mut alone, audit(txn));
        assert!(
            matches!(said.as_slice(), [Message::Commit(CommitMessage::Prepare(_))]),
            "they seem to be small: {said:?}"
        );
    }
    let goes_on = |said: &[Message]| matches!(said, [Message::Commit(CommitMessage::Prepare(_))]);
    let (kept, dropped): (Vec<u128>, Vec<u128>) =
        large.partition(|txn| goes_on(&read_row(&mut alone, 1, (*txn, 1), EACH_BYTES)));
    assert_eq!(kept.len(), 63, "as many as fit");
    for txn in kept {
        let said = read_row(&mut alone, 2, (txn, 1), EACH_BYTES - 100);
        assert!(matches!(said.as_slice(), [Message::Client(ClientMessage::Committed { .. })]), "{said:?}");
    }
    let mut asked_again = 0;
    while asked_again < dropped.len() {
        let prepared = alone.wait().1;
        asked_again += prepared.len();
        for message in prepared {
            let Message::Commit(CommitMessage::Prepare(prepare)) = message else { unreachable!("{message:?}") };
            let txn = (prepare.txn.0, prepare.attempt.number);
            read_row(&mut alone, 1, txn, EACH_BYTES);
            let said = read_row(&mut alone, 2, txn, EACH_BYTES - 100);
            assert!(matches!(said.as_slice(), [Message::Client(ClientMessage::Committed { .. })]), "{said:?}");
        }
    }
}
