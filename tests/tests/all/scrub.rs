//! Scrubbing in real nodes: damage behind a running node's back is found, told once, and needed by no later start; a busy
//! node whose segment files are used again and again gives no alarm.

use std::os::unix::fs::FileExt;
use std::process::Command;
use std::time::{Duration, Instant};

use client::{Client, Options, Outcome, Transaction};
use protocol::message::Stats;
use protocol::{OperationResult, Reason};
use tests::processes::{Cluster, Node, assent};
use tests::transfers::connect;

const VALUE_BYTES: usize = 200 << 10;
const PATIENCE: Duration = Duration::from_secs(60);
const ALARM: &str = "acknowledged data is damaged on the disk";

fn run<T>(story: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime").block_on(story)
}

async fn put(client: &Client, key: String, filler: u8) {
    let outcome = client.submit(Transaction::new().put(key, vec![filler; VALUE_BYTES])).await.expect("an outcome");
    assert!(matches!(outcome, Outcome::Committed { .. }), "{outcome:?}");
}

async fn stats(node: &Node) -> Stats {
    let client = Client::connect(node.address.clone(), Options::default()).await.expect("a connection");
    client.stats().await.expect("figures")
}

/// Waits until so many passes more have ended: the first of them may have begun before.
async fn passes(node: &Node, more: u64) -> Stats {
    let until = stats(node).await.scrub_passes + more;
    let patience = Instant::now() + PATIENCE;
    loop {
        let stats = stats(node).await;
        if stats.scrub_passes >= until {
            return stats;
        }
        assert!(Instant::now() < patience, "{} passes of {until}:\n{}", stats.scrub_passes, node.log());
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Flips a bit in the middle of the value that is filled with `filler`; where in the file.
fn flip_in_value(node: &Node, filler: u8) -> u64 {
    let path = node.data.join("segment-0000");
    let bytes = std::fs::read(&path).expect("the segment is read");
    let value = bytes.windows(64).position(|window| window == [filler; 64]).expect("the value is there");
    let at = (value + VALUE_BYTES / 2) as u64;
    let file = std::fs::OpenOptions::new().write(true).open(&path).expect("the segment opens");
    file.write_all_at(&[bytes[at as usize] ^ 1], at).expect("a byte is written");
    file.sync_all().expect("it is synced");
    at
}

/// `assent stats` shows the finding, and says when nobody is there.
fn assert_shown(node: &Node) {
    let ask = |address: &str| Command::new(assent()).args(["stats", "--json", address]).output().expect("it runs");
    let shown = ask(&node.address);
    assert!(shown.status.success());
    let shown: serde_json::Value = serde_json::from_slice(&shown.stdout).expect("one document");
    assert_eq!(
        (&shown["role"], &shown["node"], &shown["scrub_findings"]),
        (&"participant".into(), &1.into(), &1.into())
    );
    assert!(shown["scrubbed_bytes"].as_u64() > Some(0) && shown["write_us"]["p99"].as_u64() > Some(0), "{shown}");
    assert_eq!(ask("127.0.0.1:1").status.code(), Some(3));
}

#[test]
fn damage_behind_a_running_nodes_back_is_found_told_once_and_not_needed_by_the_next_start() {
    let flags = ["--log-segment", "8MiB", "--log-scrub-rate", "1GiB", "--log-scrub-pause", "20ms"];
    let mut cluster = Cluster::start(1, &flags);
    run(async {
        let client = connect(&cluster.coordinator.address).await;
        for filler in 0..100 {
            put(&client, format!("key-{filler}"), filler).await;
        }
        let healthy = passes(&cluster.participants[0], 2).await;
        assert!(healthy.scrubbed_bytes >= 16 << 20 && healthy.scrub_findings == 0, "{healthy:?}");

        let at = flip_in_value(&cluster.participants[0], 7);
        let found = passes(&cluster.participants[0], 5).await;
        assert_eq!(found.scrub_findings, 1);
        assert_shown(&cluster.participants[0]);
        let log = cluster.participants[0].log();
        let alarms: Vec<&str> = log.lines().filter(|line| line.contains(ALARM)).collect();
        assert_eq!(alarms.len(), 1, "{log}");
        let number = |name: &str| -> u64 {
            let rest = alarms[0].split(&format!(" {name}=")).nth(1).expect("the field is there");
            rest.split_whitespace().next().and_then(|text| text.parse().ok()).expect("a number")
        };
        assert!(number("offset") <= at && at < number("to_lsn") && number("lsn") == number("offset"), "{}", alarms[0]);
        assert!(alarms[0].contains("segment-0000") && alarms[0].contains("checksum does not match"), "{}", alarms[0]);

        // The checkpoint that follows names the value that is lost.
        let patience = Instant::now() + PATIENCE;
        while !cluster.participants[0].log().contains("a damaged value cannot be moved") {
            assert!(Instant::now() < patience, "{}", cluster.participants[0].log());
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        passes(&cluster.participants[0], 2).await;
        cluster.participants[0].kill();
        cluster.participants[0].start();
        for filler in [6, 8] {
            let outcome = client.submit(Transaction::new().get(format!("key-{filler}"))).await.expect("an outcome");
            let Outcome::Committed { results: Some(results), .. } = outcome else { panic!("{outcome:?}") };
            assert_eq!(results, [OperationResult::Value(Some(vec![filler; VALUE_BYTES].into()))]);
        }
        let lost = Transaction::new().get("key-7").deadline(Duration::from_secs(1));
        let outcome = client.submit(lost).await.expect("an outcome");
        let Outcome::Aborted { refusal, .. } = outcome else { panic!("{outcome:?}") };
        assert_eq!(refusal.reason, Reason::Damaged);
    });
}

#[test]
fn a_busy_node_that_uses_its_segment_files_again_gives_no_alarm() {
    let flags = ["--log-segment", "8MiB", "--log-checkpoint", "8MiB"];
    let cluster = Cluster::start(2, &[&flags[..], &["--log-scrub-rate", "1GiB", "--log-scrub-pause", "1ms"]].concat());
    run(async {
        let client = connect(&cluster.coordinator.address).await;
        let until = Instant::now() + Duration::from_secs(4);
        let writers: Vec<_> = (0..4_u32)
            .map(|writer| {
                let client = client.clone();
                tokio::spawn(async move {
                    let mut round = 0_u32;
                    while Instant::now() < until {
                        round += 1;
                        // Some values stay, so that segments between which others were freed stay too.
                        let key = if round.is_multiple_of(16) { round % 400 } else { round % 8 };
                        put(&client, format!("key-{writer}-{key}"), round as u8).await;
                    }
                })
            })
            .collect();
        for writer in writers {
            writer.await.expect("a writer ends");
        }
        for node in &cluster.participants {
            let stats = passes(node, 2).await;
            assert!(stats.scrubbed_bytes > 32 << 20, "{stats:?}");
            let names = std::fs::read_dir(&node.data).expect("the folder").map(|entry| entry.expect("an entry").path());
            // Not those that only set space aside.
            let files = names.filter(|path| path.extension().is_none()).count() as u64;
            assert!(stats.bytes > 2 * files * (8 << 20), "files were not used again: {stats:?}, {files} files");
            assert_eq!(stats.scrub_findings, 0, "{}", node.log());
            assert!(!node.log().contains(ALARM), "{}", node.log());
        }
    });
}
