//! How messages, records and operations read in a story.

use bytes::Bytes;
use protocol::message::{Hello, KnownOutcome, PrepareMode, TxnStatus};
use protocol::record::Promise;
use protocol::{
    AdminMessage, ClientMessage, CommitMessage, Condition, HandshakeMessage, Message, NodeId, Operation,
    OperationResult, Position, Process, Record, RecoveryMessage, Role, ScanOf,
};

use crate::world::keys::name_of;

/// One line for a message.
#[must_use]
pub fn message(message: &Message) -> String {
    match message {
        Message::Handshake(message) => handshake_words(message),
        Message::Client(message) => client_words(message),
        Message::Commit(message) => commit_words(message),
        Message::Recovery(message) => recovery_words(message),
        Message::Admin(message) => admin_words(message),
    }
}

fn handshake_words(message: &HandshakeMessage) -> String {
    match message {
        HandshakeMessage::Hello(hello) => hello_words(hello),
        HandshakeMessage::Claim { known, stated, .. } => {
            format!("Claim: knows {}, of {}", process(*known), place(*stated))
        }
        HandshakeMessage::Accept { known, .. } => format!("Accept after {}", process(*known)),
        HandshakeMessage::Accepted { .. } => "Accepted".to_owned(),
        HandshakeMessage::Superseded { known } => format!("Superseded by {}", process(*known)),
        HandshakeMessage::Unwelcome(unwelcome) => {
            format!("Unwelcome, {} ({})", unwelcome.reason.name(), process(unwelcome.known))
        }
        HandshakeMessage::LogLost { stated, held } => {
            format!("LogLost {}, the latest is {}", place(*stated), place(*held))
        }
    }
}

fn client_words(message: &ClientMessage) -> String {
    match message {
        ClientMessage::Submit(submit) => {
            format!("Submit {:?}: {}", submit.txn, operations(&submit.operations))
        }
        ClientMessage::AskStatus { txn } => format!("AskStatus {txn:?}"),
        ClientMessage::Committed { txn, results } => {
            format!("Committed {txn:?}{}", maybe_results(results.as_deref()))
        }
        ClientMessage::Aborted { txn, refusal, at_deadline: false } => {
            format!("Aborted {txn:?}: {refusal}")
        }
        ClientMessage::Aborted { txn, refusal, at_deadline: true } => {
            format!("Aborted {txn:?} at its deadline, last: {refusal}")
        }
        ClientMessage::Busy { txn } => format!("Busy {txn:?}"),
        ClientMessage::Status { txn, status } => format!("Status {txn:?} {}", status_words(*status)),
    }
}

fn commit_words(message: &CommitMessage) -> String {
    match message {
        CommitMessage::Prepare(prepare) => {
            let mode = match prepare.mode {
                PrepareMode::TwoPhase => "two-phase",
                PrepareMode::LocksHeldElsewhere => "locks held elsewhere",
                PrepareMode::OnePhase => "one-phase",
            };
            let age = prepare.age.admitted_us;
            let what = operations(&prepare.operations);
            let late = if prepare.answer_within_ms == 0 { ", only if it is known" } else { "" };
            format!("Prepare {:?} {} age {age} ({mode}{late}): {what}", prepare.txn, prepare.attempt)
        }
        CommitMessage::Commit { txn, attempt, prepared_at, decided_at } => {
            format!("Commit {txn:?} {attempt} promised at {}, decided at {}", place(*prepared_at), place(*decided_at))
        }
        CommitMessage::Abort { txn, attempt } => format!("Abort {txn:?} {attempt}"),
        CommitMessage::VoteYes { txn, attempt, prepared_at, results } => {
            format!("VoteYes {txn:?} {attempt} promised at {}{}", place(*prepared_at), maybe_results(Some(results)))
        }
        CommitMessage::VoteReadOnly { txn, attempt, results } => {
            format!("VoteReadOnly {txn:?} {attempt}{}", maybe_results(Some(results)))
        }
        CommitMessage::VoteNo { txn, attempt, refusal } => {
            format!("VoteNo {txn:?} {attempt}: {refusal}")
        }
        CommitMessage::CommittedOnePhase { txn, attempt, committed_at, results } => {
            let results = maybe_results(results.as_deref());
            format!("CommittedOnePhase {txn:?} {attempt} at {}{results}", place(*committed_at))
        }
        CommitMessage::CommitAck { txn, attempt } => format!("CommitAck {txn:?} {attempt}"),
    }
}

fn recovery_words(message: &RecoveryMessage) -> String {
    match message {
        RecoveryMessage::AskOutcome { txn, .. } => format!("AskOutcome {txn:?}"),
        RecoveryMessage::PrepareLost { txn, attempt, voted_at, held_at } => {
            format!("PrepareLost {txn:?} {attempt} at {}, held at {}", place(*voted_at), place(*held_at))
        }
        RecoveryMessage::AskDecision { txn, attempt, participants } => {
            let all: Vec<_> = participants.iter().map(|number| format!("p{number}")).collect();
            format!("AskDecision {txn:?} {attempt} of {}", all.join(" "))
        }
        RecoveryMessage::Outcome { txn, known, .. } => {
            let known = match known {
                KnownOutcome::Committed => "committed",
                KnownOutcome::InProgress => "in progress",
                KnownOutcome::Nothing => "nothing",
            };
            format!("Outcome {txn:?} {known}")
        }
    }
}

fn admin_words(message: &AdminMessage) -> String {
    match message {
        AdminMessage::ReplaceLog { role, node } => format!("ReplaceLog of {role} {node}"),
        AdminMessage::Retire { node } => format!("Retire c{node}"),
        AdminMessage::PeerChanged { outcome, epoch, in_doubt } => {
            format!("PeerChanged {outcome:?}, epoch {epoch}, {in_doubt} in doubt")
        }
        AdminMessage::AskStats => "AskStats".to_owned(),
        AdminMessage::Stats(_) => "Stats".to_owned(),
    }
}

/// One line for a record.
#[must_use]
pub fn record(record: &Record) -> String {
    match record {
        Record::Prepared(promise) => format!("Prepared {}", promise_words(promise)),
        Record::PreparedAgain { promise, first_at } => {
            format!("PreparedAgain {}, first at {}", promise_words(promise), place(*first_at))
        }
        Record::CommittedOnePhase(promise) => format!("CommittedOnePhase {}", promise_words(promise)),
        Record::Committed { txn, attempt, decided_at } => {
            format!("Committed {txn:?} {attempt}, decided at {}", place(*decided_at))
        }
        Record::Aborted { txn, attempt } => format!("Aborted {txn:?} {attempt}"),
        Record::Released { txn, attempt } => format!("Released {txn:?} {attempt}"),
        Record::Fenced { peer, process: known } => format!("Fenced n{peer} {}", process(*known)),
        Record::Retired { coordinator } => format!("Retired c{coordinator}"),
        Record::Started { epoch, .. } => format!("Started epoch {epoch}"),
        Record::Starts(starts) => {
            let epochs: Vec<_> = starts.iter().map(|(epoch, _)| epoch.to_string()).collect();
            format!("Starts {}", epochs.join(" "))
        }
        Record::Decided { txn, attempt, participants, .. } => {
            format!("Decided {txn:?} {attempt}, to tell: {}", places('p', participants))
        }
        Record::DecidedAgain { txn, attempt, participants, first_at, .. } => {
            let (to_tell, first_at) = (places('p', participants), place(*first_at));
            format!("DecidedAgain {txn:?} {attempt}, to tell: {to_tell}, first at {first_at}")
        }
        Record::DecidedElsewhere { txn, attempt, participant: Some(participant), committed_at, .. } => {
            format!("DecidedElsewhere {txn:?} {attempt}, p{participant} at {}", place(*committed_at))
        }
        Record::DecidedElsewhere { txn, attempt, participant: None, .. } => {
            format!("DecidedElsewhere {txn:?} {attempt}")
        }
        Record::Finished { txn } => format!("Finished {txn:?}"),
        Record::Bins { .. } => "Bins".to_owned(),
        Record::Outcomes(outcomes) => {
            let all: Vec<_> = outcomes.iter().map(|outcome| format!("{:?}", outcome.txn)).collect();
            format!("Outcomes {}", all.join(" "))
        }
        Record::Stated(stated) => format!("Stated {}", places('n', stated)),
        Record::StatedDecisions(stated) => format!("StatedDecisions {}", places('n', stated)),
        Record::LossAccepted { until } => format!("LossAccepted until {until}"),
    }
}

/// Which process: its epoch and the digits that were drawn for its log and start.
#[must_use]
pub fn process(Process { log, epoch, start }: Process) -> String {
    match (log, epoch) {
        (0, 0) => "nobody".to_owned(),
        (0, epoch) => format!("any after epoch {epoch}"),
        (log, epoch) => format!("epoch {epoch} ({log:x}.{start:x})"),
    }
}

/// Where a record stands.
#[must_use]
pub fn place(position: Position) -> String {
    if position.is_known() { format!("{}/{:04x}", position.index, position.hash) } else { "nowhere".to_owned() }
}

fn places(letter: char, all: &[(u32, Position)]) -> String {
    all.iter().map(|(number, at)| format!("{letter}{number} at {}", place(*at))).collect::<Vec<_>>().join(", ")
}

/// A key's value.
#[must_use]
pub fn row(key: &[u8], value: &[u8]) -> String {
    format!("{} = {}", name_of(key), String::from_utf8_lossy(value))
}

fn hello_words(hello: &Hello) -> String {
    match hello.role {
        Role::Client => "Hello".to_owned(),
        Role::Coordinator => format!("Hello from {}, {}", NodeId::coordinator(hello.node), process(hello.process)),
        Role::Participant => format!("Hello from {}, {}", NodeId::participant(hello.node), process(hello.process)),
    }
}

fn status_words(status: TxnStatus) -> &'static str {
    match status {
        TxnStatus::Committed => "committed",
        TxnStatus::Aborted => "aborted",
        TxnStatus::InProgress => "in progress",
        TxnStatus::Unknown => "unknown",
    }
}

fn promise_words(promise: &Promise) -> String {
    let mut words = format!("{:?} {}", promise.txn, promise.attempt);
    for write in &promise.writes {
        let value = write.value.as_ref().map_or("removed".into(), |value| String::from_utf8_lossy(value));
        words += &format!(" {}={value}", name_of(&write.key));
    }
    for key in &promise.reads {
        words += &format!(" read {}", name_of(key));
    }
    for (start, end) in &promise.ranges {
        words += &format!(" read {}..{}", name_of(start), name_of(end));
    }
    words
}

fn operations(operations: &[Operation]) -> String {
    operations.iter().map(operation).collect::<Vec<_>>().join(", ")
}

fn operation(operation: &Operation) -> String {
    let text = |bytes: &Bytes| String::from_utf8_lossy(bytes).into_owned();
    match operation {
        Operation::Get { key } => format!("get {}", name_of(key)),
        Operation::Put { key, value } => format!("put {} {}", name_of(key), text(value)),
        Operation::Delete { key } => format!("delete {}", name_of(key)),
        Operation::Add { key, delta, .. } => format!("add {} {delta}", name_of(key)),
        Operation::Append { key, value } => format!("append {} {}", name_of(key), text(value)),
        Operation::Expect { key, condition } => {
            let condition = match condition {
                Condition::Exists => "exists".to_owned(),
                Condition::Absent => "absent".to_owned(),
                Condition::Equals(value) => format!("= {}", text(value)),
            };
            format!("expect {} {condition}", name_of(key))
        }
        Operation::Scan { start, end, of, .. } => {
            let of = match of {
                ScanOf::Rows => "scan",
                ScanOf::Totals => "totals",
            };
            format!("{of} {}..{}", name_of(start), name_of(end))
        }
    }
}

fn maybe_results(results: Option<&[OperationResult]>) -> String {
    let Some(results) = results else { return ", without results".to_owned() };
    format!(" [{}]", results.iter().map(result).collect::<Vec<_>>().join(", "))
}

fn result(result: &OperationResult) -> String {
    match result {
        OperationResult::Done => "done".to_owned(),
        OperationResult::Value(None) => "none".to_owned(),
        OperationResult::Value(Some(value)) => String::from_utf8_lossy(value).into_owned(),
        OperationResult::Number(number) => number.to_string(),
        OperationResult::Rows { rows, more } => {
            let mut all: Vec<_> = rows.iter().map(|(key, value)| row(key, value)).collect();
            if *more {
                all.push("and more".to_owned());
            }
            format!("({})", all.join("; "))
        }
        OperationResult::Totals(totals) => format!("({} keys, sum {})", totals.keys, totals.sum),
    }
}
