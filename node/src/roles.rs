//! Who may say what to whom, once both have said hello. What is not here never reaches a machine.

use protocol::{Message, Role};

/// Whether a node of role `from` may send `message` to a daemon of role `to`.
pub(crate) fn may_send(from: Role, to: Role, message: &Message) -> bool {
    match message {
        // The first message of a connection, and no other.
        Message::Hello(_) => false,
        Message::Submit(_) | Message::AskStatus { .. } => from == Role::Client && to == Role::Coordinator,
        Message::Prepare(_) | Message::Commit { .. } | Message::Abort { .. } | Message::AskOutcome { .. } => {
            from == Role::Coordinator && to == Role::Participant
        }
        Message::VoteYes { .. }
        | Message::VoteReadOnly { .. }
        | Message::VoteNo { .. }
        | Message::CommittedOnePhase { .. }
        | Message::CommitAck { .. }
        | Message::PrepareLost { .. }
        | Message::Accepted { .. }
        | Message::AskDecision { .. }
        | Message::Outcome { .. } => from == Role::Participant && to == Role::Coordinator,
        Message::Claim { .. } | Message::Superseded { .. } | Message::LogLost { .. } => {
            matches!((from, to), (Role::Coordinator, Role::Participant) | (Role::Participant, Role::Coordinator))
        }
        Message::Accept { .. } => from == Role::Coordinator && to == Role::Participant,
        Message::ReplaceLog { .. } => from == Role::Client,
        Message::Retire { .. } => from == Role::Client && to == Role::Participant,
        Message::AskStats | Message::Unwelcome(_) => true,
        // Only clients are told these; a daemon is no client.
        Message::Committed { .. }
        | Message::Aborted { .. }
        | Message::Busy { .. }
        | Message::Status { .. }
        | Message::PeerChanged { .. }
        | Message::Stats(_) => false,
    }
}

/// What a message is called in a log line.
pub(crate) fn name(message: &Message) -> &'static str {
    match message {
        Message::Hello(_) => "Hello",
        Message::Submit(_) => "Submit",
        Message::AskStatus { .. } => "AskStatus",
        Message::Committed { .. } => "Committed",
        Message::Aborted { .. } => "Aborted",
        Message::Busy { .. } => "Busy",
        Message::Status { .. } => "Status",
        Message::Prepare(_) => "Prepare",
        Message::Commit { .. } => "Commit",
        Message::Abort { .. } => "Abort",
        Message::AskOutcome { .. } => "AskOutcome",
        Message::VoteYes { .. } => "VoteYes",
        Message::VoteReadOnly { .. } => "VoteReadOnly",
        Message::VoteNo { .. } => "VoteNo",
        Message::CommittedOnePhase { .. } => "CommittedOnePhase",
        Message::CommitAck { .. } => "CommitAck",
        Message::PrepareLost { .. } => "PrepareLost",
        Message::Claim { .. } => "Claim",
        Message::Accept { .. } => "Accept",
        Message::Accepted { .. } => "Accepted",
        Message::Superseded { .. } => "Superseded",
        Message::Unwelcome(_) => "Unwelcome",
        Message::ReplaceLog { .. } => "ReplaceLog",
        Message::Retire { .. } => "Retire",
        Message::PeerChanged { .. } => "PeerChanged",
        Message::LogLost { .. } => "LogLost",
        Message::AskDecision { .. } => "AskDecision",
        Message::Outcome { .. } => "Outcome",
        Message::AskStats => "AskStats",
        Message::Stats(_) => "Stats",
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use protocol::message::{Hello, KnownOutcome, PeerChange, Prepare, PrepareMode, Stats, Submit, TxnStatus};
    use protocol::{Age, Attempt, ClusterId, Position, Process, Reason, Refusal, TxnId, UnwelcomeReason};

    use super::*;

    fn one_of_each() -> Vec<Message> {
        let (txn, attempt) = (TxnId(7), Attempt { epoch: 1, number: 1 });
        let refusal = Refusal::by_coordinator(Reason::Busy);
        let process = Process::NONE;
        let (results, prepared_at) = (Vec::new(), Position::UNKNOWN);
        vec![
            Message::Hello(Hello::client(ClusterId(1))),
            Message::Submit(Submit { txn, deadline_ms: 1, operations: Vec::new() }),
            Message::AskStatus { txn },
            Message::Committed { txn, results: None },
            Message::Aborted { txn, refusal, at_deadline: false },
            Message::Busy { txn },
            Message::Status { txn, status: TxnStatus::Unknown },
            Message::Prepare(Prepare {
                txn,
                attempt,
                cluster: ClusterId(1),
                coordinator: 1,
                age: Age { admitted_us: 0, coordinator: 1 },
                participants: vec![1],
                mode: PrepareMode::TwoPhase,
                lock_wait_ms: 0,
                answer_within_ms: 0,
                operations: Vec::new(),
            }),
            Message::Commit { txn, attempt, prepared_at, decided_at: prepared_at },
            Message::Abort { txn, attempt },
            Message::Claim { by: process, known: process, stated: prepared_at },
            Message::Accept { by: process, known: process },
            Message::Accepted { by: process },
            Message::Superseded { known: process },
            Message::Unwelcome(UnwelcomeReason::Copy.into()),
            Message::ReplaceLog { role: Role::Coordinator, node: 1 },
            Message::Retire { node: 1 },
            Message::PeerChanged { outcome: PeerChange::Done, epoch: 1, in_doubt: 0 },
            Message::AskOutcome { txn, question: 1 },
            Message::VoteYes { txn, attempt, prepared_at, results: results.clone() },
            Message::VoteReadOnly { txn, attempt, results },
            Message::VoteNo { txn, attempt, refusal },
            Message::CommittedOnePhase { txn, attempt, committed_at: prepared_at, results: None },
            Message::CommitAck { txn, attempt },
            Message::PrepareLost { txn, attempt, voted_at: prepared_at, held_at: prepared_at },
            Message::LogLost { stated: prepared_at, held: prepared_at },
            Message::AskDecision { txn, attempt, participants: vec![1] },
            Message::Outcome { txn, question: 1, known: KnownOutcome::Nothing },
            Message::AskStats,
            Message::Stats(Stats {
                role: Role::Coordinator,
                node: 1,
                groups: 0,
                records: 0,
                bytes: 0,
                cpu_us: 0,
                sync_us: Bytes::new(),
                peers: Vec::new(),
                scrubbed_bytes: 0,
                scrub_passes: 0,
                scrub_findings: 0,
                durable_lsn: 0,
                opening: 1,
                requests: 0,
            }),
        ]
    }

    fn allowed(from: Role, to: Role) -> Vec<&'static str> {
        one_of_each().iter().filter(|message| may_send(from, to, message)).map(name).collect()
    }

    #[test]
    fn the_role_table() {
        let (client, coordinator, participant) = (Role::Client, Role::Coordinator, Role::Participant);
        assert_eq!(allowed(client, coordinator), ["Submit", "AskStatus", "Unwelcome", "ReplaceLog", "AskStats"]);
        assert_eq!(allowed(client, participant), ["Unwelcome", "ReplaceLog", "Retire", "AskStats"]);
        assert_eq!(
            allowed(coordinator, participant),
            [
                "Prepare",
                "Commit",
                "Abort",
                "Claim",
                "Accept",
                "Superseded",
                "Unwelcome",
                "AskOutcome",
                "LogLost",
                "AskStats"
            ]
        );
        assert_eq!(
            allowed(participant, coordinator),
            [
                "Claim",
                "Accepted",
                "Superseded",
                "Unwelcome",
                "VoteYes",
                "VoteReadOnly",
                "VoteNo",
                "CommittedOnePhase",
                "CommitAck",
                "PrepareLost",
                "LogLost",
                "AskDecision",
                "Outcome",
                "AskStats"
            ]
        );
        assert_eq!(allowed(participant, participant), ["Unwelcome", "AskStats"]);
        assert_eq!(allowed(coordinator, coordinator), ["Unwelcome", "AskStats"]);
    }
}
