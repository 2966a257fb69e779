//! The rules of the house, checked on every source and manifest of the repository. Each rule is a
//! function from text to complaints, and has a test that shows it complaining.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// The floors. An arrow points only to a lower one.
const FLOORS: [(&str, u32); 13] = [
    ("planted", 0),
    ("seam", 0),
    ("protocol", 1),
    ("engine", 1),
    ("participant", 2),
    ("coordinator", 2),
    ("audit", 2),
    ("node", 3),
    ("client", 3),
    ("cli", 4),
    ("tests", 4),
    ("benches", 4),
    ("fuzz", 4),
];

/// Crates without I/O, time and randomness: what the simulator runs, and what they speak.
const PURE: [&str; 4] = ["participant", "coordinator", "protocol", "seam"];

/// What a pure crate may depend on.
const PURE_DEPENDENCIES: [&str; 9] =
    ["planted", "seam", "protocol", "engine", "bytes", "crc32c", "hashbrown", "rustc-hash", "thiserror"];

/// What a pure crate may not name, as the beginning of a path.
const IMPURE_PATHS: [&str; 13] = [
    "std::fs",
    "std::net",
    "std::os",
    "std::env",
    "std::process",
    "std::thread",
    "std::time::Instant",
    "std::time::SystemTime",
    "tokio",
    "rand",
    "getrandom",
    "rustix",
    "crossbeam",
];

/// Hash maps that order their entries differently in every process.
const RANDOM_ORDER: [&str; 5] = [
    "std::collections::HashMap",
    "std::collections::HashSet",
    "std::collections::hash_map",
    "std::collections::hash_set",
    "std::hash::RandomState",
];

/// Lines of a source file before its tests.
const SOURCE_LINES_MAX: usize = 600;

/// The one module that may say `unsafe`.
const UNSAFE_ALLOWED: &str = "engine/src/ring/";

// ---- manifests

fn dependencies(manifest: &toml::Table) -> Vec<String> {
    let kinds = ["dependencies", "dev-dependencies", "build-dependencies"];
    let in_table = |table: &toml::Table| {
        let tables = kinds.iter().filter_map(|kind| table.get(*kind)?.as_table());
        tables.flat_map(|table| table.keys().cloned()).collect::<Vec<_>>()
    };
    let targets = manifest.get("target").and_then(toml::Value::as_table);
    let of_targets = targets.into_iter().flat_map(|all| all.values()).filter_map(toml::Value::as_table);
    std::iter::once(manifest).chain(of_targets).flat_map(in_table).collect()
}

fn check_arrows(member: &str, manifest: &toml::Table) -> Vec<String> {
    let floors = BTreeMap::from(FLOORS);
    let Some(floor) = floors.get(member) else { return vec![format!("{member} stands on no floor of the house")] };
    dependencies(manifest)
        .iter()
        .filter(|other| floors.get(other.as_str()).is_some_and(|other| other >= floor))
        .map(|other| format!("{member} points to {other}, which does not stand on a lower floor"))
        .collect()
}

fn check_pure_dependencies(member: &str, manifest: &toml::Table) -> Vec<String> {
    let own = manifest.get("dependencies").and_then(toml::Value::as_table);
    own.into_iter()
        .flat_map(toml::Table::keys)
        .filter(|_| PURE.contains(&member))
        .filter(|other| !PURE_DEPENDENCIES.contains(&other.as_str()))
        .map(|other| format!("{member} is pure and may not depend on {other}"))
        .collect()
}

// ---- sources

/// The source without comments and without what stands in its strings.
fn code_of(source: &str) -> String {
    let mut code = String::with_capacity(source.len());
    let mut rest = source;
    while let Some(at) = rest.find(['/', '"', '\'']) {
        code.push_str(&rest[..at]);
        rest = &rest[at..];
        let skipped = if rest.starts_with("//") {
            rest.find('\n').unwrap_or(rest.len())
        } else if rest.starts_with("/*") {
            rest.find("*/").map_or(rest.len(), |end| end + 2)
        } else if rest.starts_with('"') {
            code.push_str("\"\"");
            string_bytes(rest)
        } else if rest.starts_with("'\"'") {
            3
        } else {
            code.push_str(&rest[..1]);
            1
        };
        rest = &rest[skipped..];
    }
    code + rest
}

fn string_bytes(text: &str) -> usize {
    let mut escaped = false;
    let end = text.char_indices().skip(1).find(|(_, c)| {
        let ends = *c == '"' && !escaped;
        escaped = *c == '\\' && !escaped;
        ends
    });
    end.map_or(text.len(), |(at, _)| at + 1)
}

/// Every path that the code names, with the groups of its imports spelled out.
fn paths_of(code: &str) -> Vec<String> {
    let mut paths = Vec::new();
    let mut prefixes: Vec<String> = Vec::new();
    let mut path = String::new();
    let is_path = |c: char| c.is_alphanumeric() || c == '_' || c == ':';
    for c in code.chars().chain([' ']) {
        if is_path(c) {
            path.push(c);
            continue;
        }
        let whole = prefixes.concat() + &path;
        match c {
            '{' => prefixes.push(if path.ends_with("::") { path.clone() } else { "\n".to_owned() }),
            '}' => _ = prefixes.pop(),
            _ => {}
        }
        if !path.is_empty() && c != '{' {
            // A block is no group: what stands in it begins anew.
            paths.push(whole.rsplit('\n').next().unwrap_or_default().trim_start_matches("::").to_owned());
        }
        path.clear();
    }
    paths
}

fn check_pure_source(code: &str) -> Vec<String> {
    let forbidden: Vec<&str> = IMPURE_PATHS.into_iter().chain(RANDOM_ORDER).collect();
    let begins = |path: &str, with: &str| path == with || path.starts_with(&format!("{with}::"));
    let paths = paths_of(code);
    let mut complaints: Vec<String> = forbidden
        .iter()
        .filter(|forbidden| paths.iter().any(|path| begins(path, forbidden)))
        .map(|forbidden| format!("names {forbidden}: a pure crate does no I/O, has no clock and no chance"))
        .collect();
    if paths.iter().any(|path| begins(path, "std::time::*") || path == "std::collections::" || path == "std::time::") {
        complaints.push("imports everything of std::time or std::collections: name what is used".to_owned());
    }
    complaints
}

fn has_word(code: &str, word: &str) -> bool {
    code.split(|c: char| !c.is_alphanumeric() && c != '_').any(|found| found == word)
}

fn check_unsafe(path: &str, code: &str) -> Vec<String> {
    let says = !path.starts_with(UNSAFE_ALLOWED) && has_word(code, "unsafe");
    says.then(|| format!("says unsafe; only {UNSAFE_ALLOWED} may")).into_iter().collect()
}

fn check_length(source: &str) -> Vec<String> {
    let without_tests = source.split("\n#[cfg(test)]\nmod ").next().unwrap_or(source);
    let lines = without_tests.lines().count();
    let too_long = lines > SOURCE_LINES_MAX;
    too_long.then(|| format!("has {lines} lines without its tests, at most {SOURCE_LINES_MAX}")).into_iter().collect()
}

fn check_unfinished(code: &str) -> Vec<String> {
    let squeezed = code.replace(' ', "");
    let unfinished = ["todo", "unimplemented"].into_iter();
    unfinished.filter(|name| squeezed.contains(&format!("{name}!("))).map(|name| format!("says {name}!")).collect()
}

/// Folders of one machine: a fresh clone has none of them.
fn check_machine_paths(text: &str) -> Vec<String> {
    let is_one_at = |at: usize, length: usize| {
        let before = text[..at].chars().next_back();
        let after = text[at + length..].chars().next();
        let inside = |c: Option<char>| c.is_some_and(|c| c.is_alphanumeric() || "_-.{}".contains(c));
        !inside(before) && !inside(after)
    };
    ["root", "work", "home"]
        .iter()
        .map(|folder| format!("/{folder}"))
        .filter(|folder| text.match_indices(folder.as_str()).any(|(at, _)| is_one_at(at, folder.len())))
        .map(|folder| format!("names {folder}, a folder of one machine"))
        .collect()
}

fn check_source(path: &str, source: &str) -> Vec<String> {
    let code = code_of(source);
    let mut complaints = check_unsafe(path, &code);
    complaints.extend(check_length(source));
    complaints.extend(check_unfinished(&code));
    if PURE.iter().any(|member| path.starts_with(&format!("{member}/src/"))) {
        complaints.extend(check_pure_source(&code));
    }
    complaints
}

// ---- the repository

fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the workspace").to_owned()
}

/// All files that are no build results, by their path from the root, and only those that are text.
fn files() -> Vec<(String, String)> {
    let root = repository();
    let mut folders = vec![root.clone()];
    let mut files = Vec::new();
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).expect("a folder of the repository") {
            let path = entry.expect("an entry").path();
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            if path.is_symlink() || name == "target" || name == ".git" {
                continue;
            }
            if path.is_dir() {
                folders.push(path);
            } else if let Ok(text) = std::fs::read_to_string(&path) {
                let from_root = path.strip_prefix(&root).expect("below the root");
                files.push((from_root.to_string_lossy().into_owned(), text));
            }
        }
    }
    files.sort();
    files
}

fn manifest(text: &str) -> toml::Table {
    text.parse().expect("a manifest")
}

#[test]
fn the_house_is_tidy() {
    let files = files();
    let mut complaints = Vec::new();
    let mut members_seen = 0;
    for (path, text) in &files {
        let mut found = Vec::new();
        if path.ends_with(".rs") {
            found.extend(check_source(path, text));
        }
        if let Some(member) = path.strip_suffix("/Cargo.toml") {
            let manifest = manifest(text);
            found.extend(check_arrows(member, &manifest));
            found.extend(check_pure_dependencies(member, &manifest));
            members_seen += 1;
        }
        found.extend(check_machine_paths(text));
        complaints.extend(found.into_iter().map(|complaint| format!("{path} {complaint}")));
    }
    assert!(complaints.is_empty(), "\n{}", complaints.join("\n"));
    assert_eq!(members_seen, FLOORS.len(), "every member of the house was seen");
    assert!(files.iter().any(|(path, _)| path == "participant/src/machine.rs"));
}

#[test]
fn an_arrow_up_or_sideways_is_found() {
    let arrow = |member: &str, text: &str| check_arrows(member, &manifest(text)).len();
    assert_eq!(arrow("participant", "[dependencies]\nprotocol.workspace = true\nengine = { path = \"x\" }"), 0);
    assert_eq!(arrow("participant", "[dependencies]\nnode.workspace = true"), 1);
    assert_eq!(arrow("participant", "[dependencies]\ncoordinator.workspace = true"), 1);
    assert_eq!(arrow("protocol", "[dev-dependencies]\nengine.workspace = true"), 1);
    assert_eq!(arrow("node", "[build-dependencies]\nclient.workspace = true"), 1);
    assert_eq!(arrow("engine", "[target.'cfg(unix)'.dependencies]\nprotocol.workspace = true"), 1);
    assert_eq!(arrow("attic", ""), 1);
}

#[test]
fn a_dependency_of_a_pure_crate_is_found() {
    let found = |member: &str, text: &str| check_pure_dependencies(member, &manifest(text)).len();
    assert_eq!(found("protocol", "[dependencies]\nbytes = \"1\"\n[dev-dependencies]\nproptest = \"1\""), 0);
    assert_eq!(found("protocol", "[dependencies]\ntokio = \"1\""), 1);
    assert_eq!(found("coordinator", "[dependencies]\nrand.workspace = true"), 1);
    assert_eq!(found("node", "[dependencies]\ntokio = \"1\""), 0);
}

#[test]
fn impurity_is_found_however_it_is_imported() {
    let found = |source: &str| check_source("participant/src/machine.rs", source).len();
    assert_eq!(found("use std::collections::{BTreeMap, VecDeque};\nuse hashbrown::HashMap;"), 0);
    assert_eq!(found("fn random(operand: u8) { let tokio_like = operand; }"), 0);
    for source in [
        "use std::fs;",
        "use std::fs::File;",
        "use std::{fmt, net::TcpStream};",
        "use std::{cmp::{Ordering, Reverse}, time::{Duration, Instant}};",
        "mod inner { fn late() { let now = std::time::Instant::now(); } }",
        "let now = ::std::time::SystemTime::now();",
        "use std::time::*;",
        "std::thread::spawn(|| {});",
        "use tokio::time::sleep;",
        "let number = rand::random::<u8>();",
        "use std::collections::HashMap;",
        "use std::collections::{BTreeMap, HashSet};",
        "use std::collections::hash_map::Entry;",
        "let state = std::hash::RandomState::new();",
    ] {
        assert_eq!(found(source), 1, "{source}");
        assert_eq!(check_source("node/src/node.rs", source).len(), 0, "{source}");
    }
}

#[test]
fn what_stands_in_comments_and_strings_is_no_code() {
    let found = |source: &str| check_source("coordinator/src/machine.rs", source);
    assert!(
        found("// std::fs\n/// unsafe\n/* todo!() */ let a = \"std::fs \\\" unsafe\"; let q = '\"'; // tokio::x")
            .is_empty()
    );
    assert_eq!(found("let a = \"//\"; std::fs::read(a);").len(), 1);
    assert_eq!(found("let q = '\"'; std::fs::read(q);").len(), 1);
}

#[test]
fn unsafe_outside_the_ring_is_found() {
    let source = "fn f() { unsafe { g() } }";
    assert_eq!(check_source("engine/src/ring/map.rs", source).len(), 0);
    assert_eq!(check_source("engine/src/log.rs", source).len(), 1);
    assert_eq!(check_source("node/src/ring.rs", source).len(), 1);
    assert_eq!(check_source("engine/src/log.rs", "#![deny(unsafe_code)]").len(), 0);
}

#[test]
fn a_long_file_is_found_and_its_tests_are_not_counted() {
    let lines = |count: usize| "let a = 1;\n".repeat(count);
    assert_eq!(check_source("cli/src/main.rs", &lines(600)).len(), 0);
    assert_eq!(check_source("cli/src/main.rs", &lines(601)).len(), 1);
    let tests = |what: &str| lines(599) + "\n#[cfg(test)]\n" + what + &lines(600);
    assert_eq!(check_source("cli/src/main.rs", &tests("mod tests {\n")).len(), 0);
    assert_eq!(check_source("cli/src/main.rs", &tests("fn helper() {}\n")).len(), 1);
}

#[test]
fn what_is_unfinished_is_found() {
    for name in ["todo", "unimplemented"] {
        assert_eq!(check_source("cli/src/main.rs", &format!("fn f() {{ {name}!() }}")).len(), 1);
        assert_eq!(check_source("cli/src/main.rs", &format!("fn f() {{ {name}!(\"later\") }}")).len(), 1);
    }
}

#[test]
fn a_path_of_one_machine_is_found() {
    for folder in ["root", "work", "home"] {
        assert_eq!(check_machine_paths(&format!("see /{folder}/assent for more")).len(), 1);
        assert_eq!(check_machine_paths(&format!("cd /{folder}")).len(), 1);
        assert_eq!(check_machine_paths(&format!("https://example.org/{folder}, target/{folder}s")).len(), 0);
        assert_eq!(check_machine_paths(&format!("net{folder}, the {folder}/life, {{}}/{folder}")).len(), 0);
    }
}
