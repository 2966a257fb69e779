//! The fuzz targets' corpus (`fuzz/`), run once: what fuzzing found stays found, without building a fuzzer.

use std::path::Path;

#[allow(unreachable_pub)]
#[path = "../../../fuzz/src/frame.rs"]
mod frame;
#[allow(unreachable_pub)]
#[path = "../../../fuzz/src/record.rs"]
mod record;

/// The corpus is a part of the repository, and of every clone.
const CORPUS_BYTES_MAX: usize = 200 << 10;

/// Says whether its decoder accepted the input.
type Check = fn(&[u8]) -> bool;

const TARGETS: [(&str, Check); 5] = [
    ("group", engine::fuzzing::group),
    ("segment_header", engine::fuzzing::segment_header),
    ("superblock", engine::fuzzing::superblock),
    ("frame", frame::check),
    ("record", record::check),
];

fn corpus(target: &str) -> Vec<Vec<u8>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz/corpus").join(target);
    let entries = std::fs::read_dir(folder).expect("a corpus for every target");
    entries.map(|entry| std::fs::read(entry.expect("an entry").path()).expect("an input")).collect()
}

#[test]
fn the_corpus_holds_and_reaches_both_sides_of_every_decoder() {
    let mut corpus_bytes = 0;
    for (target, check) in TARGETS {
        let inputs = corpus(target);
        corpus_bytes += inputs.iter().map(Vec::len).sum::<usize>();
        let accepted = inputs.iter().filter(|input| check(input)).count();
        assert!(accepted > 0 && accepted < inputs.len(), "{target}: {accepted} of {} inputs accepted", inputs.len());
    }
    assert!(corpus_bytes <= CORPUS_BYTES_MAX, "{corpus_bytes} bytes: minimise it with `fuzz/run.sh --minimise`");
}

/// A new message, or new bytes of an old one, are fuzzed from their first day. `UPDATE_GOLDENFILES=1` writes the seed anew.
#[test]
fn one_seed_is_every_message_that_there_is() {
    const A_PAYLOAD_IN_PIECES: [u8; 2] = [0b11, 16];
    let fixture = include_str!("../../../protocol/tests/wire/fixtures/messages.hex");
    let messages = fixture.lines().filter_map(|line| line.split_once(' ')).map(|(_name, bytes)| bytes);
    let byte =
        |digits: &[u8]| u8::from_str_radix(std::str::from_utf8(digits).expect("ASCII"), 16).expect("hexadecimal");
    let bytes = messages.flat_map(|message| message.as_bytes().chunks(2).map(byte));
    let seed: Vec<u8> = A_PAYLOAD_IN_PIECES.into_iter().chain(bytes).collect();
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz/corpus/frame/seed-all-messages");
    if std::env::var_os("UPDATE_GOLDENFILES").is_some() {
        std::fs::write(&path, &seed).expect("the seed can be written");
    }
    assert!(frame::check(&seed), "it is a payload without fault");
    assert_eq!(std::fs::read(path).expect("the seed"), seed);
}

#[test]
fn every_target_is_built_and_run() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz");
    let manifest = std::fs::read_to_string(root.join("Cargo.toml")).expect("the manifest");
    let script = std::fs::read_to_string(root.join("run.sh")).expect("the script");
    for (target, _) in TARGETS {
        assert!(manifest.contains(&format!("name = \"{target}\"")), "{target} is built");
    }
    let run = TARGETS.map(|(target, _)| target).join(" ");
    assert!(script.contains(&format!("all=({run})")), "all of {run} are run");
}
