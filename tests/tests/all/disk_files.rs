//! A log on a real mount whose system calls fail: the real disk, worker and directory code on a file system that fails the
//! nth operation of a kind, loses what was not synced, and is cut off from its power. Once with O_DIRECT, once without.

use engine::{DirStorage, LogError, OpenError, Storage, TableError};
use rustix::io::Errno;
use tests::fuse::{Failing, FaultyFiles, Mounted, OPERATIONS, Operation};
use tests::log_life::{Ended, Life, Promised};
use tests::private_mounts::{Needs, inside};

const FAILINGS: [Failing; 3] = [Failing::With(Errno::IO), Failing::With(Errno::NOSPC), Failing::Short];

fn run<T>(story: impl Future<Output = T>) -> T {
    tokio_uring::start(story)
}

/// A mount point, and the log that lives there.
struct Place {
    files: FaultyFiles,
    folder: tempfile::TempDir,
    mounted: Option<Mounted>,
    promised: Promised,
}

impl Place {
    fn new(takes_direct: bool) -> Self {
        let files = FaultyFiles::new(takes_direct);
        let folder = tempfile::tempdir().expect("a folder");
        let mut place = Self { files, folder, mounted: None, promised: Promised::default() };
        place.mount();
        place
    }

    fn mount(&mut self) {
        self.mounted = Some(self.files.mount(self.folder.path()).expect("a mount"));
    }

    fn cut_power(&mut self, seed: u64) {
        self.mounted = None;
        self.files.cut_power(seed);
        self.mount();
    }

    /// Creation, segments made and used again, checkpoints, a clean stop, a second opening.
    fn live(&mut self) -> Result<(), Ended> {
        let (dir, promised) = (self.folder.path(), &mut self.promised);
        run(async {
            let mut life = Life::open(dir, promised)?;
            life.write(60, promised).await?;
            life.close(promised).await?;
            let mut life = Life::open(dir, promised)?;
            life.write(30, promised).await?;
            life.close(promised).await
        })
    }

    fn open(&mut self) -> Result<Life, Ended> {
        Life::open(self.folder.path(), &mut self.promised)
    }

    /// A process starts anew where the last one failed, and does nothing or something (or there is none), then the power
    /// goes: what was acknowledged, and what the restart handed out, is there, and the log goes on.
    fn recovers(&mut self, seed: u64) {
        self.files.heal();
        let (dir, promised) = (self.folder.path(), &mut self.promised);
        let groups = [None, Some(0), Some(25)][seed as usize % 3];
        if let Some(groups) = groups {
            run(async { Life::open(dir, promised)?.write(groups, promised).await })
                .expect("it opens after the failure");
        }
        self.cut_power(seed);
        let (dir, promised) = (self.folder.path().to_owned(), &mut self.promised);
        run(async {
            let mut life = Life::open(&dir, promised)?;
            life.write(6, promised).await?;
            life.close(promised).await
        })
        .expect("it goes on after the power cut");
        self.cut_power(seed + 1);
        let life = run(async { self.open().map(|life| life.report) }).expect("it opens after the clean stop");
        assert!(life.clean && life.direct != self.files.refuses_direct());
    }
}

/// How many operations of each kind a life has.
fn counts(takes_direct: bool) -> Vec<(Operation, u64)> {
    let mut place = Place::new(takes_direct);
    place.live().expect("nothing fails");
    let counts: Vec<_> = OPERATIONS.iter().map(|&operation| (operation, place.files.count(operation))).collect();
    place.recovers(1);
    counts
}

/// Fails operations of a life, one a life: of each kind the first `first` and then every `stride`th.
fn sweep(takes_direct: bool, first: u64, stride: usize) {
    let (mut lives, mut stopped, mut refused) = (0, 0, 0);
    for (operation, count) in counts(takes_direct) {
        let positions = (1..=count.min(first)).chain((first + 1..=count).step_by(stride));
        for (at, nth) in positions.enumerate() {
            let all = if stride == 1 { 0..FAILINGS.len() } else { at % FAILINGS.len()..at % FAILINGS.len() + 1 };
            for failing in &FAILINGS[all] {
                let mut place = Place::new(takes_direct);
                place.files.fail(operation, nth, *failing);
                lives += 1;
                match place.live() {
                    Ok(()) => {}
                    Err(Ended::Stopped(_)) => stopped += 1,
                    Err(Ended::Refused(_) | Ended::Unreadable(_)) => refused += 1,
                }
                place.recovers(nth);
            }
        }
    }
    println!("direct={takes_direct}: {lives} lives, {stopped} stopped, {refused} refused to open");
    assert!(stopped > 0 && refused > 0);
}

#[test]
fn a_group_whose_sync_failed_is_not_handed_out_from_the_page_cache() {
    let name = "disk_files::a_group_whose_sync_failed_is_not_handed_out_from_the_page_cache";
    if !inside(name, Needs::Fuse) {
        return;
    }
    for takes_direct in [false, true] {
        let mut place = Place::new(takes_direct);
        let (dir, promised, files) = (place.folder.path(), &mut place.promised, &place.files);
        let stopped = run(async {
            let mut life = Life::open(dir, promised)?;
            life.write(5, promised).await?;
            life.rest(promised).await?;
            // The disk loses what it is told to make durable, and the page cache still has it.
            files.fail(Operation::Sync, 1, Failing::With(Errno::IO));
            life.write(1, promised).await
        });
        let Err(Ended::Stopped(LogError::Write { file, advice, .. })) = stopped else { panic!("{stopped:?}") };
        assert!(file.ends_with("segment-0000") && advice.contains("dmesg"), "{file}: {advice}");
        let acknowledged = place.promised.acknowledged;
        run(async { place.open().map(drop) }).expect("it opens");
        assert_eq!(place.promised.acknowledged, acknowledged, "direct={takes_direct}: this is not on the disk");
    }
}

#[test]
fn a_read_that_fails_at_the_start_is_named_and_is_no_damage() {
    if !inside("disk_files::a_read_that_fails_at_the_start_is_named_and_is_no_damage", Needs::Fuse) {
        return;
    }
    for takes_direct in [true, false] {
        let mut place = Place::new(takes_direct);
        place.live().expect("nothing fails");
        let before = place.files.count(Operation::Read);
        run(async { place.open().map(drop) }).expect("it opens");
        let reads = place.files.count(Operation::Read) - before;
        let mut refused = 0;
        for nth in 1..=reads {
            place.cut_power(nth);
            // The first attempt and the second one.
            place.files.fail_on(Operation::Read, nth, Failing::With(Errno::IO));
            match run(async { place.open().map(drop) }) {
                Err(Ended::Refused(error)) => {
                    let said = error.to_string();
                    assert!(matches!(error, OpenError::Io { .. }) && error.is_disk_failure(), "{said}");
                    assert!(said.contains("offset ") && said.contains("reading"), "{said}");
                    refused += 1;
                }
                // Files that the log does not use need not be readable, nor values that nobody asks for.
                Ok(()) | Err(Ended::Unreadable(_)) => {}
                Err(Ended::Stopped(error)) => panic!("{error}"),
            }
            place.files.heal();
        }
        assert!(refused > 2, "{refused} of {reads}");
        run(async { place.open().map(drop) }).expect("a disk that can be read again opens");
    }
}

#[test]
fn a_value_that_cannot_be_read_is_named_and_ends_nothing() {
    if !inside("disk_files::a_value_that_cannot_be_read_is_named_and_ends_nothing", Needs::Fuse) {
        return;
    }
    let mut place = Place::new(true);
    let (dir, promised, files) = (place.folder.path(), &mut place.promised, &place.files);
    run(async {
        let mut life = Life::open(dir, promised)?;
        life.write(10, promised).await?;
        files.fail_on(Operation::Read, 1, Failing::With(Errno::IO));
        let TableError::Corrupt { file, reason, .. } = life.read().expect_err("the disk cannot read");
        assert!(file.contains("segment-") && reason.contains("Input/output error"), "{file}: {reason}");
        files.heal();
        life.read().expect("the disk can read again");
        life.write(1, promised).await
    })
    .expect("the log goes on");
}

#[test]
fn the_name_of_a_segment_is_durable_before_the_segment_is_used() {
    if !inside("disk_files::the_name_of_a_segment_is_durable_before_the_segment_is_used", Needs::Fuse) {
        return;
    }
    for seed in 0..16 {
        let mut place = Place::new(true);
        let open = |place: &Place| DirStorage::open(place.folder.path()).expect("a directory");
        let storage = open(&place);
        // Its own second attempt, where space came back.
        place.files.fail(Operation::SyncDirectory, 1, Failing::With(Errno::NOSPC));
        storage.segment_create(0, 64 << 10).expect_err("the directory cannot be synced");
        storage.segment_create(0, 64 << 10).expect("now it can");
        drop(storage);
        place.cut_power(seed);
        let storage = open(&place);
        assert!(storage.segments().expect("a list").contains_key(&0), "seed {seed}: the file has gone");
        // The next process finds a file that the one before could not finish.
        place.files.fail(Operation::SyncDirectory, 1, Failing::With(Errno::IO));
        storage.segment_create(1, 64 << 10).expect_err("the directory cannot be synced");
        drop(storage);
        let storage = open(&place);
        let is_there = storage.segments().expect("a list").contains_key(&1);
        drop(storage);
        place.cut_power(seed);
        let still_is = open(&place).segments().expect("a list").contains_key(&1);
        assert!(is_there && still_is, "seed {seed}: {is_there}, then {still_is}");
    }
}

#[test]
fn a_failed_system_call_loses_nothing_with_o_direct() {
    if inside("disk_files::a_failed_system_call_loses_nothing_with_o_direct", Needs::Fuse) {
        sweep(true, 6, 23);
    }
}

#[test]
fn a_failed_system_call_loses_nothing_without_o_direct() {
    if inside("disk_files::a_failed_system_call_loses_nothing_without_o_direct", Needs::Fuse) {
        sweep(false, 6, 23);
    }
}

#[test]
#[ignore = "long: every system call of a life, each in three ways; run in release mode"]
fn every_failed_system_call_loses_nothing_with_o_direct() {
    if inside("disk_files::every_failed_system_call_loses_nothing_with_o_direct", Needs::Fuse) {
        sweep(true, 0, 1);
    }
}

#[test]
#[ignore = "long: every system call of a life, each in three ways; run in release mode"]
fn every_failed_system_call_loses_nothing_without_o_direct() {
    if inside("disk_files::every_failed_system_call_loses_nothing_without_o_direct", Needs::Fuse) {
        sweep(false, 0, 1);
    }
}
