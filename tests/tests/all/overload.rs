//! Real processes that are asked for more than they can do. Whatever it was: soon after it ends, a fresh client is served as
//! usual, and nobody works on for those who have left.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use client::{Client, Options, Outcome, Transaction};
use node::limits::UNFINISHED_BYTES_MAX;
use protocol::frame::{self, FRAME_HEADER_BYTES};
use protocol::limits::FRAME_BYTES_MAX;
use protocol::message::Hello;
use protocol::{ClusterId, HandshakeMessage, Message};
use tests::processes::Cluster;
use tests::transfers::connect;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

use crate::processes::run;

/// How soon after the load has ended all is as before.
const REST_WITHIN: Duration = Duration::from_secs(5);

/// What a put may take then. The rest is for a busy machine.
const USUAL: Duration = Duration::from_secs(1);

/// What presses must not press on another one's measurements.
static ALONE: Mutex<()> = Mutex::new(());

fn alone() -> MutexGuard<'static, ()> {
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

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

/// What it may take amid a load, on a machine that others use as well.
const AMID: Duration = Duration::from_secs(5);

/// A put by a client of its own, and how long it took.
async fn put(address: &str, within: Duration) -> Result<Duration, String> {
    let begun = Instant::now();
    let one_try = async {
        let client = Client::connect(address, Options::default()).await.map_err(|error| error.to_string())?;
        match client.submit(Transaction::new().put("aside", "x")).await {
            Ok(Outcome::Committed { .. }) => Ok(begun.elapsed()),
            Ok(other @ Outcome::Aborted { .. }) => Err(format!("{other:?}")),
            Err(error) => Err(error.to_string()),
        }
    };
    tokio::time::timeout(within, one_try).await.unwrap_or_else(|_| Err(format!("nothing within {within:?}")))
}

/// The load has just ended: waits until a fresh client is served as usual and no node works any more.
async fn assert_soon_at_rest(cluster: &mut Cluster) {
    let ended = Instant::now();
    let address = cluster.coordinator.address.clone();
    loop {
        let cpu_before: Vec<Duration> = cluster.nodes().map(|node| node.cpu()).collect();
        let served = put(&address, USUAL).await;
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
    let _alone = alone();
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
        let amid = put(&cluster.coordinator.address, AMID).await;
        assert!(amid.is_ok(), "{amid:?}");
        for read in reads {
            read.abort();
            let _ = read.await;
        }
        assert_soon_at_rest(&mut cluster).await;
    });
}

/// Clients that begin a frame and never end it fill what unfinished frames may hold. The one that has waited longest pays, and no
/// node does.
#[test]
fn frames_that_are_never_finished_cut_nobody_off() {
    let _alone = alone();
    let mut cluster = Cluster::start(2, &[]);
    let mut frame = vec![0; FRAME_HEADER_BYTES + FRAME_BYTES_MAX];
    frame::seal(&mut frame);
    let hello = frame::single(&Message::Handshake(HandshakeMessage::Hello(Hello::client(ClusterId(1)))));
    let addresses: Vec<String> = cluster.nodes().map(|node| node.address.clone()).collect();
    run(async {
        let mut held = Vec::new();
        for address in &addresses[..2] {
            for _ in 0..UNFINISHED_BYTES_MAX / FRAME_BYTES_MAX + 4 {
                let mut stream = TcpStream::connect(address).await.expect("a connection");
                stream.write_all(&hello).await.expect("it is heard");
                _ = stream.write_all(&frame[..frame.len() - 10]).await;
                held.push(stream);
            }
        }
        let client = connect(&cluster.coordinator.address).await;
        for round in 0..8 {
            let begun = Instant::now();
            let value = Bytes::from(vec![round; 180 << 10]);
            let write =
                ["a", "b", "c", "d"].iter().fold(Transaction::new(), |write, key| write.put(*key, value.clone()));
            let outcome = client.submit(write).await;
            assert!(matches!(outcome, Ok(Outcome::Committed { .. })), "{outcome:?}");
            assert!(begun.elapsed() < 2 * USUAL, "{:?}", begun.elapsed());
        }
    });
    for node in cluster.nodes() {
        let log = node.log();
        assert!(!log.contains("gone;"), "{}: a node was cut off:\n{log}", node.name);
    }
    assert!(cluster.coordinator.log().contains("has waited longest for its rest"), "{}", cluster.coordinator.log());
}
