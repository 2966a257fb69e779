//! Every small damage to whole logs: none may lose an acknowledged record silently, none may panic.
//!
//! `logs` builds logs on the fake disk and knows what was acknowledged; `damage` is one change of their files; `judge` opens
//! the damaged log and says what became of it; `run` goes through all cases on all processors; `report` prints the table.
//! `tests/sweep.rs` runs a sample, `examples/sweep.rs` everything.
//!
//! Invariant: the judge trusts the history that was written and the layout in `FORMAT.md`, never the engine's own decoders.
//! Not here: writes that a power cut tears (`crash.rs`), operations that fail (`faults.rs`).
#![allow(dead_code, unreachable_pub)]

#[path = "../common/mod.rs"]
pub mod common;
pub mod damage;
pub mod judge;
pub mod logs;
pub mod report;
pub mod run;
