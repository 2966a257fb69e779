//! Between a coordinator and its participants after a crash or a silence: what was decided, what has committed, what is lost.

use seam::Position;

use crate::fields::{codes, family, row};
use crate::id::{Attempt, TxnId};

codes! {
    /// What a participant knows of a transaction's outcome.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub enum KnownOutcome {
        /// Committed here.
        Committed = 1,
        /// Waiting for locks or for the decision.
        InProgress = 2,
        /// Nothing: never seen, aborted, or older than the retention.
        Nothing = 3,
    }
}

family! {
    /// What a coordinator and a participant ask each other about transactions whose outcome they do not know.
    #[derive(Clone, Debug, PartialEq, Eq)]
    pub enum RecoveryMessage in Recovery {
        /// In doubt; what was decided?
        1: AskDecision {
            /// Which.
            txn: TxnId,
            /// Which attempt is prepared.
            attempt: Attempt,
            /// All participants of the transaction.
            participants: Vec<u32>,
        }, Participant -> Coordinator, Depends;
        /// Has this transaction committed here?
        2: AskOutcome {
            /// Which.
            txn: TxnId,
            /// Which question: the answer names it, so that no answer to an earlier one is taken for it.
            question: u64,
        }, Coordinator -> Participant, AtOnce;
        /// The answer to `AskOutcome`.
        3: Outcome {
            /// Which.
            txn: TxnId,
            /// The question that is answered.
            question: u64,
            /// What is known here.
            known: KnownOutcome,
        }, Participant -> Coordinator, Durable;
        /// Told to commit what it has no promise of. Its log has lost a
        /// record that it had voted on; an operator has to look.
        4: PrepareLost {
            /// Which.
            txn: TxnId,
            /// Which attempt.
            attempt: Attempt,
            /// Where the promise stood, as the commit said.
            voted_at: Position,
            /// Where the promise stands that is held under the same attempt instead, if there is one.
            held_at: Position,
        }, Participant -> Coordinator, Durable;
    }
}
