//! Real nodes on a real file system, ext4 on a loop device, which fills up and is freed, and whose power is cut under load.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use bytes::Bytes;
use client::{Client, Outcome, Transaction};
use protocol::{OperationResult, Reason, Refusal};
use tests::image::{Image, Shutdown};
use tests::private_mounts::{Needs, inside};
use tests::processes::{Cluster, target_folder};
use tests::transfers::{assert_conserved, assert_told_the_truth, connect, open_accounts};

use crate::processes::{ACCOUNTS, Load, account_at, run};

/// Rounds of the power cut between two looks at every transfer.
const ROUNDS_PER_LOOK: u32 = 5;

/// How long a node whose file system is gone may take to notice under load.
const NOTICE: Duration = Duration::from_secs(2);

// ---- a power cut

/// Cuts the power under load so many times; after each, everything that was acknowledged is there.
fn power_cuts(rounds: u32) {
    let folder = tempfile::tempdir_in(target_folder()).expect("a folder");
    let mut image = Image::make(folder.path(), 512 << 20);
    let here = image.path().to_owned();
    let data_of = move |name: &str| -> Option<PathBuf> { Some(here.join(name)) };
    let mut cluster = Cluster::start_on(2, &["--log-segment", "8MiB", "--log-checkpoint", "16MiB"], &data_of);
    let (mut transfers, mut stopped) = (0, 0);
    run(async {
        let client = connect(&cluster.coordinator.address).await;
        open_accounts(&client, ACCOUNTS).await;
        let mut load = Load::start(&client, 16, usize::MAX);
        for round in 0..rounds {
            load.progress(30 + u64::from(round * 37 % 200)).await;
            // Most often nothing more gets through; the journal alone, and everything, now and then.
            let shutdown = match round % 5 {
                1 => Shutdown::JournalOnly,
                3 => Shutdown::Flush,
                _ => Shutdown::Nothing,
            };
            image.shut_down(shutdown);
            stopped += end_all(&mut cluster);
            image.unmount();
            image.mount();
            cluster.nodes().for_each(tests::processes::Node::start);
            if (round + 1) % ROUNDS_PER_LOOK == 0 || round + 1 == rounds {
                load.progress(20).await;
                let told = load.end(true).await;
                assert_told_the_truth(&client, &told).await;
                assert_conserved(&client, ACCOUNTS).await;
                transfers += told.len();
                load = Load::start_again(&client, 16, usize::MAX, u64::from(round + 1));
            }
        }
        load.end(true).await;
    });
    println!("{rounds} power cuts, {transfers} transfers, {stopped} nodes stopped by themselves");
    assert!(stopped >= rounds, "of three nodes one at least writes when its file system goes");
}

/// Waits until all nodes have noticed, and kills those that had nothing to write; returns how many had.
fn end_all(cluster: &mut Cluster) -> u32 {
    let mut stopped = 0;
    for node in cluster.nodes() {
        match node.ended_within(NOTICE) {
            Some(status) => {
                assert_eq!(status.code(), Some(4), "{}", node.log());
                stopped += 1;
            }
            None => node.kill(),
        }
    }
    stopped
}

#[test]
fn a_power_cut_under_load_loses_nothing_acknowledged() {
    if inside("disk_image::a_power_cut_under_load_loses_nothing_acknowledged", Needs::LoopDevice) {
        power_cuts(5);
    }
}

#[test]
#[ignore = "long: a hundred power cuts; run in release mode"]
fn a_hundred_power_cuts_under_load_lose_nothing_acknowledged() {
    if inside("disk_image::a_hundred_power_cuts_under_load_lose_nothing_acknowledged", Needs::LoopDevice) {
        power_cuts(100);
    }
}

// ---- no space

/// How large the values are that fill the log.
const VALUE_BYTES: usize = 100_000;

/// How long service may take to come back once there is space: the log tries each second.
const RESUME: Duration = Duration::from_secs(10);

/// What was put at participant 1, with a note of it at participant 2.
struct Puts {
    client: Client,
    at: [u32; 2],
    acknowledged: Vec<u32>,
    next: u32,
}

impl Puts {
    fn keys(&self, n: u32) -> [String; 2] {
        [format!("blob/{{{}}}/{n}", self.at[0]), format!("note/{{{}}}/{n}", self.at[1])]
    }

    /// Puts some at once; the refusals.
    async fn put(&mut self, count: u32) -> Vec<Refusal> {
        let puts: Vec<_> = (self.next..self.next + count)
            .map(|n| {
                let [blob, note] = self.keys(n);
                let put = Transaction::new().put(blob, vec![n as u8; VALUE_BYTES]).put(note, n.to_string());
                let client = self.client.clone();
                (n, tokio::spawn(async move { client.submit(put.deadline(Duration::from_secs(1))).await }))
            })
            .collect();
        self.next += count;
        let mut refusals = Vec::new();
        for (n, put) in puts {
            match put.await.expect("it ends").expect("an outcome") {
                Outcome::Committed { .. } => self.acknowledged.push(n),
                Outcome::Aborted { refusal, .. } => refusals.push(refusal),
            }
        }
        refusals
    }

    /// Puts until there is no space for more.
    async fn fill(&mut self) {
        // A busy machine may let one pass its deadline.
        let lacks = |refusal: &Refusal| (refusal.reason, refusal.participant) == (Reason::NoSpace, Some(1));
        loop {
            let refusals = self.put(8).await;
            if refusals.iter().any(lacks) {
                break;
            }
            assert!(self.next < 400, "space does not lack: {refusals:?}");
        }
        assert!(Reason::NoSpace.is_retryable());
    }

    /// Waits until puts succeed again; nobody is started anew.
    async fn resume(&mut self) {
        let patience = Instant::now() + RESUME;
        while !self.put(1).await.is_empty() {
            assert!(Instant::now() < patience, "service does not come back");
        }
        assert!(self.put(8).await.is_empty());
    }

    /// Every acknowledged value is there, each read from its participant alone.
    async fn check(&self) {
        for &n in &self.acknowledged {
            let [blob, note] = self.keys(n);
            let expected = [Bytes::from(vec![n as u8; VALUE_BYTES]), Bytes::from(n.to_string())];
            for (key, value) in [blob, note].into_iter().zip(expected) {
                let Ok(Outcome::Committed { results: Some(results) }) =
                    self.client.submit(Transaction::new().get(key)).await
                else {
                    panic!("{n} cannot be read")
                };
                assert!(results == [OperationResult::Value(Some(value))], "{n} was acknowledged and is not there");
            }
        }
    }
}

/// Space for the log of participant 1 lacks, and comes back.
fn lacks_space(mut cluster: Cluster, free: impl FnOnce()) {
    run(async {
        let client = connect(&cluster.coordinator.address).await;
        let at = [account_at(1, 2), account_at(2, 2)];
        let mut puts = Puts { client, at, acknowledged: Vec::new(), next: 0 };
        puts.fill().await;
        let acknowledged = puts.acknowledged.len();
        // Refused again and again; what was promised before is decided, and can be read.
        assert_eq!(puts.put(4).await.len(), 4);
        assert_eq!(puts.acknowledged.len(), acknowledged);
        puts.check().await;
        let log = cluster.participants[0].log();
        assert_eq!(log.matches("no space for the next segment").count(), 1, "{log}");
        free();
        puts.resume().await;
        assert!(cluster.participants[0].log().contains("there is space for the next segment again"));
        cluster.participants[0].kill();
        cluster.participants[0].start();
        puts.resume().await;
        puts.check().await;
        assert!(acknowledged > 20, "{acknowledged} before space lacked");
    });
}

#[test]
fn a_full_file_system_refuses_promises_and_service_comes_back_by_itself() {
    let name = "disk_image::a_full_file_system_refuses_promises_and_service_comes_back_by_itself";
    if !inside(name, Needs::LoopDevice) {
        return;
    }
    let folder = tempfile::tempdir_in(target_folder()).expect("a folder");
    let image = Image::make(folder.path(), 128 << 20);
    let here = image.path().to_owned();
    let data_of = move |name: &str| -> Option<PathBuf> { (name != "p2").then(|| here.join(name)) };
    let cluster = Cluster::start_on(2, &["--log-segment", "8MiB", "--log-level", "info"], &data_of);
    // Both nodes have made their second segments by the time that they are ready, or soon after.
    std::thread::sleep(Duration::from_millis(500));
    let ballast = image.fill();
    lacks_space(cluster, move || std::fs::remove_file(ballast).expect("the ballast goes"));
}
