//! Looking at a log that nobody has open: what it holds, whether it is sound, what can be saved, and how to break it on
//! purpose. Everything here takes a directory and is slow and patient; nothing here is used by a running node.
//!
//! Invariants: [`dump`] and [`verify`] never write; [`Repair`] writes only in [`Repair::apply`], [`corrupt`] only what it
//! reports; both hold the directory's lock. What recovery would say is said by recovery's own code (`scan`, `verdict`).
//! At most one segment is in memory.
//!
//! Code map: `files` finds the segments of a log, with or without its superblock; `walk` reads groups and goes on past
//! damage; `strays` names files that are nobody's; `surgery` writes plain files; `dump`, `verify` (steps in `check`), `repair` (after `plan`) and `corrupt` are the four tools.
//!
//! Not here: what the owner's records mean (their owner), command lines.

mod check;
mod corrupt;
mod dump;
mod files;
mod plan;
mod repair;
mod strays;
mod surgery;
mod verify;
mod walk;

pub use corrupt::{Change, CorruptError, Corruption, Kind, Target, corrupt};
pub use dump::{Dump, DumpItem, dump, dump_from};
pub use plan::{Accepts, Lost, Plan, RepairError};
pub use repair::{Accept, Repair, Step};
pub use strays::Stray;
pub use surgery::SurgeryError;
pub use verify::{Finding, OwnerRecord, Progress, Soundness, Verified, verify};
pub use walk::{Cause, Skipped};
