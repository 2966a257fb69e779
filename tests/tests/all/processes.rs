//! Real processes, real files, real sockets, real kills.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use client::{Client, Outcome, Transaction};
use protocol::TxnId;
use protocol::message::TxnStatus;
use protocol::routing::{BinTable, bin_of};
use tests::processes::Cluster;
use tests::proxy::Proxy;
use tests::transfers::{
    BALANCE, Transfers, assert_conserved, assert_told_the_truth, balance, connect, keep_transferring, open_accounts,
    totals, transfer,
};

pub(crate) const ACCOUNTS: u32 = 200;

pub(crate) fn run<T>(story: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime").block_on(story)
}

/// Clients that transfer in the background.
pub(crate) struct Load {
    stop: Arc<AtomicBool>,
    done: Arc<AtomicU64>,
    clients: Vec<tokio::task::JoinHandle<Transfers>>,
}

impl Load {
    pub(crate) fn start(client: &Client, clients: u64, count_max: usize) -> Self {
        Self::start_again(client, clients, count_max, 0)
    }

    /// The same with transfers that are not those of an earlier load, which had another `number`.
    pub(crate) fn start_again(client: &Client, clients: u64, count_max: usize, number: u64) -> Self {
        let (stop, done) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let clients = (1..=clients)
            .map(|seed| {
                let (stop, done) = (Arc::clone(&stop), Arc::clone(&done));
                tokio::spawn(keep_transferring(client.clone(), number << 16 | seed, ACCOUNTS, stop, done, count_max))
            })
            .collect();
        Self { stop, done, clients }
    }

    /// Waits until so many more transfers have committed.
    pub(crate) async fn progress(&self, count: u64) {
        let until = self.done.load(Ordering::Relaxed) + count;
        let patience = Instant::now() + Duration::from_secs(60);
        while self.done.load(Ordering::Relaxed) < until {
            assert!(Instant::now() < patience, "no progress: {} committed", self.done.load(Ordering::Relaxed));
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    pub(crate) async fn end(self, stop: bool) -> Transfers {
        if stop {
            self.stop.store(true, Ordering::Relaxed);
        }
        let mut told = Transfers::new();
        for client in self.clients {
            told.extend(client.await.expect("a client ends"));
        }
        told
    }
}

/// The smallest account that this participant of `participants` holds.
pub(crate) fn account_at(participant: u32, participants: u32) -> u32 {
    let bins = BinTable::even(&(1..=participants).collect::<Vec<_>>());
    (1..=ACCOUNTS)
        .find(|account| bins.participant_of(bin_of(balance(*account).as_bytes())) == participant)
        .expect("an account")
}

#[test]
fn each_node_is_killed_under_load_and_nothing_acknowledged_is_lost() {
    let mut cluster = Cluster::start(3, &[]);
    run(async {
        let client = connect(&cluster.coordinator.address).await;
        open_accounts(&client, ACCOUNTS).await;
        let load = Load::start(&client, 32, usize::MAX);
        for place in (0..=3).cycle().take(12) {
            load.progress(200).await;
            let node = cluster.node(place);
            node.kill();
            node.start();
        }
        load.progress(200).await;
        let told = load.end(true).await;
        assert_told_the_truth(&client, &told).await;
        assert_conserved(&client, ACCOUNTS).await;
    });
}

#[test]
fn all_nodes_are_killed_at_once_and_nothing_acknowledged_is_lost() {
    let mut cluster = Cluster::start(3, &[]);
    run(async {
        let client = connect(&cluster.coordinator.address).await;
        open_accounts(&client, ACCOUNTS).await;
        let load = Load::start(&client, 32, usize::MAX);
        for _ in 0..3 {
            load.progress(300).await;
            (0..=3).for_each(|place| cluster.node(place).kill());
            (0..=3).for_each(|place| cluster.node(place).start());
        }
        load.progress(200).await;
        let told = load.end(true).await;
        assert_told_the_truth(&client, &told).await;
        assert_conserved(&client, ACCOUNTS).await;
    });
}

#[test]
fn a_coordinator_killed_after_its_decisions_completes_them() {
    let mut cluster = Cluster::start(3, &[]);
    run(async {
        let client = connect(&cluster.coordinator.address).await;
        open_accounts(&client, ACCOUNTS).await;
        let load = Load::start(&client, 32, usize::MAX);
        let mut unfinished = 0;
        for _ in 0..20 {
            load.progress(200).await;
            cluster.coordinator.kill();
            let records = cluster.coordinator.dump();
            let count = |kind: &str| records.iter().filter(|record| record["kind"] == kind).count();
            unfinished = count("decided") - count("finished");
            cluster.coordinator.start();
            if unfinished > 0 {
                break;
            }
        }
        assert!(unfinished > 0, "no kill fell between a decision and its end");
        load.progress(200).await;
        let told = load.end(true).await;
        assert_told_the_truth(&client, &told).await;
        assert_conserved(&client, ACCOUNTS).await;
    });
}

#[test]
fn a_coordinator_killed_before_its_decision_leaves_nothing_in_doubt() {
    let mut cluster = Cluster::start(2, &[]);
    run(async {
        let client = connect(&cluster.coordinator.address).await;
        open_accounts(&client, ACCOUNTS).await;
        let (from, to) = (account_at(1, 2), account_at(2, 2));
        let txn = TxnId(77);
        // One participant does not vote, so there can be no decision.
        cluster.participants[1].freeze();
        let waiting = tokio::spawn({
            let client = client.clone();
            async move { client.submit(transfer(txn, from, to).deadline(Duration::from_secs(1))).await }
        });
        tokio::time::sleep(Duration::from_millis(300)).await;
        cluster.coordinator.kill();
        waiting.abort();
        drop(client);
        cluster.participants[1].thaw();
        cluster.coordinator.start();
        let client = connect(&cluster.coordinator.address).await;
        assert_conserved(&client, ACCOUNTS).await;
        assert_ne!(client.status(txn).await.expect("a status"), TxnStatus::Committed);
        // The locks are free: the same accounts can be used at once.
        let outcome = client.submit(transfer(TxnId(78), from, to)).await.expect("an outcome");
        assert!(matches!(outcome, Outcome::Committed { .. }), "{outcome:?}");
    });
}

#[test]
fn a_stopped_participant_holds_up_only_its_own_transactions() {
    let cluster = Cluster::start(3, &[]);
    run(async {
        let client = connect(&cluster.coordinator.address).await;
        open_accounts(&client, ACCOUNTS).await;
        let load = Load::start(&client, 32, usize::MAX);
        load.progress(200).await;
        cluster.participants[2].freeze();
        // Accounts may be locked by transactions of the stopped participant; these keys are not.
        let aside = |participant| format!("aside/{{{}}}", account_at(participant, 3));
        let (from, to) = (aside(1), aside(2));
        let stopped = Instant::now();
        let mut answered = 0;
        let mut slowest = Duration::ZERO;
        while stopped.elapsed() < Duration::from_secs(2) {
            let asked = Instant::now();
            let outcome = client.submit(Transaction::new().add(from.clone(), 1).add(to.clone(), 1)).await;
            assert!(matches!(outcome, Ok(Outcome::Committed { .. })), "{outcome:?}");
            slowest = slowest.max(asked.elapsed());
            answered += 1;
        }
        cluster.participants[2].thaw();
        assert!(answered > 20, "{answered} transactions at the others in two seconds");
        // Held up by the stopped one would be two seconds; the rest is for a busy machine.
        assert!(slowest < Duration::from_secs(1), "{slowest:?} for a transaction at the others");
        load.progress(200).await;
        let told = load.end(true).await;
        assert_told_the_truth(&client, &told).await;
        assert_conserved(&client, ACCOUNTS).await;
    });
}

#[test]
fn duplicated_and_reordered_messages_change_nothing() {
    let mut proxies = Vec::new();
    let cluster = Cluster::start_behind(3, &[], |number, address| {
        let proxy = Proxy::start(address, u64::from(number));
        let address = proxy.address();
        proxies.push(proxy);
        address
    });
    run(async {
        let client = connect(&cluster.coordinator.address).await;
        open_accounts(&client, ACCOUNTS).await;
        let load = Load::start(&client, 32, 200);
        let told = load.end(false).await;
        assert_told_the_truth(&client, &told).await;
        assert_conserved(&client, ACCOUNTS).await;
    });
    let (duplicated, reordered) =
        proxies.iter().map(Proxy::counts).fold((0, 0), |sum, counts| (sum.0 + counts.0, sum.1 + counts.1));
    assert!(duplicated > 100 && reordered > 100, "{duplicated} duplicated, {reordered} reordered");
}

#[test]
fn every_audit_among_a_hundred_thousand_transfers_sees_the_same_total() {
    let cluster = Cluster::start(5, &[]);
    run(async {
        let client = connect(&cluster.coordinator.address).await;
        open_accounts(&client, ACCOUNTS).await;
        let load = Load::start(&client, 64, 100_000usize.div_ceil(64));
        let mut audits = 0;
        while load.clients.iter().any(|client| !client.is_finished()) {
            assert_conserved(&client, ACCOUNTS).await;
            audits += 1;
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        let told = load.end(false).await;
        assert!(told.len() >= 100_000, "{} transfers", told.len());
        assert!(audits >= 10, "{audits} audits");
        assert_eq!(totals(&client).await.sum, i128::from(ACCOUNTS) * i128::from(BALANCE));
    });
}

#[test]
fn a_clean_stop_exits_with_zero_and_starts_again() {
    let mut cluster = Cluster::start(2, &[]);
    run(async {
        let client = connect(&cluster.coordinator.address).await;
        open_accounts(&client, ACCOUNTS).await;
        let load = Load::start(&client, 8, 50);
        let told = load.end(false).await;
        drop(client);
        for place in 0..=2 {
            let status = cluster.node(place).terminate();
            assert_eq!(status.code(), Some(0), "{}", cluster.node(place).log());
        }
        for place in [1, 2, 0] {
            cluster.node(place).start();
        }
        let client = connect(&cluster.coordinator.address).await;
        assert_told_the_truth(&client, &told).await;
        assert_conserved(&client, ACCOUNTS).await;
    });
}
