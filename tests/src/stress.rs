//! Overload of real nodes: one file a load. Each brings a small cluster under a load that it cannot serve, takes the load
//! away, and asserts that memory stayed bounded, that no node works on for clients that are gone, and that a fresh
//! client is soon served at the usual latency.
//!
//! - `stage`: the cluster, and the steps that all loads share.
//! - `press`: the load's own thread, and what came of its transactions.
//! - `watch`: memory and processor time of the nodes.
//! - `cage`: limits that the system puts on a node.
//! - `report`: figures, and what was not as it has to be.
//!
//! Invariants: every step is bounded in time; every node is ended by its own handle or, when this program ends in whatever
//! way, by its standard input that closes; what cannot be run here says why.
//!
//! Not here: kills and failing disks (`tests/all/processes.rs`, `tests/all/disk_nodes.rs`), and throughput (`assent bench`).

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

pub mod cage;
mod deaf;
mod descriptors;
mod full_log;
mod large;
mod memory;
mod overload;
mod pipe;
mod press;
mod reads;
mod report;
mod slow_disk;
mod stage;
mod watch;

pub use report::{Report, table};
pub use stage::interrupt;
use stage::{Stage, Trouble};

/// How long a load presses if nothing else is asked for.
pub const SECONDS_DEFAULT: u32 = 60;

/// The longest that a load may press.
pub const SECONDS_MAX: u32 = 3_600;

/// One kind of overload.
pub struct Load {
    /// How it is chosen.
    pub name: &'static str,
    /// What it does.
    pub about: &'static str,
    run: fn(&mut Stage) -> Result<(), Trouble>,
}

/// All of them.
pub const LOADS: [Load; 9] = [
    Load {
        name: "reads",
        about: "audits of many accounts, more than one participant can answer in time",
        run: reads::run,
    },
    Load { name: "large", about: "a thousand clients with transactions of half a MiB", run: large::run },
    Load {
        name: "slow-disk",
        about: "a thousand clients, one participant whose disk takes 200 kB/s",
        run: slow_disk::run,
    },
    Load { name: "deaf", about: "clients that ask for large answers and do not read them", run: deaf::run },
    Load { name: "pipe", about: "nodes whose standard error nobody reads", run: pipe::run },
    Load { name: "descriptors", about: "idle connections, more than a node has descriptors", run: descriptors::run },
    Load { name: "memory", about: "new keys at a participant whose memory is limited to 150 MiB", run: memory::run },
    Load {
        name: "full-log",
        about: "large values at a participant whose log may have 24 segments",
        run: full_log::run,
    },
    Load { name: "overload", about: "ten times the transactions that the cluster can do", run: overload::run },
];

/// Puts a cluster under this load for so many seconds; `progress` is told how far it is.
pub fn run(load: &Load, seconds: u32, progress: &dyn Fn(&str)) -> Report {
    let mut stage = Stage::new(load.name, seconds, progress);
    let outcome = catch_unwind(AssertUnwindSafe(|| (load.run)(&mut stage)));
    stage.finish(outcome.unwrap_or_else(|panic| Err(Trouble::panicked(&*panic))))
}

/// How long a load of so many seconds takes at most, with what comes before and after it: a program that runs one may be
/// ended after that.
#[must_use]
pub fn patience(seconds: u32) -> Duration {
    Duration::from_secs(300) + 3 * Duration::from_secs(seconds.into())
}

/// The load of this name.
#[must_use]
pub fn load(name: &str) -> Option<&'static Load> {
    LOADS.iter().find(|load| load.name == name)
}
