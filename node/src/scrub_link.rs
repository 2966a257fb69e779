//! What the scrubbing thread and the ring thread tell each other: which segments are sealed, what was found, how far it is.
//!
//! Invariant: the ring thread only ever looks at a flag and takes a short lock; the scrubbing thread waits for it, not the
//! other way round. Not here: reading (`scrub`).

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use engine::{Damage, Disk, SealedSegments, SegmentPlace, Store};
use tokio::sync::Notify;

/// Damage in a segment.
pub(crate) struct Finding {
    pub(crate) damage: Damage,
    /// Whether the disk gives the segment's bytes at all.
    pub(crate) is_readable: bool,
}

/// How far scrubbing is, since the node's start.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct ScrubFigures {
    pub(crate) bytes: u64,
    pub(crate) passes: u64,
    /// Damaged places that were reported, each counted once.
    pub(crate) findings: u64,
    /// Further ones that the last pass found, only counted.
    pub(crate) unlisted: u64,
}

/// The link between the two threads.
pub(crate) struct ScrubLink {
    wake: Arc<Notify>,
    /// Something is in `shared` for the ring thread.
    calling: AtomicBool,
    shared: Mutex<Shared>,
    changed: Condvar,
    bytes: AtomicU64,
    passes: AtomicU64,
    findings: AtomicU64,
    unlisted: AtomicU64,
}

#[derive(Default)]
struct Shared {
    asked: bool,
    answer: Option<SealedSegments>,
    /// Segments with damage that the store does not know of yet, and whether they can be read. One entry a segment.
    damaged: BTreeMap<SegmentPlace, bool>,
    closed: bool,
}

impl ScrubLink {
    /// A link to the ring thread that `wake` wakes.
    pub(crate) fn new(wake: Arc<Notify>) -> Self {
        Self {
            wake,
            calling: AtomicBool::new(false),
            shared: Mutex::default(),
            changed: Condvar::new(),
            bytes: AtomicU64::new(0),
            passes: AtomicU64::new(0),
            findings: AtomicU64::new(0),
            unlisted: AtomicU64::new(0),
        }
    }

    fn shared(&self) -> MutexGuard<'_, Shared> {
        self.shared.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn call(&self) {
        self.calling.store(true, Ordering::Release);
        self.wake.notify_one();
    }

    /// The ring thread's part of a turn: answers, and tells the store what was found.
    pub(crate) fn serve<D: Disk>(&self, store: &mut Store<D>) {
        if !self.calling.load(Ordering::Relaxed) || !self.calling.swap(false, Ordering::Acquire) {
            return;
        }
        let mut shared = self.shared();
        for (place, is_readable) in std::mem::take(&mut shared.damaged) {
            store.damage_found(place, is_readable);
        }
        if std::mem::take(&mut shared.asked) {
            shared.answer = Some(store.sealed_segments());
            self.changed.notify_all();
        }
    }

    #[cfg(test)]
    pub(crate) fn is_calling(&self) -> bool {
        self.calling.load(Ordering::Relaxed)
    }

    /// Asks the ring thread for the segments of the log as they are now. `None` if the node is stopping.
    pub(crate) fn ask(&self) -> Option<SealedSegments> {
        let mut shared = self.shared();
        shared.asked = true;
        shared.answer = None;
        self.call();
        while !shared.closed {
            if let Some(answer) = shared.answer.take() {
                return Some(answer);
            }
            shared = self.changed.wait(shared).unwrap_or_else(PoisonError::into_inner);
        }
        None
    }

    /// Waits. `None`, at once, if the node is stopping.
    pub(crate) fn pause(&self, pause: Duration) -> Option<()> {
        let until = Instant::now() + pause;
        let mut shared = self.shared();
        while !shared.closed {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Some(());
            }
            (shared, _) = self.changed.wait_timeout(shared, left).unwrap_or_else(PoisonError::into_inner);
        }
        None
    }

    /// Tells the store that a segment is damaged, and counts the place.
    pub(crate) fn report(&self, place: SegmentPlace, is_readable: bool) {
        self.findings.fetch_add(1, Ordering::Relaxed);
        self.tell(place, is_readable);
    }

    /// Tells the store that a segment is damaged.
    pub(crate) fn tell(&self, place: SegmentPlace, is_readable: bool) {
        *self.shared().damaged.entry(place).or_insert(true) &= is_readable;
        self.call();
    }

    pub(crate) fn add_bytes(&self, bytes: u64) {
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    /// A pass has ended, which found so many damaged places that were only counted.
    pub(crate) fn pass_ended(&self, unlisted: u64) {
        self.unlisted.store(unlisted, Ordering::Relaxed);
        self.passes.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn figures(&self) -> ScrubFigures {
        ScrubFigures {
            bytes: self.bytes.load(Ordering::Relaxed),
            passes: self.passes.load(Ordering::Relaxed),
            findings: self.findings.load(Ordering::Relaxed),
            unlisted: self.unlisted.load(Ordering::Relaxed),
        }
    }

    /// The node is stopping: whoever waits goes home.
    pub(crate) fn close(&self) {
        self.shared().closed = true;
        self.changed.notify_all();
    }
}
