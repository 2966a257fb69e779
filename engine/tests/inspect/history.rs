//! Logs whose groups contradict each other on which records stand before them, under checksums and chain values that are right:
//! a writer has erred.

use std::fs;
use std::path::{Path, PathBuf};

use engine::inspect::{Cause, RepairError, Soundness};
use engine::{DumpItem, Lsn, OpenError, Rule, dump};
use tempfile::TempDir;

use super::{NOWHERE, Node, SEGMENT_BYTES, check, copy, plan, replayed};

/// Where the header of a group says what it follows, by `FORMAT.md`.
const AT_CHAIN: std::ops::Range<usize> = 40..48;
const AT_INDEX: std::ops::Range<usize> = 64..72;
const AT_HASH: std::ops::Range<usize> = 72..80;
const AT_HEADER_CRC: std::ops::Range<usize> = 84..88;

/// Groups from this one on whose headers are changed before what covers them is made right.
#[derive(Clone, Copy)]
enum Change {
    First,
    Each,
}

/// A log of so many records, with a checkpoint before the first of them that is to be read if there is one.
fn log(checkpoint_at: u64, records: u64) -> (TempDir, PathBuf) {
    let temp = tempfile::tempdir().unwrap();
    let dir = temp.path().join("data");
    tokio_uring::start(async {
        let mut node = Node::open(&dir).unwrap();
        node.write(0..checkpoint_at).await;
        if checkpoint_at > 0 {
            node.checkpoint().await;
        }
        node.write(checkpoint_at..records).await;
        node.close().await;
    });
    (temp, dir)
}

fn number(bytes: &[u8], at: std::ops::Range<usize>) -> u64 {
    bytes[at].iter().rev().fold(0, |number, byte| number << 8 | u64::from(*byte))
}

fn chain_after(head: &[u8]) -> u64 {
    let crcs = number(head, AT_HEADER_CRC) << 32 | number(head, 80..84);
    let x = (number(head, AT_CHAIN).rotate_left(23) ^ crcs).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    x ^ x >> 29
}

fn file_of(dir: &Path, lsn: Lsn) -> PathBuf {
    let mut names = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path());
    let is_it = |path: &PathBuf| {
        let bytes = fs::read(path).unwrap();
        bytes.starts_with(b"asntSEG") && number(&bytes, 16..24) == lsn.0 / SEGMENT_BYTES
    };
    names.find(is_it).unwrap()
}

/// Where the groups of a log lie, and the index that each states.
fn stated(dir: &Path) -> Vec<(Lsn, u64)> {
    let of = |item: DumpItem| match item {
        DumpItem::Group(info) => Some((info.lsn, info.before.index.0)),
        DumpItem::Record { .. } | DumpItem::Skipped(_) | DumpItem::Torn(_) => None,
    };
    dump(dir).unwrap().map(Result::unwrap).filter_map(of).collect()
}

/// Raises a field of the group at `from`, which lies in the last file, or of each group from there on.
fn raise(dir: &Path, from: Lsn, field: std::ops::Range<usize>, change: Change) {
    let path = file_of(dir, from);
    let mut bytes = fs::read(&path).unwrap();
    let mut chain = None;
    for (lsn, _) in stated(dir).into_iter().filter(|(lsn, _)| *lsn >= from) {
        assert_eq!(lsn.0 / SEGMENT_BYTES, from.0 / SEGMENT_BYTES, "the groups behind it lie in one file");
        let head = &mut bytes[(lsn.0 % SEGMENT_BYTES) as usize..][..AT_HEADER_CRC.end];
        if chain.is_none() || matches!(change, Change::Each) {
            let raised = number(head, field.clone()) + 1;
            head[field.clone()].copy_from_slice(&raised.to_le_bytes());
        }
        if let Some(chain) = chain {
            head[AT_CHAIN].copy_from_slice(&u64::to_le_bytes(chain));
        }
        let crc = crc32c::crc32c(&head[..AT_HEADER_CRC.start]);
        head[AT_HEADER_CRC].copy_from_slice(&crc.to_le_bytes());
        chain = Some(chain_after(head));
    }
    fs::write(path, bytes).unwrap();
}

/// What is said of a log in which these groups contradict the ones before.
fn assert_contradicts(dir: &Path, groups: &[Lsn], what: &str) {
    let verified = check(dir);
    assert_eq!(verified.soundness, Soundness::Damaged, "{what}");
    let places = verified.findings.iter().map(|finding| &finding.place);
    let found: Vec<_> = places.map(|place| (place.file.clone(), place.offset, place.from, place.cause)).collect();
    let cause = Cause::Rule(Rule::HistoryContradicts);
    let at = |lsn: &Lsn| (file_of(dir, *lsn).display().to_string(), lsn.0 % SEGMENT_BYTES, *lsn, cause);
    assert_eq!(found, groups.iter().map(at).collect::<Vec<_>>(), "{what}");
    let refused = replayed(dir);
    let Err(OpenError::Corrupt { file, offset, lsn, rule, .. }) = refused else { panic!("{what}: {refused:?}") };
    assert_eq!((file, offset, lsn, Cause::Rule(rule)), at(&groups[0]), "{what}");
}

#[test]
fn a_group_that_does_not_follow_the_records_before_it_is_found_refused_and_cut_off() {
    let (temp, sound) = log(20, 26);
    let groups = stated(&sound);
    let (last, index) = groups[groups.len() - 1];
    let (middle, _) = groups[groups.len() - 4];
    let behind = groups[groups.len() - 3].0;
    let cases = [
        ("another index", middle, AT_INDEX, Change::First, vec![middle, behind]),
        ("another hash", middle, AT_HASH, Change::First, vec![middle, behind]),
        ("an index is left out", middle, AT_INDEX, Change::Each, vec![middle]),
        ("the seal at the end", last, AT_INDEX, Change::First, vec![last]),
    ];
    for (what, at, field, change, contradicting) in cases {
        let dir = temp.path().join(what);
        copy(&sound, &dir);
        raise(&dir, at, field, change);
        assert_contradicts(&dir, &contradicting, what);
        if at == last {
            let reason = &check(&dir).findings[0].place.reason;
            let says =
                |index: u64| reason.contains(&format!("position {index}/")) || reason.contains(&format!("at {index}/"));
            assert!(says(index) && says(index + 1), "{reason}");
        }
        let refused = plan(&dir, NOWHERE).map(|repair| repair.is_some());
        assert!(matches!(&refused, Err(RepairError::PastDamage { possible, .. }) if *possible == at), "{refused:?}");
        let repair = plan(&dir, at).unwrap().unwrap();
        repair.apply(&temp.path().join(format!("{what}.backup")), "loss.json", b"{}", &mut |_| ()).unwrap();
        drop(repair);
        assert_eq!((check(&dir).soundness, replayed(&dir).is_ok()), (Soundness::Sound, true), "{what}");
    }
}

#[test]
fn a_log_whose_first_group_follows_a_record_is_found_and_refused() {
    let (_temp, dir) = log(0, 3);
    let (first, index) = stated(&dir)[0];
    assert_eq!((index, check(&dir).soundness), (0, Soundness::Sound));
    raise(&dir, first, AT_INDEX, Change::Each);
    assert_contradicts(&dir, &[first], "the first group");
}
