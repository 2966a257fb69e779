//! Real processes that are asked for more than they can do. Whatever it was: soon after it ends, a fresh client is served as
//! usual, and nobody works on for those who have left.

use std::time::{Duration, Instant};

use bytes::Bytes;
use client::{Client, Options, Outcome, Transaction};
use tests::processes::Cluster;
use tests::transfers::connect;

use crate::processes::run;

/// How soon after the load has ended all is as before.
const REST_WITHIN: Duration = Duration::from_secs(5);

/// What a put may take then. The rest is for a busy machine.
const USUAL: Duration = Duration::from_secs(1);

/// Rows under `row/`, many in a transaction.
async fn fill(client: &Client, rows: u32) {
    const ROWS_PER_TXN: u32 = 4_000;
    for from in (0..rows).step_by(ROWS_PER_TXN as usize) {
        let mut filling = Transaction::new();
        for row in from..rows.min(from + ROWS_PER_TXN) {
            filling = filling.put(Bytes::from(format!("row/{row:08}")), "1");
        }
        let outcome = client.submit(filling.deadline(Duration::from_secs(60))).await.expect("rows");
        assert!(matches!(outcome, Outcome::Committed { .. }), "{outcome:?}");
    }
}

/// A put by a client of its own, and how long it took.
async fn put(address: &str) -> Result<Duration, String> {
    let begun = Instant::now();
    let one_try = async {
        let client = Client::connect(address, Options::default()).await.map_err(|error| error.to_string())?;
        match client.submit(Transaction::new().put("aside", "x")).await {
            Ok(Outcome::Committed { .. }) => Ok(begun.elapsed()),
            Ok(other @ Outcome::Aborted { .. }) => Err(format!("{other:?}")),
            Err(error) => Err(error.to_string()),
        }
    };
    tokio::time::timeout(USUAL, one_try).await.unwrap_or_else(|_| Err(format!("nothing within {USUAL:?}")))
}

/// The load has just ended: waits until a fresh client is served as usual and no node works any more.
async fn assert_soon_at_rest(cluster: &mut Cluster) {
    let ended = Instant::now();
    let address = cluster.coordinator.address.clone();
    loop {
        let cpu_before: Vec<Duration> = cluster.nodes().map(|node| node.cpu()).collect();
        let served = put(&address).await;
        tokio::time::sleep(Duration::from_millis(500)).await;
        let worked: Vec<Duration> = cluster.nodes().zip(cpu_before).map(|(node, before)| node.cpu() - before).collect();
        let is_idle = worked.iter().all(|worked| *worked < Duration::from_millis(150));
        if served.is_ok() && is_idle {
            return;
        }
        assert!(ended.elapsed() < REST_WITHIN, "{:?} after the load: {served:?}, worked {worked:?}", ended.elapsed());
    }
}

#[test]
fn reads_that_were_given_up_end_with_those_who_asked() {
    const ROWS: u32 = 200_000;
    // Short against a scan, as it is where scans are long.
    let mut cluster = Cluster::start(1, &[]);
    run(async {
        let client = connect(&cluster.coordinator.address).await;
        fill(&client, ROWS).await;
        let reads: Vec<_> = (0..64)
            .map(|_| {
                let address = cluster.coordinator.address.clone();
                tokio::spawn(async move {
                    let client = connect(&address).await;
                    loop {
                        let totals = Transaction::new().totals("row/", "row0").deadline(Duration::from_secs(60));
                        let _ = client.submit(totals).await;
                    }
                })
            })
            .collect();
        tokio::time::sleep(Duration::from_secs(4)).await;
        // Amid the load others are served, between the slices.
        let amid = put(&cluster.coordinator.address).await;
        assert!(amid.is_ok(), "{amid:?}");
        for read in reads {
            read.abort();
            let _ = read.await;
        }
        assert_soon_at_rest(&mut cluster).await;
    });
}
