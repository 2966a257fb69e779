//! Operations that are not done at once: long scans go on in slices, between whatever else there is to do.
//!
//! Invariants:
//! - a transaction that waits for its turn holds its locks; it stands in one queue, once;
//! - the first slice of each comes before the second of any, so that a short scan does not wait behind long ones; of
//!   those that are long the oldest goes on to its end, so that some end in time;
//! - nothing is begun, or gone on with, whose coordinator is not connected or whose answer is of no use any more.

use std::collections::VecDeque;

use protocol::message::Prepare;
use protocol::{Effects, Link, NodeId, Reason, Tick, TxnId};

use crate::active::{Active, Again, Prepared, Waiting};
use crate::limits::{PARTIAL_BYTES_MAX, SLICE_UNITS, STALL_US};
use crate::machine::Participant;

/// Transactions that hold their locks and wait for their turn.
#[derive(Debug)]
pub(crate) struct Work {
    /// Not begun.
    fresh: VecDeque<TxnId>,
    /// Begun, and long.
    long: VecDeque<TxnId>,
    /// What is left of the slice of this turn.
    units: usize,
    /// When it began: all that a turn takes in has the same time.
    turn: Tick,
    /// The long one whose turn it is, and since when.
    current: Option<(TxnId, Tick)>,
    /// How long a long one takes once it is its turn, smoothed.
    service_us: u64,
    /// Until when nothing goes on, because the answers of the first are not taken.
    stalled_until: Option<Tick>,
}

impl Default for Work {
    fn default() -> Self {
        Self {
            fresh: VecDeque::new(),
            long: VecDeque::new(),
            units: SLICE_UNITS,
            turn: Tick::default(),
            current: None,
            service_us: 0,
            stalled_until: None,
        }
    }
}

impl Work {
    /// What is left of this turn's slice.
    pub(crate) fn units(&mut self) -> &mut usize {
        &mut self.units
    }

    /// A slice for each turn.
    fn begin_turn(&mut self, now: Tick) {
        if self.turn != now {
            self.turn = now;
            self.units = SLICE_UNITS;
        }
    }

    fn begin_slice(&mut self, now: Tick) {
        self.turn = now;
        self.units = SLICE_UNITS;
        self.stalled_until = None;
    }

    /// The one whose turn it is keeps it.
    fn put_off(&mut self, txn: TxnId, has_begun: bool) {
        if self.is_current(txn) {
            self.long.push_front(txn);
        } else if has_begun {
            self.long.push_back(txn);
        } else {
            self.fresh.push_back(txn);
        }
    }

    fn is_current(&self, txn: TxnId) -> bool {
        self.current.is_some_and(|(current, _)| current == txn)
    }

    /// Whose turn it is: half of a slice is for those that have not begun.
    fn next(&self, may_begin: bool) -> Option<TxnId> {
        let (fresh, long) = (self.fresh.front().filter(|_| may_begin), self.long.front());
        let first = if self.units > SLICE_UNITS / 2 { fresh.or(long) } else { long.or(fresh) };
        first.copied()
    }

    /// A transaction that waits no more.
    pub(crate) fn forget(&mut self, txn: TxnId) {
        self.fresh.retain(|other| *other != txn);
        self.long.retain(|other| *other != txn);
        self.current = self.current.filter(|(current, _)| *current != txn);
    }

    fn is_empty(&self) -> bool {
        self.fresh.is_empty() && self.long.is_empty()
    }

    /// Takes a transaction out of its queue for its turn. Since when it is a long one's.
    fn take(&mut self, now: Tick, txn: TxnId) -> Option<Tick> {
        if self.fresh.front() == Some(&txn) {
            self.fresh.pop_front();
            return None;
        }
        assert_eq!(self.long.pop_front(), Some(txn), "whose turn it is stands first");
        if !self.is_current(txn) {
            self.current = Some((txn, now));
        }
        self.current.map(|(_, since)| since)
    }

    /// A long one has ended, done or not.
    fn note_ended(&mut self, now: Tick, since: Tick) {
        let took_us = now.0.saturating_sub(since.0);
        self.service_us = if self.service_us == 0 { took_us } else { (self.service_us * 7 + took_us) / 8 };
        self.current = None;
    }

    /// How long another long one would wait for its turn.
    fn wait_us(&self) -> u64 {
        self.service_us.saturating_mul(self.long.len() as u64)
    }

    /// Whether there is something to go on with.
    pub(crate) fn is_ready(&self) -> bool {
        !self.is_empty() && self.stalled_until.is_none()
    }

    /// When to look again after those whose answers are not taken.
    pub(crate) fn look_at(&self) -> Option<Tick> {
        self.stalled_until.filter(|_| !self.is_empty())
    }
}

impl Participant {
    /// Whether operations that may be long, or whose coordinator takes no more answers, can begin in this turn.
    pub(crate) fn may_begin(&mut self, now: Tick, is_long: bool, link: Link) -> bool {
        if link == Link::Congested {
            return false;
        }
        if !is_long {
            return true;
        }
        self.work.begin_turn(now);
        self.work.units > 0 && self.work.fresh.is_empty() && self.may_hold_more()
    }

    fn may_hold_more(&self) -> bool {
        self.partial_bytes <= PARTIAL_BYTES_MAX
    }

    /// Keeps a transaction for a later turn, unless that is sure to come too late: BUSY, at once.
    pub(crate) fn put_off(&mut self, now: Tick, waiting: Waiting, has_begun: bool, effects: &mut Effects<'_>) {
        let txn = waiting.prepare.txn;
        let waits_us = if self.work.is_current(txn) { 0 } else { self.work.wait_us() };
        if has_begun && now.plus_us(waits_us) > waiting.answer_by {
            return self.refuse(&waiting.prepare, Reason::Busy, effects);
        }
        self.timers.set(waiting.answer_by, txn);
        self.work.put_off(txn, has_begun);
        self.keep(txn, Active::Waiting(Box::new(waiting)));
    }

    /// Gives a vote again when the operations have come to their end again.
    pub(crate) fn put_off_vote(&mut self, mut prepared: Prepared, again: Again, has_begun: bool) {
        let txn = prepared.promise.txn;
        prepared.again = Some(Box::new(again));
        self.work.put_off(txn, has_begun);
        self.keep(txn, Active::Prepared(prepared));
    }

    /// Refuses what holds or waits for locks. Reveals nothing of the data.
    pub(crate) fn refuse(&mut self, prepare: &Prepare, reason: Reason, effects: &mut Effects<'_>) {
        effects.send_now(NodeId::coordinator(prepare.coordinator), &self.vote_no(prepare, reason.into()));
        self.release(prepare.txn);
    }

    /// The next slice.
    pub(crate) fn go_on(&mut self, now: Tick, effects: &mut Effects<'_>) {
        if self.work.is_empty() {
            return;
        }
        self.work.begin_slice(now);
        while self.work.units > 0
            && let Some(txn) = self.work.next(self.may_hold_more())
        {
            let coordinator = self.txns.get(&txn).map(Active::coordinator).expect("what waits for its turn is kept");
            match effects.link(NodeId::coordinator(coordinator)) {
                Link::Congested => return self.work.stalled_until = Some(now.plus_us(STALL_US)),
                Link::Open | Link::Down => self.take_turn(now, txn, effects),
            }
            self.run_granted(now, effects);
        }
    }

    fn take_turn(&mut self, now: Tick, txn: TxnId, effects: &mut Effects<'_>) {
        let since = self.work.take(now, txn);
        match self.take(txn) {
            Some(Active::Waiting(waiting)) => {
                if now >= waiting.answer_by {
                    self.refuse(&waiting.prepare, Reason::Unavailable, effects);
                } else if effects.link(NodeId::coordinator(waiting.prepare.coordinator)) == Link::Down {
                    // It asks again when it is back.
                    self.release(txn);
                } else {
                    self.advance(now, *waiting, effects);
                }
            }
            Some(Active::Prepared(mut prepared)) => match prepared.again.take() {
                Some(again) if effects.link(NodeId::coordinator(prepared.promise.coordinator)) != Link::Down => {
                    self.advance_again(prepared, *again, effects);
                }
                Some(_) | None => self.keep(txn, Active::Prepared(prepared)),
            },
            None => unreachable!("what waits for its turn is kept"),
        }
        if let Some(since) = since
            && self.work.long.front() != Some(&txn)
        {
            self.work.note_ended(now, since);
        }
    }
}
