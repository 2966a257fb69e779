//! A loss that is accepted although the log is sound: others have heard of what it lacks. And of whole files.

use std::fs;
use std::path::Path;

use engine::inspect::{Accept, Repair, RepairError, Soundness};
use engine::{Index, Lsn, dump};

use super::{NOWHERE, acceptance, accepts, check, copy, index_of, plan, replayed, sample, tail};

fn plan_until(dir: &Path, index: Index) -> Result<Option<Repair>, RepairError> {
    Repair::plan(dir, Accept::Until(index), &mut accepts, &mut |_| ())
}

fn last(dir: &Path) -> Index {
    dump(dir).unwrap().map(Result::unwrap).filter_map(|item| index_of(&item)).max().unwrap()
}

#[test]
fn whatever_index_is_said_to_be_lost_a_sound_log_accepts_it_once_and_loses_nothing() {
    let (temp, sound) = sample();
    let (end, end_index, ids) = (tail(&sound), last(&sound), replayed(&sound).unwrap());
    assert_eq!(end_index, Index(60));
    for (number, asked) in [1, 20, 59, 60, 61, 9_999, 1 << 40].map(Index).into_iter().enumerate() {
        let dir = temp.path().join(format!("case-{number}"));
        copy(&sound, &dir);
        let mut repair = plan_until(&dir, asked).unwrap().expect("there is a loss to accept");
        let made = repair.plan_made().clone();
        assert_eq!((made.records_lost, made.keep_to, &made.damage, made.lost.len()), (0, end, &None, 0), "{asked}");
        assert!(made.goes_on_at > end && made.goes_on_with > asked.max(end_index), "{asked}");
        repair.begin_with(&acceptance(made.goes_on_with));
        let backup = temp.path().join(format!("backup-{number}"));
        repair.apply(&backup, "loss-report-9.json", b"{}", &mut |_| ()).unwrap();
        drop(repair);
        assert!(tail(&dir) > end && check(&dir).soundness == Soundness::Sound, "{asked}");
        assert_eq!(last(&dir), made.goes_on_with, "{asked}");
        assert!(plan_until(&dir, asked).unwrap().is_none(), "the loss of {asked} was accepted already");
        assert!(plan(&dir, end).unwrap().is_none(), "whoever asks with an LSN from before is told the same");
        assert_eq!(replayed(&dir).unwrap(), [&ids[..], &[999]].concat(), "{asked}");
        // What is lost later is another loss.
        assert!(plan_until(&dir, last(&dir)).unwrap().is_some(), "{asked}");
    }
}

#[test]
fn of_a_sound_log_nothing_is_cut_off_and_no_index_beyond_all_logs_is_accepted() {
    let (_temp, sound) = sample();
    let end = tail(&sound);
    for asked in [Lsn(1), Lsn(end.0 - 1), end, NOWHERE] {
        let refused = plan(&sound, asked).map(|repair| repair.is_some());
        assert!(matches!(&refused, Err(RepairError::Sound { end: at }) if *at == end), "{refused:?}");
    }
    let refused = plan_until(&sound, Index(1 << 56)).map(|repair| repair.is_some());
    assert!(matches!(&refused, Err(RepairError::NoSuchIndex { last: Index(60), .. })), "{refused:?}");
}

#[test]
fn a_repair_makes_a_missing_file_anew() {
    let (temp, sound) = sample();
    for (index, name) in ["segment-0000", "segment-0001", "segment-0002"].into_iter().enumerate() {
        let dir = temp.path().join(format!("missing-{index}"));
        copy(&sound, &dir);
        fs::remove_file(dir.join(name)).unwrap();
        let possible = match plan(&dir, NOWHERE) {
            Err(RepairError::PastDamage { possible, .. }) => possible,
            // A file before the checkpoint, or one that the log does not need.
            Err(RepairError::OlderSegment { .. } | RepairError::CheckpointDamaged { .. }) | Ok(None) => continue,
            other => panic!("{name}: {:?}", other.map(|repair| repair.is_some())),
        };
        let repair = plan(&dir, possible).unwrap().unwrap();
        repair.apply(&temp.path().join(format!("backup-{index}")), "loss.json", b"{}", &mut |_| ()).unwrap();
        drop(repair);
        assert_eq!(check(&dir).soundness, Soundness::Sound, "{name}");
    }
}
