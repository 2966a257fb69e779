//! The front of the engine: one log and its table, driven by `poll`.
//!
//! Invariants: nothing here blocks after `open`; the first failure is returned by every later call of `poll`, and
//! `durable` does not move any more. Not here: filling groups (`log`), files ahead (`segments`), superblocks (`ledger`).

use std::collections::VecDeque;
use std::sync::Arc;

use bytes::Bytes;
use planted::planted;
use seam::{Index, Logged, Owed, Room};

use crate::checkpoint::{Compaction, Phase, empty_segments, gain, victims};
use crate::damaged::Damaged;
use crate::error::{LogError, OpenError};
use crate::group::{GroupKind, RecordKind};
use crate::ledger::{Ledger, Ticket};
use crate::limits::{
    BLOCK_BYTES, CHECKPOINT_SLICE_KEYS_MAX, QUEUE_BYTES_MAX, QUEUE_BYTES_SCARCE, RESERVE_BLOCKS_BYTES,
    RESERVE_DECISIONS_DIVISOR, RESERVE_PROMISES_DIVISOR, WORTH_LOOK_US, WORTH_SEGMENT_DIVISOR, WRITE_TIMES_MAX,
    checkpoint_slice_bytes, record_bytes_max,
};
use crate::log::Log;
use crate::lsn::Lsn;
use crate::open;
use crate::options::Options;
use crate::recovery::RecoveryReport;
use crate::room::{Space, files_behind, with_padding};
use crate::scrub::{SealedSegments, SegmentPlace};
use crate::segments::Segments;
use crate::stats::Stats;
use crate::storage::{Disk, Storage};
use crate::table::{Moved, Table, Walk, WalkEnd};
use crate::worker::{Job, Reply, Worker};

/// How far a clean stop is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Closing {
    No,
    Asked,
    Sealed,
    Marking(Ticket),
    Closed,
}

/// A log and its table. For one thread; with `UringDisk` it lives and is dropped inside that thread's runtime.
pub struct Store<D> {
    options: Options,
    segment_bytes: u64,
    storage: Arc<dyn Storage>,
    disk: D,
    worker: Worker,
    table: Table,
    log: Log,
    ledger: Ledger,
    segments: Segments,
    phase: Phase,
    /// The begin record of the last begun checkpoint, and the size of the last finished one.
    checkpoint_begin: Lsn,
    checkpoint_size: u64,
    damaged: Damaged,
    /// Payload bytes of the slices that the checkpoint under way has logged.
    slices_logged: u64,
    /// Live bytes that it has still to move.
    to_move: u64,
    /// Whether a checkpoint would give back more than it takes, where space lacks, and when that is looked at again.
    is_worth: bool,
    look_at_us: u64,
    /// What the owner has told that it owes, and how many records there were then.
    owed: Option<(Owed, u64)>,
    closing: Closing,
    failed: Option<LogError>,
    now_us: u64,
    /// When something last became durable.
    active_us: u64,
    write_times_us: VecDeque<u64>,
    checkpoints: u64,
    freed: u64,
}

impl<D: Disk> Store<D> {
    /// Opens or creates the log. Replays every owner record since the last checkpoint through `replay`, and the table's
    /// slices into `table`, in log order. Blocks.
    ///
    /// A record that a checkpoint made the owner log again may be replayed twice, so replay must be idempotent.
    ///
    /// # Errors
    /// See [`OpenError`]. What was replayed before the error must be thrown away.
    pub fn open(
        options: Options,
        storage: Arc<dyn Storage>,
        disk: D,
        worker: Worker,
        table: Table,
        replay: &mut dyn FnMut(Logged, Bytes),
    ) -> Result<(Store<D>, RecoveryReport), OpenError> {
        let opened = open::open(&options, &storage, &table, replay)?;
        let superblock = opened.ledger.wanted();
        let (segment_bytes, checkpoint) = (superblock.segment_bytes, superblock.checkpoint);
        let mut store = Store {
            options,
            segment_bytes,
            storage,
            disk,
            worker,
            table,
            log: opened.log,
            ledger: opened.ledger,
            segments: opened.segments,
            phase: Phase::Idle,
            checkpoint_begin: checkpoint.begin,
            checkpoint_size: checkpoint.size,
            damaged: Damaged::default(),
            slices_logged: 0,
            to_move: 0,
            is_worth: false,
            look_at_us: 0,
            owed: None,
            closing: Closing::No,
            failed: None,
            now_us: 0,
            active_us: 0,
            write_times_us: VecDeque::new(),
            checkpoints: 0,
            freed: 0,
        };
        for slot in opened.surplus {
            store.worker.submit(&store.storage, Job::Delete { slot });
        }
        Ok((store, opened.report))
    }

    /// Appends an owner's record: `encode` appends the payload to the vector that it is given and touches nothing
    /// before. Returns which record it is and where it lies; replay gives the same. After a failure the record goes nowhere.
    ///
    /// # Panics
    /// The payload exceeds [`Store::record_bytes_max`], or the log is being closed.
    #[inline]
    pub fn append(&mut self, encode: &mut dyn FnMut(&mut Vec<u8>)) -> Logged {
        assert!(self.closing == Closing::No, "nothing is appended after close_start");
        self.log.append(RecordKind::Owner, encode)
    }

    /// The same for what a checkpoint makes the owner log again: it has no position, so that the positions of a log do not
    /// depend on its checkpoints.
    ///
    /// # Panics
    /// As [`Store::append`].
    pub fn append_again(&mut self, encode: &mut dyn FnMut(&mut Vec<u8>)) -> Logged {
        assert!(self.closing == Closing::No, "nothing is appended after close_start");
        self.log.append(RecordKind::OwnerAgain, encode)
    }

    /// Largest payload that `append` takes, in bytes.
    #[must_use]
    pub fn record_bytes_max(&self) -> usize {
        record_bytes_max(self.segment_bytes)
    }

    /// The last record that has a position: what a message sent now must wait for. What was logged again repeats earlier
    /// records, so no message waits for it.
    #[must_use]
    pub fn last(&self) -> Index {
        self.log.last()
    }

    /// This record and all before it are durable.
    #[must_use]
    pub fn stable(&self) -> Index {
        self.log.stable()
    }

    /// The LSN just past the last record.
    #[must_use]
    pub fn end(&self) -> Lsn {
        self.log.end()
    }

    /// Everything before is durable. Once the group that holds a record is durable, this is at least what `end` was
    /// right after its append.
    #[must_use]
    pub fn durable(&self) -> Lsn {
        self.log.durable()
    }

    /// Tells what the owner owes now. Until this is called again, each record that is appended counts as a promise more. An
    /// owner that never calls it owes nothing.
    pub fn owes(&mut self, owed: Owed) {
        self.owed = Some((owed, self.log.counts.records));
    }

    /// What the owed records take at most: a block each, for each may be alone in its group.
    fn owed_bytes(&self) -> u64 {
        let since = |(owed, records): (Owed, u64)| owed.records as u64 + self.log.counts.records - records;
        self.owed.map_or(0, since) * BLOCK_BYTES as u64
    }

    /// Bytes left in the log's files, without the end of a segment that may be too short for a record of this size.
    fn left_for(&self, record_bytes: u64) -> u64 {
        let position = self.log.head();
        let left = self.segments.bytes_ahead(position, self.listed());
        let rest = self.segment_bytes - position.offset(self.segment_bytes);
        if rest < record_bytes && rest < left { left - rest } else { left }
    }

    /// Segments that the log has.
    fn listed(&self) -> usize {
        self.ledger.wanted().segments.len()
    }

    /// What a checkpoint has still to write; of one that has not begun, all.
    fn checkpoint_bytes(&self) -> u64 {
        let again = self.owed.map_or(0, |(owed, _)| (owed.again_bytes + owed.again_later_bytes) as u64);
        let slices = self.table.slice_bytes();
        with_padding(again + slices.saturating_sub(self.slices_logged) + self.to_move, self.segment_bytes)
    }

    fn space(&self) -> Space {
        let share = self.segment_bytes / RESERVE_PROMISES_DIVISOR + RESERVE_BLOCKS_BYTES;
        let listed = self.listed();
        Space {
            left: self.left_for(share),
            promise: share + self.owed_bytes(),
            checkpoint: self.checkpoint_bytes(),
            held: self.segments.bytes_held(listed),
            segment_bytes: self.segment_bytes,
            lacks: self.segments.lacks_space(listed),
        }
    }

    /// Which new promises may be made: whether one more, as large as a record can be, leaves room for all that is owed, and
    /// for what gives space back where it lacks (`FORMAT.md`, "No space").
    #[must_use]
    pub fn room(&self) -> Room {
        let behind = self.log.queued_bytes() > QUEUE_BYTES_SCARCE;
        let stopped = self.failed.is_some() || self.closing != Closing::No;
        if behind || stopped { Room::Nothing } else { self.space().room() }
    }

    /// Takes what the disk and the worker finished, and starts the next group: this is also the flush. `now_us` is any
    /// clock that does not run backwards. Returns `durable()`.
    ///
    /// # Errors
    /// The first failure, at this and every later call.
    pub fn poll(&mut self, now_us: u64) -> Result<Lsn, LogError> {
        if let Some(error) = &self.failed {
            return Err(error.clone());
        }
        self.now_us = self.now_us.max(now_us);
        if let Err(error) = self.turn() {
            tracing::error!(%error, "the log has stopped");
            if planted!("failure-ignored") {
                return Ok(self.log.durable());
            }
            self.failed = Some(error.clone());
            return Err(error);
        }
        Ok(self.log.durable())
    }

    fn turn(&mut self) -> Result<(), LogError> {
        self.reap()?;
        self.hear_worker()?;
        // What still waits to be written may need the next segment, in a clean stop too.
        if self.closing == Closing::No || self.log.is_busy() {
            let position = self.log.head();
            let behind = files_behind(self.checkpoint_bytes(), self.segment_bytes, self.listed());
            self.segments.drive(self.now_us, position, behind, &self.ledger, &mut self.worker, &self.storage);
        }
        if self.closing == Closing::No {
            self.drive_checkpoint();
            self.look_whether_worth();
        }
        self.seal_or_close();
        self.issue()?;
        let durable = self.log.durable();
        self.ledger.drive(self.now_us, durable, &mut self.worker, &self.storage);
        Ok(())
    }

    fn reap(&mut self) -> Result<(), LogError> {
        while let Some(completion) = self.disk.reap() {
            let elapsed_us = completion.elapsed_us;
            let (ledger, storage, segment_bytes) = (&self.ledger, &self.storage, self.segment_bytes);
            let name = |lsn: Lsn| match ledger.wanted().segments.get(&lsn.segment(segment_bytes)) {
                Some(&slot) => storage.segment_name(slot),
                None => "a freed segment".to_owned(),
            };
            self.log.complete(completion, &name)?;
            self.active_us = self.now_us;
            self.table.set_durable(self.log.durable());
            if self.write_times_us.len() == WRITE_TIMES_MAX {
                self.write_times_us.pop_front();
            }
            self.write_times_us.push_back(elapsed_us);
        }
        Ok(())
    }

    fn hear_worker(&mut self) -> Result<(), LogError> {
        while let Some(reply) = self.worker.receive() {
            let storage = self.storage.as_ref();
            match reply {
                Reply::Created { slot, result } => {
                    self.segments.created(self.now_us, slot, result, &mut self.ledger, &self.table, storage)?;
                }
                Reply::Reserved { slot, result } => {
                    self.segments.set_aside(self.now_us, slot, result, storage)?;
                }
                Reply::Superblock { result } => self.ledger.written(self.now_us, result, storage)?,
            }
        }
        Ok(())
    }

    fn issue(&mut self) -> Result<(), LogError> {
        let queued = self.log.queued_bytes();
        if queued > QUEUE_BYTES_MAX {
            return Err(LogError::Overrun { queued, lsn: self.log.end() });
        }
        let Some(lsn) = self.log.issuable().filter(|&lsn| self.segments.is_ready(lsn)) else { return Ok(()) };
        let slot = self.ledger.wanted().segments[&lsn.segment(self.segment_bytes)];
        let issue = self.log.issue();
        assert_eq!(issue.lsn, lsn);
        self.disk.write(slot, issue.offset, issue.buffer);
        Ok(())
    }

    fn seal_or_close(&mut self) {
        let busy = self.log.is_busy();
        match self.closing {
            Closing::No => {
                let due = self.seal_due_us().is_some_and(|at| self.now_us >= at) && !planted!("seal-forgotten");
                if due && !busy {
                    self.log.seal(GroupKind::Seal);
                }
            }
            Closing::Asked if !busy => {
                self.log.seal(GroupKind::CleanSeal);
                self.closing = Closing::Sealed;
            }
            Closing::Sealed if !busy => {
                self.closing = Closing::Marking(self.ledger.change(|wanted| wanted.clean = true));
            }
            Closing::Marking(ticket) if self.ledger.is_durable(ticket) => self.closing = Closing::Closed,
            Closing::Asked | Closing::Sealed | Closing::Marking(_) | Closing::Closed => {}
        }
    }

    /// No seals where space lacks: decisions need the blocks more.
    fn seal_due_us(&self) -> Option<u64> {
        if self.room() < Room::Plenty {
            return None;
        }
        let idle_us = u64::try_from(self.options.seal_idle.as_micros()).unwrap_or(u64::MAX);
        (self.log.last_kind() == Some(GroupKind::Data)).then(|| self.active_us.saturating_add(idle_us))
    }

    /// When `poll` wants to be called although nothing else happens, on the clock that `poll` is given.
    #[must_use]
    pub fn next_wake_us(&self) -> Option<u64> {
        if self.failed.is_some() || self.closing == Closing::Closed {
            return None;
        }
        let inline = self.worker.has_inline_jobs().then_some(self.now_us);
        let seal = if self.log.is_busy() || self.closing != Closing::No { None } else { self.seal_due_us() };
        [inline, seal, self.segments.retry_at_us(), self.ledger.retry_at_us()].into_iter().flatten().min()
    }

    /// Whether the owner should begin a checkpoint: enough log since the last one, or one would free space that lacks, or
    /// the next open should not need what is damaged.
    #[must_use]
    pub fn checkpoint_due(&self) -> bool {
        let idle = matches!(self.phase, Phase::Idle) && self.closing == Closing::No && self.failed.is_none();
        let since = self.since_checkpoint();
        let enough = since > self.options.checkpoint_bytes.max(2 * self.checkpoint_size);
        let space = self.space();
        let affordable = self.is_affordable(&space);
        let enough = enough && (affordable || !space.lacks);
        let damaged = self.damaged.asks_for_checkpoint(self.checkpoint_begin.segment(self.segment_bytes), |index| {
            self.table.live_bytes(index)
        });
        idle && (enough || (affordable && (damaged || self.is_worth)))
    }

    /// Whether a checkpoint that begins now can end.
    fn is_affordable(&self, space: &Space) -> bool {
        let decisions = self.segment_bytes / RESERVE_DECISIONS_DIVISOR + self.owed_bytes();
        let least = self.owed.map_or(0, |(owed, _)| owed.again_bytes as u64);
        let needed = if space.lacks { space.checkpoint } else { least };
        self.segments.bytes_ahead(self.log.head(), self.listed()) > decisions + needed
    }

    /// Where space lacks: would a checkpoint give back more than it takes?
    fn look_whether_worth(&mut self) {
        if !self.segments.lacks_space(self.listed()) || self.room() == Room::Plenty {
            self.is_worth = false;
            return;
        }
        if self.now_us < self.look_at_us || !matches!(self.phase, Phase::Idle) {
            return;
        }
        self.look_at_us = self.now_us + WORTH_LOOK_US;
        let gain = gain(self.ledger.wanted(), &self.table, self.log.head(), &self.space());
        self.is_worth = gain >= self.segment_bytes / WORTH_SEGMENT_DIVISOR;
    }

    fn since_checkpoint(&self) -> u64 {
        self.log.end().0.saturating_sub(self.checkpoint_begin.0)
    }

    /// Begins a checkpoint. The owner must now, before anything else, `append_again` all that it has not resolved and that
    /// later records refer to, and use the new places from here on. All that it applied to the table must be logged.
    ///
    /// # Panics
    /// A checkpoint is under way.
    pub fn checkpoint_begin(&mut self) {
        assert!(matches!(self.phase, Phase::Idle), "one checkpoint at a time");
        let compaction = Compaction::within(&self.space());
        let begin = Lsn::from(self.log.append(RecordKind::CheckpointBegin, &mut |_| ()).place);
        let superblock = self.ledger.wanted();
        let mut victims = victims(superblock, &self.table, begin, compaction);
        let begin_segment = begin.segment(self.segment_bytes);
        self.damaged.choose(&mut victims, begin_segment, |index| self.table.live_bytes(index));
        let slots: Vec<u32> = victims.iter().map(|index| superblock.segments[index]).collect();
        if !slots.is_empty() {
            self.worker.submit(&self.storage, Job::Warm { slots });
        }
        self.to_move = victims.iter().map(|&index| self.table.live_bytes(index)).sum();
        self.table.set_floor(begin);
        self.checkpoint_begin = begin;
        let bytes_max = checkpoint_slice_bytes(self.segment_bytes);
        let walk = Box::new(Walk { victims, bytes_max, keys_max: CHECKPOINT_SLICE_KEYS_MAX, ..Walk::default() });
        self.phase = Phase::Walking { begin, walk, table_done: false };
    }

    /// Logs the next slice of the table; returns whether more remain. Pauses, with nothing logged, while there is room
    /// for decisions only. All that the owner applied to the table must be logged.
    ///
    /// # Panics
    /// No checkpoint is under way.
    pub fn checkpoint_slice(&mut self) -> bool {
        let record_bytes_max = self.record_bytes_max();
        let ready = self.left_for(record_bytes_max as u64);
        let behind = self.log.queued_bytes() > QUEUE_BYTES_SCARCE;
        let reserve = self.segment_bytes / RESERVE_DECISIONS_DIVISOR + self.owed_bytes();
        let Phase::Walking { walk, table_done, .. } = &mut self.phase else {
            panic!("a slice belongs to a checkpoint that was begun and not ended");
        };
        let slice = if walk.victims.is_empty() { walk.bytes_max } else { record_bytes_max };
        let pause = behind || ready < reserve + slice as u64;
        if *table_done || pause || self.failed.is_some() {
            return !*table_done;
        }
        *table_done = self.table.walk(walk) == WalkEnd::Last;
        if walk.entries > 0 && !(planted!("last-slice-forgotten") && *table_done) {
            let at = self.log.append(RecordKind::TableSlice, &mut |into| into.extend_from_slice(&walk.bytes));
            self.to_move = self.to_move.saturating_sub(walk.moved.iter().map(Moved::bytes).sum());
            self.slices_logged += walk.pointer_bytes;
            self.table.moved(at.place.into(), &mut walk.moved);
        }
        !*table_done
    }

    /// Ends the checkpoint: the owner has logged its part, and `checkpoint_slice` returned false. All that it applied to
    /// the table must be logged.
    ///
    /// # Panics
    /// No checkpoint is under way, or slices remain.
    pub fn checkpoint_end(&mut self) {
        let Phase::Walking { begin, table_done: true, .. } = self.phase else {
            panic!("a checkpoint ends after its last slice");
        };
        self.log.append(RecordKind::CheckpointEnd, &mut |into| into.extend_from_slice(&begin.0.to_le_bytes()));
        let empty = empty_segments(self.ledger.wanted(), &self.table, begin);
        // All that emptied these segments was logged before here, so it is durable when the log is up to here.
        let bytes = self.log.end().0 - begin.0;
        self.phase = Phase::Ending { until: self.log.end(), bytes, empty };
        (self.slices_logged, self.to_move, self.is_worth) = (0, 0, false);
    }

    fn drive_checkpoint(&mut self) {
        match &mut self.phase {
            Phase::Idle | Phase::Walking { .. } => {}
            Phase::Ending { until, bytes, empty } => {
                if self.log.durable() < *until && !planted!("checkpoint-early") {
                    return;
                }
                let mut anchor = self.log.anchor().expect("a durable group was issued");
                anchor.size = *bytes;
                self.checkpoint_size = *bytes;
                let empty = std::mem::take(empty);
                let mut slots = Vec::new();
                let ticket = self.ledger.change(|wanted| {
                    wanted.checkpoint = anchor;
                    slots.extend(empty.iter().filter_map(|index| wanted.segments.remove(index)));
                });
                for &index in &empty {
                    self.table.segment_freed(index);
                    self.damaged.freed(index);
                }
                self.phase = Phase::Publishing { ticket, slots };
            }
            Phase::Publishing { ticket, slots } => {
                if self.ledger.is_durable(*ticket) {
                    self.checkpoints += 1;
                    self.freed += slots.len() as u64;
                    let slots = std::mem::take(slots);
                    self.segments.freed(slots, &mut self.worker, &self.storage);
                    self.phase = Phase::Idle;
                }
            }
        }
    }

    /// The segments that are not written any more, to be read beside this store.
    #[must_use]
    pub fn sealed_segments(&self) -> SealedSegments {
        SealedSegments::new(self.ledger.wanted(), self.log.durable())
    }

    /// Takes notice of damage in a sealed segment. A checkpoint becomes due where it helps: the next open starts past the
    /// damage, and values that live in the segment are moved if they are sound and `is_readable`; the others stay, and
    /// are named.
    pub fn damage_found(&mut self, place: SegmentPlace, is_readable: bool) {
        if self.ledger.wanted().segments.get(&place.index) == Some(&place.slot) {
            self.damaged.note(place.index, is_readable);
        }
    }

    /// Starts a clean stop, which further calls of `poll` finish. A checkpoint under way is given up.
    pub fn close_start(&mut self) {
        if self.closing == Closing::No {
            self.closing = Closing::Asked;
        }
    }

    /// Whether the clean stop is finished: all is durable, and the next open will find the log clean.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.closing == Closing::Closed
    }

    /// The table over this log.
    #[must_use]
    pub fn table(&self) -> &Table {
        &self.table
    }

    /// Figures.
    #[must_use]
    pub fn stats(&self) -> Stats {
        let counts = self.log.counts;
        Stats {
            groups: counts.groups,
            seals: counts.seals,
            records: counts.records,
            bytes: counts.bytes,
            padding: counts.padding,
            direct: self.storage.is_direct(),
            segments: self.ledger.wanted().segments.len(),
            spares: self.segments.spares(),
            checkpoints: self.checkpoints,
            freed: self.freed,
            since_checkpoint: self.since_checkpoint(),
            opening: self.log.incarnation(),
        }
    }

    /// Gives the time of each group's write since the last call, in microseconds, oldest first; at most
    /// `WRITE_TIMES_MAX` are kept.
    pub fn drain_write_times(&mut self, each: &mut dyn FnMut(u64)) {
        self.write_times_us.drain(..).for_each(each);
    }
}
