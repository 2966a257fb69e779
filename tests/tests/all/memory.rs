//! A real participant in a control group with little memory: it is filled until it refuses, is never killed, goes on with what
//! takes no more, and starts again within the same limit.

use std::time::Duration;

use client::{Client, Outcome, Transaction};
use protocol::Reason;
use tests::private_mounts::say;
use tests::processes::{Cluster, Launch};
use tests::stress::cage::{Cage, Limit};
use tests::transfers::connect;

use crate::processes::{account_at, run};

const LIMIT_BYTES: u64 = 150 << 20;

/// Keys of one transaction.
const BATCH: u64 = 4_000;

fn keys(tag: u32, batch: u64) -> impl Iterator<Item = String> {
    // Not in order, as keys come.
    (0..BATCH)
        .map(move |number| format!("{{{tag}}}/{:016x}", (batch * BATCH + number).wrapping_mul(0x9e37_79b9_7f4a_7c15)))
}

async fn submit(client: &Client, transaction: Transaction) -> Outcome {
    client.submit(transaction.deadline(Duration::from_secs(20))).await.expect("an outcome")
}

async fn put(client: &Client, tag: u32, batch: u64) -> Result<(), Reason> {
    let all = keys(tag, batch).fold(Transaction::new(), |all, key| all.put(key, "a value of some length"));
    match submit(client, all).await {
        Outcome::Committed { .. } => Ok(()),
        Outcome::Aborted { refusal, .. } => Err(refusal.reason),
    }
}

/// Puts until it is refused; the batch that was.
async fn fill(client: &Client, tag: u32, from: u64) -> u64 {
    for batch in from..from + 1_000 {
        match put(client, tag, batch).await {
            Ok(()) => {}
            Err(reason) => {
                assert_eq!(reason, Reason::NoMemory, "batch {batch}");
                return batch;
            }
        }
    }
    panic!("memory does not lack");
}

#[test]
fn a_participant_with_little_memory_refuses_what_takes_more_and_starts_again_within_it() {
    let name = "memory::a_participant_with_little_memory_refuses_what_takes_more_and_starts_again_within_it";
    let cage = match Cage::new("memory", Limit::MemoryBytes(LIMIT_BYTES)) {
        Ok(cage) => cage,
        Err(reason) => return say(&format!("skipped: {name}: {reason}\n")),
    };
    let flags = ["--log-segment", "8MiB", "--log-checkpoint", "16MiB"].map(str::to_owned).to_vec();
    let launch = |name: &str| Launch {
        args: flags.clone(),
        prefix: if name == "p1" { cage.prefix() } else { Vec::new() },
        ..Launch::default()
    };
    let mut cluster = Cluster::start_launched(2, |_, address| address, launch);
    let tag = account_at(1, 2);
    let log = cluster.participants[0].log();
    assert!(log.contains("memory.limit_in_bytes") || log.contains("memory.max"), "the limit is found: {log}");
    run(async {
        let client = connect(&cluster.coordinator.address).await;
        let mut full = fill(&client, tag, 0).await;
        println!("{} keys until it was refused", full * BATCH);
        assert!(full > 20, "{full} batches");
        for round in 0..2 {
            // What was there is there, and can be written again and deleted.
            let totals = submit(&client, Transaction::new().totals(format!("{{{tag}}}/"), format!("{{{tag}}}0"))).await;
            assert!(matches!(totals, Outcome::Committed { .. }), "{totals:?}");
            assert_eq!(put(&client, tag, 1).await, Ok(()), "the same again takes no more");
            assert_eq!(put(&client, tag, full).await, Err(Reason::NoMemory));
            let deletes = keys(tag, 0).fold(Transaction::new(), Transaction::delete);
            assert!(matches!(submit(&client, deletes).await, Outcome::Committed { .. }));
            assert_eq!(put(&client, tag, 0).await, Ok(()), "what was deleted makes room");
            cluster.participants[0].kill();
            cluster.participants[0].start();
            let again = fill(&client, tag, full).await;
            println!("round {round}: {} more after a start", (again - full) * BATCH);
            full = again;
        }
        assert!(cluster.participants[0].log().contains("the memory budget is used up"));
    });
}
