//! Which segment files are ready to take groups, the next one made ahead, and the files behind it that are kept for a log
//! whose disk is full.
//!
//! Invariant: a segment is ready only when its file is whole and the superblock that lists it is durable.
//! Not here: what is in them (`log`, `scan`), which are freed (`checkpoint`), what may be written into them (`room`).

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;

use planted::planted;

use crate::error::{LogError, advice};
use crate::ledger::{Ledger, Ticket};
use crate::limits::{NO_SPACE_RETRY_US, NO_SPACE_WARN_US, SPARE_SEGMENTS_MAX};
use crate::lsn::Lsn;
use crate::storage::{Storage, is_no_space};
use crate::table::Table;
use crate::worker::{Job, Worker};

/// What is being done for the next segment.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Next {
    /// Nothing.
    Idle,
    /// The worker makes the file of this slot, for which a file or space was held, or not.
    Creating { slot: u32, was_held: bool },
    /// The superblock that lists it is being written.
    Listing { ticket: Ticket },
    /// The worker sets space aside for this slot.
    Reserving { slot: u32 },
}

/// The files of the log as the writer sees them.
pub(crate) struct Segments {
    segment_bytes: u64,
    /// Most segments that the log may have.
    segments_max: usize,
    /// The highest index that may be written to.
    ready_through: u64,
    next: Next,
    /// Slots of whole files that the superblock does not list.
    spares: Vec<u32>,
    /// Slots for which space is set aside.
    reserved: VecDeque<u32>,
    /// How many of both are to be kept.
    wanted_behind: usize,
    /// The next slot number that no file ever had in this incarnation.
    fresh_slot: u32,
    /// There was no space for the next segment; when it is tried again.
    create_at_us: Option<u64>,
    /// There was no space to set aside; when it is tried again.
    reserve_at_us: Option<u64>,
    /// When lacking space is to be said again; 0 if it does not lack.
    warn_at_us: u64,
}

impl Segments {
    pub(crate) fn new(
        segment_bytes: u64,
        segments_max: usize,
        ready_through: u64,
        spares: Vec<u32>,
        fresh_slot: u32,
    ) -> Segments {
        Segments {
            segment_bytes,
            segments_max,
            ready_through,
            next: Next::Idle,
            spares,
            reserved: VecDeque::new(),
            wanted_behind: 0,
            fresh_slot,
            create_at_us: None,
            reserve_at_us: None,
            warn_at_us: 0,
        }
    }

    /// Whether the group at `lsn` may be written now.
    pub(crate) fn is_ready(&self, lsn: Lsn) -> bool {
        lsn.segment(self.segment_bytes) <= self.ready_through
    }

    /// Bytes from `position` to the end of what is ready, and of what the files behind it will hold.
    pub(crate) fn bytes_ahead(&self, position: Lsn, listed: usize) -> u64 {
        let ready = ((self.ready_through + 1) * self.segment_bytes).saturating_sub(position.0);
        ready + self.behind().min(self.segments_max.saturating_sub(listed)) as u64 * self.segment_bytes
    }

    /// Bytes of all files, of those that are set aside too.
    pub(crate) fn bytes_held(&self, listed: usize) -> u64 {
        (listed + self.behind()) as u64 * self.segment_bytes
    }

    fn behind(&self) -> usize {
        let under_way = usize::from(matches!(self.next, Next::Creating { was_held: true, .. }));
        self.spares.len() + self.reserved.len() + under_way
    }

    /// Whether the log cannot have the files that it is to have, for want of space or because it has as many as it may.
    pub(crate) fn lacks_space(&self, listed: usize) -> bool {
        self.create_at_us.is_some() || self.reserve_at_us.is_some() || listed + self.wanted_behind > self.segments_max
    }

    /// Freed segment files kept for reuse.
    pub(crate) fn spares(&self) -> usize {
        self.spares.len()
    }

    /// Makes the segment after the one that `position` lies in, if it is not ready yet, and then sees that `behind` files
    /// are kept behind it.
    pub(crate) fn drive(
        &mut self,
        now_us: u64,
        position: Lsn,
        behind: usize,
        ledger: &Ledger,
        worker: &mut Worker,
        storage: &Arc<dyn Storage>,
    ) {
        self.wanted_behind = behind;
        if let Next::Listing { ticket } = self.next
            && (ledger.is_durable(ticket) || planted!("segment-unlisted"))
        {
            self.ready_through += 1;
            self.next = Next::Idle;
        }
        if self.next != Next::Idle {
            return;
        }
        let room = self.segments_max.saturating_sub(ledger.wanted().segments.len());
        let is_due = |at: Option<u64>| at.is_none_or(|at| now_us >= at && !planted!("space-forgotten"));
        let bytes = self.segment_bytes;
        if self.ready_through <= position.segment(bytes) && room > 0 {
            if is_due(self.create_at_us) {
                let held = self.spares.pop().or_else(|| self.reserved.pop_front());
                let slot = held.unwrap_or_else(|| self.take_fresh());
                worker.submit(storage, Job::Create { slot, bytes });
                self.next = Next::Creating { slot, was_held: held.is_some() };
            }
        } else if self.behind() >= behind.min(room) {
            self.reserve_at_us = None;
        } else if is_due(self.reserve_at_us) {
            let slot = self.take_fresh();
            worker.submit(storage, Job::Reserve { slot, bytes });
            self.next = Next::Reserving { slot };
        }
    }

    fn take_fresh(&mut self) -> u32 {
        self.fresh_slot += 1;
        self.fresh_slot - 1
    }

    fn give_back_fresh(&mut self, slot: u32) {
        assert_eq!(slot + 1, self.fresh_slot, "slots are taken one at a time");
        self.fresh_slot = slot;
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
        let Next::Creating { slot: creating, was_held } = self.next else { panic!("nobody asked for slot {slot}") };
        assert_eq!(creating, slot);
        match result {
            Ok(()) => {
                if !was_held {
                    self.found_space(slot, storage);
                }
                self.create_at_us = None;
                let index = self.ready_through + 1;
                table.segment_listed(index, slot);
                let ticket = ledger.change(|wanted| {
                    let before = wanted.segments.insert(index, slot);
                    assert_eq!(before, None);
                });
                self.next = Next::Listing { ticket };
                Ok(())
            }
            Err(error) => {
                self.next = Next::Idle;
                if was_held {
                    self.reserved.push_back(slot);
                } else {
                    self.give_back_fresh(slot);
                }
                self.create_at_us = Some(now_us + NO_SPACE_RETRY_US);
                self.lacked(now_us, slot, &error, "creating a segment", storage)
            }
        }
    }

    /// Takes the worker's answer: space was set aside, or there is none.
    pub(crate) fn set_aside(
        &mut self,
        now_us: u64,
        slot: u32,
        result: io::Result<()>,
        storage: &dyn Storage,
    ) -> Result<(), LogError> {
        assert_eq!(self.next, Next::Reserving { slot });
        self.next = Next::Idle;
        match result {
            Ok(()) => {
                self.found_space(slot, storage);
                self.reserve_at_us = None;
                self.reserved.push_back(slot);
                Ok(())
            }
            Err(error) => {
                self.give_back_fresh(slot);
                self.reserve_at_us = Some(now_us + NO_SPACE_RETRY_US);
                self.lacked(now_us, slot, &error, "setting space aside", storage)
            }
        }
    }

    fn found_space(&mut self, slot: u32, storage: &dyn Storage) {
        if self.warn_at_us > 0 {
            tracing::info!(file = storage.segment_name(slot), "there is space for the next segment again");
            self.warn_at_us = 0;
        }
    }

    fn lacked(
        &mut self,
        now_us: u64,
        slot: u32,
        error: &io::Error,
        operation: &'static str,
        storage: &dyn Storage,
    ) -> Result<(), LogError> {
        let (file, advice) = (storage.segment_name(slot), advice(error));
        if !is_no_space(error) {
            return Err(LogError::Worker { file, operation, reason: error.to_string(), advice });
        }
        if now_us >= self.warn_at_us {
            let ahead = self.spares.len() + self.reserved.len();
            tracing::warn!(file, %error, advice, ahead, "no space for the next segments; trying each second");
            self.warn_at_us = now_us + NO_SPACE_WARN_US;
        }
        Ok(())
    }

    /// Takes slots that the superblock no longer lists: some are kept, the others deleted.
    pub(crate) fn freed(&mut self, slots: Vec<u32>, worker: &mut Worker, storage: &Arc<dyn Storage>) {
        let kept = SPARE_SEGMENTS_MAX.max(self.wanted_behind.saturating_sub(self.reserved.len()));
        for slot in slots {
            if self.spares.len() < kept {
                self.spares.push(slot);
            } else {
                worker.submit(storage, Job::Delete { slot });
            }
        }
        // A segment that waits for space can have a spare at once.
        if self.create_at_us.is_some() && !self.spares.is_empty() {
            self.create_at_us = Some(0);
        }
    }

    /// When `drive` wants to be called again, in the caller's microseconds.
    pub(crate) fn retry_at_us(&self) -> Option<u64> {
        [self.create_at_us, self.reserve_at_us].into_iter().flatten().min().filter(|_| self.next == Next::Idle)
    }
}
