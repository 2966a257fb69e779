//! A loss that is accepted although the log is sound: others have heard of what it lacks.

use engine::Lsn;
use engine::inspect::{RepairError, Soundness};

use super::{NOWHERE, acceptance, check, copy, groups, plan, replayed, sample, tail};

#[test]
fn wherever_a_loss_is_said_to_lie_a_sound_log_accepts_it_once_and_loses_nothing() {
    let (temp, sound) = sample();
    let (end, ids, groups) = (tail(&sound), replayed(&sound).unwrap(), groups(&sound));
    let inside = [Lsn(1), groups[0].0, Lsn(groups[20].0.0 + 77), groups[40].1, Lsn(end.0 - 1)];
    let past = [end, Lsn(end.0 + 1), Lsn(end.0 + (5 << 20))];
    for (number, asked) in inside.into_iter().chain(past).enumerate() {
        let dir = temp.path().join(format!("case-{number}"));
        copy(&sound, &dir);
        let mut repair = plan(&dir, asked).unwrap().expect("there is a loss to accept");
        let made = repair.plan_made().clone();
        assert_eq!((made.records_lost, made.keep_to, &made.damage, made.lost.len()), (0, end, &None, 0), "{asked}");
        assert!(made.goes_on_at > asked.max(end), "{asked}");
        repair.begin_with(&acceptance(made.goes_on_at));
        let backup = temp.path().join(format!("backup-{number}"));
        repair.apply(&backup, "loss-report-9.json", b"{}", &mut |_| ()).unwrap();
        drop(repair);
        assert!(tail(&dir) > asked.max(end) && check(&dir).soundness == Soundness::Sound, "{asked}");
        assert!(plan(&dir, asked).unwrap().is_none(), "the loss at {asked} was accepted already");
        assert_eq!(replayed(&dir).unwrap(), [&ids[..], &[999]].concat(), "{asked}");
        // What is lost later is another loss.
        assert!(plan(&dir, tail(&dir)).unwrap().is_some(), "{asked}");
    }
    let refused = plan(&sound, NOWHERE).map(|repair| repair.is_some());
    assert!(matches!(&refused, Err(RepairError::NoSuchPosition { end: at, .. }) if *at == end), "{refused:?}");
}
