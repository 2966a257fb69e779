//! What the tests of the whole product are made of.
//!
//! - [`world`]: real machines on a log, a network and a clock that move when they are told to.
//! - [`processes`]: real nodes; [`transfers`]: a load whose every transfer can be accounted for; [`proxy`]: a bad network.

pub mod fuse;
pub mod image;
pub mod log_life;
pub mod private_mounts;
pub mod processes;
pub mod proxy;
pub mod transfers;
pub mod world;
