//! What a start writes down about its log: for a log that was killed, cut, in doubt, damaged, and where it cannot be written.

use std::collections::BTreeSet;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::process::{Command, Output};
use std::time::Duration;

use client::{Outcome, Transaction};
use protocol::TxnId;
use protocol::routing::{BinTable, bin_of};
use serde_json::Value;
use tests::processes::{Cluster, Node, assent};
use tests::transfers::connect;

/// No seal: damage to the last group is taken for a torn tail.
const NO_SEAL: [&str; 2] = ["--log-seal-idle", "60s"];

fn run<T>(story: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime").block_on(story)
}

fn read(data: &Path, name: &str) -> Value {
    let text = std::fs::read_to_string(data.join(name)).unwrap_or_else(|error| panic!("{name}: {error}"));
    serde_json::from_str(&text).expect("a document of JSON")
}

/// The names of all fields, those of objects with a dot.
fn fields(document: &Value) -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    for (name, value) in document.as_object().expect("an object") {
        match value.as_object() {
            Some(inner) => names.extend(inner.keys().map(|field| format!("{name}.{field}"))),
            None => drop(names.insert(name.clone())),
        }
    }
    names
}

/// The names in the first column of a chapter's table.
fn documented(chapter: &str) -> BTreeSet<String> {
    let document = include_str!("../../../node/CERTIFICATE.md");
    let text = document.split(&format!("## {chapter}\n")).nth(1).expect("the chapter exists");
    let table = text.split("\n## ").next().unwrap_or(text).lines().filter(|line| line.starts_with("| `"));
    let cells = table.map(|line| line.split('|').nth(1).unwrap_or_default());
    cells.flat_map(|cell| cell.split('`').skip(1).step_by(2).map(str::to_owned).collect::<Vec<_>>()).collect()
}

async fn put(address: &str, key: &str) {
    connect(address).await.submit(Transaction::new().put(key.to_owned(), "1")).await.expect("an outcome");
}

/// Flips a bit in the last record of the log; its LSN, which in the first segment is its offset.
fn damage_last_record(node: &Node) -> u64 {
    let at = node.dump().iter().filter_map(|line| line["lsn"].as_u64()).max().expect("a record");
    flip(&node.data.join("segment-0000"), at);
    at
}

fn flip(path: &Path, at: u64) {
    let file = std::fs::OpenOptions::new().read(true).write(true).open(path).expect("the file opens");
    let mut byte = [0];
    file.read_exact_at(&mut byte, at).expect("a byte");
    file.write_all_at(&[byte[0] ^ 1], at).expect("a byte");
    file.sync_all().expect("it is synced");
}

/// Starts a participant that is to refuse.
fn start_refused(data: &Path) -> Output {
    let args = ["participant", "--id", "1", "--listen", "127.0.0.1:0", "--data"];
    Command::new(assent()).args(args).arg(data).output().expect("it runs")
}

#[test]
fn a_start_certifies_what_it_read_what_it_cut_and_what_is_in_doubt() {
    let mut cluster = Cluster::start(2, &NO_SEAL);
    let first = read(&cluster.participants[0].data, "recovery.json");
    assert_eq!(
        (&first["outcome"], &first["created"], &first["incarnation"]),
        (&"recovered".into(), &true.into(), &1.into())
    );
    assert_eq!(fields(&first), documented("After a start"));

    let bins = BinTable::even(&[1, 2]);
    let key_at = |participant| {
        (0..).map(|n| format!("key-{n}")).find(|key| bins.participant_of(bin_of(key.as_bytes())) == participant)
    };
    let keys = [1, 2].map(|participant| key_at(participant).expect("a key"));
    run(async {
        put(&cluster.coordinator.address, &keys[0]).await;
        // Both have accepted the coordinator when this is answered.
        let client = connect(&cluster.coordinator.address).await;
        let write = Transaction::new().put(keys[0].clone(), "1").put(keys[1].clone(), "1");
        assert!(matches!(client.submit(write).await, Ok(Outcome::Committed { .. })));
        // The other participant does not vote, so this one stays in doubt.
        cluster.participants[1].freeze();
        let client = connect(&cluster.coordinator.address).await;
        let both = Transaction::with_id(TxnId(0x77)).put(keys[0].clone(), "2").put(keys[1].clone(), "2");
        let waiting = tokio::spawn(async move { client.submit(both).await });
        tokio::time::sleep(Duration::from_millis(300)).await;
        waiting.abort();
    });
    let node = &mut cluster.participants[0];
    node.kill();
    node.start();
    let second = read(&node.data, "recovery.json");
    assert_eq!(second, read(&node.data, "recovery-2.json"));
    assert_eq!((&second["log_id"], &second["clean"]), (&first["log_id"], &false.into()));
    assert!(second["read"]["records"].as_u64() >= Some(2), "{second}");
    assert_eq!(second["in_doubt"]["count"], 1, "{second}");
    let doubtful = &second["in_doubt"]["txns"][0];
    assert_eq!((&doubtful["txn"], &doubtful["coordinator"]), (&TxnId(0x77).to_string().into(), &1.into()));
    // Log lines are written beside the node's work.
    let patience = std::time::Instant::now() + Duration::from_secs(10);
    while node.log().matches(" certificate=").count() < 2 && std::time::Instant::now() < patience {
        std::thread::sleep(Duration::from_millis(10));
    }
    let log = node.log();
    let logged: Vec<Value> = log
        .lines()
        .filter_map(|line| line.split_once(" certificate="))
        .map(|(_, text)| serde_json::from_str(text).expect("one line of JSON"))
        .collect();
    assert_eq!(logged, [first, second]);
}

#[test]
fn a_cut_is_certified_with_its_bytes_and_its_reason() {
    let mut cluster = Cluster::start(1, &NO_SEAL);
    run(put(&cluster.coordinator.address, "key"));
    cluster.coordinator.kill();
    let node = &mut cluster.participants[0];
    node.kill();
    let at = damage_last_record(node);
    node.start();
    let certificate = read(&node.data, "recovery.json");
    let [cut] = &certificate["cuts"].as_array().expect("a list")[..] else { panic!("{certificate}") };
    let number = |name: &str| cut[name].as_u64().expect("a number");
    assert!(number("from") <= at && at < number("to") && number("offset") == number("from"), "{cut}");
    assert_eq!((&cut["rule"], &certificate["ended_by"]), (&"torn-tail".into(), &"torn-tail".into()));
    assert!(cut["file"].as_str().is_some_and(|file| file.ends_with("segment-0000")), "{cut}");
    assert!(cut["reason"].as_str().is_some_and(|reason| reason.contains("checksum")), "{cut}");
    assert_eq!(certificate["read"]["to"].as_u64(), Some(number("from")));
}

#[test]
fn a_refusal_is_written_down_with_its_place_and_a_wrong_directory_is_left_alone() {
    let mut cluster = Cluster::start(1, &[]);
    run(put(&cluster.coordinator.address, "key"));
    cluster.coordinator.kill();
    let node = &mut cluster.participants[0];
    let data = node.data.clone();
    assert_eq!(start_refused(&data).status.code(), Some(3), "the directory is locked");
    assert!(!data.join("recovery-refused.json").exists());
    assert!(node.terminate().success());
    let at = damage_last_record(node);
    let refused = start_refused(&data);
    assert_eq!(refused.status.code(), Some(4));
    let certificate = read(&data, "recovery-refused.json");
    assert_eq!(fields(&certificate), documented("After a refusal"));
    assert_eq!((&certificate["outcome"], &certificate["rule"]), (&"refused".into(), &"durable-damaged".into()));
    assert!(certificate["offset"].as_u64() <= Some(at) && certificate["lsn"] == certificate["offset"], "{certificate}");
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(said.contains(certificate["reason"].as_str().expect("a text")), "{said}");
    // The damage is undone: the log opens, and the refusal is kept beside the new certificate.
    flip(&data.join("segment-0000"), at);
    node.start();
    assert_eq!(read(&data, "recovery.json")["incarnation"], 2);
    assert_eq!(read(&data, "recovery-refused.json"), certificate);
}

#[test]
fn a_certificate_that_cannot_be_written_does_not_stop_the_start() {
    let mut cluster = Cluster::start(1, &[]);
    let node = &mut cluster.participants[0];
    assert!(node.terminate().success());
    std::fs::remove_file(node.data.join("recovery.json")).expect("the certificate is there");
    std::fs::create_dir(node.data.join("recovery.json")).expect("a folder");
    node.start();
    assert!(node.log().contains("the recovery certificate could not be written"), "{}", node.log());
    let names = std::fs::read_dir(&node.data).expect("the folder").map(|entry| entry.expect("an entry").file_name());
    assert_eq!(names.filter(|name| name.to_string_lossy() == "recovery.json.new").count(), 0);
}
