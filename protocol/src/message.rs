//! What nodes say to each other. The bytes are in `message_codec.rs` and `WIRE.md`.

use bytes::Bytes;

use crate::fencing::Unwelcome;
use crate::id::{Age, Attempt, ClusterId, Position, Process, Role, TxnId};
use crate::operation::{Operation, OperationResult};
use crate::refusal::Refusal;

/// One message. Every message may arrive twice, late, or after a later one; each receiver says in
/// `PROTOCOLS.md` what it then does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Message {
    /// First on every connection, in both directions. A coordinator's hello under a later epoch
    /// fences everything that it sent under an earlier one.
    Hello(Hello),

    /// Client to coordinator: commit these operations, all or none.
    Submit(Submit),
    /// Client to coordinator: what became of this transaction?
    AskStatus {
        /// Which.
        txn: TxnId,
    },
    /// Coordinator to client: it is durable everywhere or will be.
    Committed {
        /// Which.
        txn: TxnId,
        /// One result for each operation; `None` when an earlier answer had them.
        results: Option<Vec<OperationResult>>,
    },
    /// Coordinator to client: nothing of it happened or will.
    Aborted {
        /// Which.
        txn: TxnId,
        /// Why; at the deadline, why the last attempt did not succeed.
        refusal: Refusal,
        /// Whether the deadline ended it, not the refusal.
        at_deadline: bool,
    },
    /// Coordinator to client: not admitted, nothing was tried; ask again later.
    Busy {
        /// Which.
        txn: TxnId,
    },
    /// Coordinator to client: the answer to [`Message::AskStatus`].
    Status {
        /// Which.
        txn: TxnId,
        /// What became of it.
        status: TxnStatus,
    },

    /// Coordinator to participant: lock, check, promise, vote.
    Prepare(Prepare),
    /// Coordinator to participant: the decision is to commit.
    Commit {
        /// Which.
        txn: TxnId,
        /// Which attempt was decided.
        attempt: Attempt,
        /// Where the participant's own promise stands, as its vote said: no other promise is meant.
        prepared_at: Position,
        /// Where the decision stands in the coordinator's log; unknown if it has finished long ago.
        decided_at: Position,
    },
    /// Coordinator to participant: this attempt, and every one before it, is aborted.
    Abort {
        /// Which.
        txn: TxnId,
        /// Which attempt.
        attempt: Attempt,
    },
    /// Between coordinator and participant: what the sender knows of the receiver. A coordinator says it after each hello; a
    /// participant answers with its own, unless the claim shows that another process has taken its place.
    Claim {
        /// Who says so.
        by: Process,
        /// The latest process under the receiver's number that was accepted.
        known: Process,
        /// Where a promise or one-phase commit stood in the participant's log, or a decision in the coordinator's; unknown
        /// if none was heard of.
        stated: Position,
    },
    /// Coordinator to participant: it succeeds the process that the participant's claim has named. From now on the
    /// participant obeys it, and no process before it.
    Accept {
        /// Who says so.
        by: Process,
        /// Whom it succeeds.
        known: Process,
    },
    /// Participant to coordinator: from now on it obeys this process, and none before it. Its claim holds: nothing of an
    /// earlier process can reach it any more.
    Accepted {
        /// Who says so.
        by: Process,
    },
    /// Between coordinator and participant: the claim names a process of which this log knows nothing, so this one runs on an
    /// older copy. Nothing more is said to it. An operator has to look.
    Superseded {
        /// What the claim has named.
        known: Process,
    },
    /// Coordinator to participant: has this transaction committed here?
    AskOutcome {
        /// Which.
        txn: TxnId,
        /// Which question: the answer names it, so that no answer to an earlier one is taken for it.
        question: u64,
    },

    /// Participant to coordinator: prepared; it will do as told, whatever happens to it.
    VoteYes {
        /// Which.
        txn: TxnId,
        /// Which attempt.
        attempt: Attempt,
        /// Where the promise stands in the participant's log.
        prepared_at: Position,
        /// One result for each operation of the prepare.
        results: Vec<OperationResult>,
    },
    /// Participant to coordinator: nothing was written here, and the locks are released.
    VoteReadOnly {
        /// Which.
        txn: TxnId,
        /// Which attempt.
        attempt: Attempt,
        /// One result for each operation of the prepare.
        results: Vec<OperationResult>,
    },
    /// Participant to coordinator: not here; nothing is held for this attempt.
    VoteNo {
        /// Which.
        txn: TxnId,
        /// Which attempt.
        attempt: Attempt,
        /// Why.
        refusal: Refusal,
    },
    /// Participant to coordinator: committed in one phase.
    CommittedOnePhase {
        /// Which.
        txn: TxnId,
        /// Which attempt asked.
        attempt: Attempt,
        /// Where its record stands in the participant's log; unknown if it had committed before.
        committed_at: Position,
        /// One result for each operation; `None` if it had committed before.
        results: Option<Vec<OperationResult>>,
    },
    /// Participant to coordinator: the commit is durable here; forget it.
    CommitAck {
        /// Which.
        txn: TxnId,
        /// Which attempt.
        attempt: Attempt,
    },
    /// Participant to coordinator: told to commit what it has no promise of. Its log has lost a
    /// record that it had voted on; an operator has to look.
    PrepareLost {
        /// Which.
        txn: TxnId,
        /// Which attempt.
        attempt: Attempt,
        /// Where the promise stood, as the commit said.
        voted_at: Position,
        /// Where the promise stands that is held under the same attempt instead, if there is one.
        held_at: Position,
    },
    /// Both ways: the answer to a [`Message::Claim`] whose record is not in the log. An operator has to look; until then
    /// a participant promises nothing, and a coordinator begins and presumes nothing.
    LogLost {
        /// What the other one had heard.
        stated: Position,
        /// The latest position that the log knows to have been told to the other one.
        held: Position,
    },
    /// Participant to coordinator: in doubt; what was decided?
    AskDecision {
        /// Which.
        txn: TxnId,
        /// Which attempt is prepared.
        attempt: Attempt,
        /// All participants of the transaction.
        participants: Vec<u32>,
    },
    /// Participant to coordinator: the answer to [`Message::AskOutcome`].
    Outcome {
        /// Which.
        txn: TxnId,
        /// The question that is answered.
        question: u64,
        /// What is known here.
        known: KnownOutcome,
    },

    /// A daemon to whoever has connected: why the connection ends now.
    Unwelcome(Unwelcome),

    /// Client to a daemon: from now on take another log under this number; its own is lost for good.
    ReplaceLog {
        /// Whose log is lost.
        role: Role,
        /// Its number.
        node: u32,
    },
    /// Client to participant: forget a coordinator's number; it will not come back.
    Retire {
        /// The coordinator's number.
        node: u32,
    },
    /// The answer to [`Message::ReplaceLog`] and [`Message::Retire`].
    PeerChanged {
        /// What came of it.
        outcome: PeerChange,
        /// The latest epoch that was accepted under the number: its successor needs a higher one.
        epoch: u32,
        /// Promises here that its coordinator has not decided.
        in_doubt: u32,
    },

    /// Anyone to a daemon: your figures, please. Answered by the daemon, not by its machine.
    AskStats,
    /// The answer to [`Message::AskStats`].
    Stats(Stats),
}

/// Who is at the other end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hello {
    /// What it does.
    pub role: Role,
    /// Its number among the nodes of that role; 0 for a client.
    pub node: u32,
    /// Its cluster.
    pub cluster: ClusterId,
    /// Which process it is; none for a client.
    pub process: Process,
}

/// What came of changing what is known of a peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PeerChange {
    /// It is done, and durable.
    Done,
    /// Nobody under this number was ever accepted here.
    NotKnown,
    /// Promises are held that only it can decide.
    HasPromises,
}

impl Hello {
    /// A client's.
    #[must_use]
    pub fn client(cluster: ClusterId) -> Self {
        Self { role: Role::Client, node: 0, cluster, process: Process::NONE }
    }
}

/// A transaction as the client asks for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Submit {
    /// Its id, made by the client.
    pub txn: TxnId,
    /// How long the coordinator may try, in milliseconds from arrival.
    pub deadline_ms: u32,
    /// What it does.
    pub operations: Vec<Operation>,
}

/// One participant's part of a transaction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Prepare {
    /// Which.
    pub txn: TxnId,
    /// Which try.
    pub attempt: Attempt,
    /// Whose cluster.
    pub cluster: ClusterId,
    /// Who decides.
    pub coordinator: u32,
    /// Who gives way to whom.
    pub age: Age,
    /// All participants of the transaction.
    pub participants: Vec<u32>,
    /// How it is to be committed.
    pub mode: PrepareMode,
    /// How long it may wait for locks, in milliseconds.
    pub lock_wait_ms: u32,
    /// How long a vote is of use, in milliseconds from arrival: past it the participant begins nothing, and refuses what
    /// it has not promised. 0: only what is known already is answered.
    pub answer_within_ms: u32,
    /// What to do here.
    pub operations: Vec<Operation>,
}

/// How a prepare is to be committed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PrepareMode {
    /// Promise, vote, wait for the decision.
    TwoPhase,
    /// As two-phase, and every other participant of the transaction holds its locks already: a
    /// part that wrote nothing may release its own with its vote.
    LocksHeldElsewhere,
    /// The only participant: commit at once.
    OnePhase,
}

/// What a coordinator knows of a transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TxnStatus {
    /// Committed.
    Committed,
    /// Aborted.
    Aborted,
    /// Not decided yet.
    InProgress,
    /// Nobody knows of it: it never began, it was aborted, or it ended before the retention.
    Unknown,
}

/// What a participant knows of a transaction's outcome.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KnownOutcome {
    /// Committed here.
    Committed,
    /// Waiting for locks or for the decision.
    InProgress,
    /// Nothing: never seen, aborted, or older than the retention.
    Nothing,
}

/// A daemon's figures since it started.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stats {
    /// Whose.
    pub role: Role,
    /// Which of them.
    pub node: u32,
    /// Groups written.
    pub groups: u64,
    /// Records written.
    pub records: u64,
    /// Bytes written, padding included.
    pub bytes: u64,
    /// Processor time used, in microseconds.
    pub cpu_us: u64,
    /// How long group writes took, in microseconds: a histogram in the V2 form of HdrHistogram.
    pub sync_us: Bytes,
    /// The addresses of the nodes that this one dials.
    pub peers: Vec<String>,
    /// Bytes of sealed segments that were read again in the background.
    pub scrubbed_bytes: u64,
    /// How often all of them were.
    pub scrub_passes: u64,
    /// Places where that found damage: those that the node has listed, and those beyond that the last pass counted.
    pub scrub_findings: u64,
    /// Up to where the log is durable.
    pub durable_lsn: u64,
    /// Which opening of its log this is: it rises with every start, and then all figures begin anew.
    pub opening: u64,
    /// Transactions that it was asked for: `Submit`s at a coordinator, `Prepare`s at a participant. One that comes again
    /// counts again.
    pub requests: u64,
}
