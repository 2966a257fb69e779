//! What the tests of the whole product are made of.
//!
//! - [`world`]: real machines on a log, a network and a clock that move when they are told to.
//! - [`explorer`]: small worlds of the same machines, explored whole.
//! - [`kept`]: one machine alone.
//! - [`processes`]: real nodes; [`transfers`]: a load whose every transfer can be accounted for; [`proxy`]: a bad network.
//! - [`sim`]: whole clusters on a fake disk, network and clock, from one seed.
//! - [`stress`]: overload of real nodes, and what has to hold after it.
//! - [`workload`]: transactions to ask for; [`judge`]: whether what came of them can be; [`random`]: numbers that follow from
//!   a seed.

pub mod explorer;
pub mod fuse;
pub mod image;
pub mod judge;
pub mod kept;
pub mod log_life;
pub mod private_mounts;
pub mod processes;
pub mod proxy;
pub mod random;
pub mod sim;
pub mod stress;
pub mod terminal;
pub mod transfers;
pub mod workload;
pub mod world;
pub mod written_log;
