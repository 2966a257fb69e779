//! Logs made of records, one for each thing that can be said of them.

use protocol::record::{CommittedOutcome, Promise};
use protocol::{Age, Attempt, Index, Position, Record, TxnId};

use crate::report::Untold;
use crate::{Fault, Log, NodeName, Report, judge};

const TXN: TxnId = TxnId(1);
const ATTEMPT: Attempt = Attempt { epoch: 1, number: 1 };
const C1: NodeName = NodeName::Coordinator(1);
const P1: NodeName = NodeName::Participant(1);
const P2: NodeName = NodeName::Participant(2);

fn at(index: u64) -> Position {
    Position { index: Index(index), hash: index * 7 }
}

fn promise(attempt: Attempt) -> Promise {
    Promise {
        txn: TXN,
        attempt,
        coordinator: 1,
        age: Age { admitted_us: 1, coordinator: 1 },
        digest: 7,
        writes: Vec::new(),
        reads: Vec::new(),
        ranges: Vec::new(),
        participants: vec![1, 2],
    }
}

fn prepared() -> Record {
    Record::Prepared(promise(ATTEMPT))
}

fn committed() -> Record {
    Record::Committed { txn: TXN, attempt: ATTEMPT, decided_at: Position::UNKNOWN }
}

fn aborted() -> Record {
    Record::Aborted { txn: TXN, attempt: ATTEMPT }
}

fn decided(participants: &[(u32, u64)]) -> Record {
    let participants = participants.iter().map(|(number, index)| (*number, at(*index))).collect();
    Record::Decided { txn: TXN, attempt: ATTEMPT, digest: 7, participants }
}

fn finished() -> Record {
    Record::Finished { txn: TXN }
}

fn elsewhere(index: u64) -> Record {
    let (participant, committed_at) = (Some(1), at(index));
    Record::DecidedElsewhere { txn: TXN, attempt: ATTEMPT, digest: 7, participant, committed_at }
}

fn remembered() -> Record {
    Record::Outcomes(vec![CommittedOutcome { txn: TXN, attempt: ATTEMPT, digest: 7, coordinator: 1 }])
}

/// A log that begins after `begin` and holds these records under these indices; its last one is 1,000.
fn log_from(node: NodeName, begin: u64, records: &[(u64, Record)]) -> Log {
    let mut log = Log::new(node, 7, node.to_string(), begin == 0);
    log.extent.group(Index(begin));
    for (index, record) in records {
        log.take(at(*index), record.clone());
    }
    log.extent.record(Index(1_000));
    log
}

fn log(node: NodeName, records: &[(u64, Record)]) -> Log {
    log_from(node, 0, records)
}

fn judged(logs: &[Log]) -> Report {
    judge(logs).expect("logs of different nodes of one cluster")
}

fn faults(logs: &[Log]) -> Vec<&'static str> {
    judged(logs).findings.iter().map(|finding| finding.fault.name()).collect()
}

#[test]
fn what_went_well_is_consistent() {
    let c1 = log(C1, &[(10, decided(&[(1, 100), (2, 100)])), (20, finished())]);
    let participants = [P1, P2].map(|node| log(node, &[(100, prepared()), (200, committed())]));
    let report = judged(&[c1, participants[0].clone(), participants[1].clone()]);
    assert_eq!((report.findings.len(), report.in_doubt.len(), report.untold), (0, 0, Untold::default()));
    assert_eq!(report.confirmed, 4);
    assert!(report.is_whole() && report.not_given.is_empty());
}

#[test]
fn one_that_commits_what_another_aborts_is_found() {
    let p1 = log(P1, &[(100, prepared()), (200, committed())]);
    let p2 = log(P2, &[(100, prepared()), (200, aborted())]);
    assert_eq!(faults(&[p1, p2.clone()]), ["decided-differently"]);
    let c1 = log(C1, &[(10, decided(&[(2, 100)]))]);
    let report = judged(&[c1, p2]);
    assert_eq!(report.findings[0].fault, Fault::DecidedDifferently { committed: C1, aborted: P2 });
    assert_eq!(report.findings[0].txn, Some(TXN));
}

#[test]
fn what_one_only_remembers_to_have_committed_and_another_aborts_is_found() {
    let p2 = log(P2, &[(100, prepared()), (200, aborted())]);
    let p1 = log_from(P1, 500, &[(510, remembered())]);
    let report = judged(&[p1.clone(), p2.clone()]);
    assert_eq!(report.findings[0].fault, Fault::DecidedDifferently { committed: P1, aborted: P2 });
    let c1 = log_from(C1, 500, &[(510, remembered())]);
    let report = judged(&[c1.clone(), p2]);
    assert_eq!(report.findings[0].fault, Fault::DecidedDifferently { committed: C1, aborted: P2 });
    // Under another attempt there is no contradiction.
    let earlier = Attempt { epoch: 1, number: 0 };
    let aborted_before = Record::Aborted { txn: TXN, attempt: earlier };
    let p2 = log(P2, &[(100, Record::Prepared(promise(earlier))), (200, aborted_before)]);
    assert_eq!(faults(&[c1, p1, p2]), [""; 0]);
}

#[test]
fn an_abort_of_an_earlier_attempt_is_no_contradiction() {
    let later = Attempt { epoch: 1, number: 2 };
    let c1 = log(C1, &[(10, decided(&[(1, 300)])), (20, finished())]);
    let earlier = Attempt { epoch: 1, number: 0 };
    let p1 = [
        (100, Record::Prepared(promise(earlier))),
        (200, Record::Aborted { txn: TXN, attempt: earlier }),
        (300, prepared()),
        (400, committed()),
        (500, Record::Aborted { txn: TXN, attempt: later }),
    ];
    assert_eq!(faults(&[c1, log(P1, &p1)]), [""; 0]);
}

#[test]
fn a_promise_that_is_not_where_it_was_is_missing() {
    let c1 = log(C1, &[(10, decided(&[(1, 100)]))]);
    assert_eq!(faults(&[c1.clone(), log(P1, &[(100, prepared())])]), [""; 0]);
    assert_eq!(faults(&[c1.clone(), log(P1, &[(90, prepared())])]), ["promise-missing"]);
    assert_eq!(faults(&[c1.clone(), log(P1, &[])]), ["promise-missing"]);
    let mut ends_before = Log::new(P1, 7, "p1".to_owned(), true);
    ends_before.extent.record(Index(50));
    let report = judged(&[c1.clone(), ends_before]);
    assert_eq!(report.findings[0].fault, Fault::PromiseMissing { participant: P1, at: at(100), log_end: Index(50) });
    let again = Record::PreparedAgain { promise: promise(ATTEMPT), first_at: at(100) };
    assert_eq!(faults(&[c1, log_from(P1, 300, &[(310, again)])]), [""; 0]);
}

#[test]
fn another_promise_than_the_one_that_was_voted_on_is_found_once_it_is_committed() {
    let c1 = log(C1, &[(10, decided(&[(1, 100)])), (20, finished())]);
    assert_eq!(faults(&[c1, log(P1, &[(90, prepared()), (200, committed())])]), ["other-promise"]);
}

#[test]
fn an_acknowledged_commit_without_its_record_is_missing() {
    let c1 = log(C1, &[(10, decided(&[(1, 100)])), (20, finished())]);
    assert_eq!(faults(&[c1, log(P1, &[(100, prepared())])]), ["commit-missing"]);
}

#[test]
fn a_one_phase_commit_is_there_or_missing() {
    let c1 = log(C1, &[(10, elsewhere(100))]);
    let one_phase = |index| log(P1, &[(index, Record::CommittedOnePhase(promise(ATTEMPT)))]);
    assert_eq!(faults(&[c1.clone(), one_phase(100)]), [""; 0]);
    assert_eq!(faults(&[c1.clone(), one_phase(90)]), ["other-promise"]);
    assert_eq!(faults(&[c1.clone(), log(P1, &[])]), ["commit-missing"]);
    assert_eq!(faults(&[c1, log_from(P1, 500, &[(510, remembered())])]), [""; 0]);
}

#[test]
fn a_commit_that_nobody_decided_is_found_where_the_coordinators_log_is_there_from_the_beginning() {
    let p1 = log(P1, &[(100, prepared()), (200, committed())]);
    assert_eq!(faults(&[log(C1, &[]), p1.clone()]), ["not-decided"]);
    assert_eq!(faults(&[log_from(C1, 500, &[(510, remembered())]), p1.clone()]), [""; 0]);
    let report = judged(&[log_from(C1, 500, &[]), p1]);
    assert_eq!((report.findings.len(), report.untold.dropped), (0, 1));
}

#[test]
fn a_transaction_is_not_committed_twice() {
    let other = Record::Decided {
        txn: TXN,
        attempt: Attempt { epoch: 2, number: 1 },
        digest: 7,
        participants: vec![(1, at(300))],
    };
    let p1 = log(P1, &[(100, prepared())]);
    let c2 = log(NodeName::Coordinator(2), &[(10, elsewhere(0))]);
    assert_eq!(faults(&[log(C1, &[(10, decided(&[(1, 100)]))]), c2, p1]), [""; 0]);
    let twice = log(C1, &[(10, decided(&[])), (20, other.clone())]);
    assert_eq!(faults(&[twice]), ["committed-twice"]);
    let c2 = log(NodeName::Coordinator(2), &[(10, other)]);
    assert_eq!(faults(&[log(C1, &[(10, decided(&[]))]), c2]), ["committed-twice"]);
}

#[test]
fn what_a_checkpoint_or_the_retention_dropped_cannot_be_told() {
    let c1 = log(C1, &[(10, decided(&[(1, 100)])), (20, finished())]);
    let report = judged(&[c1.clone(), log_from(P1, 500, &[])]);
    assert_eq!((report.findings.len(), report.untold.dropped), (0, 1));
    assert_eq!(faults(&[c1, log_from(P1, 500, &[(510, remembered())])]), [""; 0]);
    let report = judged(&[log(C1, &[(10, elsewhere(100))]), log_from(P1, 500, &[])]);
    assert_eq!((report.findings.len(), report.untold.dropped), (0, 1));
}

#[test]
fn what_may_stand_in_a_part_that_was_not_read_cannot_be_told() {
    let c1 = log(C1, &[(10, decided(&[(1, 100)]))]);
    let mut p1 = Log::new(P1, 7, "p1".to_owned(), true);
    p1.extent.record(Index(49));
    p1.extent.skip();
    p1.extent.group(Index(149));
    p1.extent.record(Index(1_000));
    let report = judged(&[c1, p1]);
    assert_eq!((report.findings.len(), report.untold.unread), (0, 1));
}

#[test]
fn nodes_that_are_named_and_not_given_are_told() {
    let report = judged(&[log(C1, &[(10, decided(&[(1, 100)]))])]);
    assert_eq!((report.not_given.as_slice(), report.untold.not_given), (&[P1][..], 1));
    let report = judged(&[log(P1, &[(100, prepared())])]);
    assert_eq!(report.not_given, [C1]);
}

#[test]
fn promises_in_doubt_say_what_becomes_of_them() {
    let p1 = log(P1, &[(100, prepared())]);
    let commits = |logs: &[Log]| judged(logs).in_doubt.iter().map(|promise| promise.commits).collect::<Vec<_>>();
    assert_eq!(commits(std::slice::from_ref(&p1)), [None]);
    assert_eq!(commits(&[p1.clone(), log(C1, &[])]), [Some(false)]);
    assert_eq!(commits(&[p1, log(C1, &[(10, decided(&[(1, 100)]))])]), [Some(true)]);
    assert_eq!(commits(&[log(P1, &[(100, prepared()), (200, aborted())])]), []);
}

#[test]
fn what_a_coordinator_has_heard_is_there_or_given_up() {
    let c1 = log(C1, &[(10, Record::Stated(vec![(1, at(100))]))]);
    assert_eq!(faults(&[c1.clone(), log(P1, &[(100, prepared()), (200, aborted())])]), [""; 0]);
    let report = judged(&[c1.clone(), log(P1, &[(90, prepared()), (200, aborted())])]);
    assert_eq!(report.findings[0].fault, Fault::RecordMissing { node: P1, at: at(100), log_end: Index(1_000) });
    let accepted = Record::LossAccepted { until: Index(900) };
    assert_eq!(faults(&[c1, log(P1, &[(910, accepted)])]), [""; 0]);
}

#[test]
fn what_a_participant_has_heard_is_there_or_given_up() {
    let heard = Record::Committed { txn: TXN, attempt: ATTEMPT, decided_at: at(10) };
    let p1 = log(P1, &[(100, prepared()), (200, heard)]);
    let earlier = Attempt { epoch: 1, number: 0 };
    let other = Record::Decided { txn: TxnId(2), attempt: earlier, digest: 7, participants: Vec::new() };
    assert_eq!(faults(&[log(C1, &[(10, decided(&[(1, 100)]))]), p1.clone()]), [""; 0]);
    assert_eq!(faults(&[log(C1, &[(9, decided(&[(1, 100)]))]), p1.clone()]), ["record-missing"]);
    assert_eq!(faults(&[log(C1, &[(9, other)]), p1.clone()]), ["not-decided", "record-missing"]);
    let checkpointed = |record| judged(&[log_from(C1, 500, &[(510, record), (520, remembered())]), p1.clone()]);
    let again = Record::DecidedAgain {
        txn: TXN,
        attempt: ATTEMPT,
        digest: 7,
        participants: vec![(1, at(100))],
        first_at: at(10),
    };
    assert_eq!(checkpointed(again).untold, Untold::default());
    assert_eq!(checkpointed(Record::StatedDecisions(vec![(1, at(10))])).untold, Untold::default());
    assert_eq!(checkpointed(Record::StatedDecisions(vec![(1, at(400))])).untold.dropped, 1);
    let kept = log_from(P1, 950, &[(960, Record::StatedDecisions(vec![(1, at(10))]))]);
    assert_eq!(faults(&[log(C1, &[]), kept.clone()]), ["record-missing"]);
    assert_eq!(faults(&[log(C1, &[(910, Record::LossAccepted { until: Index(900) })]), kept]), [""; 0]);
}

#[test]
fn what_was_given_up_is_named_after_a_checkpoint_too() {
    let c1 = log(C1, &[(10, decided(&[(1, 100)]))]);
    let accepted = Record::LossAccepted { until: Index(900) };
    let checkpointed = |records: &[(u64, Record)]| judged(&[c1.clone(), log_from(P1, 950, records)]);
    assert_eq!(checkpointed(&[(960, accepted.clone())]).findings.len(), 1);
    assert_eq!(checkpointed(&[(960, accepted), (970, remembered())]).findings.len(), 0);
    assert_eq!(checkpointed(&[]).untold.dropped, 1);
}

#[test]
fn logs_that_do_not_belong_together_are_refused() {
    let p1 = log(P1, &[]);
    assert!(judge(&[p1.clone(), p1.clone()]).is_err());
    let other = Log::new(P2, 8, "p2".to_owned(), true);
    assert!(judge(&[p1, other]).unwrap_err().to_string().contains("0000000000000008"));
}
