//! Runs one machine on one log in one thread: ring, sockets, gate, clock, configuration. It decides
//! nothing about transactions.
//!
//! - [`run`] (`node`): how a node begins and ends; `driver`: the turn in between; `checkpoint`: in slices.
//! - `listener`, `dialer`: where connections come from; `descriptors`: how many there may be; `connection`: one of them; `greeting`: who is
//!   there; `peers`: all of them; `hub`: what they share with the driver.
//! - `alarms`: messages that an operator has to know of; `links`: nodes that are gone, stand still, or are back.
//! - `outbox`: the gate. A message leaves only when every record logged before it is stable.
//! - `certificate`: what a start found in the log, for machines.
//! - `scrub`: reads the finished part of the log again; `scrub_link`: what it and the driver tell each other.
//! - `memory`: what the process takes, and how much it may.
//! - `log`: the log as the driver knows it; `journal`: as the machine sees it; `figures`: what the daemon answers when asked.
//! - [`Config`] (`config`), [`settings`]: file, environment and flags; `units`: sizes and durations;
//!   [`LogLevels`] (`log_levels`): which log lines are written.
//! - [`Stop`]: how it is told to stop. `ring`: io_uring, and what to do where it is refused.
//! - [`SimulatedNode`] (`simulated`): the same without sockets, threads and time, for simulations.
//! - [`limits`]: every maximum, with its reason.
//!
//! Invariants: data moves through the ring only; a turn ends in a park of the thread; no operation
//! in flight is dropped; every queue is bounded, and whoever overruns one is closed with a reason.
//!
//! Not here: votes, locks, decisions (`participant`, `coordinator`), and durability (`engine`).

mod alarms;
mod certificate;
mod checkpoint;
mod clock;
mod config;
mod connection;
mod descriptors;
mod dialer;
mod driver;
mod error;
mod figures;
mod greeting;
mod hub;
mod journal;
pub mod limits;
mod links;
mod listener;
mod log;
mod log_levels;
mod memory;
mod node;
mod outbox;
mod peers;
mod reasons;
mod ring;
mod scrub;
mod scrub_link;
mod settings;
mod simulated;
mod stop;
mod units;
mod warning;

pub use config::{Config, ConfigError, CoordinatorSettings, NodeConfig, Origin, ParticipantSettings};
pub use error::NodeError;
pub use log_levels::LogLevels;
pub use node::run;
pub use settings::{Setting, parse_address, settings};
pub use simulated::SimulatedNode;
pub use stop::Stop;
