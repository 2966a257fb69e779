//! Runs every script in `scripts/`. `SCRIPT=word` runs those whose name contains the word.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;

use crate::story::Story;

#[test]
fn every_script_reads_as_it_runs() {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("scripts");
    let wanted = std::env::var("SCRIPT").unwrap_or_default();
    let mut scripts: Vec<PathBuf> = std::fs::read_dir(&folder)
        .expect("the folder of scripts")
        .map(|entry| entry.expect("an entry").path())
        .filter(|path| path.to_string_lossy().ends_with(".txt") && path.to_string_lossy().contains(&wanted))
        .collect();
    scripts.sort();
    assert!(!scripts.is_empty(), "no script has {wanted:?} in its name");
    let mut failed = Vec::new();
    for script in &scripts {
        let name = script.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        let run = catch_unwind(AssertUnwindSafe(|| goldenscript::run(&mut Story::default(), script)));
        match run {
            Ok(Ok(())) => println!("{name}"),
            Ok(Err(error)) => failed.push(format!("{name}: {error}")),
            Err(_) => failed.push(format!("{name}: reads otherwise, see above")),
        }
    }
    assert!(failed.is_empty(), "{} of {} scripts:\n{}", failed.len(), scripts.len(), failed.join("\n"));
}
