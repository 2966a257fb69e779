//! The log of a node: records appended in order, made durable in groups, read back at start-up; and the table over it.
//!
//! A record is opaque bytes. The engine promises four things (the argument is in `FORMAT.md`):
//!
//! 1. what [`Store::durable`] covers is handed out again by the next [`Store::open`], in order and whole;
//! 2. damage to what was durable is refused with its place, never skipped;
//! 3. a group is kept whole or cut whole;
//! 4. after the first failed write nothing becomes durable.
//!
//! Code map: `store` is the front, `log` fills and issues groups, `recovery` reads them back through `scan`
//! by the decision table in `verdict`, `inspect` has the offline tools, `segments`
//! and `worker` provide files ahead of the writer, `table` and `checkpoint` bound what must be read and kept, `scrub`
//! checks what is not written any more, `damaged` is what a checkpoint does about it. Each of
//! `superblock`, `segment`, `group`, `slice` owns one layout. `storage` is the way to the kernel, `ring` its real form,
//! `memory` its fake.
//!
//! Not here: transactions, votes, sockets, clocks (time is an argument). `unsafe` is only in `ring`.

mod buffer;
mod bytesio;
mod checkpoint;
mod damaged;
mod error;
#[cfg(test)]
mod fixture;
#[doc(hidden)]
pub mod fuzzing;
mod group;
pub mod inspect;
mod ledger;
pub mod limits;
mod log;
mod lsn;
pub mod memory;
mod open;
mod options;
mod pace;
mod recovery;
pub mod ring;
mod room;
mod scan;
mod scrub;
mod segment;
mod segments;
mod slice;
mod stats;
pub mod storage;
mod store;
mod superblock;
mod table;
mod verdict;
mod worker;

pub use buffer::Buffer;
pub use error::{LogError, OpenError, TableError};
pub use group::{GroupInfo, GroupKind, RecordKind};
pub use inspect::{Dump, DumpItem, dump};
pub use lsn::Lsn;
pub use options::{Options, Owner};
pub use recovery::{Cut, RecoveryReport};
pub use ring::{DirStorage, SegmentReader, UringDisk};
pub use scrub::{Damage, SealedSegments, SegmentCheck, SegmentEnd, SegmentPlace};
pub use seam::{Index, Logged, Owed, Place, Position, Room};
pub use stats::Stats;
pub use storage::{Completion, Disk, ReadFailed, Storage};
pub use store::Store;
pub use table::{Table, TableStats};
pub use verdict::{Rule, Verdict};
pub use worker::{Pace, Worker};
