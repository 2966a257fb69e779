//! The coordinator: admits transactions, gathers votes, decides, and tells until everyone has
//! acknowledged. Two-phase commit with presumed abort.
//!
//! - [`Coordinator`] (`machine.rs`): its state, and which function takes which message.
//! - `admission.rs`, `attempt.rs`, `delivery.rs`: a transaction's life, in this order.
//! - `pace.rs`: how long participants take to vote; `answers.rs`: what their answers take while they wait for others.
//! - `transaction.rs`: the states of a transaction.
//! - `split.rs`: a transaction's operations dealt to participants, their results put together.
//! - `peers.rs`: which process of each participant is heeded, what its claims say of this log, and what is presumed.
//! - `status.rs`: questions about transactions that this coordinator does not remember.
//! - `state.rs`: all of its state as text.
//! - [`Config`]: what it can be told.
//!
//! `PROTOCOLS.md` has the protocol: message by message, what is forced before it, and why.
//!
//! Invariants:
//! - A commit is decided by one record, `Decided`. No client and no participant hears of the
//!   decision before the record is durable; the gate sees to that.
//! - What is not decided is aborted: an abort needs no record and no acknowledgement.
//! - A decision is forgotten only after every participant that has to act has acknowledged.
//!
//! Not here: I/O, clocks, randomness, hash maps with random order, data.

mod admission;
mod answers;
mod attempt;
mod config;
mod delivery;
mod machine;
mod pace;
mod peers;
mod split;
mod state;
mod status;
mod transaction;

pub use config::Config;
pub use machine::Coordinator;
