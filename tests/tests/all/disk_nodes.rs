//! Real nodes whose disk fails: they stop with their own exit code and say why, acknowledge nothing that is not there
//! afterwards, and come back with everything. On a file system that fails when told to, and with limited files.

use std::net::TcpStream;
use std::path::PathBuf;
use std::process::{Command, ExitStatus};
use std::time::{Duration, Instant};

use client::{Outcome, Transaction};
use rustix::io::Errno;
use tests::fuse::{Failing, FaultyFiles, Mounted, Operation};
use tests::private_mounts::{Needs, inside};
use tests::processes::{Cluster, Node, assent};
use tests::transfers::{assert_conserved, assert_told_the_truth, connect, open_accounts};

use crate::processes::{ACCOUNTS, Load, account_at, run};

/// The exit code of a node whose disk failed.
const DISK_FAILED: i32 = 4;

/// A cluster of which one node lives on a file system that fails.
struct Place {
    cluster: Cluster,
    files: FaultyFiles,
    mounted: Option<Mounted>,
    folder: tempfile::TempDir,
    name: &'static str,
}

impl Place {
    fn new(name: &'static str, takes_direct: bool) -> Self {
        let (files, folder) = (FaultyFiles::new(takes_direct), tempfile::tempdir().expect("a folder"));
        let mounted = Some(files.mount(folder.path()).expect("a mount"));
        let here = folder.path().to_owned();
        let data_of = move |of: &str| -> Option<PathBuf> { (of == name).then(|| here.clone()) };
        let cluster = Cluster::start_on(2, &["--log-segment", "8MiB"], &data_of);
        Self { cluster, files, mounted, folder, name }
    }

    fn node(&mut self) -> &mut Node {
        let name = self.name;
        self.cluster.nodes().find(|node| node.name == name).expect("a node of this name")
    }

    /// What fails next is then a group, and not the making of a file.
    fn wait_for_second_segment(&self) {
        let patience = Instant::now() + Duration::from_secs(30);
        // Space is set aside for a third one when the second one is in the superblock.
        while !self.folder.path().join("segment-0002.new").exists() {
            assert!(Instant::now() < patience, "no second segment is made");
            std::thread::sleep(Duration::from_millis(10));
        }
        std::thread::sleep(Duration::from_millis(200));
    }

    fn cut_power(&mut self, seed: u64) {
        self.mounted = None;
        self.files.cut_power(seed);
        self.mounted = Some(self.files.mount(self.folder.path()).expect("a mount"));
    }
}

/// Waits until a node ends, while those go on that make it write.
async fn ended_under_load(node: &mut Node) -> ExitStatus {
    let patience = Instant::now() + Duration::from_secs(30);
    while Instant::now() < patience {
        if let Some(status) = node.ended_within(Duration::ZERO) {
            return status;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    node.wait_for_end()
}

/// What an operator sees of a node whose disk has failed.
async fn assert_stopped_for_its_disk(node: &mut Node) {
    let status = ended_under_load(node).await;
    let log = node.log();
    assert_eq!(status.code(), Some(DISK_FAILED), "{log}");
    let said = log.lines().find(|line| line.contains("ERROR") && line.contains("the log has stopped"));
    let said = said.unwrap_or_else(|| panic!("nothing says that the log has stopped:\n{log}"));
    assert!(said.contains("segment-") && said.contains("LSN") && said.contains("start the node again"), "{said}");
    TcpStream::connect(&node.address).expect_err("nobody listens any more");
}

/// Under load a node's disk fails; it stops, the others go on, and it comes back with everything.
fn fails_and_comes_back(name: &'static str, takes_direct: bool, operation: Operation, failing: Failing) {
    let mut place = Place::new(name, takes_direct);
    run(async {
        let client = connect(&place.cluster.coordinator.address).await;
        open_accounts(&client, ACCOUNTS).await;
        let load = Load::start(&client, 16, usize::MAX);
        load.progress(200).await;
        place.wait_for_second_segment();
        load.progress(50).await;
        place.files.fail(operation, 3, failing);
        assert_stopped_for_its_disk(place.node()).await;
        if name == "p1" {
            let aside = Transaction::new().put(format!("aside/{{{}}}", account_at(2, 2)), "1");
            let outcome = client.submit(aside.deadline(Duration::from_secs(3))).await;
            assert!(matches!(outcome, Ok(Outcome::Committed { .. })), "the other one goes on: {outcome:?}");
        }
        place.files.heal();
        place.node().start();
        load.progress(200).await;
        // The whole disk goes, and then the power.
        place.files.break_down();
        ended_under_load(place.node()).await;
        place.cut_power(7);
        place.files.heal();
        place.node().start();
        load.progress(200).await;
        let told = load.end(true).await;
        assert_told_the_truth(&client, &told).await;
        assert_conserved(&client, ACCOUNTS).await;
    });
}

#[test]
fn a_participant_whose_write_fails_stops_and_comes_back_with_everything() {
    if inside("disk_nodes::a_participant_whose_write_fails_stops_and_comes_back_with_everything", Needs::Fuse) {
        fails_and_comes_back("p1", true, Operation::Write, Failing::With(Errno::IO));
    }
}

#[test]
fn a_participant_whose_sync_fails_stops_and_comes_back_with_everything() {
    if inside("disk_nodes::a_participant_whose_sync_fails_stops_and_comes_back_with_everything", Needs::Fuse) {
        fails_and_comes_back("p1", false, Operation::Sync, Failing::With(Errno::IO));
    }
}

#[test]
fn a_participant_whose_write_is_cut_short_stops_and_comes_back_with_everything() {
    if inside("disk_nodes::a_participant_whose_write_is_cut_short_stops_and_comes_back_with_everything", Needs::Fuse) {
        fails_and_comes_back("p1", true, Operation::Write, Failing::Short);
    }
}

#[test]
fn a_coordinator_whose_disk_is_full_under_a_write_stops_and_comes_back_with_everything() {
    let name = "disk_nodes::a_coordinator_whose_disk_is_full_under_a_write_stops_and_comes_back_with_everything";
    if inside(name, Needs::Fuse) {
        fails_and_comes_back("c1", true, Operation::Write, Failing::With(Errno::NOSPC));
    }
}

#[test]
fn a_node_that_cannot_read_its_log_says_where_and_exits_as_for_a_failed_disk() {
    let name = "disk_nodes::a_node_that_cannot_read_its_log_says_where_and_exits_as_for_a_failed_disk";
    if !inside(name, Needs::Fuse) {
        return;
    }
    let mut place = Place::new("p1", true);
    run(async {
        let client = connect(&place.cluster.coordinator.address).await;
        open_accounts(&client, ACCOUNTS).await;
    });
    place.node().kill();
    place.files.fail_on(Operation::Read, 1, Failing::With(Errno::IO));
    let status = place.node().start_refused();
    let log = place.node().log();
    assert_eq!(status.code(), Some(DISK_FAILED), "{log}");
    let said = log.lines().last().unwrap_or_default();
    assert!(said.contains("superblock") && said.contains("offset 0") && said.contains("dmesg"), "{said}");
    assert!(!said.contains("damaged"), "{said}");
    place.files.heal();
    place.node().start();
}

#[test]
fn a_limit_of_file_sizes_below_a_segment_is_named_at_the_start() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut limited = Command::new("prlimit");
    limited.arg("--fsize=4194304").arg(assent()).args(["participant", "--id", "1", "--listen", "127.0.0.1:0"]);
    let output = limited.arg("--data").arg(folder.path()).output().expect("prlimit runs");
    let said = String::from_utf8_lossy(&output.stderr);
    let said = said.lines().last().unwrap_or_default();
    assert_eq!(output.status.code(), Some(3), "{said}");
    assert!(said.contains("segment-0000") && said.contains("raise the limit of file sizes"), "{said}");
}

#[test]
fn a_limit_of_file_sizes_that_a_write_meets_is_named() {
    let mut cluster = Cluster::start(2, &["--log-segment", "8MiB"]);
    run(async {
        let client = connect(&cluster.coordinator.address).await;
        open_accounts(&client, ACCOUNTS).await;
        let load = Load::start(&client, 16, usize::MAX);
        load.progress(100).await;
        // Below what is written already, so that the next group meets it.
        cluster.participants[0].limit_file_size(Some(4096));
        assert_stopped_for_its_disk(&mut cluster.participants[0]).await;
        let log = cluster.participants[0].log();
        assert!(log.contains("limit of file sizes"), "{log}");
        cluster.participants[0].start();
        load.progress(100).await;
        let told = load.end(true).await;
        assert_told_the_truth(&client, &told).await;
        assert_conserved(&client, ACCOUNTS).await;
    });
}
