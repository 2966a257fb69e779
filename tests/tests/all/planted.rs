//! Planted bugs: the list, the product and `README.md` name the same ones, each was found within the seeds that it may take, and
//! no ordinary build has any. The search itself: `sim --plant all`, see there; what no simulated world shows is found here.

use std::path::{Path, PathBuf};

use planted::BUGS;
use tests::sim::plant::SEEDS_PER_BUG;

use crate::edges::fences::{
    a_coordinator_hears_whom_it_has_accepted, a_participant_obeys_whom_it_has_accepted,
    a_prepare_is_of_its_senders_epoch,
};
use crate::edges::promises::{a_prepare_that_has_no_meaning_is_refused, an_attempt_that_was_ended_does_not_begin_anew};

macro_rules! found_by {
    ($bug:literal, $test:ident) => {
        ($bug, stringify!($test), $test)
    };
}

/// The bugs that no simulated world shows, and the test in `edges/` that finds each.
const OF_ONE_MACHINE: [(&str, &str, fn()); 6] = [
    found_by!("stale-epoch-taken", a_prepare_is_of_its_senders_epoch),
    found_by!("stranger-obeyed", a_participant_obeys_whom_it_has_accepted),
    found_by!("stranger-heard", a_coordinator_hears_whom_it_has_accepted),
    found_by!("abort-forgotten", an_attempt_that_was_ended_does_not_begin_anew),
    found_by!("epoch-ahead-taken", a_prepare_is_of_its_senders_epoch),
    found_by!("one-phase-of-several", a_prepare_that_has_no_meaning_is_refused),
];

const PRODUCT: [&str; 5] = ["protocol", "engine", "participant", "coordinator", "node"];

fn sources(folder: &Path, into: &mut Vec<String>) {
    for entry in std::fs::read_dir(folder).expect("a folder of the repository") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            sources(&path, into);
        } else {
            into.push(std::fs::read_to_string(path).expect("a source"));
        }
    }
}

fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the workspace").to_owned()
}

#[test]
fn every_planted_bug_is_in_the_product_and_listed_once() {
    let mut product = Vec::new();
    PRODUCT.iter().for_each(|member| sources(&repository().join(member).join("src"), &mut product));
    for (at, bug) in BUGS.iter().enumerate() {
        let mention = format!("planted!(\"{}\")", bug.name);
        assert!(product.iter().any(|source| source.contains(&mention)), "{} is planted nowhere", bug.name);
        assert!(BUGS[..at].iter().all(|other| other.name != bug.name), "{} is listed twice", bug.name);
    }
    assert!(BUGS.len() >= 28);
}

#[test]
fn the_readme_tells_of_every_planted_bug_and_of_no_other() {
    let readme = include_str!("../../README.md");
    let section = readme.split("## Planted bugs").nth(1).expect("the section exists");
    let section = section.split("\n## ").next().expect("the section has a text");
    let rows: Vec<&str> = section.lines().filter(|line| line.starts_with("| `")).collect();
    let begins: Vec<String> = BUGS.iter().map(|bug| format!("| `{}` | {} | ", bug.name, bug.breaks)).collect();
    assert_eq!(rows.len(), begins.len());
    for ((row, begins), bug) in rows.iter().zip(&begins).zip(BUGS) {
        assert!(row.starts_with(begins.as_str()), "{row}\nis not the row of\n{begins}");
        let rest: Vec<&str> = row[begins.len()..].split(" | ").collect();
        let [checker, seeds] = rest[..] else { panic!("{row}\nhas not four columns") };
        if !bug.is_simulated {
            let found =
                OF_ONE_MACHINE.iter().find(|(name, ..)| *name == bug.name).map(|(_, test, _)| format!("`{test}`"));
            assert_eq!((found.as_deref(), seeds), (Some(checker), "no seeds |"), "{row}\nnames another test");
            continue;
        }
        let seeds = seeds.trim_end_matches(" |").parse::<u64>();
        let is_found = checker != "nothing" && seeds.is_ok_and(|seeds| (1..=SEEDS_PER_BUG).contains(&seeds));
        assert!(is_found, "{row}\nis a hole of the simulator: it has to find the bug within {SEEDS_PER_BUG} seeds");
    }
}

#[test]
#[cfg(not(planted))]
fn an_ordinary_build_contains_no_planted_bug() {
    assert!(!std::hint::black_box(planted::CONTAINED));
    let is_on = planted::with(Some("vote-ungated"), || std::hint::black_box(planted::planted!("vote-ungated")));
    assert!(!is_on);
}

#[test]
#[cfg(planted)]
fn what_no_simulated_world_shows_a_test_of_one_machine_finds() {
    for (bug, name, test) in OF_ONE_MACHINE {
        planted::with(None, test);
        let found = std::panic::catch_unwind(|| planted::with(Some(bug), test));
        assert!(found.is_err(), "{name} passes with {bug}");
    }
}
