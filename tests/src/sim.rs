//! A cluster in one thread on a fake disk, network and clock: one seed, one history.
//!
//! - `plan.rs`: what a seed means: the sizes of a world, its settings, and a list of faults; `fault.rs`: the kinds.
//! - `world.rs`: the events in their order; `host.rs`: a node with its disk and clock; `network.rs`: a connection and what is
//!   on its way; `client.rs`: who asks.
//! - `power.rs`, `carry.rs`, `asking.rs`, `inject.rs`: what happens to nodes, connections, clients, and what a fault does;
//!   `earlier.rs`: connections of an earlier epoch that arrive late; `twin.rs`: a second process under one number;
//!   `succession.rs`: who heeds whom; `course.rs`: from the first rows to the last start.
//! - `check.rs`: what must hold at the end; `report.rs`: what was seen on the way.
//! - `minimise.rs`: which of the faults a failure needs; `plant.rs`: whether bugs would be found.
//!
//! The nodes are [`node::SimulatedNode`]s: the driver, gate, frames, log, recovery and machines of the daemons, unchanged.
//!
//! Invariants: whatever happens follows from the seed and the list of faults; nothing reads a clock, a thread's order or the
//! order of a hash map. Not here: workloads and their judges (`workload`, `judge`).

mod asking;
mod carry;
pub mod check;
pub mod client;
mod course;
mod earlier;
pub mod fault;
pub mod host;
mod inject;
pub mod minimise;
pub mod network;
pub mod plan;
pub mod plant;
mod power;
pub mod report;
mod succession;
mod twin;
pub mod world;
