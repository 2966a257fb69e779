//! Segment files that are missing, hold something else, or are nobody's: which file is named.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use engine::inspect::{Cause, dump};
use engine::{DumpItem, OpenError, Rule};

use super::{SEGMENT_BYTES, check, copy, everything, replayed, sample};

/// The files of a log's segments, in order.
fn segment_files(dir: &Path) -> Vec<PathBuf> {
    let mut names: Vec<_> = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path()).collect();
    names.retain(|path| path.file_name().unwrap().to_string_lossy().starts_with("segment-"));
    names.retain(|path| path.extension().is_none());
    names.sort();
    names
}

#[test]
fn the_file_that_does_not_hold_what_it_should_is_named_and_not_the_one_before() {
    let (temp, sound) = sample();
    let files = segment_files(&sound).len();
    assert!(files >= 5, "{files}");
    for (stale, with) in (2..files - 1).flat_map(|stale| [(stale, Some(0)), (stale, None)]) {
        let dir = temp.path().join(format!("stale-{stale}-{with:?}"));
        copy(&sound, &dir);
        let files = segment_files(&dir);
        match with {
            Some(older) => _ = fs::copy(&files[older], &files[stale]).unwrap(),
            None => fs::write(&files[stale], vec![0; SEGMENT_BYTES as usize]).unwrap(),
        }
        let guilty = files[stale].display().to_string();
        let Err(OpenError::Corrupt { file, offset, reason, .. }) = replayed(&dir) else { panic!("it opens") };
        assert_eq!((&file, offset), (&guilty, 0), "{reason}");
        let verified = check(&dir);
        let named: BTreeSet<_> = verified.findings.iter().map(|finding| finding.place.file.clone()).collect();
        assert_eq!(named, BTreeSet::from([guilty.clone()]), "{verified:?}");
        let skipped = |item: &DumpItem| matches!(item, DumpItem::Skipped(place) if place.file == guilty);
        assert!(everything(&dir).iter().any(skipped), "{guilty}");
    }
}

#[test]
fn where_all_segment_files_are_missing_the_first_one_is_named() {
    let (_temp, dir) = sample();
    let checkpoint = check(&dir).checkpoint.unwrap();
    let first = checkpoint.0 / SEGMENT_BYTES;
    segment_files(&dir).into_iter().for_each(|file| fs::remove_file(file).unwrap());
    let items: Vec<DumpItem> = dump(&dir).unwrap().map(Result::unwrap).collect();
    let [DumpItem::Skipped(place)] = &items[..] else { panic!("{items:?}") };
    assert!(place.file.ends_with(&format!("segment-{first:04}")), "{place:?}");
    assert_eq!((place.cause, place.offset), (Cause::Rule(Rule::SegmentMissing), 0), "{place:?}");
    assert!(place.reason.contains(&format!("the file of segment {first} is missing")), "{place:?}");
}
