//! Which segment files are ready to take groups, and the next one made ahead.
//!
//! Invariant: a segment is ready only when its file is whole and the superblock that lists it is durable.
//! Not here: what is in them (`log`, `scan`), which are freed (`checkpoint`).

use std::io;
use std::sync::Arc;

use planted::planted;

use crate::error::{LogError, advice};
use crate::ledger::{Ledger, Ticket};
use crate::limits::{NO_SPACE_RETRY_US, NO_SPACE_WARN_US, SEGMENTS_MAX, SPARE_SEGMENTS_MAX};
use crate::lsn::Lsn;
use crate::storage::{Storage, is_no_space};
use crate::table::Table;
use crate::worker::{Job, Worker};

/// How far the next segment is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Next {
    /// Nobody works on it.
    Idle,
    /// The worker makes the file of this slot.
    Creating { slot: u32 },
    /// The superblock that lists it is being written.
    Listing { ticket: Ticket },
    /// There was no space; the slot is tried again at this time.
    NoSpace { slot: u32, retry_at_us: u64 },
}

/// The files of the log as the writer sees them.
pub(crate) struct Segments {
    segment_bytes: u64,
    /// The highest index that may be written to.
    ready_through: u64,
    next: Next,
    /// Slots of whole files that the superblock does not list.
    spares: Vec<u32>,
    /// The next slot number that no file ever had in this incarnation.
    fresh_slot: u32,
    /// When lacking space is to be said again; 0 if it does not lack.
    warn_at_us: u64,
}

impl Segments {
    pub(crate) fn new(segment_bytes: u64, ready_through: u64, spares: Vec<u32>, fresh_slot: u32) -> Segments {
        Segments { segment_bytes, ready_through, next: Next::Idle, spares, fresh_slot, warn_at_us: 0 }
    }

    /// Whether the group at `lsn` may be written now.
    pub(crate) fn is_ready(&self, lsn: Lsn) -> bool {
        lsn.segment(self.segment_bytes) <= self.ready_through
    }

    /// Bytes from `position` to the end of what is ready.
    pub(crate) fn ready_bytes(&self, position: Lsn) -> u64 {
        ((self.ready_through + 1) * self.segment_bytes).saturating_sub(position.0)
    }

    /// Whether the next segment could not be made for lack of space.
    pub(crate) fn lacks_space(&self) -> bool {
        matches!(self.next, Next::NoSpace { .. }) || self.warn_at_us > 0
    }

    /// Freed segment files kept for reuse.
    pub(crate) fn spares(&self) -> usize {
        self.spares.len()
    }

    /// Makes the segment after the one that `position` lies in, if it is not ready yet.
    pub(crate) fn drive(
        &mut self,
        now_us: u64,
        position: Lsn,
        ledger: &Ledger,
        worker: &mut Worker,
        storage: &Arc<dyn Storage>,
    ) {
        if let Next::Listing { ticket } = self.next
            && (ledger.is_durable(ticket) || planted!("segment-unlisted"))
        {
            self.ready_through += 1;
            self.next = Next::Idle;
        }
        let wanted = self.ready_through <= position.segment(self.segment_bytes);
        let slot = match self.next {
            Next::Idle if wanted && ledger.wanted().segments.len() < SEGMENTS_MAX => self.take_slot(),
            Next::NoSpace { slot, retry_at_us } if now_us >= retry_at_us && !planted!("space-forgotten") => {
                self.spares.pop().unwrap_or(slot)
            }
            Next::Idle | Next::Creating { .. } | Next::Listing { .. } | Next::NoSpace { .. } => return,
        };
        worker.submit(storage, Job::Create { slot, bytes: self.segment_bytes });
        self.next = Next::Creating { slot };
    }

    fn take_slot(&mut self) -> u32 {
        self.spares.pop().unwrap_or_else(|| {
            self.fresh_slot += 1;
            self.fresh_slot - 1
        })
    }

    /// Takes the worker's answer: lists the new segment, or waits for space.
    pub(crate) fn created(
        &mut self,
        now_us: u64,
        slot: u32,
        result: io::Result<()>,
        ledger: &mut Ledger,
        table: &Table,
        storage: &dyn Storage,
    ) -> Result<(), LogError> {
        assert_eq!(self.next, Next::Creating { slot });
        match result {
            Ok(()) => {
                if self.warn_at_us > 0 {
                    tracing::info!(file = storage.segment_name(slot), "there is space for the next segment again");
                    self.warn_at_us = 0;
                }
                let index = self.ready_through + 1;
                table.segment_listed(index, slot);
                let ticket = ledger.change(|wanted| {
                    let before = wanted.segments.insert(index, slot);
                    assert_eq!(before, None);
                });
                self.next = Next::Listing { ticket };
                Ok(())
            }
            Err(error) if is_no_space(&error) => {
                let file = storage.segment_name(slot);
                if now_us >= self.warn_at_us {
                    let advice = advice(&error);
                    tracing::warn!(file, %error, advice, "no space for the next segment; trying each second");
                    self.warn_at_us = now_us + NO_SPACE_WARN_US;
                }
                self.next = Next::NoSpace { slot, retry_at_us: now_us + NO_SPACE_RETRY_US };
                Ok(())
            }
            Err(error) => Err(LogError::Worker {
                file: storage.segment_name(slot),
                operation: "creating a segment",
                reason: error.to_string(),
                advice: advice(&error),
            }),
        }
    }

    /// Takes slots that the superblock no longer lists: some are kept, the others deleted.
    pub(crate) fn freed(&mut self, slots: Vec<u32>, worker: &mut Worker, storage: &Arc<dyn Storage>) {
        for slot in slots {
            if self.spares.len() < SPARE_SEGMENTS_MAX {
                self.spares.push(slot);
            } else {
                worker.submit(storage, Job::Delete { slot });
            }
        }
        // A segment that waits for space can have a spare at once.
        if let Next::NoSpace { slot, .. } = self.next
            && !self.spares.is_empty()
        {
            self.next = Next::NoSpace { slot, retry_at_us: 0 };
        }
    }

    /// When `drive` wants to be called again, in the caller's microseconds.
    pub(crate) fn retry_at_us(&self) -> Option<u64> {
        match self.next {
            Next::NoSpace { retry_at_us, .. } => Some(retry_at_us),
            Next::Idle | Next::Creating { .. } | Next::Listing { .. } => None,
        }
    }
}
