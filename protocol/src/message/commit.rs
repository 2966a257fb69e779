//! Between a coordinator and its participants: prepare, vote, decide.

use seam::Position;

use crate::fields::{codes, family, field_ignored, field_named, field_put, fields, row};
use crate::id::{Age, Attempt, ClusterId, TxnId};
use crate::operation::{Operation, OperationResult};
use crate::refusal::Refusal;

codes! {
    /// How a prepare is to be committed.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub enum PrepareMode {
        /// Promise, vote, wait for the decision.
        TwoPhase = 1,
        /// As two-phase, and every other participant of the transaction holds its locks already: a
        /// part that wrote nothing may release its own with its vote.
        LocksHeldElsewhere = 2,
        /// The only participant: commit at once.
        OnePhase = 3,
    }
}

fields! {
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
        /// How it is to be committed.
        pub mode: PrepareMode,
        /// How long it may wait for locks, in milliseconds.
        pub lock_wait_ms: u32,
        /// How long a vote is of use, in milliseconds from arrival: past it the participant begins nothing, and refuses
        /// what it has not promised. 0: only what is known already is answered.
        pub answer_within_ms: u32,
        /// All participants of the transaction.
        pub participants: Vec<u32>,
        /// What to do here.
        pub operations: Vec<Operation>,
    }
}

family! {
    /// What a coordinator and a participant say to each other about an attempt.
    #[derive(Clone, Debug, PartialEq, Eq)]
    pub enum CommitMessage in Commit {
        /// Lock, check, promise, vote.
        1: Prepare(Prepare), Coordinator -> Participant, AtOnce;
        /// The decision is to commit.
        2: Commit {
            /// Which.
            txn: TxnId,
            /// Which attempt was decided.
            attempt: Attempt,
            /// Where the participant's own promise stands, as its vote said: no other promise is meant.
            prepared_at: Position,
            /// Where the decision stands in the coordinator's log; unknown if it has finished long ago.
            decided_at: Position,
        }, Coordinator -> Participant, Durable;
        /// This attempt, and every one before it, is aborted.
        3: Abort {
            /// Which.
            txn: TxnId,
            /// Which attempt.
            attempt: Attempt,
        }, Coordinator -> Participant, AtOnce;
        /// Prepared; it will do as told, whatever happens to it.
        4: VoteYes {
            /// Which.
            txn: TxnId,
            /// Which attempt.
            attempt: Attempt,
            /// Where the promise stands in the participant's log.
            prepared_at: Position,
            /// One result for each operation of the prepare.
            results: Vec<OperationResult>,
        }, Participant -> Coordinator, Durable;
        /// Nothing was written here, and the locks are released.
        5: VoteReadOnly {
            /// Which.
            txn: TxnId,
            /// Which attempt.
            attempt: Attempt,
            /// One result for each operation of the prepare.
            results: Vec<OperationResult>,
        }, Participant -> Coordinator, Durable;
        /// Not here; nothing is held for this attempt.
        6: VoteNo {
            /// Which.
            txn: TxnId,
            /// Which attempt.
            attempt: Attempt,
            /// Why.
            refusal: Refusal,
        }, Participant -> Coordinator, Depends;
        /// Committed in one phase.
        7: CommittedOnePhase {
            /// Which.
            txn: TxnId,
            /// Which attempt asked.
            attempt: Attempt,
            /// Where its record stands in the participant's log; unknown if it had committed before.
            committed_at: Position,
            /// One result for each operation; `None` if it had committed before.
            results: Option<Vec<OperationResult>>,
        }, Participant -> Coordinator, Durable;
        /// The commit is durable here; forget it.
        8: CommitAck {
            /// Which.
            txn: TxnId,
            /// Which attempt.
            attempt: Attempt,
        }, Participant -> Coordinator, Durable;
    }
}
