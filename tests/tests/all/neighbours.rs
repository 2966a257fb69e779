//! What a node logs of the others: each that is gone, stands still, is refused or is back, once.

use std::time::{Duration, Instant};

use client::{Client, Outcome, Transaction};
use protocol::TxnId;
use tests::processes::{Cluster, Node};
use tests::transfers::connect;

use crate::processes::{account_at, run};

const PATIENCE: Duration = Duration::from_secs(30);

pub(crate) fn lines_with(node: &Node, parts: &[&str]) -> Vec<String> {
    let log = node.log();
    log.lines().filter(|line| parts.iter().all(|part| line.contains(part))).map(str::to_owned).collect()
}

/// Waits until exactly one line has these parts, and looks whether it stays the only one.
pub(crate) async fn told_once(node: &Node, parts: &[&str]) -> String {
    let until = Instant::now() + PATIENCE;
    while lines_with(node, parts).is_empty() {
        assert!(Instant::now() < until, "{} does not tell {parts:?}:\n{}", node.name, node.log());
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    tokio::time::sleep(Duration::from_millis(1_500)).await;
    let lines = lines_with(node, parts);
    assert_eq!(lines.len(), 1, "{}: {lines:?}", node.name);
    lines[0].clone()
}

fn write_at_both(id: u128) -> Transaction {
    let keys = [1, 2].map(|participant| tests::transfers::balance(account_at(participant, 2)));
    keys.iter().fold(Transaction::with_id(TxnId(id)), |write, key| write.add(key.clone(), 1))
}

fn submit(client: &Client, id: u128) -> tokio::task::JoinHandle<()> {
    let client = client.clone();
    tokio::spawn(async move {
        let outcome = client.submit(write_at_both(id).deadline(Duration::from_secs(25))).await;
        assert!(matches!(outcome, Ok(Outcome::Committed { .. })), "{outcome:?}");
    })
}

#[test]
fn a_node_that_stands_still_is_gone_or_is_back_is_told_once_by_the_others() {
    let mut cluster = Cluster::start(2, &[]);
    run(async {
        let client = connect(&cluster.coordinator.address).await;
        submit(&client, 1).await.expect("it commits");

        cluster.participants[0].freeze();
        let waiting = submit(&client, 2);
        let silent = told_once(&cluster.coordinator, &["WARN", "silent for 3 s", "peer=p1"]).await;
        assert!(!silent.contains("unanswered=0"), "{silent}");
        cluster.participants[0].thaw();
        waiting.await.expect("it commits when the participant goes on");
        told_once(&cluster.coordinator, &["WARN", "answers again", "peer=p1"]).await;

        cluster.participants[1].kill();
        let waiting = submit(&client, 3);
        told_once(&cluster.coordinator, &["WARN", "gone", "peer=p2"]).await;
        cluster.participants[1].start();
        waiting.await.expect("it commits when the participant is back");
        let back = told_once(&cluster.coordinator, &["WARN", "connected again", "peer=p2"]).await;
        assert!(back.contains("gone_ms="), "{back}");

        cluster.coordinator.kill();
        for participant in &cluster.participants {
            let gone = told_once(participant, &["WARN", "gone", "peer=c1"]).await;
            assert!(gone.contains("promises_in_doubt="), "{gone}");
        }
        cluster.coordinator.start();
        for participant in &cluster.participants {
            told_once(participant, &["WARN", "connected again", "peer=c1"]).await;
        }
    });
    // Nobody who is asked to stop is missed by itself.
    assert!(cluster.coordinator.terminate().success());
    assert!(lines_with(&cluster.coordinator, &["WARN", "gone", "peer=p1"]).is_empty());
}

fn processes_in(line: &str) -> usize {
    line.matches("epoch ").count()
}

#[test]
fn a_node_that_is_refused_is_one_error_at_both_ends_until_it_is_right_again() {
    let mut cluster = Cluster::start(2, &["--log-level", "warn"]);
    let second = cluster.coordinator.twin("second", &cluster.folder().join("second"), &[]);
    let foreign = cluster.coordinator.twin(
        "foreign",
        &cluster.folder().join("foreign"),
        &["--cluster-id".to_owned(), "2".to_owned()],
    );
    run(async {
        // They meet before anything is replaced.
        submit(&connect(&cluster.coordinator.address).await, 1).await.expect("it commits");
        // A participant's directory is replaced by an empty one while its coordinator runs.
        let (data, kept) = (cluster.participants[0].data.clone(), cluster.folder().join("kept"));
        assert!(cluster.node(1).terminate().success());
        std::fs::rename(&data, &kept).expect("it is put aside");
        cluster.node(1).start();
        for node in [&cluster.coordinator, &cluster.participants[0]] {
            let refused = told_once(node, &["ERROR", "refused", "other-log"]).await;
            assert!(processes_in(&refused) >= 2 && refused.contains("bring the directory back"), "{refused}");
            assert!(refused.contains("participant 1") && refused.contains("coordinator 1"), "{refused}");
        }
        assert!(cluster.node(1).terminate().success());
        std::fs::remove_dir_all(&data).expect("it is removed");
        std::fs::rename(&kept, &data).expect("it is put back");
        cluster.node(1).start();
        let back = told_once(&cluster.coordinator, &["WARN", "connected again", "peer=p1"]).await;
        assert!(back.contains("failed_attempts=") && !back.contains("failed_attempts=0"), "{back}");

        // A coordinator that its participants refuse, and one of another cluster.
        let mut second = second;
        second.start();
        for peer in ["participant 1", "participant 2"] {
            let refused = told_once(&second, &["ERROR", "refused", "other-log", peer]).await;
            assert!(processes_in(&refused) >= 2, "{refused}");
        }
        assert!(lines_with(&second, &["gone"]).is_empty() && lines_with(&second, &["connected"]).is_empty());
        told_once(&cluster.participants[1], &["ERROR", "refused", "other-log"]).await;
        second.kill();
        let mut foreign = foreign;
        foreign.start();
        for (node, peer) in [(&foreign, "participant 2"), (&cluster.participants[1], "coordinator 1")] {
            let refused = told_once(node, &["ERROR", "refused", "this node to cluster", peer]).await;
            assert!(processes_in(&refused) >= 2 && refused.contains("--cluster-id"), "{refused}");
        }
    });
    assert_eq!(lines_with(&cluster.participants[1], &["WARN", "gone"]), [""; 0], "the good one was there all the time");
}
