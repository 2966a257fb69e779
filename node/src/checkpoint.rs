//! A checkpoint, one bounded slice at a time between other work: first all of the machine's that
//! later records refer to, then the rest of the machine's and the table's.
//!
//! A slice waits until the slice before is durable, or, if that wrote nothing, a moment: a turn must
//! end in a park, or the disk would never see what it is to write.

use protocol::{Effects, Machine, Outbox, Place, Tick};

use crate::journal::AgainJournal;
use crate::limits::CHECKPOINT_PACE_US;
use crate::log::{Checkpoints, Log};

/// How far a checkpoint is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Checkpoint {
    /// None is under way.
    Idle,
    /// One is under way.
    Running {
        /// Where the machine goes on; `None` when it is done.
        machine_from: Option<u64>,
        /// Whether the table has more.
        is_table_left: bool,
        /// The end of the log after the last slice.
        slice_end: Place,
        /// When the next slice comes even if the last one wrote nothing.
        next_at: Tick,
    },
}

impl Checkpoint {
    /// Whether to [`Checkpoint::advance`] now.
    pub(crate) fn is_due(&self, log: &impl Checkpoints, now: Tick) -> bool {
        match *self {
            Self::Idle => log.is_checkpoint_due(),
            Self::Running { slice_end, next_at, .. } => now >= next_at || log.durable_place() >= slice_end,
        }
    }

    /// When to look again although nothing happens.
    pub(crate) fn next_wake(&self) -> Option<Tick> {
        match *self {
            Self::Idle => None,
            Self::Running { next_at, .. } => Some(next_at),
        }
    }

    /// Begins, or does one slice, or ends.
    pub(crate) fn advance<M: Machine, L: Log + Checkpoints>(
        &mut self,
        now: Tick,
        machine: &mut M,
        log: &mut L,
        outbox: &mut dyn Outbox,
    ) {
        let (machine_from, is_table_left) = match *self {
            Self::Idle => {
                log.begin_checkpoint();
                tracing::debug!(begin = log.end_place().address(), "checkpoint begun");
                (machine.checkpoint(0, &mut Effects::new(&mut AgainJournal(log), outbox)), true)
            }
            Self::Running { machine_from: Some(from), is_table_left, .. } => {
                (machine.checkpoint(from, &mut Effects::new(&mut AgainJournal(log), outbox)), is_table_left)
            }
            Self::Running { machine_from: None, is_table_left: true, .. } => (None, log.log_slice()),
            Self::Running { machine_from: None, is_table_left: false, .. } => {
                log.end_checkpoint();
                tracing::debug!(end = log.end_place().address(), "checkpoint written");
                *self = Self::Idle;
                return;
            }
        };
        let next_at = now.plus_us(CHECKPOINT_PACE_US);
        *self = Self::Running { machine_from, is_table_left, slice_end: log.end_place(), next_at };
    }
}
