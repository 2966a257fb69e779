//! The offline tools on real directories: dump, verify, corrupt, repair, and a crash between any two steps of a repair.
#![allow(clippy::unwrap_used)]

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use engine::inspect::{
    Accept, Cause, Kind, Repair, RepairError, Soundness, Step, Target, Verified, corrupt, dump, dump_from, verify,
};
use engine::{
    DirStorage, DumpItem, Index, Logged, Lsn, OpenError, Options, Owner, Place, RecordKind, Rule, Storage, Store,
    Table, UringDisk, Worker,
};
use tempfile::TempDir;
use tokio::sync::Notify;

#[path = "inspect/files.rs"]
mod files;
#[path = "inspect/history.rs"]
mod history;
#[path = "inspect/losses.rs"]
mod losses;

const OWNER: Owner = Owner { role: 1, node: 2, cluster: 3 };
const SEGMENT_BYTES: u64 = 64 << 10;
const SUPERBLOCK_COPY_BYTES: u64 = 64 << 10;
const KINDS: [Kind; 7] =
    [Kind::Bit, Kind::Zero, Kind::Tear, Kind::Swap, Kind::Truncate, Kind::DeleteSegment, Kind::StaleSegment];

/// A node over a directory: a record is a number, a key and its value.
struct Node {
    store: Store<UringDisk>,
    started: Instant,
    replayed: Vec<u64>,
    table: Table,
}

fn apply(table: &Table, at: Place, payload: &Bytes) -> u64 {
    table.apply(at, 9, &payload[8..9], Some(payload.slice(9..)));
    u64::from_le_bytes(payload[..8].try_into().unwrap())
}

impl Node {
    fn open(dir: &Path) -> Result<Node, OpenError> {
        let notify = Arc::new(Notify::new());
        let storage = Arc::new(DirStorage::open(dir)?);
        let disk = UringDisk::new(Arc::clone(&storage), Arc::clone(&notify));
        let options =
            Options { segment_bytes: SEGMENT_BYTES, seal_idle: Duration::from_millis(2), ..Options::new(OWNER) };
        let mut replayed = Vec::new();
        let table = Table::new();
        let mut replay = |at: Logged, payload: Bytes| replayed.push(apply(&table, at.place, &payload));
        let storage: Arc<dyn Storage> = storage;
        let (store, _) = Store::open(options, storage, disk, Worker::inline(), table.clone(), &mut replay)?;
        Ok(Node { store, started: Instant::now(), replayed, table })
    }

    async fn until(&mut self, mut done: impl FnMut(&mut Store<UringDisk>) -> bool) {
        loop {
            self.store.poll(self.started.elapsed().as_micros() as u64).unwrap();
            if done(&mut self.store) {
                return;
            }
            assert!(self.started.elapsed() < Duration::from_secs(20), "nothing came of it");
            tokio::time::sleep(Duration::from_micros(200)).await;
        }
    }

    /// Records `ids`, each durable before the next.
    async fn write(&mut self, ids: std::ops::Range<u64>) {
        for id in ids {
            self.write_key(id, id as u8).await;
        }
    }

    async fn write_key(&mut self, id: u64, key: u8) {
        let value = vec![id as u8 | 1; 3000];
        let payload = Bytes::from([&id.to_le_bytes()[..], &[key], &value].concat());
        let at = self.store.append(&mut |into| into.extend_from_slice(&payload));
        apply(&self.table, at.place, &payload);
        let end = self.store.end();
        self.until(|store| store.durable() >= end).await;
    }

    /// A checkpoint during which everything that it has written about is replaced.
    async fn checkpoint_while(&mut self, next: &mut u64) {
        self.store.checkpoint_begin();
        self.until(|store| !store.checkpoint_slice()).await;
        for key in 0..11 {
            self.write_key(*next, key).await;
            *next += 1;
        }
        self.store.checkpoint_end();
        let before = self.store.stats().checkpoints;
        self.until(|store| store.stats().checkpoints > before).await;
    }

    async fn checkpoint(&mut self) {
        self.store.checkpoint_begin();
        self.until(|store| !store.checkpoint_slice()).await;
        self.store.checkpoint_end();
        let before = self.store.stats().checkpoints;
        self.until(|store| store.stats().checkpoints > before).await;
    }

    async fn close(mut self) {
        self.store.close_start();
        self.until(|store| store.is_closed()).await;
    }
}

/// A log of some segments with a checkpoint in the second and values before it, stopped cleanly.
fn sample() -> (TempDir, PathBuf) {
    let temp = tempfile::tempdir().unwrap();
    let dir = temp.path().join("data");
    tokio_uring::start(async {
        let mut node = Node::open(&dir).unwrap();
        node.write(0..20).await;
        node.checkpoint().await;
        node.write(20..60).await;
        node.close().await;
    });
    (temp, dir)
}

fn replayed(dir: &Path) -> Result<Vec<u64>, OpenError> {
    tokio_uring::start(async { Node::open(dir).map(|node| node.replayed) })
}

fn check(dir: &Path) -> Verified {
    verify(dir, &mut |_, _| Ok(Vec::new()), &mut |_| ()).unwrap()
}

/// Where the log ends.
fn tail(dir: &Path) -> Lsn {
    check(dir).tail.expect("recovery comes to an end")
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let path = entry.unwrap().path();
        // Space that was set aside is no part of the log.
        if is_set_aside(&path) {
            continue;
        }
        fs::copy(&path, to.join(path.file_name().unwrap())).unwrap();
    }
}

/// The content of every file, to see that nothing was written.
fn content(dir: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let mut all: Vec<_> = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path()).collect();
    all.retain(|path| !is_set_aside(path));
    all.sort();
    all.into_iter().map(|path| (path.clone(), fs::read(path).unwrap())).collect()
}

fn is_set_aside(path: &Path) -> bool {
    path.extension().is_some_and(|extension| extension == "new")
}

fn ids(items: impl Iterator<Item = DumpItem>) -> BTreeSet<u64> {
    items
        .filter_map(|item| match item {
            DumpItem::Record { kind: RecordKind::Owner, payload, .. } => {
                Some(u64::from_le_bytes(payload[..8].try_into().unwrap()))
            }
            DumpItem::Record { .. } | DumpItem::Group(_) | DumpItem::Skipped(_) | DumpItem::Torn(_) => None,
        })
        .collect()
}

fn groups(dir: &Path) -> Vec<(Lsn, Lsn)> {
    let of = |item: Result<DumpItem, OpenError>| match item.unwrap() {
        DumpItem::Group(info) => Some((info.lsn, info.end())),
        DumpItem::Record { .. } | DumpItem::Skipped(_) | DumpItem::Torn(_) => None,
    };
    dump(dir).unwrap().filter_map(of).collect()
}

fn everything(dir: &Path) -> Vec<DumpItem> {
    dump_from(dir, Some(Lsn::ZERO)).unwrap().map(Result::unwrap).collect()
}

#[test]
fn a_sound_log_verifies_with_all_its_segments_and_values_and_nothing_is_written() {
    let (_temp, dir) = sample();
    let before = content(&dir);
    let verified = check(&dir);
    assert_eq!(verified.findings, []);
    assert_eq!(verified.soundness, Soundness::Sound);
    assert!(verified.clean && verified.segments >= 4 && verified.values == 20, "{verified:?}");
    assert!(verified.checkpoint.unwrap().0 > SEGMENT_BYTES && verified.groups > 60);
    assert_eq!(content(&dir), before);
    // The whole log, the log since its checkpoint, and a part of it.
    assert_eq!(ids(everything(&dir).into_iter()), (0..60).collect());
    assert_eq!(ids(dump(&dir).unwrap().map(Result::unwrap)), (20..60).collect());
    let groups = groups(&dir);
    let inside = Lsn(groups[30].0.0 + 1);
    let first = dump_from(&dir, Some(inside)).unwrap().next().unwrap().unwrap();
    assert!(matches!(first, DumpItem::Group(info) if info.lsn == groups[30].0));
}

#[test]
fn a_directory_in_use_is_neither_verified_nor_damaged_nor_repaired() {
    let (_temp, dir) = sample();
    tokio_uring::start(async {
        let _node = Node::open(&dir).unwrap();
        let refused = verify(&dir, &mut |_, _| Ok(Vec::new()), &mut |_| ());
        assert!(matches!(refused, Err(OpenError::Locked { .. })));
        assert!(corrupt(&dir, 1, Kind::Bit, &Target::default()).is_err());
        assert!(plan(&dir, Lsn(0)).is_err());
        assert!(dump(&dir).is_ok());
    });
}

#[test]
fn every_kind_of_damage_is_refused_by_recovery_found_by_verify_and_skipped_by_a_dump() {
    let (temp, sound) = sample();
    for (number, kind) in KINDS.into_iter().flat_map(|kind| (0..3).map(move |seed| (seed, kind))).enumerate() {
        let (seed, kind) = kind;
        let dir = temp.path().join(format!("damaged-{number}"));
        copy(&sound, &dir);
        let done = corrupt(&dir, seed, kind, &Target::default()).unwrap();
        let damaged = content(&dir);
        let what = format!("{kind:?} {seed}: {done:?}");
        let verified = check(&dir);
        assert_eq!(verified.soundness, Soundness::Damaged, "{what}");
        assert!(verified.findings.iter().any(|finding| finding.place.file == done.file), "{what} {verified:?}");
        let items = everything(&dir);
        assert!(items.iter().any(|item| matches!(item, DumpItem::Skipped(_))), "{what}");
        let readable = ids(items.into_iter());
        assert!(readable.len() >= 20, "{what}: {readable:?}");
        assert_eq!(content(&dir), damaged, "{what}: nothing is written");
        let refused = replayed(&dir);
        let Err(OpenError::Corrupt { file, .. }) = refused else { panic!("{what} {refused:?}") };
        assert!(verified.findings.iter().any(|finding| finding.place.file == file), "{what} {file}");
        let places: BTreeSet<_> =
            verified.findings.iter().map(|finding| (&finding.place.file, finding.place.offset)).collect();
        assert_eq!(places.len(), verified.findings.len(), "{what}: each place is told once: {verified:?}");
        fs::remove_dir_all(&dir).unwrap();
    }
}

#[test]
fn the_same_seed_does_the_same_and_says_it_exactly() {
    let (temp, sound) = sample();
    for kind in [Kind::Bit, Kind::Zero, Kind::Tear, Kind::Swap] {
        let results = ["one", "two"].map(|name| {
            let dir = temp.path().join(name);
            copy(&sound, &dir);
            let done = corrupt(&dir, 5, kind, &Target::default()).unwrap();
            let after = content(&dir);
            fs::remove_dir_all(&dir).unwrap();
            (done.changes, after.into_iter().map(|(_, bytes)| bytes).collect::<Vec<_>>())
        });
        assert_eq!(results[0], results[1], "{kind:?}");
        let (changes, after) = &results[0];
        let mut expected: Vec<Vec<u8>> = content(&sound).into_iter().map(|(_, bytes)| bytes).collect();
        let file = expected.iter().zip(after).position(|(before, after)| before != after).unwrap();
        for change in changes {
            let range = change.offset as usize..change.offset as usize + change.after.len();
            assert_eq!(expected[file][range.clone()], change.before, "{kind:?}");
            expected[file][range].copy_from_slice(&change.after);
        }
        assert_eq!(&expected, after, "{kind:?}: nothing but what was said has changed");
    }
}

#[test]
fn a_dump_reads_on_past_a_bad_group_and_without_a_superblock() {
    let (_temp, dir) = sample();
    let (bad, end) = groups(&dir)[20];
    let slot_file = |lsn: Lsn| {
        let mut names: Vec<_> = fs::read_dir(&dir).unwrap().map(|entry| entry.unwrap().path()).collect();
        names.retain(|path| path.file_name().unwrap().to_string_lossy().starts_with("segment-"));
        names.into_iter().find(|path| fs::read(path).unwrap()[16..24] == (lsn.0 / SEGMENT_BYTES).to_le_bytes()).unwrap()
    };
    let path = slot_file(bad);
    let file = fs::File::options().read(true).write(true).open(&path).unwrap();
    file.write_all_at(b"damage", bad.0 % SEGMENT_BYTES + 200).unwrap();
    let skipped = |items: &[DumpItem]| -> Vec<(Lsn, Lsn, Cause, bool)> {
        let of = |item: &DumpItem| match item {
            DumpItem::Skipped(place) => Some((place.from, place.to, place.cause, place.resumed)),
            DumpItem::Record { .. } | DumpItem::Group(_) | DumpItem::Torn(_) => None,
        };
        items.iter().filter_map(of).collect()
    };
    let items = everything(&dir);
    assert_eq!(skipped(&items), [(bad, end, Cause::Rule(Rule::DurableDamaged), true)]);
    let lost = 1;
    assert_eq!(ids(items.into_iter()).len(), 60 - lost);

    let superblock = fs::File::options().write(true).open(dir.join("superblock")).unwrap();
    for copy in 0..2 {
        superblock.write_all_at(b"damage", copy * SUPERBLOCK_COPY_BYTES + 30).unwrap();
    }
    let items: Vec<DumpItem> = dump(&dir).unwrap().map(Result::unwrap).collect();
    let causes: Vec<Cause> = skipped(&items).into_iter().map(|(_, _, cause, _)| cause).collect();
    assert_eq!(causes, [Cause::Rule(Rule::SuperblockDamaged), Cause::Rule(Rule::DurableDamaged)]);
    assert_eq!(ids(items.into_iter()).len(), 60 - lost);
    assert_eq!(check(&dir).soundness, Soundness::Damaged);
}

#[test]
fn one_bad_copy_of_the_superblock_is_a_finding_that_the_next_start_mends() {
    let (_temp, dir) = sample();
    for copy in 0..2 {
        let superblock = fs::File::options().write(true).open(dir.join("superblock")).unwrap();
        superblock.write_all_at(b"damage", copy * SUPERBLOCK_COPY_BYTES + 30).unwrap();
        let verified = check(&dir);
        let [finding] = &verified.findings[..] else { panic!("{verified:?}") };
        assert_eq!(finding.place.cause, Cause::Rule(Rule::SuperblockOneCopy));
        assert_eq!(finding.place.offset, copy * SUPERBLOCK_COPY_BYTES);
        assert!(is_sound(&dir));
        assert_eq!(replayed(&dir).unwrap().len(), 40);
        assert_eq!(check(&dir).soundness, Soundness::Sound);
    }
}

#[test]
fn a_damaged_value_before_the_checkpoint_is_found_although_the_log_opens() {
    let (_temp, dir) = sample();
    let first = everything(&dir).into_iter().find_map(|item| match item {
        DumpItem::Record { at, kind: RecordKind::Owner, payload } if payload[..8] == 19_u64.to_le_bytes() => {
            Some(Lsn::from(at.place))
        }
        DumpItem::Record { .. } | DumpItem::Group(_) | DumpItem::Skipped(_) | DumpItem::Torn(_) => None,
    });
    let lsn = first.unwrap();
    let target = Target { file: Some("segment-0001".to_owned()), at: Some(lsn.0 % SEGMENT_BYTES + 100) };
    assert_eq!(lsn.0 / SEGMENT_BYTES, 1);
    corrupt(&dir, 1, Kind::Bit, &target).unwrap();
    let verified = check(&dir);
    let causes: Vec<Cause> = verified.findings.iter().map(|finding| finding.place.cause).collect();
    assert!(causes.contains(&Cause::ValueDamaged) && verified.soundness == Soundness::Damaged, "{verified:?}");
}

#[test]
fn a_torn_tail_is_no_damage() {
    let (_temp, dir) = sample();
    // As a crash leaves it: after the last group, the beginning of one that was never finished.
    let (from, _) = groups(&dir)[40];
    let end = groups(&dir).last().unwrap().1;
    let mut verified = check(&dir);
    assert_eq!(verified.tail, Some(end));
    let storage = DirStorage::open_read_only(&dir).unwrap();
    let slots: Vec<u32> = storage.segments().unwrap().into_keys().collect();
    let holds = |slot: &&u32, index: u64| {
        let mut block = vec![0; 24];
        fs::File::open(storage.segment_name(**slot)).unwrap().read_exact_at(&mut block, 0).unwrap();
        block[16..24] == index.to_le_bytes()
    };
    let name = |lsn: Lsn| storage.segment_name(*slots.iter().find(|slot| holds(slot, lsn.0 / SEGMENT_BYTES)).unwrap());
    let mut head = vec![0; 100];
    fs::File::open(name(from)).unwrap().read_exact_at(&mut head, from.0 % SEGMENT_BYTES).unwrap();
    let file = fs::File::options().write(true).open(name(end)).unwrap();
    // The magic of a group, and a header that does not hold.
    file.write_all_at(&head[..60], end.0 % SEGMENT_BYTES).unwrap();
    verified = check(&dir);
    assert_eq!((verified.soundness, verified.findings.len()), (Soundness::TornTail, 1));
    let place = &verified.findings[0].place;
    assert_eq!((place.from, place.cause), (end, Cause::Rule(Rule::TornTail)));
    assert!(everything(&dir).iter().any(|item| matches!(item, DumpItem::Torn(cut) if cut.from == end)));
    assert!(is_sound(&dir));
    assert_eq!(replayed(&dir).unwrap().len(), 40);
}

#[test]
fn a_busy_log_with_checkpoints_compaction_and_crashes_is_never_found_damaged() {
    let temp = tempfile::tempdir().unwrap();
    let dir = temp.path().join("data");
    let (mut next, mut torn, mut values) = (0, 0, 0);
    for round in 0..24_u64 {
        tokio_uring::start(async {
            let mut node = Node::open(&dir).unwrap();
            for part in 0..3 {
                let count = 5 + (round * 7 + part * 11) % 23;
                // Keys come again soon, later, or never, so that segments empty at different times.
                for id in next..next + count {
                    let key = if id % 3 == 0 { id as u8 } else { (id % 11) as u8 };
                    node.write_key(id, key).await;
                }
                next += count;
                if (round + part) % 2 == 0 {
                    node.checkpoint_while(&mut next).await;
                }
            }
            match round % 3 {
                0 => node.close().await,
                // A crash: nothing is sealed, the last write may be under way.
                1 => drop(node),
                _ => {
                    node.store.append(&mut |into| into.extend_from_slice(&[1; 100]));
                    drop(node);
                }
            }
        });
        let mut owner = |_: Lsn, payload: Bytes| Ok(vec![payload.slice(8..9)]);
        let verified = verify(&dir, &mut owner, &mut |_| ()).unwrap();
        assert!(verified.soundness <= Soundness::TornTail, "round {round}: {verified:?}");
        torn += u64::from(verified.soundness == Soundness::TornTail);
        values += verified.values;
        assert!(!everything(&dir).iter().any(|item| matches!(item, DumpItem::Skipped(_))), "round {round}");
    }
    assert!(values > 500, "{values} values, {torn} torn tails");
}

#[test]
fn a_slice_may_point_into_a_freed_segment_only_if_its_key_was_written_again() {
    let temp = tempfile::tempdir().unwrap();
    let dir = temp.path().join("data");
    tokio_uring::start(async {
        let mut node = Node::open(&dir).unwrap();
        // The first segment holds the first eleven keys and little else.
        for id in 0..18 {
            node.write_key(id, if id < 14 { (id % 11) as u8 } else { 100 }).await;
        }
        node.checkpoint_while(&mut 18).await;
        assert!(node.store.stats().freed > 0);
        node.close().await;
    });
    let verified = verify(&dir, &mut |_, payload| Ok(vec![payload.slice(8..9)]), &mut |_| ()).unwrap();
    assert_eq!(verified.findings, []);
    // To an owner that writes no keys these values are lost.
    let verified = check(&dir);
    assert_eq!(verified.findings[0].place.cause, Cause::Rule(Rule::SegmentUnlisted));
    assert_eq!(replayed(&dir).unwrap().len(), 11);
}

/// The record of a test's owner with which a repaired log begins.
fn acceptance(until: Index) -> Vec<u8> {
    [&999_u64.to_le_bytes()[..], &until.0.to_le_bytes()[..], &[1]].concat()
}

fn accepts(payload: &[u8]) -> Option<Index> {
    let (id, rest) = payload.split_first_chunk()?;
    (u64::from_le_bytes(*id) == 999).then(|| Index(u64::from_le_bytes(*rest.first_chunk().unwrap())))
}

fn plan(dir: &Path, after: Lsn) -> Result<Option<Repair>, RepairError> {
    Repair::plan(dir, Accept::After(after), &mut accepts, &mut |_| ())
}

/// No log comes so far.
const NOWHERE: Lsn = Lsn(u64::MAX);

/// The index of a record that has one.
fn index_of(item: &DumpItem) -> Option<Index> {
    let DumpItem::Record { at, .. } = item else { return None };
    at.position.is_known().then_some(at.position.index)
}

fn is_sound(dir: &Path) -> bool {
    matches!(plan(dir, NOWHERE), Err(RepairError::Sound { .. }))
}

/// Makes a damaged copy of a log, by the first seed whose damage lies past the checkpoint; returns where it can be cut.
fn damaged(sound: &Path, dir: &Path, kind: Kind) -> Lsn {
    for seed in 0..50 {
        copy(sound, dir);
        corrupt(dir, seed, kind, &Target::default()).unwrap();
        match plan(dir, NOWHERE) {
            Err(RepairError::PastDamage { possible, .. }) => return possible,
            Err(RepairError::CheckpointDamaged { .. }) => fs::remove_dir_all(dir).unwrap(),
            other => panic!("{kind:?} {seed}: {:?}", other.map(|repair| repair.is_some())),
        }
    }
    panic!("{kind:?} always hits the checkpoint");
}

#[test]
fn a_crash_between_any_two_steps_of_a_repair_leaves_the_damaged_log_or_the_repaired_one() {
    let (temp, sound) = sample();
    let everything_written = tail(&sound);
    for kind in KINDS {
        let broken = temp.path().join(format!("broken-{kind:?}"));
        let possible = damaged(&sound, &broken, kind);
        let mut expected = None;
        for stop in (0..=Step::ALL.len()).rev() {
            let dir = temp.path().join("case");
            let backup = temp.path().join("case.backup");
            copy(&broken, &dir);
            {
                let mut lost = Vec::new();
                let repair = Repair::plan(&dir, Accept::After(possible), &mut accepts, &mut |item| lost.push(item))
                    .unwrap()
                    .unwrap();
                for step in &Step::ALL[..stop] {
                    repair.apply_step(*step, &backup, "loss-report-9.json", b"{}").unwrap();
                }
            }
            let what = format!("{kind:?} after {:?}", &Step::ALL[..stop]);
            let found = replayed(&dir);
            let expected: &Vec<u64> = expected.get_or_insert_with(|| found.as_ref().unwrap().clone());
            match found {
                Ok(ids) => {
                    assert!(stop > 6, "{what}: opens before it is repaired");
                    assert_eq!(&ids, expected, "{what}");
                    assert!(tail(&dir) > everything_written, "{what}: an LSN comes a second time");
                }
                Err(OpenError::Corrupt { .. }) => assert!(stop <= 6, "{what}"),
                Err(error) => panic!("{what}: {error}"),
            }
            fs::remove_dir_all(&dir).unwrap();
            if backup.exists() {
                assert_eq!(content(&backup).len(), content(&broken).len());
                fs::remove_dir_all(&backup).unwrap();
            }
        }
    }
}

#[test]
fn a_repaired_log_goes_on_past_every_position_that_it_ever_had() {
    let (temp, sound) = sample();
    let dir = temp.path().join("repaired");
    let possible = damaged(&sound, &dir, Kind::Bit);
    let end = groups(&sound).last().unwrap().1;
    let everything_given_out: Vec<Index> =
        dump(&sound).unwrap().map(Result::unwrap).filter_map(|item| index_of(&item)).collect();
    let backup = temp.path().join("repaired.backup");
    let mut lost = Vec::new();
    let mut repair =
        Repair::plan(&dir, Accept::After(possible), &mut accepts, &mut |item| lost.push(item)).unwrap().unwrap();
    let made = repair.plan_made().clone();
    assert!(made.keep_to == possible && made.goes_on_at > end && made.damage.is_some());
    repair.begin_with(&acceptance(made.goes_on_with));
    repair.apply(&backup, "loss-report-3.json", b"{}", &mut |_| ()).unwrap();
    drop(repair);
    assert_eq!(fs::read(dir.join("loss-report-3.json")).unwrap(), b"{}");
    assert_eq!(check(&dir).findings, []);
    assert!(is_sound(&dir));
    assert!(plan(&dir, possible).unwrap().is_none(), "a second time there is nothing to repair");
    let of_records =
        |dir: &Path| dump(dir).unwrap().map(Result::unwrap).filter_map(|item| index_of(&item)).collect::<Vec<_>>();
    let indices = of_records(&dir);
    let (resumed, before) = indices.split_last().unwrap();
    assert_eq!(*resumed, made.goes_on_with);
    assert!(
        before.iter().max() < everything_given_out.iter().max() && *resumed > *everything_given_out.last().unwrap()
    );
    let mut kept = ids(dump(&dir).unwrap().map(Result::unwrap));
    assert!(kept.remove(&999));
    let dropped = ids(lost.into_iter());
    // One group cannot be read: the damaged one.
    assert_eq!(kept.len() + dropped.len() + 1, 40);
    assert!(kept.iter().max() < dropped.iter().min());
    let backup_content: Vec<Vec<u8>> = content(&backup).into_iter().map(|(_, bytes)| bytes).collect();
    assert!(backup_content.iter().any(|bytes| bytes.len() as u64 == SEGMENT_BYTES));

    tokio_uring::start(async {
        let mut node = Node::open(&dir).unwrap();
        kept.insert(999);
        assert_eq!(node.replayed.iter().copied().collect::<BTreeSet<_>>(), kept);
        node.write(100..140).await;
        assert!(node.store.durable() > made.goes_on_at, "{} {}", node.store.durable(), made.goes_on_at);
        node.close().await;
    });
    assert_eq!(check(&dir).findings, []);
    let after = ids(dump(&dir).unwrap().map(Result::unwrap));
    assert_eq!(after, kept.iter().copied().chain(100..140).collect());
    let positions = groups(&dir);
    assert!(positions.iter().all(|&(from, to)| from < possible || to >= made.goes_on_at), "{positions:?}");
}

#[test]
fn a_repair_is_refused_where_it_cannot_help_and_says_what_is_possible() {
    let (temp, sound) = sample();
    let groups = groups(&sound);
    let dir = temp.path().join("damaged");
    damaged(&sound, &dir, Kind::Bit);
    let refused = plan(&dir, Lsn(4096)).map(|repair| repair.is_some());
    let Err(RepairError::BeforeCheckpoint { least, .. }) = refused else { panic!("{refused:?}") };
    assert!(groups.iter().any(|&(_, end)| end == least));
    // An index says nothing of where to cut; what is advised is possible.
    let refused = Repair::plan(&dir, Accept::Until(Index(7)), &mut accepts, &mut |_| ()).map(|repair| repair.is_some());
    let Err(RepairError::Damaged { possible, .. }) = refused else { panic!("{refused:?}") };
    assert!(plan(&dir, possible).unwrap().is_some());
    let dir = temp.path().join("none");
    copy(&sound, &dir);
    let superblock = fs::File::options().write(true).open(dir.join("superblock")).unwrap();
    for copy in 0..2 {
        superblock.write_all_at(b"damage", copy * SUPERBLOCK_COPY_BYTES + 30).unwrap();
    }
    let refused = plan(&dir, NOWHERE).map(|repair| repair.is_some());
    assert!(matches!(refused, Err(RepairError::NoSuperblock(_))), "{refused:?}");

    let dir = temp.path().join("older");
    copy(&sound, &dir);
    fs::remove_file(dir.join("segment-0000")).unwrap();
    let refused = plan(&dir, NOWHERE).map(|repair| repair.is_some());
    assert!(matches!(refused, Err(RepairError::OlderSegment { index: 0, .. })), "{refused:?}");
}
