//! The failure table of `README.md`: each of its rows names scripts, and these exist.

use std::collections::BTreeSet;
use std::path::Path;

const HEADING: &str = "## The failure table";

/// Rows may be added; none goes unnoticed.
const ROWS: usize = 45;

/// The rows of the table: its cells without what is around them.
fn rows(readme: &str) -> Vec<Vec<&str>> {
    let section = readme.split(HEADING).nth(1).and_then(|rest| rest.split("\n## ").next()).unwrap_or_default();
    let lines = section.lines().filter(|line| line.starts_with('|')).skip(2);
    lines.map(|line| line.trim_matches('|').split('|').map(str::trim).collect()).collect()
}

/// What is wrong with the table, if these are the scripts.
fn complaints(readme: &str, scripts: &BTreeSet<String>) -> Vec<String> {
    let mut complaints = Vec::new();
    for row in rows(readme) {
        let named: Vec<&str> = row.last().unwrap_or(&"").split('`').skip(1).step_by(2).collect();
        if row.len() != 3 || named.is_empty() {
            complaints.push(format!("{row:?} names no script"));
        }
        let missing = named.into_iter().filter(|name| !scripts.contains(*name));
        complaints.extend(missing.map(|name| format!("{name} is no script")));
    }
    complaints
}

#[test]
fn every_row_of_the_failure_table_has_its_script() {
    let tests = Path::new(env!("CARGO_MANIFEST_DIR"));
    let readme = std::fs::read_to_string(tests.join("README.md")).expect("the README");
    let entries = std::fs::read_dir(tests.join("scripts")).expect("the folder of scripts");
    let names = entries.filter_map(|entry| entry.expect("an entry").file_name().into_string().ok());
    let scripts = names.filter_map(|name| Some(name.strip_suffix(".txt")?.to_owned())).collect();
    let complaints = complaints(&readme, &scripts);
    assert!(complaints.is_empty(), "\n{}", complaints.join("\n"));
    assert!(rows(&readme).len() >= ROWS, "the table has {} rows", rows(&readme).len());
}

#[test]
fn a_row_without_a_script_is_found() {
    let scripts = BTreeSet::from(["one".to_owned(), "two".to_owned()]);
    let table = |rows: &str| {
        format!("{HEADING}\n\n| what | when | script |\n|---|---|---|\n{rows}\n\n## Next\n| a | b | c |\n")
    };
    let found = |rows: &str| complaints(&table(rows), &scripts).len();
    assert_eq!(found("| it crashes | early | `one` |\n| | late | `one`, `two` |"), 0);
    assert_eq!(found("| it crashes | early | |"), 1);
    assert_eq!(found("| it crashes | early | soon |"), 1);
    assert_eq!(found("| it crashes | `one` |"), 1);
    assert_eq!(found("| it crashes | early | `one`, `three` |"), 1);
}
