//! Planted bugs: the list, the product and `README.md` name the same ones, each was found within the seeds that it may take, and
//! no ordinary build has any. The search itself: `sim --plant all`, see there.

use std::path::{Path, PathBuf};

use planted::BUGS;
use tests::sim::plant::SEEDS_PER_BUG;

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
    for (row, begins) in rows.iter().zip(&begins) {
        assert!(row.starts_with(begins.as_str()), "{row}\nis not the row of\n{begins}");
        let rest: Vec<&str> = row[begins.len()..].split(" | ").collect();
        let [checker, seeds] = rest[..] else { panic!("{row}\nhas not four columns") };
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
