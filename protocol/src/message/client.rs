//! Between a client and its coordinator: a transaction, and what becomes of it.

use crate::fields::{codes, family, field_ignored, field_named, field_put, fields, row};
use crate::id::TxnId;
use crate::operation::{Operation, OperationResult};
use crate::refusal::Refusal;

fields! {
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
}

codes! {
    /// What a coordinator knows of a transaction.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub enum TxnStatus {
        /// Committed.
        Committed = 1,
        /// Aborted.
        Aborted = 2,
        /// Not decided yet.
        InProgress = 3,
        /// Nobody knows of it: it never began, it was aborted, or it ended before the retention.
        Unknown = 4,
    }
}

family! {
    /// What a client and a coordinator say to each other.
    #[derive(Clone, Debug, PartialEq, Eq)]
    pub enum ClientMessage in Client {
        /// Commit these operations, all or none.
        1: Submit(Submit), Client -> Coordinator, AtOnce;
        /// What became of this transaction?
        2: AskStatus {
            /// Which.
            txn: TxnId,
        }, Client -> Coordinator, AtOnce;
        /// It is durable everywhere or will be.
        3: Committed {
            /// Which.
            txn: TxnId,
            /// One result for each operation; `None` when an earlier answer had them.
            results: Option<Vec<OperationResult>>,
        }, Coordinator -> Client, Depends;
        /// Nothing of it happened or will.
        4: Aborted {
            /// Which.
            txn: TxnId,
            /// Why; at the deadline, why the last attempt did not succeed.
            refusal: Refusal,
            /// Whether the deadline ended it, not the refusal.
            at_deadline: bool,
        }, Coordinator -> Client, Depends;
        /// Not admitted, nothing was tried; ask again later.
        5: Busy {
            /// Which.
            txn: TxnId,
        }, Coordinator -> Client, AtOnce;
        /// The answer to `AskStatus`.
        6: Status {
            /// Which.
            txn: TxnId,
            /// What became of it.
            status: TxnStatus,
        }, Coordinator -> Client, Durable;
    }
}
