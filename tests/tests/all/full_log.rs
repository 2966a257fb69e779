//! Real nodes whose logs are full of live data: because they have all the segments that they may have, or because the file
//! system is full. What was stored is deleted, and then as much is stored again.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use bytes::Bytes;
use client::{Client, Outcome, Transaction};
use protocol::{OperationResult, Reason};
use tests::image::Image;
use tests::private_mounts::{Needs, inside};
use tests::processes::{Cluster, target_folder};
use tests::transfers::connect;

use crate::processes::{account_at, run};

const VALUE_BYTES: usize = 200_000;

/// Keys that are written or deleted at once.
const BATCH: u32 = 8;

/// How long a transaction is tried that gives back space.
const PATIENCE: Duration = Duration::from_secs(30);

/// Values at participant 1, each with a note of it at participant 2.
struct Values {
    client: Client,
    at: [u32; 2],
    next: u32,
}

impl Values {
    fn new(client: Client) -> Self {
        Self { client, at: [account_at(1, 2), account_at(2, 2)], next: 0 }
    }

    fn keys(&self, number: u32) -> [String; 2] {
        [format!("value/{{{}}}/{number}", self.at[0]), format!("note/{{{}}}/{number}", self.at[1])]
    }

    async fn submit(&self, transaction: Transaction) -> Outcome {
        self.client.submit(transaction.deadline(Duration::from_secs(5))).await.expect("an outcome")
    }

    /// Stores values until there is no space for more; how many there are now.
    async fn fill(&mut self) -> u32 {
        loop {
            let [value, note] = self.keys(self.next);
            let put = Transaction::new().put(value, vec![self.next as u8; VALUE_BYTES]).put(note, "here");
            match self.submit(put).await {
                Outcome::Committed { .. } => self.next += 1,
                Outcome::Aborted { refusal, .. } => {
                    assert_eq!((refusal.reason, refusal.participant), (Reason::NoSpace, Some(1)), "{}", self.next);
                    return self.next;
                }
            }
            assert!(self.next < 2_000, "space does not lack");
        }
    }

    /// Does what gives back space: it is taken at once, or soon.
    async fn insist(&self, what: &str, transaction: impl Fn() -> Transaction) {
        let patience = Instant::now() + PATIENCE;
        loop {
            match self.submit(transaction()).await {
                Outcome::Committed { .. } => return,
                Outcome::Aborted { refusal, .. } => assert!(Instant::now() < patience, "{what}: {refusal}"),
            }
        }
    }

    /// Deletes all values below `until`, across both participants, but one of so many.
    async fn delete(&self, until: u32, but_each: u32) {
        for first in (0..until).step_by(BATCH as usize) {
            let batch = first..until.min(first + BATCH);
            let numbers: Vec<u32> = batch.filter(|number| number % but_each != 0).collect();
            let deletes = || {
                let keys = numbers.iter().flat_map(|&number| self.keys(number));
                keys.fold(Transaction::new(), Transaction::delete)
            };
            self.insist(&format!("deletes from {first}"), deletes).await;
        }
    }

    async fn check(&self, number: u32, is_there: bool) {
        let [value, note] = self.keys(number);
        let Outcome::Committed { results: Some(results) } = self.submit(Transaction::new().get(value).get(note)).await
        else {
            panic!("{number} cannot be read")
        };
        let expected = [vec![number as u8; VALUE_BYTES], b"here".to_vec()];
        let expected = expected.map(|value| OperationResult::Value(is_there.then(|| Bytes::from(value))));
        assert!(results == expected, "value {number}: {is_there}");
    }
}

/// Fills the log of participant 1, frees it, also after a restart, and fills it again.
fn filled_and_freed(cluster: &mut Cluster, but_each: u32) -> (u32, u32) {
    run(async {
        let mut values = Values::new(connect(&cluster.coordinator.address).await);
        let filled = values.fill().await;
        assert!(filled > 20, "{filled} values");
        cluster.participants[0].kill();
        cluster.participants[0].start();
        // Smaller values take the place of larger ones, and reads of both participants go on.
        let [value, _] = values.keys(0);
        values.insist("a smaller value", || Transaction::new().put(value.clone(), "small")).await;
        values.check(1, true).await;
        values.delete(filled, but_each).await;
        let again = values.fill().await - filled;
        for number in 1..filled {
            values.check(number, number % but_each == 0).await;
        }
        println!("{filled} values, all but one of {but_each} deleted, then {again} more");
        (filled, again)
    })
}

#[test]
fn a_log_with_all_its_segments_is_emptied_by_deletes_and_given_more_segments() {
    let mut cluster = Cluster::start(2, &["--log-segment", "8MiB", "--log-segments", "14"]);
    let (filled, again) = filled_and_freed(&mut cluster, 5);
    assert!(again > filled / 2, "{again} of {filled}");
    cluster.nodes().for_each(|node| _ = node.terminate());
    cluster.nodes().for_each(|node| node.give("--log-segments", "28"));
    (0..=2).rev().for_each(|place| cluster.node(place).start());
    run(async {
        let mut values = Values::new(connect(&cluster.coordinator.address).await);
        values.next = filled + again;
        let more = values.fill().await - filled - again;
        assert!(more > filled, "{more} more");
    });
}

#[test]
fn a_log_that_fills_its_file_system_is_emptied_by_deletes() {
    let name = "full_log::a_log_that_fills_its_file_system_is_emptied_by_deletes";
    if !inside(name, Needs::LoopDevice) {
        return;
    }
    let folder = tempfile::tempdir_in(target_folder()).expect("a folder");
    let image = Image::make(folder.path(), 256 << 20);
    // The coordinator's log is there too: its disk is full at the same time.
    let here = image.path().to_owned();
    let data_of = move |name: &str| -> Option<PathBuf> { (name != "p2").then(|| here.join(name)) };
    let mut cluster = Cluster::start_on(2, &["--log-segment", "8MiB"], &data_of);
    let (filled, again) = filled_and_freed(&mut cluster, 1_000);
    assert!(again > filled / 2, "{again} of {filled}");
}
