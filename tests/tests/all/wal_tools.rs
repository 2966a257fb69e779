//! `assent wal` on directories that real nodes wrote: each kind of damage is found, skipped, refused by a start, repaired,
//! and then the node starts again.

use std::fs::{self, OpenOptions};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use client::{Client, Outcome, Transaction};
use engine::{DumpItem, GroupInfo, GroupKind};
use rustix::fs::{CWD, FileType, mknodat};
use serde_json::Value;
use tests::processes::{Cluster, assent, target_folder};
use tests::transfers::connect;

const KINDS: [&str; 7] = ["bit", "zero", "tear", "swap", "truncate", "delete-segment", "stale-segment"];

/// Three segments of 8 MiB at one participant.
const VALUES: usize = 44;
const VALUE_BYTES: usize = 500 << 10;

/// How long a command may take that has nothing to wait for.
const PATIENCE: Duration = Duration::from_secs(30);

fn wal(tool: &str, dir: &Path, more: &[&str]) -> Output {
    let mut command = Command::new(assent());
    command.arg("wal").arg(tool).arg(dir).args(more).stdin(Stdio::null());
    command.output().expect("the binary starts")
}

/// Its output, if it ends soon: nothing here has to wait for anybody.
fn prompt(command: &mut Command) -> Output {
    let child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
    let mut child = child.expect("the binary starts");
    let patience = Instant::now() + PATIENCE;
    while child.try_wait().expect("it can be waited for").is_none() {
        if Instant::now() >= patience {
            child.kill().expect("it can be killed");
            panic!("{command:?} hangs: {:?}", child.wait_with_output());
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    child.wait_with_output().expect("its output")
}

fn code(output: &Output) -> i32 {
    output.status.code().expect("it was not killed")
}

/// The JSON documents that it printed.
fn printed(output: &Output) -> Vec<Value> {
    let lines = String::from_utf8(output.stdout.clone()).expect("text");
    lines.lines().map(|line| serde_json::from_str(line).unwrap_or_else(|_| panic!("{line}"))).collect()
}

fn verify(dir: &Path) -> (i32, Value) {
    let output = wal("verify", dir, &["--json"]);
    let document = printed(&output).remove(0);
    (code(&output), document)
}

/// Starts the node of a directory, and stops it as soon as it has started; how it ended and what it said.
fn start(role: &str, id: &str, dir: &Path) -> (i32, String) {
    let mut command = Command::new(assent());
    command.args([role, "--id", id, "--listen", "127.0.0.1:0", "--stop-with-stdin", "--data"]).arg(dir);
    if role == "coordinator" {
        command.args(["--participant", "1=127.0.0.1:1", "--participant", "2=127.0.0.1:2"]);
    }
    // Its standard input has ended: it stops cleanly at once, after it has opened its log.
    let output = command.stdin(Stdio::null()).output().expect("the binary starts");
    (code(&output), String::from_utf8_lossy(&output.stderr).into_owned())
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir(to).expect("a folder");
    for entry in fs::read_dir(from).expect("a folder") {
        let path = entry.expect("an entry").path();
        fs::copy(&path, to.join(path.file_name().expect("a name"))).expect("a copy");
    }
}

async fn put(client: &Client, key: String, value: Vec<u8>) {
    let outcome = client.submit(Transaction::new().put(key, value)).await.expect("an outcome");
    assert!(matches!(outcome, Outcome::Committed { .. }), "{outcome:?}");
}

/// The directories of a participant with several segments and of its coordinator, stopped cleanly.
fn written() -> (tempfile::TempDir, PathBuf, PathBuf) {
    let mut cluster = Cluster::start(2, &["--log-segment", "8MiB"]);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async {
        let client = connect(&cluster.coordinator.address).await;
        for number in 0..VALUES {
            put(&client, format!("value/{{same}}/{number:03}"), vec![number as u8; VALUE_BYTES]).await;
        }
        for number in 0..20 {
            let both = Transaction::new().put(format!("one/{number}"), "1").put(format!("other/{number}"), "2");
            client.submit(both).await.expect("an outcome");
        }
    });
    for place in 0..=2 {
        assert_eq!(cluster.node(place).terminate().code(), Some(0));
    }
    let folder = tempfile::Builder::new().prefix("wal-").tempdir_in(target_folder()).expect("a folder");
    let bytes = |dir: &Path| fs::read_dir(dir).expect("a folder").count();
    let large =
        cluster.participants.iter().map(|node| &node.data).max_by_key(|dir| bytes(dir)).expect("a node").clone();
    let (participant, coordinator) = (folder.path().join("participant"), folder.path().join("coordinator"));
    copy(&large, &participant);
    copy(&cluster.coordinator.data, &coordinator);
    (folder, participant, coordinator)
}

/// The greatest position that a repair may keep, as its refusal says; none if the checkpoint itself is damaged.
fn possible(dir: &Path) -> Option<String> {
    let output = wal("repair", dir, &["--dry-run", "--accept-loss-after", "1000000000000"]);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    match code(&output) {
        1 => Some(said.trim().rsplit(' ').next().expect("a position").to_owned()),
        4 if said.contains("checkpoint") => None,
        code => panic!("{code}: {said}"),
    }
}

/// A damaged copy of a log that can be repaired, what was done to it, and up to where it can be kept.
fn damaged(sound: &Path, dir: &Path, kind: &str) -> (Value, String) {
    for seed in 1..50 {
        copy(sound, dir);
        let done = wal("corrupt", dir, &["--seed", &seed.to_string(), "--kind", kind, "--json"]);
        assert_eq!(code(&done), 0, "{kind}: {done:?}");
        if let Some(keep) = possible(dir) {
            return (printed(&done).remove(0), keep);
        }
        fs::remove_dir_all(dir).expect("it can be removed");
    }
    panic!("{kind} always hits the checkpoint");
}

fn story_of_a_damage(role: &str, sound: &Path, kind: &str) {
    let dir = sound.with_file_name(format!("{role}-{kind}"));
    let (done, keep) = damaged(sound, &dir, kind);

    let (sound_or_not, found) = verify(&dir);
    let id = found["owner"]["node"].to_string();
    assert_eq!((sound_or_not, &found["soundness"]), (2, &"damage".into()), "{kind}: {found}");
    let findings = found["findings"].as_array().expect("a list");
    assert!(findings.iter().any(|finding| finding["file"] == done["file"]), "{kind}: {done} {found}");

    let dumped = wal("dump", &dir, &["--json", "--from", "0"]);
    assert_eq!(code(&dumped), 4, "{kind}");
    let lines = printed(&dumped);
    assert!(lines.iter().any(|line| line["kind"] == "skipped" && line["file"] == done["file"]), "{kind}: {done}");

    let (refused, said) = start(role, &id, &dir);
    assert_eq!(refused, 4, "{kind}: {said}");
    let last = said.lines().last().expect("a line");
    for word in ["segment-", "offset ", "(LSN "] {
        assert!(last.contains(word), "{kind}: {last}");
    }

    let planned = wal("repair", &dir, &["--dry-run", "--json", "--accept-loss-after", &keep]);
    assert_eq!(code(&planned), 0, "{kind}: {planned:?}");
    assert_eq!(verify(&dir).0, 2, "{kind}: a dry run changes nothing");
    let repaired = wal("repair", &dir, &["--json", "--accept-loss-after", &keep]);
    assert_eq!(code(&repaired), 0, "{kind}: {repaired:?}");
    let repaired = printed(&repaired).remove(0);
    assert_eq!(repaired["keep_to"].to_string(), keep, "{kind}");
    let report = fs::read_to_string(repaired["loss_report"].as_str().expect("a path")).expect("the report");
    let report: Value = serde_json::from_str(&report).expect("JSON");
    assert_eq!(report["transactions"], repaired["transactions"], "{kind}");
    let backup = PathBuf::from(repaired["backup"].as_str().expect("a path"));
    assert_eq!(verify(&backup).0, 2, "{kind}: the backup is the damaged log");

    assert_eq!(verify(&dir).0, 0, "{kind}");
    let again = printed(&wal("repair", &dir, &["--json", "--accept-loss-after", &keep])).remove(0);
    assert_eq!(again["repaired"], false, "{kind}");
    let (started, said) = start(role, &id, &dir);
    assert_eq!(started, 0, "{kind}: {said}");
    assert_eq!(verify(&dir).0, 0, "{kind}: after the start");
    fs::remove_dir_all(&dir).expect("it can be removed");
    fs::remove_dir_all(&backup).expect("it can be removed");
}

#[test]
fn every_kind_of_damage_is_found_skipped_refused_and_repaired() {
    let (_folder, participant, coordinator) = written();
    for dir in [&participant, &coordinator] {
        let (sound, document) = verify(dir);
        assert_eq!((sound, &document["findings"]), (0, &Value::Array(Vec::new())), "{document}");
        assert_eq!(code(&wal("dump", dir, &["--from", "0"])), 0);
    }
    for kind in KINDS {
        story_of_a_damage("participant", &participant, kind);
    }
    // Its log is one segment: there is no older one.
    story_of_a_damage("coordinator", &coordinator, "bit");
    let none = wal("corrupt", &coordinator, &["--seed", "1", "--kind", "stale-segment"]);
    assert_eq!(code(&none), 1, "{none:?}");
    assert_eq!(verify(&coordinator).0, 0);
}

/// The first record, one in the middle, the newest one, one that the log never had: a loss is accepted, and nothing is cut off.
#[test]
fn of_a_sound_log_nothing_is_given_up_whatever_index_is_said_to_be_lost() {
    let (folder, participant, _) = written();
    let dumped = printed(&wal("dump", &participant, &["--json"]));
    let indices: Vec<u64> = dumped.iter().filter_map(|item| item["index"].as_u64()).collect();
    assert!(dumped.iter().all(|item| item["lsn"].is_u64()) && indices.len() > 20, "{dumped:?}");
    assert!(indices.windows(2).all(|pair| pair[1] == pair[0] + 1), "{indices:?}");
    let last = indices[indices.len() - 1];
    let lsn = dumped.last().and_then(|item| item["lsn"].as_u64()).expect("a record");
    for (number, asked) in [1, indices[indices.len() / 2], last, last + 1_000_000].into_iter().enumerate() {
        let dir = folder.path().join(format!("sound-{number}"));
        copy(&participant, &dir);
        let planned = wal("repair", &dir, &["--dry-run", "--accept-loss-until", &asked.to_string()]);
        let said = String::from_utf8_lossy(&planned.stdout).into_owned();
        assert!(code(&planned) == 0 && said.contains("none; all of the log is kept"), "{said}");
        let output = wal("repair", &dir, &["--accept-loss-until", &asked.to_string()]);
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(code(&output) == 0 && said.contains("the loss is accepted"), "{said}");
        let after = printed(&wal("dump", &dir, &["--json"]));
        assert_eq!(after[..dumped.len()], dumped, "{asked}");
        let [resumed, accepted] = &after[dumped.len()..] else { panic!("{after:?}") };
        let until = accepted["until"].as_u64().expect("an index");
        assert!(accepted["kind"] == "loss-accepted" && accepted["index"] == until, "{accepted}");
        assert!(until > asked.max(last) && resumed["kind"] == "resumed", "{accepted}");
        assert!(resumed["index"].is_null() && resumed["after_index"] == until - 1, "{resumed}");
        let again = printed(&wal("repair", &dir, &["--json", "--accept-loss-until", &asked.to_string()])).remove(0);
        assert!(again["repaired"] == false && again["accepted"] == until, "{again}");
        let nowhere = wal("repair", &dir, &["--accept-loss-until", &u64::MAX.to_string()]);
        let said = String::from_utf8_lossy(&nowhere.stderr).into_owned();
        assert!(code(&nowhere) == 1 && said.contains("no log reaches index"), "{said}");
        let id = verify(&dir).1["owner"]["node"].to_string();
        let (started, said) = start("participant", &id, &dir);
        assert_eq!(started, 0, "{said}");
    }
    // An LSN is where a damaged log is cut: this one is not, and the refusal names the flag that helps.
    let refused = wal("repair", &participant, &["--accept-loss-after", &lsn.to_string()]);
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(code(&refused) == 1 && said.trim().ends_with("--accept-loss-until INDEX"), "{said}");
    for flags in [&[][..], &["--accept-loss-after", "1", "--accept-loss-until", "1"]] {
        assert_eq!(code(&wal("repair", &participant, flags)), 2, "{flags:?}");
    }
}

/// Of a damaged log an index says nothing, and what the refusal advises instead is possible.
#[test]
fn of_a_damaged_log_the_refusal_of_an_index_names_an_lsn_that_is_possible() {
    let (folder, participant, _) = written();
    let dir = folder.path().join("damaged");
    let (_, keep) = damaged(&participant, &dir, "bit");
    let refused = wal("repair", &dir, &["--accept-loss-until", "7"]);
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(code(&refused) == 1 && said.trim().ends_with(&format!("--accept-loss-after {keep}")), "{said}");
    assert_eq!(code(&wal("repair", &dir, &["--dry-run", "--accept-loss-after", &keep])), 0);
}

#[test]
fn what_cannot_be_checked_has_an_exit_code_of_its_own() {
    let cluster = Cluster::start(1, &["--log-segment", "8MiB"]);
    let dir = &cluster.participants[0].data;
    let locked = wal("verify", dir, &[]);
    assert_eq!(code(&locked), 3, "{locked:?}");
    assert!(String::from_utf8_lossy(&locked.stderr).contains("copy the directory"), "{locked:?}");
    for (tool, flags) in
        [("repair", &["--accept-loss-after", "1"][..]), ("corrupt", &["--seed", "1", "--kind", "bit"][..])]
    {
        assert_eq!(code(&wal(tool, dir, flags)), 3, "{tool}");
    }
    assert_eq!(code(&wal("dump", dir, &[])), 0);
    assert_eq!(code(&wal("verify", &cluster.folder().join("nowhere"), &[])), 3);
    assert_eq!(code(&wal("verify", dir, &["--frob"])), 3);
    assert_eq!(code(&wal("dump", dir, &["--frob"])), 2);
}

/// The groups of a log, from its checkpoint on.
fn groups(dir: &Path) -> Vec<GroupInfo> {
    let group = |item| if let DumpItem::Group(group) = item { Some(group) } else { None };
    let items = engine::dump(dir).expect("a log").collect::<Result<Vec<_>, _>>().expect("it can be read");
    items.into_iter().filter_map(group).collect()
}

#[test]
fn a_torn_tail_is_told_from_damage_and_the_next_start_cuts_it_and_says_so() {
    let mut cluster = Cluster::start(1, &["--log-segment", "8MiB"]);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async {
        let client = connect(&cluster.coordinator.address).await;
        put(&client, "first".to_owned(), vec![1; 20 << 10]).await;
        put(&client, "last".to_owned(), vec![2; 20 << 10]).await;
    });
    cluster.nodes().for_each(tests::processes::Node::kill);
    let dir = cluster.participants[0].data.clone();
    let last = groups(&dir).into_iter().rfind(|group| group.kind == GroupKind::Data).expect("a group");
    let (from, bytes) = (last.lsn.0, last.padded_bytes());
    assert!(bytes > 20 << 10 && verify(&dir).0 == 0, "{last:?}");

    // Its write was not finished: a sector of it is missing, and nothing was written after it.
    let file = OpenOptions::new().write(true).open(dir.join("segment-0000")).expect("the first segment");
    file.write_all_at(&[0; 512], from + 8 * 512).expect("it can be written");
    file.write_all_at(&[0; 4096], from + bytes).expect("it can be written");
    drop(file);

    let (torn, document) = verify(&dir);
    assert_eq!((torn, &document["soundness"]), (1, &"torn-tail".into()), "{document}");
    let [finding] = document["findings"].as_array().expect("a list").as_slice() else { panic!("{document}") };
    assert_eq!((&finding["lsn"], &finding["to"]), (&from.into(), &(from + bytes).into()), "{finding}");
    assert_eq!((&finding["rule"], &finding["offset"]), (&"torn-tail".into(), &from.into()), "{finding}");
    let people = wal("verify", &dir, &[]);
    let said = String::from_utf8_lossy(&people.stdout).into_owned();
    assert!(code(&people) == 1 && said.contains("the next start cuts it off"), "{said}");
    let dumped = wal("dump", &dir, &["--json"]);
    assert!(code(&dumped) == 0 && printed(&dumped).iter().any(|line| line["kind"] == "torn-tail"), "{dumped:?}");

    let (started, said) = start("participant", "1", &dir);
    assert_eq!(started, 0, "{said}");
    let cut = said.lines().find(|line| line.contains("a torn tail was cut")).expect("it says so");
    for word in ["segment-0000".to_owned(), format!("from={from}"), format!("to={}", from + bytes)] {
        assert!(cut.contains(&word), "{word}: {cut}");
    }
    let (sound, document) = verify(&dir);
    assert_eq!((sound, &document["findings"]), (0, &Value::Array(Vec::new())), "{document}");
}

/// Its last group states, under a right checksum, another record before it than there is: a writer has erred.
#[test]
fn a_log_whose_positions_contradict_each_other_is_named_refused_and_repaired() {
    let mut cluster = Cluster::start(1, &["--log-segment", "8MiB"]);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async {
        put(&connect(&cluster.coordinator.address).await, "key".to_owned(), vec![1]).await;
    });
    cluster.nodes().for_each(|node| assert_eq!(node.terminate().code(), Some(0)));
    let dir = cluster.participants[0].data.clone();
    let last = *groups(&dir).last().expect("a group");
    let path = dir.join("segment-0000");
    let (at, stated) = (last.lsn.0, last.before.index.0 + 1);
    let file = OpenOptions::new().read(true).write(true).open(&path).expect("the first segment");
    let mut head = [0; 88];
    file.read_exact_at(&mut head, at).expect("it can be read");
    head[64..72].copy_from_slice(&stated.to_le_bytes());
    let crc = crc32c::crc32c(&head[..84]);
    head[84..].copy_from_slice(&crc.to_le_bytes());
    file.write_all_at(&head, at).expect("it can be written");
    drop(file);

    let (damaged, document) = verify(&dir);
    assert_eq!((damaged, &document["soundness"]), (2, &"damage".into()), "{document}");
    let [finding] = document["findings"].as_array().expect("a list").as_slice() else { panic!("{document}") };
    assert_eq!((&finding["lsn"], &finding["offset"]), (&at.into(), &at.into()), "{finding}");
    let people = wal("verify", &dir, &[]);
    let (refused, said) = start("participant", "1", &dir);
    assert_eq!((code(&people), refused), (2, 4), "{said}");
    for said in [finding.to_string(), String::from_utf8_lossy(&people.stdout).into_owned(), said] {
        for word in
            ["segment-0000", "history-contradicts", &format!("position {stated}/"), &format!("at {}/", stated - 1)]
        {
            assert!(said.contains(word), "{word}: {said}");
        }
    }
    let keep = possible(&dir).expect("it can be cut");
    assert_eq!(keep, at.to_string());
    assert_eq!(code(&wal("repair", &dir, &["--accept-loss-after", &keep])), 0);
    assert_eq!((verify(&dir).0, start("participant", "1", &dir).0), (0, 0));
}

#[test]
fn what_is_no_regular_file_is_named_and_nobody_waits_for_its_other_end() {
    let folder = tempfile::Builder::new().prefix("wal-").tempdir_in(target_folder()).expect("a folder");
    let dir = folder.path().join("p1");
    assert_eq!(start("participant", "1", &dir).0, 0);
    let away = folder.path().join("away");
    let tools: [&[&str]; 6] = [
        &["wal", "verify"],
        &["wal", "dump"],
        &["wal", "repair", "--accept-loss-after", "1"],
        &["wal", "corrupt", "--seed", "1", "--kind", "bit"],
        &["wal", "check-cluster"],
        &["participant", "--id", "1", "--listen", "127.0.0.1:0", "--stop-with-stdin", "--data"],
    ];
    for file in ["superblock", "segment-0000", "segment-0009"] {
        let path = dir.join(file);
        let has_been = path.exists();
        if has_been {
            fs::rename(&path, &away).expect("it is taken away");
        }
        mknodat(CWD, &path, FileType::Fifo, 0o600.into(), 0).expect("a FIFO");
        for tool in tools {
            let output = prompt(Command::new(assent()).args(tool).arg(&dir));
            let said = String::from_utf8_lossy(&output.stderr).into_owned();
            let last = said.lines().last().unwrap_or_default();
            let named = format!("{}: this is no regular file", path.display());
            assert!(code(&output) == 3 && last.contains(&named), "{tool:?}: {:?}: {said}", output.status);
        }
        fs::remove_file(&path).expect("it goes");
        if has_been {
            fs::rename(&away, &path).expect("it is put back");
        }
    }
    for name in ["probe.new", "superblock.new", "refusal.json.new"] {
        mknodat(CWD, dir.join(name), FileType::Fifo, 0o600.into(), 0).expect("a FIFO");
    }
    let started = prompt(Command::new(assent()).args(tools[5]).arg(&dir));
    assert_eq!(code(&started), 0, "{started:?}");
    assert_eq!(verify(&dir).0, 0);

    let other = folder.path().join("fifo");
    mknodat(CWD, &other, FileType::Fifo, 0o600.into(), 0).expect("a FIFO");
    for tool in tools {
        let output = prompt(Command::new(assent()).args(tool).arg(&other));
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(code(&output) == 3 && said.contains("this is no data directory"), "{tool:?}: {output:?}");
    }
}

#[test]
fn a_command_that_cannot_write_its_answer_says_so_in_one_line() {
    let mut cluster = Cluster::start(1, &["--log-segment", "8MiB"]);
    let address = cluster.coordinator.address.clone();
    let told = |args: &[&str], dir: Option<&Path>| {
        let full = OpenOptions::new().write(true).open("/dev/full").expect("a device that is full");
        let mut command = Command::new(assent());
        command.args(args).args(dir).stdin(Stdio::null()).stdout(full).stderr(Stdio::piped());
        let output = command.output().expect("the binary starts");
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        // The nodes that `cluster` starts have their logs there too.
        let own: Vec<&str> = said.lines().filter(|line| args[0] != "cluster" || line.starts_with("assent: ")).collect();
        let [own] = own[..] else { panic!("{args:?}: {said}") };
        assert_eq!(code(&output), 3, "{args:?}: {said}");
        assert!(own.starts_with("assent: cannot write to standard output: No space left on device"), "{args:?}: {own}");
    };
    told(&["bank", "open", "3", "--json", "--coordinator", &address], None);
    for json in [&["--json"][..], &[]] {
        let with = |args: &[&'static str]| [args, json].concat();
        told(&[&with(&["stats"])[..], &[&address]].concat(), None);
        for args in [&["bank", "audit"][..], &["txn", "get:x"]] {
            told(&[&with(args)[..], &["--coordinator", &address]].concat(), None);
        }
        told(&with(&["cluster", "--participants", "1"]), None);
    }
    cluster.nodes().for_each(|node| _ = node.terminate());
    let dir = cluster.participants[0].data.as_path();
    for json in [&["--json"][..], &[]] {
        let with = |args: &[&'static str]| [args, json].concat();
        told(&with(&["wal", "dump", "--from", "0"]), Some(dir));
        told(&with(&["wal", "verify"]), Some(dir));
        told(&with(&["wal", "check-cluster"]), Some(dir));
        told(&with(&["wal", "repair", "--dry-run", "--accept-loss-until", "100000000"]), Some(dir));
    }
    told(&["wal", "corrupt", "--seed", "1", "--kind", "bit", "--json"], Some(dir));
    told(&["wal", "corrupt", "--seed", "2", "--kind", "bit"], Some(dir));
    // What is wrong is said where it can be heard.
    let full = OpenOptions::new().write(true).open("/dev/full").expect("a device that is full");
    let nowhere = cluster.folder().join("nowhere");
    let mut command = Command::new(assent());
    let output = command.args(["wal", "verify", "--json"]).arg(nowhere).stdout(full).output().expect("it starts");
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(code(&output) == 3 && said.lines().count() == 1 && said.contains("there is no such directory"), "{said}");
}

#[test]
fn files_that_look_like_segments_and_are_none_are_told_and_are_no_damage() {
    let folder = tempfile::Builder::new().prefix("wal-").tempdir_in(target_folder()).expect("a folder");
    let dir = folder.path().join("p1");
    assert_eq!(start("participant", "1", &dir).0, 0);
    let none = verify(&dir).1;
    assert_eq!(none["strays"], serde_json::json!([]), "{none}");
    let strays = ["segment-4294967295", "segment-99999", "segment-copy"].map(|name| dir.join(name));
    strays.iter().for_each(|stray| fs::write(stray, "whatever").expect("it can be written"));

    let (sound, document) = verify(&dir);
    let told: Vec<&str> =
        document["strays"].as_array().expect("a list").iter().filter_map(|stray| stray["file"].as_str()).collect();
    assert_eq!((sound, &told[..]), (0, &strays.each_ref().map(|stray| stray.to_str().expect("text"))[..]));
    let people = wal("verify", &dir, &[]);
    let said = String::from_utf8_lossy(&people.stdout).into_owned();
    assert_eq!(said.lines().filter(|line| line.starts_with("stray ")).count(), 3, "{said}");
    let dumped = printed(&wal("dump", &dir, &["--json"]));
    assert_eq!(dumped.iter().filter(|line| line["kind"] == "stray").count(), 3, "{dumped:?}");

    let (started, said) = start("participant", "1", &dir);
    assert_eq!(started, 0, "{said}");
    let left = strays.each_ref().map(|stray| stray.exists());
    assert_eq!(left, [true, false, true], "as it was told");
}
