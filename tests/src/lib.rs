//! What the tests of the whole product are made of.
//!
//! - [`world`]: real machines on a log, a network and a clock that move when they are told to.

pub mod world;
