//! What the nodes of `assent` say to each other and what they promise.
//!
//! - [`id`]: the names of things: transactions, attempts, nodes; `seam` has those of records.
//! - [`operation`]: what a transaction does, and what it gets back.
//! - [`refusal`]: why a transaction, or one participant's part of it, was refused.
//! - [`message`]: what nodes say, in families; `fields`: how they are declared, and their bytes.
//! - [`record`]: what nodes promise; the bytes that stand in their logs.
//! - [`frame`]: how messages travel: length, version and checksum around a batch of them.
//! - [`evidence`]: whether a log still holds what others were told that it held.
//! - [`fencing`]: which process may speak for a number.
//! - [`machine`]: the contract between a pure protocol machine and whatever runs it.
//! - [`retention`]: what is remembered of finished transactions.
//! - [`timers`]: when which transaction has something due.
//! - [`routing`]: which participant holds a key.
//! - [`limits`]: every maximum, with its reason.
//!
//! `WIRE.md` is the specification of every byte on the wire, `RECORDS.md` of every byte in a log.
//!
//! Not here: sockets, files, clocks, threads. Nothing here allocates what a peer asks for before
//! the bytes that justify it have arrived and passed their checksum.

pub mod codec;
pub mod evidence;
pub mod fencing;
mod fields;
pub mod frame;
pub mod id;
pub mod limits;
pub mod machine;
pub mod message;
pub mod operation;
pub mod record;
pub mod refusal;
pub mod retention;
pub mod routing;
pub mod timers;

pub use codec::Malformed;
pub use evidence::Evidence;
pub use fencing::{Fencing, Unwelcome, UnwelcomeReason};
pub use id::{Age, Attempt, ClusterId, NodeId, NotATxnId, Process, Role, Tick, TxnId};
pub use machine::{Effects, InDoubt, Journal, Link, Machine, Origin, Outbox, StartError};
pub use message::{AdminMessage, ClientMessage, CommitMessage, HandshakeMessage, Message, RecoveryMessage};
pub use operation::{Condition, Operation, OperationResult, ScanOf, Totals};
pub use record::{Record, Write};
pub use refusal::{Reason, Refusal};
pub use retention::Retention;
pub use seam::{Index, Logged, Owed, Place, Position, Room};
pub use timers::Timers;
