//! `assent wal check-cluster` over the directories of real nodes, and what real nodes do about a log that has lost records.

use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use client::{Client, Outcome, Transaction};
use protocol::record::{CommittedOutcome, Promise};
use protocol::{Age, Attempt, Position, Reason, Record, Role, TxnId};
use serde_json::Value;
use tests::processes::{Cluster, Node, assent};
use tests::transfers::{assert_conserved, connect, keep_transferring, open_accounts};
use tests::written_log::write_log;

pub(crate) const ACCOUNTS: u32 = 60;
const CLIENTS: u64 = 8;

pub(crate) fn run<T>(story: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime").block_on(story)
}

/// Lets clients transfer until so many have committed; then they are left alone.
pub(crate) async fn transfer_some(client: &Client, seed: u64, count: u64) {
    let (stop, done) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
    let start = |number| {
        let (stop, done) = (Arc::clone(&stop), Arc::clone(&done));
        tokio::spawn(keep_transferring(client.clone(), seed + number, ACCOUNTS, stop, done, usize::MAX))
    };
    let clients: Vec<_> = (1..=CLIENTS).map(start).collect();
    let patience = Instant::now() + Duration::from_secs(60);
    while done.load(Ordering::Relaxed) < count {
        assert!(Instant::now() < patience, "no progress");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    stop.store(true, Ordering::Relaxed);
    for client in clients {
        client.await.expect("a client ends");
    }
}

/// Opens the accounts and transfers a while.
pub(crate) fn cluster_with_transfers(count: u64) -> Cluster {
    let cluster = Cluster::start(3, &["--log-segment", "8MiB", "--log-checkpoint", "1MiB"]);
    run(async {
        let client = connect(&cluster.coordinator.address).await;
        open_accounts(&client, ACCOUNTS).await;
        transfer_some(&client, 100, count).await;
    });
    cluster
}

fn check(cluster: &Cluster) -> (i32, Value) {
    let nodes: Vec<&Node> = std::iter::once(&cluster.coordinator).chain(&cluster.participants).collect();
    check_dirs(&nodes)
}

/// Exit code and what was said, as JSON.
pub(crate) fn check_dirs(nodes: &[&Node]) -> (i32, Value) {
    let dirs: Vec<&Path> = nodes.iter().map(|node| node.data.as_path()).collect();
    let said = |json: bool| {
        let mut command = Command::new(assent());
        command.args(["wal", "check-cluster"]).args(&dirs).args(json.then_some("--json"));
        let output = command.output().expect("it runs");
        (output.status.code().expect("a code"), String::from_utf8(output.stdout).expect("text"))
    };
    let (code, text) = said(true);
    let report: Value = serde_json::from_str(&text).unwrap_or_else(|_| panic!("no JSON: {text}"));
    let (people_code, people) = said(false);
    assert_eq!(people_code, code, "{people}");
    assert!(people.contains(report["verdict"].as_str().unwrap_or("an error")) || code == 3, "{people}");
    (code, report)
}

pub(crate) fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).expect("a folder");
    for entry in std::fs::read_dir(from).expect("the folder") {
        let entry = entry.expect("an entry");
        std::fs::copy(entry.path(), to.join(entry.file_name())).expect("a copy");
    }
}

/// Copies the directory of a node that runs, and has nothing to do: what is lost later is lost within one process, so that no
/// start is missing from the copy.
fn copy_of_idle(from: &Path, to: &Path) {
    std::thread::sleep(Duration::from_millis(500));
    copy(from, to);
}

fn stop(cluster: &mut Cluster) {
    (0..=3).for_each(|place| _ = cluster.node(place).terminate());
}

fn faults(report: &Value) -> Vec<(&str, &str)> {
    let all = report["findings"].as_array().expect("a list");
    all.iter().filter_map(|finding| Some((finding["fault"].as_str()?, finding["nodes"][0].as_str()?))).collect()
}

/// Waits until a node has said something.
pub(crate) fn await_log(node: &Node, what: &str) {
    let patience = Instant::now() + Duration::from_secs(20);
    while !node.log().contains(what) {
        assert!(Instant::now() < patience, "{} never says: {what}", node.name);
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn a_cluster_that_was_killed_is_consistent_and_one_that_runs_is_not_looked_at() {
    let mut cluster = cluster_with_transfers(600);
    assert_eq!(check(&cluster).0, 3);
    for seed in [1, 2] {
        let load = {
            let address = cluster.coordinator.address.clone();
            std::thread::spawn(move || {
                run(async move {
                    let client = connect(&address).await;
                    let (stop, done) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
                    let load = keep_transferring(client, seed, ACCOUNTS, stop, done, usize::MAX);
                    _ = tokio::time::timeout(Duration::from_millis(400), load).await;
                });
            })
        };
        std::thread::sleep(Duration::from_millis(300));
        (0..=3).for_each(|place| cluster.node(place).kill());
        load.join().expect("the load ends");
        let (code, report) = check(&cluster);
        assert_eq!((code, &report["verdict"]), (0, &Value::from("consistent")), "{report:#}");
        assert!(report["confirmed"].as_u64() > Some(20), "{report:#}");
        (0..=3).for_each(|place| cluster.node(place).start());
    }
    run(async {
        let client = connect(&cluster.coordinator.address).await;
        assert_conserved(&client, ACCOUNTS).await;
    });
    stop(&mut cluster);
    let (code, report) = check(&cluster);
    assert_eq!((code, report["in_doubt"].as_array().map(Vec::len)), (0, Some(0)), "{report:#}");
}

#[test]
fn a_directory_that_is_replaced_by_an_older_copy_is_found_and_promises_nothing() {
    let mut cluster = cluster_with_transfers(200);
    let older = cluster.folder().join("older");
    copy_of_idle(&cluster.participants[0].data, &older);
    run(async {
        let client = connect(&cluster.coordinator.address).await;
        // All participants are connected again when this is answered.
        assert_conserved(&client, ACCOUNTS).await;
        transfer_some(&client, 200, 600).await;
    });
    stop(&mut cluster);
    let (code, report) = check(&cluster);
    assert_eq!(code, 0, "{report:#}");

    std::fs::remove_dir_all(&cluster.participants[0].data).expect("it is removed");
    std::fs::rename(&older, &cluster.participants[0].data).expect("it is put in its place");
    let (code, report) = check(&cluster);
    assert_eq!(code, 1, "{report:#}");
    let faults = faults(&report);
    assert!(faults.len() > 3 && faults.iter().all(|(_, node)| *node == "p1"), "{faults:?}");
    assert!(faults.iter().any(|(fault, _)| *fault == "promise-missing"), "{faults:?}");

    (0..=3).for_each(|place| cluster.node(place).start());
    await_log(&cluster.participants[0], "claims a record that the log of participant 1 has lost");
    await_log(&cluster.coordinator, "claims a record that the log of participant 1 has lost");
    run(async {
        let client = connect(&cluster.coordinator.address).await;
        let everything = Transaction::new().totals("balance/", "balance0");
        let Ok(Outcome::Aborted { refusal, .. }) = client.submit(everything).await else { panic!("it is refused") };
        assert_eq!((refusal.reason, refusal.participant), (Reason::LogLost, Some(1)));
    });
}

/// What a coordinator did after the copy was made.
#[derive(Clone, Copy)]
enum Lost {
    Transfers(u64),
    OneWrite,
}

/// One transaction at all participants.
async fn write_everywhere(client: &Client, under: &str) {
    let write = (1..=ACCOUNTS).fold(Transaction::new(), |all, account| all.put(format!("{under}/{account}"), "1"));
    let outcome = client.submit(write).await;
    assert!(matches!(outcome, Ok(Outcome::Committed { .. })), "{outcome:?}");
}

/// A coordinator's directory is replaced by an older copy, which is then started so often before a participant is there: each
/// start is a record. What it says, and that the repair which its error names helps.
fn story_of_an_older_copy(lost: Lost, starts: usize) {
    let mut cluster = cluster_with_transfers(200);
    let older = cluster.folder().join("older");
    copy_of_idle(&cluster.coordinator.data, &older);
    run(async {
        let client = connect(&cluster.coordinator.address).await;
        match lost {
            Lost::Transfers(count) => transfer_some(&client, 200, count).await,
            Lost::OneWrite => write_everywhere(&client, "before").await,
        }
    });
    stop(&mut cluster);
    let (code, report) = check(&cluster);
    assert_eq!(code, 0, "{report:#}");

    let data = cluster.coordinator.data.clone();
    std::fs::remove_dir_all(&data).expect("it is removed");
    std::fs::rename(&older, &data).expect("it is put in its place");
    let (code, report) = check(&cluster);
    assert_eq!(code, 1, "{report:#}");
    assert!(faults(&report).contains(&("record-missing", "c1")), "{report:#}");

    for _ in 0..starts {
        cluster.node(0).start();
        cluster.node(0).terminate();
    }
    (0..=3).for_each(|place| cluster.node(place).start());
    cluster
        .participants
        .iter()
        .for_each(|node| await_log(node, "claims a record that the log of coordinator 1 has lost"));
    await_log(&cluster.coordinator, "claims a record that the log of coordinator 1 has lost");
    run(async {
        let client = connect(&cluster.coordinator.address).await;
        let everything = Transaction::new().totals("balance/", "balance0");
        let Ok(Outcome::Aborted { refusal, .. }) = client.submit(everything).await else { panic!("it is refused") };
        assert_eq!((refusal.reason, refusal.participant), (Reason::LogLost, None));
    });
    stop(&mut cluster);

    let said = cluster.coordinator.log();
    let named = said.split("--accept-loss-until ").skip(1);
    let named = named.map(|rest| rest.chars().take_while(char::is_ascii_digit).collect::<String>());
    let until = named.filter_map(|index| index.parse::<u64>().ok()).max().expect("the alarm names what to accept");
    let records = |node: &Node| node.dump().iter().filter(|item| item["lsn"].is_u64()).count();
    let (before, alarms) = (records(&cluster.coordinator), said.matches("has lost, or never had").count());
    let end = cluster.coordinator.dump().iter().filter_map(|item| item["index"].as_u64()).max().expect("a record");
    assert_eq!(end > until, starts > 0, "the log ends with index {end}, and {until} was lost");
    let mut repair = Command::new(assent());
    repair.args(["wal", "repair", "--json", "--accept-loss-until", &until.to_string()]).arg(&data);
    let repaired = repair.output().expect("it runs");
    let document: Value = serde_json::from_slice(&repaired.stdout).expect("one document");
    assert!(repaired.status.success() && document["repaired"] == true, "{document:#}");
    assert_eq!(records(&cluster.coordinator), before + 2, "nothing is dropped");
    let again = repair.output().expect("it runs");
    let document: Value = serde_json::from_slice(&again.stdout).expect("one document");
    let is_accepted = document["repaired"] == false && document["accepted"].as_u64() > Some(until);
    assert!(again.status.success() && is_accepted, "{document:#}");

    (0..=3).for_each(|place| cluster.node(place).start());
    run(async {
        let client = connect(&cluster.coordinator.address).await;
        write_everywhere(&client, "after").await;
    });
    assert_eq!(cluster.coordinator.log().matches("has lost, or never had").count(), alarms);
}

#[test]
fn a_coordinator_that_comes_back_with_an_older_copy_is_found_and_begins_nothing_until_its_repair() {
    story_of_an_older_copy(Lost::Transfers(200), 0);
}

#[test]
fn a_log_that_has_grown_past_the_position_that_it_lost_is_repaired_with_the_position_that_its_error_names() {
    story_of_an_older_copy(Lost::OneWrite, 12);
}

#[test]
fn a_damaged_log_is_compared_as_far_as_it_goes_and_its_repair_is_accepted() {
    let mut cluster = cluster_with_transfers(300);
    stop(&mut cluster);
    let data = cluster.participants[1].data.clone();
    let assent_wal = |args: &[&str]| {
        let output = Command::new(assent()).arg("wal").args(args).arg(&data).output().expect("it runs");
        (output.status.code(), String::from_utf8_lossy(&output.stdout).into_owned())
    };
    let (corrupted, said) = assent_wal(&["corrupt", "--kind", "truncate", "--seed", "7"]);
    assert_eq!(corrupted, Some(0), "{said}");
    let (code, report) = check(&cluster);
    assert!(report["nodes"].as_array().is_some_and(|nodes| nodes.iter().any(|node| node["unread"][0].is_string())));
    assert!(code == 4 || code == 1, "{code}: {report:#}");

    let repair = |after: &str| assent_wal(&["repair", "--json", "--accept-loss-after", after]);
    let (refused, said) = repair("1000000000000");
    assert_eq!(refused, Some(1), "{said}");
    let possible = said.split("--accept-loss-after ").nth(1).expect("the refusal names what is possible");
    let possible: String = possible.chars().take_while(char::is_ascii_digit).collect();
    let (repaired, said) = repair(&possible);
    assert_eq!(repaired, Some(0), "{said}");
    let (code, report) = check(&cluster);
    assert_eq!(code, 1, "{report:#}");
    assert!(faults(&report).iter().all(|(_, node)| *node == "p2"), "{report:#}");

    (0..=3).for_each(|place| cluster.node(place).start());
    run(async {
        let client = connect(&cluster.coordinator.address).await;
        write_everywhere(&client, "after").await;
    });
    assert!(!cluster.participants[1].log().contains("has lost records that it had told"));
}

#[test]
fn a_commit_that_only_a_checkpoint_remembers_is_compared_with_the_aborts_of_others() {
    let (txn, attempt) = (TxnId(7), Attempt { epoch: 1, number: 1 });
    let promise = Promise {
        txn,
        attempt,
        coordinator: 1,
        age: Age { admitted_us: 1, coordinator: 1 },
        digest: 7,
        writes: Vec::new(),
        reads: Vec::new(),
        ranges: Vec::new(),
        participants: vec![1, 2],
    };
    let promised = Record::Prepared(promise);
    let committed = [promised.clone(), Record::Committed { txn, attempt, decided_at: Position::UNKNOWN }];
    let aborted = [promised, Record::Aborted { txn, attempt }];
    let remembered = |attempt| [Record::Outcomes(vec![CommittedOutcome { txn, attempt, digest: 7, coordinator: 1 }])];

    let folder = tempfile::tempdir().expect("a folder");
    let dir = |name: &str| folder.path().join(name);
    let of = |role, node| (role, node);
    let later = Attempt { epoch: 1, number: 2 };
    write_log(&dir("p1"), of(Role::Participant, 1), &committed, &remembered(attempt));
    write_log(&dir("p1-later"), of(Role::Participant, 1), &committed, &remembered(later));
    write_log(&dir("p2"), of(Role::Participant, 2), &aborted, &[]);
    write_log(&dir("p2-sound"), of(Role::Participant, 2), &committed, &remembered(attempt));
    write_log(&dir("c1"), of(Role::Coordinator, 1), &[Record::Started { epoch: 1, start: 1 }], &remembered(attempt));

    let check = |names: &[&str]| {
        let mut command = Command::new(assent());
        command.args(["wal", "check-cluster", "--json"]).args(names.iter().map(|name| dir(name)));
        let output = command.output().expect("it runs");
        let report: Value = serde_json::from_slice(&output.stdout).expect("one document");
        (output.status.code(), report)
    };
    for (names, committed_by) in [(["p1", "p2"], "p1"), (["c1", "p2"], "c1")] {
        let (code, report) = check(&names);
        assert_eq!(code, Some(1), "{report:#}");
        let finding = &report["findings"][0];
        assert_eq!(finding["fault"], "decided-differently", "{report:#}");
        assert_eq!(finding["nodes"], serde_json::json!([committed_by, "p2"]), "{report:#}");
        assert_eq!(finding["txn"], txn.to_string(), "{report:#}");
    }
    for names in [["p1-later", "p2"], ["p1", "p2-sound"], ["c1", "p2-sound"]] {
        let (code, report) = check(&names);
        assert_eq!(code, Some(0), "{names:?}: {report:#}");
    }
}
