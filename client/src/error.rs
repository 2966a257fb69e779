//! What can go wrong between an application and its coordinator.

use protocol::{ClusterId, Malformed, Role, TxnId};

/// Why a call has no answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ClientError {
    /// Nobody answers at the address. Nothing was sent.
    #[error("cannot reach {address}: {why}; is the node running, and is the address right?")]
    Unreachable {
        /// Where.
        address: String,
        /// What the operating system said, or how long was waited.
        why: String,
    },
    /// The node hung up without a greeting.
    #[error(
        "{address} closed the connection instead of greeting: another cluster id (this one is {}), another version \
         of the protocol, or too many connections; its log says which",
        cluster.0
    )]
    NotAccepted {
        /// Where.
        address: String,
        /// Which cluster was asked for.
        cluster: ClusterId,
    },
    /// The node belongs to another cluster.
    #[error("{address} belongs to cluster {}, not to cluster {}; use its cluster id, or another address", found.0, expected.0)]
    WrongCluster {
        /// Where.
        address: String,
        /// Which cluster was asked for.
        expected: ClusterId,
        /// Which answered.
        found: ClusterId,
    },
    /// The node takes no transactions. Nothing was sent.
    #[error("{address} is {role} {node}, not a coordinator; use the address of the coordinator")]
    NotACoordinator {
        /// Where.
        address: String,
        /// What it is.
        role: Role,
        /// Its number.
        node: u32,
    },
    /// The node said something that it may not say.
    #[error("{address} does not serve this client: {why}")]
    Violation {
        /// Where.
        address: String,
        /// What it said.
        why: String,
    },
    /// The transaction exceeds a limit of the protocol and was not sent.
    #[error("the transaction cannot be sent: {0}")]
    Unsendable(#[from] Malformed),
    /// The transaction was sent, and no answer came until after its deadline. Whether it happened
    /// is to be asked with its id.
    #[error(
        "the outcome of transaction {txn} at {address} is unknown: {why}; when its participants are up, ask for its status, or submit it again under the same id"
    )]
    Unknown {
        /// Which.
        txn: TxnId,
        /// Where.
        address: String,
        /// What was in the way.
        why: String,
    },
}
