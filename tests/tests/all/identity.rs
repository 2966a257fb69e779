//! Which process may speak for a number: real processes under one number, on copies, on older and on empty directories.

use std::process::Command;
use std::time::Duration;

use client::{Outcome, Transaction};
use protocol::message::Hello;
use protocol::{AdminMessage, HandshakeMessage, Message, Role};
use serde_json::Value;
use tests::kept::greeting;
use tests::processes::{Cluster, Node, assent};
use tests::sim::host::{CLUSTER, Host};
use tests::sim::network::frames;
use tests::sim::plan::Plan;
use tests::transfers::{assert_conserved, connect};

use crate::audit::{ACCOUNTS, await_log, check_dirs, cluster_with_transfers, copy, run, transfer_some};

/// What a coordinator answers to a transaction that writes at every participant.
fn write_everywhere(coordinator: &Node, what: &str, deadline: Duration) -> Result<Outcome, client::ClientError> {
    run(async {
        let client = connect(&coordinator.address).await;
        let write = (1..=ACCOUNTS).fold(Transaction::new(), |all, account| all.put(format!("{what}/{account}"), "1"));
        client.submit(write.deadline(deadline)).await
    })
}

fn assert_serves(coordinator: &Node, what: &str) {
    let outcome = write_everywhere(coordinator, what, Duration::from_secs(20));
    assert!(matches!(outcome, Ok(Outcome::Committed { .. })), "{outcome:?}");
}

fn assert_refuses(coordinator: &Node, what: &str) {
    let outcome = write_everywhere(coordinator, what, Duration::from_secs(2));
    assert!(matches!(outcome, Ok(Outcome::Aborted { .. })), "{outcome:?}");
}

/// Tells all participants that the log of coordinator 1 is lost; the epoch from which on another one is taken.
fn give_up_coordinator(cluster: &Cluster) -> u64 {
    let mut command = Command::new(assent());
    command.args(["replace", "coordinator", "1", "--json"]);
    cluster.participants.iter().for_each(|node| _ = command.args(["--at", &node.address]));
    let output = command.output().expect("it runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let said = String::from_utf8(output.stdout).expect("text");
    let answers: Vec<Value> = said.lines().map(|line| serde_json::from_str(line).expect("a document")).collect();
    assert_eq!(answers.len(), cluster.participants.len());
    answers.iter().filter_map(|answer| answer["epoch"].as_u64()).max().expect("an epoch") + 1
}

#[test]
fn of_two_coordinators_under_one_number_one_is_obeyed_until_an_operator_says_otherwise() {
    let mut cluster = cluster_with_transfers(200);
    let mut second = cluster.coordinator.twin("second", &cluster.folder().join("second"), &[]);
    second.start();
    await_log(&second, "other-log");
    cluster.participants.iter().for_each(|node| await_log(node, "other-log"));
    assert_refuses(&second, "second");
    assert_serves(&cluster.coordinator, "first");
    second.terminate();

    cluster.coordinator.terminate();
    let epoch = give_up_coordinator(&cluster);
    let mut second = cluster.coordinator.twin("low", &cluster.folder().join("low"), &[]);
    second.start();
    // Its first epoch is not above that of the lost log.
    await_log(&second, "stale-process");
    second.terminate();
    let args = ["--first-epoch".to_owned(), epoch.to_string()];
    let mut second = cluster.coordinator.twin("successor", &cluster.folder().join("second"), &args);
    second.start();
    assert_serves(&second, "successor");
    cluster.coordinator.start();
    await_log(&cluster.coordinator, "other-log");
    assert_refuses(&cluster.coordinator, "lost");
    run(async { assert_conserved(&connect(&second.address).await, ACCOUNTS).await });
}

/// A process that was refused on a connection that stays would say no hello any more.
#[test]
fn the_connection_of_a_number_ends_when_its_log_is_given_up() {
    let setup = Plan::of(0).setup;
    let mut host = Host::new(setup.coordinators, &setup);
    host.start(0, &setup).expect("it starts");
    let node = host.up().expect("it runs");
    let (coordinator, operator) = (node.connect(None), node.connect(None));
    node.receive(coordinator, &frames(greeting(Role::Coordinator, 1, CLUSTER, 1).iter())).expect("it is welcome");
    node.turn().expect("its log works");
    let replace = Message::Admin(AdminMessage::ReplaceLog { role: Role::Coordinator, node: 1 });
    node.receive(
        operator,
        &frames([&Message::Handshake(HandshakeMessage::Hello(Hello::client(CLUSTER))), &replace].into_iter()),
    )
    .expect("it may ask for that");
    assert!(node.is_open(coordinator));
    node.turn().expect("its log works");
    assert!(!node.is_open(coordinator) && node.is_open(operator));
}

#[test]
fn a_process_that_stood_still_while_a_copy_of_it_worked_is_refused_when_it_goes_on() {
    let mut cluster = cluster_with_transfers(200);
    cluster.coordinator.freeze();
    let folder = cluster.folder().join("copy");
    copy(&cluster.coordinator.data, &folder);
    let mut successor = cluster.coordinator.twin("successor", &folder, &[]);
    successor.start();
    run(async {
        let client = connect(&successor.address).await;
        transfer_some(&client, 200, 300).await;
    });
    successor.kill();
    cluster.coordinator.thaw();
    await_log(&cluster.coordinator, "stale-process");
    assert_refuses(&cluster.coordinator, "stale");
    cluster.coordinator.terminate();

    successor.start();
    assert_serves(&successor, "successor");
    run(async { assert_conserved(&connect(&successor.address).await, ACCOUNTS).await });
    successor.terminate();
    cluster.participants.iter_mut().for_each(|node| _ = node.terminate());
    let nodes: Vec<&Node> = std::iter::once(&successor).chain(&cluster.participants).collect();
    let (code, report) = check_dirs(&nodes);
    assert_eq!(code, 0, "{report:#}");
}

#[test]
fn of_two_copies_that_start_with_equal_epochs_no_participant_obeys_both() {
    let mut cluster = cluster_with_transfers(200);
    cluster.coordinator.terminate();
    let folder = cluster.folder().join("copy");
    copy(&cluster.coordinator.data, &folder);
    let mut twin = cluster.coordinator.twin("twin", &folder, &[]);
    cluster.coordinator.start();
    twin.start();
    // One of them was refused by each participant.
    let both = [&cluster.coordinator, &twin].map(|node| {
        let address = node.address.clone();
        std::thread::spawn(move || {
            run(async move {
                let client = connect(&address).await;
                for number in 0..40 {
                    let (from, to) = (1 + number % ACCOUNTS, 1 + (number + 7) % ACCOUNTS);
                    let move_one = Transaction::new()
                        .add(format!("balance/{{{from}}}"), -1)
                        .add(format!("balance/{{{to}}}"), 1)
                        .deadline(Duration::from_millis(500));
                    _ = client.submit(move_one).await;
                }
            });
        })
    });
    both.into_iter().for_each(|load| load.join().expect("the load ends"));
    let said = cluster.coordinator.log() + &twin.log();
    assert!(said.contains("copy: another process") || said.contains("stale-process"), "{said}");
    twin.kill();
    cluster.coordinator.terminate();

    let epoch = give_up_coordinator(&cluster);
    let args = ["--first-epoch".to_owned(), epoch.to_string()];
    let mut chosen = cluster.coordinator.twin("chosen", &cluster.coordinator.data, &args);
    chosen.start();
    assert_serves(&chosen, "chosen");
    run(async { assert_conserved(&connect(&chosen.address).await, ACCOUNTS).await });
}

#[test]
fn an_older_copy_of_a_participant_says_nothing_more_until_the_newest_is_back() {
    let mut cluster = cluster_with_transfers(200);
    let (older, newest) = (cluster.folder().join("older"), cluster.folder().join("newest"));
    let data = cluster.participants[0].data.clone();
    cluster.node(1).terminate();
    copy(&data, &older);
    cluster.node(1).start();
    assert_serves(&cluster.coordinator, "met");
    cluster.node(1).terminate();
    std::fs::rename(&data, &newest).expect("it is put aside");
    std::fs::rename(&older, &data).expect("it is put in its place");
    // Its next start has the epoch that was met already, under another start id; the one after that a later epoch.
    cluster.node(1).start();
    await_log(&cluster.participants[0], "copy: another process");
    cluster.node(1).terminate();
    cluster.node(1).start();
    await_log(&cluster.participants[0], "knows nothing of");
    await_log(&cluster.coordinator, "knows nothing of");
    assert_refuses(&cluster.coordinator, "older");
    cluster.node(1).terminate();
    std::fs::remove_dir_all(&data).expect("it is removed");
    std::fs::rename(&newest, &data).expect("it is put back");
    cluster.node(1).start();
    assert_serves(&cluster.coordinator, "newest");
}
