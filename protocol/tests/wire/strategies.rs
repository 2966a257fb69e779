//! Arbitrary messages and records within their limits.

use bytes::Bytes;
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use proptest::sample::select;
use protocol::message::{Hello, KnownOutcome, PeerChange, Prepare, PrepareMode, Stats, Submit, TxnStatus};
use protocol::record::{CommittedOutcome, Promise};
use protocol::{
    AdminMessage, Age, Attempt, ClientMessage, ClusterId, CommitMessage, Condition, HandshakeMessage, Index, Message,
    Operation, OperationResult, Position, Process, Record, RecoveryMessage, Refusal, Role, ScanOf, Totals, TxnId,
    Unwelcome, Write,
};

use crate::samples::{REASONS, UNWELCOME};

fn data() -> impl Strategy<Value = Bytes> {
    prop_oneof![20 => vec(any::<u8>(), 0..40), 1 => vec(any::<u8>(), 0..=1_024)].prop_map(Bytes::from)
}

fn txn() -> impl Strategy<Value = TxnId> {
    any::<u128>().prop_map(TxnId)
}

fn attempt() -> impl Strategy<Value = Attempt> {
    any::<(u32, u32)>().prop_map(|(epoch, number)| Attempt { epoch, number })
}

fn age() -> impl Strategy<Value = Age> {
    any::<(u64, u32)>().prop_map(|(admitted_us, coordinator)| Age { admitted_us, coordinator })
}

fn position() -> impl Strategy<Value = Position> {
    any::<(u64, u64)>().prop_map(|(index, hash)| Position { index: Index(index), hash })
}

fn role() -> impl Strategy<Value = Role> {
    select(vec![Role::Client, Role::Coordinator, Role::Participant])
}

fn participants() -> impl Strategy<Value = Vec<u32>> {
    vec(any::<u32>(), 0..=64)
}

fn refusal() -> impl Strategy<Value = Refusal> {
    (select(REASONS.to_vec()), option::of(0..u32::MAX), option::of(0..4_096u16))
        .prop_map(|(reason, participant, operation)| Refusal { reason, participant, operation })
}

fn condition() -> impl Strategy<Value = Condition> {
    prop_oneof![Just(Condition::Exists), Just(Condition::Absent), data().prop_map(Condition::Equals)]
}

pub(crate) fn operation() -> impl Strategy<Value = Operation> {
    prop_oneof![
        data().prop_map(|key| Operation::Get { key }),
        (data(), data()).prop_map(|(key, value)| Operation::Put { key, value }),
        data().prop_map(|key| Operation::Delete { key }),
        (data(), any::<(i64, i64, i64)>()).prop_map(|(key, (delta, min, max))| Operation::Add { key, delta, min, max }),
        (data(), data()).prop_map(|(key, value)| Operation::Append { key, value }),
        (data(), condition()).prop_map(|(key, condition)| Operation::Expect { key, condition }),
        (data(), data(), any::<u32>(), select(vec![ScanOf::Rows, ScanOf::Totals]))
            .prop_map(|(start, end, limit, of)| Operation::Scan { start, end, limit, of }),
    ]
}

fn operations() -> impl Strategy<Value = Vec<Operation>> {
    vec(operation(), 0..12)
}

pub(crate) fn result() -> impl Strategy<Value = OperationResult> {
    prop_oneof![
        Just(OperationResult::Done),
        option::of(data()).prop_map(OperationResult::Value),
        any::<i64>().prop_map(OperationResult::Number),
        (vec((data(), data()), 0..6), any::<bool>()).prop_map(|(rows, more)| OperationResult::Rows { rows, more }),
        any::<(u64, i128, u64)>().prop_map(|(keys, sum, negatives)| OperationResult::Totals(Totals {
            keys,
            sum,
            negatives
        })),
    ]
}

fn results() -> impl Strategy<Value = Vec<OperationResult>> {
    vec(result(), 0..8)
}

fn process() -> impl Strategy<Value = Process> {
    any::<(u64, u32, u64)>().prop_map(|(log, epoch, start)| Process { log, epoch, start })
}

/// What is said of processes.
fn message_of_processes() -> impl Strategy<Value = Message> {
    let change = select(vec![PeerChange::Done, PeerChange::NotKnown, PeerChange::HasPromises]);
    prop_oneof![
        (process(), process(), position())
            .prop_map(|(by, known, stated)| Message::Handshake(HandshakeMessage::Claim { by, known, stated })),
        (process(), process()).prop_map(|(by, known)| Message::Handshake(HandshakeMessage::Accept { by, known })),
        process().prop_map(|by| Message::Handshake(HandshakeMessage::Accepted { by })),
        process().prop_map(|known| Message::Handshake(HandshakeMessage::Superseded { known })),
        (select(UNWELCOME.to_vec()), process())
            .prop_map(|(reason, known)| Message::Handshake(HandshakeMessage::Unwelcome(Unwelcome { reason, known }))),
        (role(), any::<u32>()).prop_map(|(role, node)| Message::Admin(AdminMessage::ReplaceLog { role, node })),
        any::<u32>().prop_map(|node| Message::Admin(AdminMessage::Retire { node })),
        (change, any::<(u32, u32)>()).prop_map(|(outcome, (epoch, in_doubt))| Message::Admin(
            AdminMessage::PeerChanged { outcome, epoch, in_doubt }
        )),
    ]
}

fn hello() -> impl Strategy<Value = Message> {
    (role(), any::<(u32, u64)>(), process()).prop_map(|(role, (node, cluster), process)| {
        Message::Handshake(HandshakeMessage::Hello(Hello::daemon(role, node, ClusterId(cluster), process)))
    })
}

fn prepare() -> impl Strategy<Value = Message> {
    let mode = select(vec![PrepareMode::TwoPhase, PrepareMode::LocksHeldElsewhere, PrepareMode::OnePhase]);
    (txn(), attempt(), any::<(u64, u32, u32, u32)>(), age(), participants(), mode, operations()).prop_map(
        |(
            txn,
            attempt,
            (cluster, coordinator, lock_wait_ms, answer_within_ms),
            age,
            participants,
            mode,
            operations,
        )| {
            let cluster = ClusterId(cluster);
            Message::Commit(CommitMessage::Prepare(Prepare {
                txn,
                attempt,
                cluster,
                coordinator,
                age,
                participants,
                mode,
                lock_wait_ms,
                answer_within_ms,
                operations,
            }))
        },
    )
}

fn stats() -> impl Strategy<Value = Message> {
    let figures = any::<(u32, u64, u64, u64, u64)>();
    let more = any::<(u64, u64, u64, u64, u64, u64)>();
    (role(), figures, data(), vec("\\PC{0,20}", 0..4), more).prop_map(
        |(role, (node, groups, records, bytes, cpu_us), sync_us, peers, more)| {
            let (scrubbed_bytes, scrub_passes, scrub_findings, durable_lsn, opening, requests) = more;
            Message::Admin(AdminMessage::Stats(Stats {
                role,
                node,
                groups,
                records,
                bytes,
                cpu_us,
                sync_us,
                peers,
                scrubbed_bytes,
                scrub_passes,
                scrub_findings,
                durable_lsn,
                opening,
                requests,
            }))
        },
    )
}

fn message_of_client() -> impl Strategy<Value = Message> {
    let status = select(vec![TxnStatus::Committed, TxnStatus::Aborted, TxnStatus::InProgress, TxnStatus::Unknown]);
    prop_oneof![
        hello(),
        stats(),
        Just(Message::Admin(AdminMessage::AskStats)),
        (txn(), any::<u32>(), operations()).prop_map(|(txn, deadline_ms, operations)| Message::Client(
            ClientMessage::Submit(Submit { txn, deadline_ms, operations })
        )),
        txn().prop_map(|txn| Message::Client(ClientMessage::AskStatus { txn })),
        (txn(), option::of(results()))
            .prop_map(|(txn, results)| Message::Client(ClientMessage::Committed { txn, results })),
        (txn(), refusal(), any::<bool>()).prop_map(|(txn, refusal, at_deadline)| Message::Client(
            ClientMessage::Aborted { txn, refusal, at_deadline }
        )),
        txn().prop_map(|txn| Message::Client(ClientMessage::Busy { txn })),
        (txn(), status).prop_map(|(txn, status)| Message::Client(ClientMessage::Status { txn, status })),
    ]
}

fn message_of_participant() -> impl Strategy<Value = Message> {
    let known = select(vec![KnownOutcome::Committed, KnownOutcome::InProgress, KnownOutcome::Nothing]);
    let attempt_of = || (txn(), attempt());
    prop_oneof![
        prepare(),
        (attempt_of(), position(), position()).prop_map(|((txn, attempt), prepared_at, decided_at)| Message::Commit(
            CommitMessage::Commit { txn, attempt, prepared_at, decided_at }
        )),
        attempt_of().prop_map(|(txn, attempt)| Message::Commit(CommitMessage::Abort { txn, attempt })),
        (txn(), any::<u64>())
            .prop_map(|(txn, question)| Message::Recovery(RecoveryMessage::AskOutcome { txn, question })),
        (attempt_of(), position(), results()).prop_map(|((txn, attempt), prepared_at, results)| Message::Commit(
            CommitMessage::VoteYes { txn, attempt, prepared_at, results }
        )),
        (attempt_of(), results()).prop_map(|((txn, attempt), results)| Message::Commit(CommitMessage::VoteReadOnly {
            txn,
            attempt,
            results
        })),
        (attempt_of(), refusal()).prop_map(|((txn, attempt), refusal)| Message::Commit(CommitMessage::VoteNo {
            txn,
            attempt,
            refusal
        })),
        (attempt_of(), position(), option::of(results())).prop_map(|((txn, attempt), committed_at, results)| {
            Message::Commit(CommitMessage::CommittedOnePhase { txn, attempt, committed_at, results })
        }),
        attempt_of().prop_map(|(txn, attempt)| Message::Commit(CommitMessage::CommitAck { txn, attempt })),
        (attempt_of(), position(), position()).prop_map(|((txn, attempt), voted_at, held_at)| Message::Recovery(
            RecoveryMessage::PrepareLost { txn, attempt, voted_at, held_at }
        )),
        (position(), position())
            .prop_map(|(stated, held)| Message::Handshake(HandshakeMessage::LogLost { stated, held })),
        (attempt_of(), participants()).prop_map(|((txn, attempt), participants)| Message::Recovery(
            RecoveryMessage::AskDecision { txn, attempt, participants }
        )),
        (txn(), any::<u64>(), known).prop_map(|(txn, question, known)| Message::Recovery(RecoveryMessage::Outcome {
            txn,
            question,
            known
        })),
    ]
}

pub(crate) fn message() -> impl Strategy<Value = Message> {
    prop_oneof![message_of_client(), message_of_participant(), message_of_processes()]
}

pub(crate) fn promise() -> impl Strategy<Value = Promise> {
    let write = (data(), option::of(data())).prop_map(|(key, value)| Write { key, value });
    let locks = (vec(write, 0..8), vec(data(), 0..8), vec((data(), data()), 0..4));
    (txn(), attempt(), age(), any::<(u32, u64)>(), locks, participants()).prop_map(
        |(txn, attempt, age, (coordinator, digest), (writes, reads, ranges), participants)| Promise {
            txn,
            attempt,
            coordinator,
            age,
            digest,
            writes,
            reads,
            ranges,
            participants,
        },
    )
}

pub(crate) fn record() -> impl Strategy<Value = Record> {
    let outcome = (txn(), attempt(), any::<(u64, u32)>())
        .prop_map(|(txn, attempt, (digest, coordinator))| CommittedOutcome { txn, attempt, digest, coordinator });
    prop_oneof![
        promise().prop_map(Record::Prepared),
        promise().prop_map(Record::CommittedOnePhase),
        (txn(), attempt(), position()).prop_map(|(txn, attempt, decided_at)| Record::Committed {
            txn,
            attempt,
            decided_at
        }),
        (txn(), attempt()).prop_map(|(txn, attempt)| Record::Aborted { txn, attempt }),
        (txn(), attempt()).prop_map(|(txn, attempt)| Record::Released { txn, attempt }),
        (any::<u32>(), process()).prop_map(|(peer, process)| Record::Fenced { peer, process }),
        any::<u32>().prop_map(|coordinator| Record::Retired { coordinator }),
        any::<(u32, u64)>().prop_map(|(epoch, start)| Record::Started { epoch, start }),
        vec(any::<(u32, u64)>(), 0..20).prop_map(Record::Starts),
        (txn(), attempt(), any::<u64>(), vec((any::<u32>(), position()), 0..=64))
            .prop_map(|(txn, attempt, digest, participants)| Record::Decided { txn, attempt, digest, participants }),
        (txn(), attempt(), any::<u64>(), vec((any::<u32>(), position()), 0..=64), position()).prop_map(
            |(txn, attempt, digest, participants, first_at)| Record::DecidedAgain {
                txn,
                attempt,
                digest,
                participants,
                first_at
            }
        ),
        (txn(), attempt(), any::<u64>(), option::of(0..u32::MAX), position()).prop_map(
            |(txn, attempt, digest, participant, committed_at)| Record::DecidedElsewhere {
                txn,
                attempt,
                digest,
                participant,
                committed_at
            }
        ),
        (promise(), position()).prop_map(|(promise, first_at)| Record::PreparedAgain { promise, first_at }),
        vec((any::<u32>(), position()), 0..=256).prop_map(Record::Stated),
        vec((any::<u32>(), position()), 0..=256).prop_map(Record::StatedDecisions),
        any::<u64>().prop_map(|until| Record::LossAccepted { until: Index(until) }),
        txn().prop_map(|txn| Record::Finished { txn }),
        vec(any::<u32>(), 0..=4_096).prop_map(|owners| Record::Bins { owners }),
        vec(outcome, 0..40).prop_map(Record::Outcomes),
    ]
}
