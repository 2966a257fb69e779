//! At least one instance of each message and each record, with every operation, result, reason
//! and code somewhere among them; what the fixtures hold and hostile tests damage.
//!
//! The exhaustive matches here make the compiler ask for a new kind; `every_kind_has_a_sample` in
//! `fixtures.rs` then asks for its instance.

use bytes::Bytes;
use protocol::message::{Hello, KnownOutcome, PeerChange, Prepare, PrepareMode, Stats, Submit, TxnStatus};
use protocol::record::{CommittedOutcome, Promise};
use protocol::{
    AdminMessage, Age, Attempt, ClientMessage, ClusterId, CommitMessage, Condition, HandshakeMessage, Index, Message,
    Operation, OperationResult, Position, Process, Reason, Record, RecoveryMessage, Refusal, Role, ScanOf, Totals,
    TxnId, Unwelcome, UnwelcomeReason, Write,
};

const TXN: TxnId = TxnId(0x0011_2233_4455_6677_8899_aabb_ccdd_eeff);
const ATTEMPT: Attempt = Attempt { epoch: 0x0102_0304, number: 0x0506_0708 };
const AGE: Age = Age { admitted_us: 0x0006_1122_3344_5566, coordinator: 9 };
const AT: Position = Position { index: Index(0x0000_0a0b_0c0d_0e0f), hash: 0x1011_1213_1415_1617 };
const LATER: Position = Position { index: Index(0x0000_1a1b_1c1d_1e1f), hash: 0x2021_2223_2425_2627 };

pub(crate) const PROCESS: Process = Process { log: 0x1112_1314_1516_1718, epoch: 4, start: 0x2122_2324_2526_2728 };

pub(crate) const EARLIER_PROCESS: Process =
    Process { log: 0x1112_1314_1516_1718, epoch: 3, start: 0x3132_3334_3536_3738 };

pub(crate) const UNWELCOME: [UnwelcomeReason; 10] = [
    UnwelcomeReason::StaleProcess,
    UnwelcomeReason::Copy,
    UnwelcomeReason::OtherLog,
    UnwelcomeReason::TooManyPeers,
    UnwelcomeReason::InvalidHello,
    UnwelcomeReason::WrongCluster,
    UnwelcomeReason::WrongRole,
    UnwelcomeReason::NoCommonVersion,
    UnwelcomeReason::NotUnderstood,
    UnwelcomeReason::TooManyClients,
];

pub(crate) const REASONS: [Reason; 18] = [
    Reason::Conflict,
    Reason::Bound,
    Reason::Expectation,
    Reason::NotANumber,
    Reason::TooLarge,
    Reason::Busy,
    Reason::NoSpace,
    Reason::IdReused,
    Reason::StaleEpoch,
    Reason::AlreadyCommitted,
    Reason::Unavailable,
    Reason::WrongNode,
    Reason::Damaged,
    Reason::LogLost,
    Reason::NoClaim,
    Reason::Invalid,
    Reason::Ended,
    Reason::NoMemory,
];

fn bytes(text: &'static str) -> Bytes {
    Bytes::from_static(text.as_bytes())
}

pub(crate) fn operations() -> Vec<Operation> {
    let key = || bytes("k");
    vec![
        Operation::Get { key: key() },
        Operation::Put { key: bytes("balance/{7}"), value: bytes("100") },
        Operation::Delete { key: Bytes::new() },
        Operation::Add { key: key(), delta: -5, min: 0, max: i64::MAX },
        Operation::Append { key: key(), value: Bytes::new() },
        Operation::Expect { key: key(), condition: Condition::Exists },
        Operation::Expect { key: key(), condition: Condition::Absent },
        Operation::Expect { key: key(), condition: Condition::Equals(bytes("v")) },
        Operation::Scan { start: bytes("a"), end: bytes("b"), limit: 10, of: ScanOf::Rows },
        Operation::Scan { start: bytes("a"), end: Bytes::new(), limit: 0, of: ScanOf::Totals },
    ]
}

pub(crate) fn results() -> Vec<OperationResult> {
    vec![
        OperationResult::Done,
        OperationResult::Value(None),
        OperationResult::Value(Some(bytes("v"))),
        OperationResult::Number(-2),
        OperationResult::Rows { rows: vec![(bytes("a"), bytes("1")), (bytes("ab"), Bytes::new())], more: true },
        OperationResult::Rows { rows: Vec::new(), more: false },
        OperationResult::Totals(Totals { keys: 3, sum: -1, negatives: 2 }),
    ]
}

fn prepare(mode: PrepareMode, operations: Vec<Operation>) -> Message {
    Message::Commit(CommitMessage::Prepare(Prepare {
        txn: TXN,
        attempt: ATTEMPT,
        cluster: ClusterId(0xc1),
        coordinator: 9,
        age: AGE,
        participants: vec![1, 2],
        mode,
        lock_wait_ms: 250,
        answer_within_ms: 1_000,
        operations,
    }))
}

pub(crate) fn messages() -> Vec<Message> {
    let (txn, attempt, prepared_at) = (TXN, ATTEMPT, AT);
    let refusal = Refusal { reason: Reason::Bound, participant: Some(2), operation: Some(1) };
    let hello = |role| Message::Handshake(HandshakeMessage::Hello(Hello::daemon(role, 3, ClusterId(0xc1), PROCESS)));
    let mut messages = vec![
        hello(Role::Client),
        hello(Role::Coordinator),
        hello(Role::Participant),
        Message::Client(ClientMessage::Submit(Submit { txn, deadline_ms: 5_000, operations: operations() })),
        Message::Client(ClientMessage::AskStatus { txn }),
        Message::Client(ClientMessage::Committed { txn, results: Some(results()) }),
        Message::Client(ClientMessage::Committed { txn, results: None }),
        Message::Client(ClientMessage::Aborted { txn, refusal, at_deadline: false }),
        Message::Client(ClientMessage::Busy { txn }),
        prepare(PrepareMode::TwoPhase, operations()),
        prepare(PrepareMode::LocksHeldElsewhere, Vec::new()),
        prepare(PrepareMode::OnePhase, Vec::new()),
        Message::Commit(CommitMessage::Commit { txn, attempt, prepared_at, decided_at: LATER }),
        Message::Commit(CommitMessage::Abort { txn, attempt }),
        Message::Recovery(RecoveryMessage::AskOutcome { txn, question: 0x0102_0304_0506_0708 }),
        Message::Commit(CommitMessage::VoteYes { txn, attempt, prepared_at, results: results() }),
        Message::Commit(CommitMessage::VoteReadOnly { txn, attempt, results: results() }),
        Message::Commit(CommitMessage::VoteNo { txn, attempt, refusal: Refusal { operation: None, ..refusal } }),
        Message::Commit(CommitMessage::CommittedOnePhase { txn, attempt, committed_at: AT, results: Some(results()) }),
        Message::Commit(CommitMessage::CommittedOnePhase {
            txn,
            attempt,
            committed_at: Position::UNKNOWN,
            results: None,
        }),
        Message::Commit(CommitMessage::CommitAck { txn, attempt }),
        Message::Recovery(RecoveryMessage::PrepareLost { txn, attempt, voted_at: AT, held_at: LATER }),
        Message::Recovery(RecoveryMessage::AskDecision { txn, attempt, participants: vec![1, 2] }),
        Message::Admin(AdminMessage::AskStats),
        Message::Admin(AdminMessage::Stats(Stats {
            role: Role::Coordinator,
            node: 3,
            groups: 5,
            records: 6,
            bytes: 7,
            cpu_us: 8,
            sync_us: bytes("histogram"),
            peers: vec!["127.0.0.1:7001".to_owned(), "[::1]:7002".to_owned()],
            scrubbed_bytes: 9,
            scrub_passes: 10,
            scrub_findings: 11,
            durable_lsn: 12,
            opening: 13,
            requests: 14,
        })),
        Message::Handshake(HandshakeMessage::Claim { by: PROCESS, known: EARLIER_PROCESS, stated: AT }),
        Message::Handshake(HandshakeMessage::Accept { by: PROCESS, known: EARLIER_PROCESS }),
        Message::Handshake(HandshakeMessage::Accepted { by: PROCESS }),
        Message::Handshake(HandshakeMessage::Superseded { known: PROCESS }),
        Message::Admin(AdminMessage::ReplaceLog { role: Role::Coordinator, node: 3 }),
        Message::Admin(AdminMessage::Retire { node: 3 }),
        Message::Handshake(HandshakeMessage::LogLost { stated: LATER, held: AT }),
    ];
    messages.extend(
        [TxnStatus::Committed, TxnStatus::Aborted, TxnStatus::InProgress, TxnStatus::Unknown]
            .map(|status| Message::Client(ClientMessage::Status { txn, status })),
    );
    messages.extend(
        [KnownOutcome::Committed, KnownOutcome::InProgress, KnownOutcome::Nothing]
            .map(|known| Message::Recovery(RecoveryMessage::Outcome { txn, question: 0x0102_0304_0506_0708, known })),
    );
    messages.extend(
        UNWELCOME.map(|reason| Message::Handshake(HandshakeMessage::Unwelcome(Unwelcome { reason, known: PROCESS }))),
    );
    messages.extend(
        [PeerChange::Done, PeerChange::NotKnown, PeerChange::HasPromises]
            .map(|outcome| Message::Admin(AdminMessage::PeerChanged { outcome, epoch: 4, in_doubt: 2 })),
    );
    messages.extend(REASONS.map(|reason| {
        let refusal = Refusal { reason, participant: None, operation: None };
        Message::Client(ClientMessage::Aborted { txn, refusal, at_deadline: true })
    }));
    messages
}

pub(crate) fn promise() -> Promise {
    Promise {
        txn: TXN,
        attempt: ATTEMPT,
        coordinator: 9,
        age: AGE,
        digest: 0x1234_5678_0000_0042,
        writes: vec![
            Write { key: bytes("balance/{7}"), value: Some(bytes("95")) },
            Write { key: bytes("gone"), value: None },
            Write { key: bytes("k"), value: Some(Bytes::new()) },
        ],
        reads: vec![bytes("r"), bytes("rr")],
        ranges: vec![(bytes("a"), bytes("b")), (bytes("c"), Bytes::new())],
        participants: vec![1, 2],
    }
}

pub(crate) fn records() -> Vec<Record> {
    let (txn, attempt, digest) = (TXN, ATTEMPT, 0x1234_5678_0000_0042);
    vec![
        Record::Prepared(promise()),
        Record::CommittedOnePhase(Promise {
            reads: Vec::new(),
            ranges: Vec::new(),
            participants: vec![2],
            ..promise()
        }),
        Record::Aborted { txn, attempt },
        Record::Released { txn, attempt },
        Record::Finished { txn },
        Record::Outcomes(vec![CommittedOutcome { txn, attempt, digest, coordinator: 9 }]),
        Record::Bins { owners: vec![1, 2, 3] },
        Record::Decided { txn, attempt, digest, participants: vec![(1, AT), (2, LATER)] },
        Record::DecidedElsewhere { txn, attempt, digest, participant: Some(2), committed_at: AT },
        Record::PreparedAgain { promise: promise(), first_at: AT },
        Record::Stated(vec![(1, AT), (2, LATER)]),
        Record::LossAccepted { until: LATER.index },
        Record::Committed { txn, attempt, decided_at: AT },
        Record::DecidedAgain { txn, attempt, digest, participants: vec![(1, AT)], first_at: LATER },
        Record::StatedDecisions(vec![(1, AT), (2, LATER)]),
        Record::Starts(vec![(3, 0x0303), (4, 0x0404)]),
        Record::Retired { coordinator: 9 },
        Record::Fenced { peer: 9, process: PROCESS },
        Record::Started { epoch: 4, start: 0x2122_2324_2526_2728 },
    ]
}

/// How the kinds that are not written any more are read: in the order of their kinds.
pub(crate) fn old_records() -> Vec<(u8, Record)> {
    let (txn, attempt, digest) = (TXN, ATTEMPT, 0x1234_5678_0000_0042);
    let participants = vec![(1, Position::UNKNOWN), (2, Position::UNKNOWN)];
    let (participant, committed_at) = (None, Position::UNKNOWN);
    vec![
        (3, Record::Committed { txn, attempt, decided_at: Position::UNKNOWN }),
        (5, Record::Fenced { peer: 9, process: Process { epoch: 4, ..Process::NONE } }),
        (6, Record::Started { epoch: 4, start: 0 }),
        (7, Record::Decided { txn, attempt, digest, participants }),
        (8, Record::DecidedElsewhere { txn, attempt, digest, participant, committed_at }),
    ]
}

pub(crate) fn record_name(record: &Record) -> &'static str {
    match record {
        Record::Prepared(_) => "Prepared",
        Record::CommittedOnePhase(_) => "CommittedOnePhase",
        Record::Committed { .. } => "Committed",
        Record::Aborted { .. } => "Aborted",
        Record::Released { .. } => "Released",
        Record::Fenced { .. } => "Fenced",
        Record::Started { .. } => "Started",
        Record::Starts(_) => "Starts",
        Record::Retired { .. } => "Retired",
        Record::Decided { .. } => "Decided",
        Record::DecidedAgain { .. } => "DecidedAgain",
        Record::DecidedElsewhere { .. } => "DecidedElsewhere",
        Record::Finished { .. } => "Finished",
        Record::Bins { .. } => "Bins",
        Record::Outcomes(_) => "Outcomes",
        Record::PreparedAgain { .. } => "PreparedAgain",
        Record::Stated(_) => "Stated",
        Record::StatedDecisions(_) => "StatedDecisions",
        Record::LossAccepted { .. } => "LossAccepted",
    }
}

pub(crate) fn encode_message(message: &Message) -> Vec<u8> {
    let mut out = Vec::new();
    message.encode(&mut out);
    out
}

pub(crate) fn encode_record(record: &Record) -> Vec<u8> {
    let mut out = Vec::new();
    record.encode(&mut out);
    out
}

/// Decodes a message that has to fill the bytes.
pub(crate) fn decode_message(bytes: &[u8]) -> Result<Message, protocol::Malformed> {
    let mut reader = protocol::codec::Reader::new(Bytes::copy_from_slice(bytes));
    let message = Message::decode(&mut reader)?;
    reader.finish()?;
    Ok(message.expect("no message that may be skipped"))
}

/// A message whose fields were changed, with the length that it has now.
pub(crate) fn with_length(mut bytes: Vec<u8>) -> Vec<u8> {
    let length = (bytes.len() - 4) as u32;
    bytes[..4].copy_from_slice(&length.to_le_bytes());
    bytes
}

pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

pub(crate) fn unhex(text: &str) -> Vec<u8> {
    let digits: String = text.chars().filter(|symbol| !symbol.is_whitespace()).collect();
    assert!(digits.len().is_multiple_of(2), "half a byte in {text}");
    (0..digits.len()).step_by(2).map(|at| u8::from_str_radix(&digits[at..at + 2], 16).unwrap()).collect()
}
