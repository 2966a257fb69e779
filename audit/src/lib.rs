//! The logs of all nodes of a cluster, read together: was every transaction decided in the same way everywhere, and is
//! everything there that was acknowledged?
//!
//! - [`read`] (`read.rs`): a directory into the facts that its log holds.
//! - `coordinator.rs`, `participant.rs`: these facts; `extent.rs`: which part of a log they come from.
//! - [`judge`] (`judge.rs`): the facts of all against each other.
//! - [`Report`] (`report.rs`): what came of it. `limits.rs`: every maximum.
//!
//! The judgement rests on the records alone and on what `coordinator/PROTOCOLS.md` says of them; it shares no code with the
//! machines, so that what they do wrong together is seen here.
//!
//! Invariants: nothing is written; nothing is called missing that a checkpoint, the retention, damage or an unread
//! directory may explain: such cases are counted. Memory follows what the logs hold since their last checkpoint, which
//! keeps the outcomes within the retention, not what they ever held.
//!
//! Not here: whether a log can be opened (`engine::inspect`), flags and printing (`cli`).

mod coordinator;
mod extent;
mod judge;
pub mod limits;
mod participant;
mod read;
mod report;
#[cfg(test)]
mod tests;

pub use judge::judge;
pub use read::{AuditError, Log, read};
pub use report::{Fault, Finding, InDoubt, NodeName, NodeSummary, Report, Untold};
