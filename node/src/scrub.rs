//! Scrubbing: reads the sealed segments of the log from the disk, slowly and again and again, so that damage is found
//! before the bytes are needed.
//!
//! Invariants: it runs in a thread of its own with files of its own, never waits on the ring thread's behalf and never
//! writes; it reads no faster than it is told; a place is reported once, and only if its segment was still part of the log
//! after it was read, for a freed file may hold anything. Not here: what a sound segment is (`engine`'s `SegmentCheck`),
//! what a finding leads to (`engine`'s `Store::damage_found`).

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use engine::limits::BLOCK_BYTES;
use engine::{Buffer, Damage, SealedSegments, SegmentEnd, SegmentPlace, SegmentReader};

use crate::config::NodeConfig;
use crate::error::NodeError;
use crate::limits::{
    SCRUB_FINDINGS_MAX, SCRUB_PIECE_BYTES, SCRUB_SEGMENT_FINDINGS_MAX, SCRUB_START_DELAY_MAX, SCRUB_TELL_EVERY,
};
use crate::scrub_link::{Finding, ScrubLink};

/// Starts to scrub the log of `config`, unless it says not to.
///
/// The thread ends by itself when the link is closed. Nobody waits for it: a read that hangs on a bad disk must not hold
/// up the end of a node that has to say so.
pub(crate) fn start(config: &NodeConfig, link: &Arc<ScrubLink>) -> Result<(), NodeError> {
    if config.scrub_bytes_per_second == 0 {
        return Ok(());
    }
    let spawned = Scrubber::new(config, link).spawn();
    spawned.map_err(|source| NodeError::System { what: "a thread for scrubbing", source })
}

struct Scrubber {
    data: PathBuf,
    bytes_per_second: u64,
    pause: Duration,
    link: Arc<ScrubLink>,
    buffer: Buffer,
    /// Ends of segments that were named while the segment after them was still there.
    ends: BTreeMap<u64, SegmentEnd>,
    /// Places that were reported: segment index and offset.
    reported: BTreeSet<(u64, u64)>,
    /// Damaged places of this pass that were only counted.
    unlisted: u64,
    untold: Untold,
}

/// Passes that the log does not tell of yet.
#[derive(Default)]
struct Untold {
    passes: u64,
    segments: u64,
    bytes: u64,
    /// When one was told of last.
    since: Option<Instant>,
}

/// What a segment showed.
#[derive(Default)]
struct Shown {
    findings: Vec<Finding>,
    /// Those beyond what is kept.
    more: u64,
}

impl Shown {
    fn take(&mut self, finding: Finding) {
        if self.findings.len() < SCRUB_SEGMENT_FINDINGS_MAX {
            self.findings.push(finding);
        } else {
            self.more += 1;
        }
    }
}

impl Scrubber {
    fn new(config: &NodeConfig, link: &Arc<ScrubLink>) -> Scrubber {
        Scrubber {
            data: config.data.clone(),
            bytes_per_second: config.scrub_bytes_per_second,
            pause: config.scrub_pause,
            link: Arc::clone(link),
            buffer: Buffer::zeroed(0),
            ends: BTreeMap::new(),
            reported: BTreeSet::new(),
            unlisted: 0,
            untold: Untold::default(),
        }
    }

    fn spawn(self) -> io::Result<()> {
        std::thread::Builder::new().name("scrub".to_owned()).spawn(move || self.run()).map(drop)
    }

    fn run(mut self) {
        let mut pause = self.pause.min(SCRUB_START_DELAY_MAX);
        while self.link.pause(pause).is_some() && self.pass().is_some() {
            pause = self.pause;
        }
    }

    /// Reads all sealed segments once. `None` if the node is stopping.
    fn pass(&mut self) -> Option<()> {
        let mut after = None;
        let before = self.link.figures();
        self.unlisted = 0;
        let sealed = loop {
            let sealed = self.link.ask()?;
            let Some(place) = sealed.next(after) else { break sealed };
            after = Some(place.index);
            self.untold.segments += 1;
            self.untold.bytes += sealed.segment_bytes();
            let shown = self.read(&sealed, place)?;
            if !shown.findings.is_empty() && self.link.ask()?.holds(place) {
                self.report(place, shown);
            }
        };
        self.ends.retain(|&index, _| sealed.lists(index));
        self.reported.retain(|&(index, _)| sealed.lists(index));
        self.link.pass_ended(self.unlisted);
        let findings = self.link.figures().findings;
        self.untold.passes += 1;
        self.tell(findings - before.findings, findings, self.unlisted != before.unlisted);
        if self.unlisted > 0 && self.unlisted != before.unlisted {
            tracing::error!(
                listed = self.reported.len(),
                unlisted = self.unlisted,
                "more of the log is damaged than is listed place by place: look at the disk, and replace it"
            );
        }
        Some(())
    }

    /// Tells of a pass that found something new at once, and of others at most once in a while.
    fn tell(&mut self, new_findings: u64, findings: u64, is_news: bool) {
        let now = Instant::now();
        let since = self.untold.since;
        let is_due = since.is_none_or(|since| now.duration_since(since) >= SCRUB_TELL_EVERY);
        if new_findings == 0 && !is_news && !is_due {
            return;
        }
        let Untold { passes, segments, bytes, .. } =
            std::mem::replace(&mut self.untold, Untold { since: Some(now), ..Untold::default() });
        tracing::info!(
            passes,
            segments,
            bytes,
            seconds = since.map(|since| now.duration_since(since).as_secs()),
            new_findings,
            findings,
            unlisted = self.unlisted,
            "the sealed segments of the log were read again"
        );
    }

    /// Reads one segment at the given pace. `None` if the node is stopping.
    fn read(&mut self, sealed: &SealedSegments, place: SegmentPlace) -> Option<Shown> {
        let mut shown = Shown::default();
        if let Err((offset, error)) = self.read_pieces(sealed, place, &mut shown)? {
            shown.take(unreadable(sealed, place, offset, &error));
        }
        Some(shown)
    }

    fn read_pieces(
        &mut self,
        sealed: &SealedSegments,
        place: SegmentPlace,
        shown: &mut Shown,
    ) -> Option<Result<(), (u64, io::Error)>> {
        let mut reader = match SegmentReader::open(&self.data, place.slot) {
            Ok(reader) => reader,
            Err(error) => return Some(Err((0, error))),
        };
        let mut check = sealed.check(place, self.end_of(sealed, place));
        let mut take = |damage| shown.take(Finding { damage, is_readable: true });
        let mut offset = 0;
        while offset < sealed.segment_bytes() {
            let started = Instant::now();
            let length = (sealed.segment_bytes() - offset).min(SCRUB_PIECE_BYTES as u64);
            if let Err(error) = reader.read(offset, self.buffer_of(length as usize)) {
                return Some(Err((offset, error)));
            }
            check.feed(self.buffer.content(), &mut take);
            self.link.add_bytes(length);
            offset += length;
            let due = Duration::from_secs_f64(length as f64 / self.bytes_per_second as f64);
            self.link.pause(due.saturating_sub(started.elapsed()))?;
        }
        check.finish(&mut take);
        Some(Ok(()))
    }

    fn buffer_of(&mut self, length: usize) -> &mut Buffer {
        if self.buffer.len() != length {
            self.buffer = Buffer::zeroed(length);
        }
        &mut self.buffer
    }

    /// Where the segment ends, if that can be known. A header that cannot be read is found in its own segment's turn.
    fn end_of(&mut self, sealed: &SealedSegments, place: SegmentPlace) -> Option<SegmentEnd> {
        if let Some(end) = self.ends.get(&place.index) {
            return Some(*end);
        }
        let successor = sealed.successor(place)?;
        let mut reader = SegmentReader::open(&self.data, successor.slot).ok()?;
        let block = self.buffer_of(BLOCK_BYTES);
        reader.read(0, block).ok()?;
        let end = sealed.end_of(place, successor, block.content())?;
        self.ends.insert(place.index, end);
        Some(end)
    }

    fn report(&mut self, place: SegmentPlace, shown: Shown) {
        let file = SegmentReader::path_of(&self.data, place.slot);
        let mut is_new = false;
        for finding in shown.findings {
            let key = (place.index, finding.damage.offset);
            if self.reported.contains(&key) {
                continue;
            }
            if self.reported.len() >= SCRUB_FINDINGS_MAX {
                self.unlisted += 1;
                self.link.tell(place, finding.is_readable);
                continue;
            }
            self.reported.insert(key);
            is_new = true;
            let Damage { offset, from, to, reason } = &finding.damage;
            tracing::error!(
                file = %file.display(),
                offset,
                lsn = %from,
                to_lsn = %to,
                reason,
                "acknowledged data is damaged on the disk; a checkpoint is made so that the next start does not need it, \
                 and values that are lost are named: look at the disk, and replace it"
            );
            self.link.report(place, finding.is_readable);
        }
        self.unlisted += shown.more;
        if is_new && shown.more > 0 {
            tracing::error!(
                segment = place.index,
                places = shown.more,
                "more of the segment is damaged than is listed"
            );
        }
    }
}

fn unreadable(sealed: &SealedSegments, place: SegmentPlace, offset: u64, error: &io::Error) -> Finding {
    let (from, to) = (sealed.position(place, offset), sealed.position(place, sealed.segment_bytes()));
    let reason = format!("the file cannot be read: {error}");
    Finding { damage: Damage { offset, from, to, reason }, is_readable: false }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use engine::memory::{Memory, MemoryDisk};
    use engine::{Options, Owner, Store, Table, Worker};
    use tempfile::TempDir;
    use tokio::sync::Notify;

    use super::*;
    use crate::scrub_link::ScrubFigures;

    const SEGMENT_BYTES: u64 = 64 << 10;

    /// A log in memory, whose sealed segments lie in files too, and who scrubs them.
    struct Rig {
        store: Store<MemoryDisk>,
        now_us: u64,
        memory: Memory,
        folder: TempDir,
        link: Arc<ScrubLink>,
    }

    impl Rig {
        fn new() -> Rig {
            let options =
                Options { segment_bytes: SEGMENT_BYTES, ..Options::new(Owner { role: 1, node: 1, cluster: 1 }) };
            let memory = Memory::new();
            let (storage, disk) = (memory.storage(), memory.disk());
            let (store, _) =
                Store::open(options, storage, disk, Worker::inline(), Table::new(), &mut |_, _| ()).unwrap();
            let link = Arc::new(ScrubLink::new(Arc::new(Notify::new())));
            let mut rig = Rig { store, now_us: 0, memory, folder: TempDir::new().unwrap(), link };
            while rig.places().len() < 3 {
                rig.store.append(&mut |into| into.extend_from_slice(&[7; 3000]));
                rig.poll();
            }
            for place in rig.places() {
                let bytes = rig.memory.edit_segment(place.slot, |bytes| bytes.clone()).unwrap();
                fs::write(SegmentReader::path_of(rig.folder.path(), place.slot), bytes).unwrap();
            }
            rig
        }

        fn poll(&mut self) {
            self.now_us += 1_000;
            self.store.poll(self.now_us).unwrap();
        }

        fn places(&self) -> Vec<SegmentPlace> {
            let sealed = self.store.sealed_segments();
            std::iter::successors(sealed.next(None), |place| sealed.next(Some(place.index))).take(3).collect()
        }

        fn config(&self, scrub_bytes_per_second: u64) -> NodeConfig {
            let mut config = crate::Config::new(protocol::Role::Participant).node;
            config.data = self.folder.path().to_owned();
            (config.scrub_bytes_per_second, config.scrub_pause) = (scrub_bytes_per_second, Duration::from_millis(1));
            config
        }

        fn start(&self, scrub_bytes_per_second: u64) {
            start(&self.config(scrub_bytes_per_second), &self.link).unwrap();
        }

        fn path(&self, at: usize) -> PathBuf {
            SegmentReader::path_of(self.folder.path(), self.places()[at].slot)
        }

        /// One file with a bad bit, one that is too short, one that is missing.
        fn damage(&self) {
            let mut bytes = fs::read(self.path(0)).unwrap();
            bytes[20_000] ^= 4;
            fs::write(self.path(0), &bytes).unwrap();
            fs::write(self.path(1), &bytes[..8192]).unwrap();
            fs::remove_file(self.path(2)).unwrap();
        }

        /// Serves until so many passes have ended.
        fn passes(&mut self, passes: u64) -> ScrubFigures {
            let patience = Instant::now() + Duration::from_secs(30);
            while self.link.figures().passes < passes {
                assert!(Instant::now() < patience, "{:?}", self.link.figures());
                self.link.serve(&mut self.store);
                std::thread::sleep(Duration::from_micros(100));
            }
            self.link.figures()
        }
    }

    impl Drop for Rig {
        fn drop(&mut self) {
            self.link.close();
        }
    }

    #[test]
    fn a_pass_takes_as_long_as_its_rate_says_and_finds_nothing_in_sound_files() {
        let mut rig = Rig::new();
        let started = Instant::now();
        rig.start(10 * SEGMENT_BYTES);
        let figures = rig.passes(1);
        assert_eq!(figures, ScrubFigures { bytes: 3 * SEGMENT_BYTES, passes: 1, ..ScrubFigures::default() });
        assert!(started.elapsed() >= Duration::from_millis(300), "{:?}", started.elapsed());
    }

    #[test]
    fn a_damaged_a_short_and_a_missing_file_are_each_reported_once_and_make_a_checkpoint_due() {
        let mut rig = Rig::new();
        rig.damage();
        assert!(!rig.store.checkpoint_due());
        rig.start(1 << 30);
        let figures = rig.passes(4);
        assert_eq!((figures.findings, figures.unlisted), (3, 0));
        assert!(rig.store.checkpoint_due());
    }

    #[test]
    fn damage_beyond_the_places_that_are_kept_is_counted_and_makes_a_checkpoint_due_all_the_same() {
        for free in [0, 1] {
            let mut rig = Rig::new();
            rig.damage();
            let mut scrubber = Scrubber::new(&rig.config(1 << 30), &rig.link);
            // Of a segment that stays; where no group starts.
            let kept = (1..=(SCRUB_FINDINGS_MAX - free) as u64).map(|number| (rig.places()[0].index, number));
            scrubber.reported = kept.collect();
            scrubber.spawn().unwrap();
            let figures = rig.passes(3);
            assert_eq!((figures.findings, figures.unlisted), (free as u64, 3 - free as u64));
            assert!(rig.store.checkpoint_due());
        }
    }

    #[test]
    fn a_segment_that_was_freed_while_it_was_read_is_no_finding() {
        let mut rig = Rig::new();
        for place in rig.places() {
            fs::remove_file(SegmentReader::path_of(rig.folder.path(), place.slot)).unwrap();
        }
        rig.start(1 << 30);
        // The thread is told of the segments as they are before the checkpoint that frees them.
        let before = rig.store.sealed_segments();
        let places = rig.places();
        let patience = Instant::now() + Duration::from_secs(30);
        while !rig.link.is_calling() {
            assert!(Instant::now() < patience);
            std::thread::yield_now();
        }
        rig.link.serve(&mut rig.store);
        rig.store.checkpoint_begin();
        while rig.store.checkpoint_slice() {}
        rig.store.checkpoint_end();
        while rig.store.stats().freed < 3 {
            rig.poll();
        }
        assert!(places.iter().all(|place| before.holds(*place) && !rig.store.sealed_segments().holds(*place)));
        assert_eq!(rig.passes(2).findings, 0);
    }
}
