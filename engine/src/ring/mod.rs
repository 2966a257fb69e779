//! The real disk: group writes through io_uring, everything else by system calls.
//!
//! The only module of the workspace with `unsafe`: the memory map, and the no-op that shows whether io_uring may be used. Not here: what is written, and when (`log`, `store`).
#![allow(unsafe_code)]

mod dir;
mod map;
mod past_cache;
mod probe;
pub(crate) mod regular;
mod uring;

pub use dir::DirStorage;
pub(crate) use dir::is_nearly_a_segment;
pub use past_cache::SegmentReader;
pub use probe::{RingRefused, probe};
pub use uring::UringDisk;
