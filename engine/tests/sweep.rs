//! A sample of the sweep over damages of a log. Everything, in minutes, with a table:
//! `cargo run --release -p engine --example sweep [-- --json]`.
#![allow(clippy::unwrap_used)]

#[path = "sweep/mod.rs"]
mod sweep;

use engine::{Lsn, OpenError};
use sweep::common::{SEGMENT_BYTES, World, error};
use sweep::damage::{Damage, Sweep};
use sweep::judge::{Outcome, judge};
use sweep::logs::{File, Log, all};
use sweep::report::{Row, table};
use sweep::run::run;

/// Cases of one sweep over one log; larger sweeps are sampled with a step that is coprime to bytes, sectors and blocks.
const CASES_MAX: usize = 1000;

fn step(cases: usize) -> usize {
    cases.div_ceil(CASES_MAX) | 1
}

#[test]
fn no_damage_loses_an_acknowledged_record_silently() {
    let mut rows = Vec::new();
    let mut complaints = Vec::new();
    for log in &all() {
        for sweep in Sweep::ALL {
            let tally = run(log, sweep, step(sweep.cases(log)), 2);
            complaints.extend(tally.complaints(sweep.is_local()));
            rows.push(Row { log: log.name, sweep: sweep.name(), tally });
        }
    }
    assert!(complaints.is_empty(), "\n{}\n{}", table(&rows), complaints.join("\n"));
    println!("{}", table(&rows));
    let total = |count: fn(&Row) -> u64| rows.iter().map(count).sum::<u64>();
    // Each way to end is met, or the sweep shows nothing.
    assert!(total(|row| row.tally.refused) > 1000 && total(|row| row.tally.harmless) > 1000);
    assert!(total(|row| row.tally.ambiguous) > 0);
}

fn log(name: &str) -> Log {
    all().into_iter().find(|log| log.name == name).unwrap()
}

#[test]
fn the_logs_are_what_they_are_called() {
    for log in all() {
        let data = log.groups.iter().map(|(start, _)| start.0 / SEGMENT_BYTES);
        let segments: std::collections::BTreeSet<u64> = data.collect();
        assert!(segments.len() >= 3, "{}: {segments:?}", log.name);
        assert!(log.acknowledged > 10 && log.older.len() > 3, "{}", log.name);
    }
    let stated = |log: &Log| log.statements.iter().map(|statement| statement.durable).max().unwrap();
    for name in ["closed", "checkpointed", "torn"] {
        let log = log(name);
        assert!(stated(&log) >= log.ends[log.acknowledged - 1], "{name}: its last record is stated to be durable");
    }
    for name in ["killed", "killed-at-start", "torn-no-header", "reopened"] {
        let log = log(name);
        let (last, ends) = (log.groups.last().unwrap().0, &log.ends[..log.acknowledged]);
        let before = log.groups[log.groups.len() - 2].1;
        assert_eq!(stated(&log), before, "{name}: only its last group is not stated to be durable");
        assert!(ends.last().is_some_and(|end| *end > last));
    }
    let checkpointed = log("checkpointed");
    let last = checkpointed.listed.keys().next_back().copied().unwrap();
    assert!(checkpointed.listed.len() as u64 <= last, "segments were freed: {:?}", checkpointed.listed);
    let reused = checkpointed.listed.iter().filter(|(index, slot)| **index != u64::from(**slot)).count();
    assert!(reused > 1, "files were used again: {:?}", checkpointed.listed);
}

/// The judge is not blind: each thing that it looks for, done to it, is seen.
#[test]
fn a_silent_loss_would_be_seen() {
    let outcome = |log: &Log, damage: &Damage| {
        let memory = log.memory.copy();
        damage.apply(&memory, log);
        judge(log, &memory, damage).outcome
    };
    let mut other = log("closed");
    let last = other.acknowledged - 1;
    assert_eq!(outcome(&other, &Damage::None), Outcome::Harmless);
    other.history[last].1 = Some(b"another value".to_vec());
    assert!(matches!(outcome(&other, &Damage::None), Outcome::Silent(_)), "a record that differs");

    let mut longer = log("closed");
    longer.history.push((b"more".to_vec(), None));
    longer.ends.push(longer.tail);
    longer.acknowledged += 1;
    assert!(matches!(outcome(&longer, &Damage::None), Outcome::Silent(_)), "a record that is missing");

    let mut shorter = log("closed");
    shorter.history.truncate(last);
    assert!(matches!(outcome(&shorter, &Damage::None), Outcome::Silent(_)), "a record that was never written");

    let mut elsewhere = log("closed");
    let bit = Damage::Bit { file: File::Segment(0), bit: 5000 * 8 };
    assert_eq!(outcome(&elsewhere, &bit), Outcome::Refused);
    elsewhere.tail = Lsn(0);
    assert!(matches!(outcome(&elsewhere, &bit), Outcome::FalselyRefused(_)), "what was not part of the log");

    let killed = log("killed");
    let at = (killed.ends[killed.acknowledged - 1].0 % SEGMENT_BYTES) as usize - 1;
    let slot = killed.listed[&(killed.tail.0 / SEGMENT_BYTES)];
    let bit = Damage::Bit { file: File::Segment(slot), bit: at * 8 };
    assert_eq!(outcome(&killed, &bit), Outcome::Ambiguous { groups: 1 });
    let mut stated = log("killed");
    let claim = stated.statements.iter_mut().find(|statement| statement.bytes.start == 4096).unwrap();
    claim.durable = stated.tail;
    assert!(matches!(outcome(&stated, &bit), Outcome::Silent(_)), "a loss that something contradicts");
}

/// The group before it ends where its segment ends, so what follows is looked for from the next segment's start on.
#[test]
fn a_damaged_header_after_a_segment_that_is_full_to_its_last_byte_is_refused() {
    let mut world = World { no_checkpoints: true, ..World::default() };
    let mut node = world.open().unwrap();
    for round in 0..8 {
        world.put(&mut node, "key", vec![round; 12_000]);
        world.flush(&mut node);
        if round == 4 {
            assert_eq!(world.durable, Lsn(SEGMENT_BYTES));
        }
    }
    world.turns(&mut node, 30);
    assert_eq!(node.store.stats().seals, 1);
    drop(node);
    world.memory.edit_segment(1, |bytes| bytes[100] ^= 1).unwrap();
    let refused = error(world.open());
    assert!(matches!(refused, OpenError::Corrupt { .. }), "{refused}");
}
