//! The library for applications: submit transactions to a coordinator.
//!
//! ```no_run
//! # async fn example() -> Result<(), client::ClientError> {
//! use client::{Client, Options, Outcome, Transaction};
//!
//! let client = Client::connect("127.0.0.1:7100", Options::default()).await?;
//! let transfer = Transaction::new().add_within("balance/{7}", -5, 0..=i64::MAX).add("balance/{8}", 5);
//! match client.submit(transfer).await? {
//!     Outcome::Committed { .. } => println!("moved"),
//!     Outcome::Aborted { refusal, .. } => println!("refused: {refusal}"),
//! }
//! # Ok(())
//! # }
//! ```
//!
//! - [`transaction`]: what is asked for, and what comes back.
//! - [`Client`]: a handle that is cheap to clone; all clones share one connection and keep many
//!   transactions in flight on it.
//! - `connection`: keeps the connection up and sends again what was in flight when it broke.
//! - `in_flight`: what waits for an answer.
//! - `outgoing`: what waits to be written, as frames.
//! - [`change_peer`]: what an operator tells a node of its peers.
//! - [`limits`]: every maximum, with its reason.
//!
//! Invariants: a transaction's id never changes, so that it happens once however often it is sent;
//! an answer is given only when the outcome is known, and [`ClientError::Unknown`] otherwise; no
//! queue grows without a bound.
//!
//! Not here: keys that mean something (a bank's accounts), and anything of a node's inside.

mod backoff;
mod client;
mod connection;
mod error;
mod in_flight;
pub mod limits;
mod outgoing;
mod peer_change;
mod retry_budget;
pub mod transaction;

pub use client::{Client, Options};
pub use error::ClientError;
pub use in_flight::Traffic;
pub use peer_change::{PeerChanged, PeerRequest, change_peer};
pub use transaction::{Outcome, Transaction};
