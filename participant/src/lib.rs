//! The participant: one shard of the data. It locks, checks, promises, votes, and does as it is
//! told.
//!
//! - [`Participant`] (`machine.rs`): its state, and which function takes which message.
//! - `prepare.rs`, `outcome.rs`: a transaction's life here, in this order; `active.rs`: its states.
//! - `locks.rs`: strict two-phase locking with wait-die.
//! - `execute.rs`: the operations; `work.rs`: those that are not done at once.
//! - `peers.rs`: which process of each coordinator is heeded.
//! - `evidence.rs`: whether the log still holds what others were told that it held.
//! - `refused.rs`: attempts that must not begin any more.
//! - `state.rs`: all of its state as text.
//! - `limits.rs`: every maximum.
//! - [`Config`]: what it can be told.
//!
//! Which message meets which state, and what is forced before which answer, is one table in
//! `coordinator/PROTOCOLS.md`.
//!
//! Invariants:
//! - A YES vote, a commit's acknowledgement and an answer that shows data leave through the gate:
//!   after everything that was logged before them.
//! - The locks of a prepared transaction stay until its outcome is known here.
//! - Nothing is written to the table except what a record in the log says.
//!
//! Not here: I/O, clocks, randomness, hash maps with random order, deciding.

mod active;
mod config;
mod evidence;
mod execute;
mod limits;
mod locks;
mod machine;
mod outcome;
mod peers;
mod prepare;
mod refused;
mod room;
mod state;
mod work;

pub use config::Config;
pub use machine::Participant;
