//! Real nodes on real files and sockets: they talk, stop, start again, and remember.

#![allow(clippy::unwrap_used)]

mod world;

use std::net::TcpListener;
use std::path::Path;
use std::time::{Duration, Instant};

use engine::{DumpItem, GroupKind, OpenError};
use node::{NodeError, Stop};
use protocol::message::{Hello, TxnStatus};
use protocol::{AdminMessage, ClientMessage, HandshakeMessage, Message, Process, Role};
use tempfile::TempDir;
use world::{CLUSTER, Client, Rememberer, Running, UNWELCOME_START, config, submit};

const ANY: &str = "127.0.0.1:0";

fn participant(data: &Path, listen: &str) -> Running {
    Running::participant(config(Role::Participant, 1, listen, data))
}

fn coordinator(data: &Path, participant: &str) -> Running {
    let mut config = config(Role::Coordinator, 1, ANY, data);
    config.peers = vec![(1, participant.to_owned())];
    Running::coordinator(config)
}

fn run_expecting_refusal(config: node::NodeConfig) -> NodeError {
    node::run(config, Stop::new(), |_| panic!("it must not become ready"), |_| Rememberer::default()).unwrap_err()
}

#[test]
fn two_nodes_talk_stop_and_remember() {
    let (p_data, c_data) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    let p = participant(p_data.path(), ANY);
    let c = coordinator(c_data.path(), &p.address.to_string());
    let mut client = Client::connect(c.address);
    assert_eq!(client.ask(7), TxnStatus::Unknown);
    assert_eq!(client.ask(7), TxnStatus::Committed);

    // The participant stops and comes back at the same address; the coordinator finds it again.
    let address = p.address.to_string();
    let log = p.stop();
    assert!(log.contains("stopped cleanly"), "{log}");
    assert_ends_with_clean_seal(p_data.path());
    let p = participant(p_data.path(), &address);
    assert!(p.log().contains("stopped_cleanly=true"), "{}", p.log());
    assert_eq!(client.ask(7), TxnStatus::Committed);
    assert_eq!(client.ask(8), TxnStatus::Unknown);

    // The epoch grows with each start, and is durable before it is announced.
    c.stop();
    let c = coordinator(c_data.path(), &address);
    assert_eq!(Client::connect(c.address).ask(8), TxnStatus::Committed);
    p.wait_for_log("epoch=2");
}

fn assert_ends_with_clean_seal(data: &Path) {
    let groups = engine::dump(data)
        .unwrap()
        .filter_map(|item| if let DumpItem::Group(group) = item.unwrap() { Some(group.kind) } else { None });
    assert_eq!(groups.last(), Some(GroupKind::CleanSeal));
}

#[test]
fn what_was_asked_before_the_participant_was_there_is_answered_when_it_comes() {
    let (p_data, c_data) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    let place = TcpListener::bind(ANY).unwrap().local_addr().unwrap().to_string();
    let c = coordinator(c_data.path(), &place);
    let mut client = Client::connect(c.address);
    client.send(&submit(1));
    c.wait_for_log("not connected; trying again for ever");
    std::thread::sleep(Duration::from_millis(300));
    let _p = participant(p_data.path(), &place);
    assert!(matches!(client.receive(), Some(Message::Client(ClientMessage::Status { .. }))));
    let log = c.log();
    assert_eq!(log.matches("trying again for ever").count(), 1, "only the first failure is written down:\n{log}");
}

#[test]
fn many_requests_in_flight_are_all_answered_and_a_turn_is_a_park() {
    let (p_data, c_data) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    let p = participant(p_data.path(), ANY);
    let c = coordinator(c_data.path(), &p.address.to_string());
    let mut client = Client::connect(c.address);
    client.ask(0);
    for round in 0..40u128 {
        for number in 1..=100 {
            client.send(&submit(round * 100 + number));
        }
        for _ in 0..100 {
            assert!(matches!(client.receive(), Some(Message::Client(ClientMessage::Status { .. }))));
        }
    }
    drop(client);
    for log in [c.stop(), p.stop()] {
        let figure = |name: &str| -> f64 {
            let rest = &log[log.rfind(name).unwrap() + name.len()..];
            rest.split_whitespace().next().unwrap().parse().unwrap()
        };
        let (turns, parks) = (figure("turns="), figure("parks="));
        println!("{turns} turns, {parks} parks");
        assert!(turns < 1.1 * parks + 50.0, "{turns} turns in {parks} parks");
    }
}

#[test]
fn a_checkpoint_in_slices_goes_on_beside_the_work_and_loses_nothing() {
    let (p_data, c_data) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    let mut p_config = config(Role::Participant, 1, ANY, p_data.path());
    p_config.checkpoint_bytes = 1 << 20;
    let p = Running::participant(p_config.clone());
    let c = coordinator(c_data.path(), &p.address.to_string());
    let mut client = Client::connect(c.address);
    let deadline = Instant::now() + Duration::from_secs(30);
    let mut txns = 0;
    while !p.log().contains("checkpoint written") {
        assert!(Instant::now() < deadline, "{}", p.log());
        for _ in 0..10 {
            assert_eq!(client.ask(txns), TxnStatus::Unknown);
            txns += 1;
        }
    }
    p_config.listen = p.address.to_string();
    p.stop();
    let _p = Running::participant(p_config);
    for txn in 0..txns {
        assert_eq!(client.ask(txn), TxnStatus::Committed, "{txn}");
    }
}

#[test]
fn figures_are_answered_by_the_node() {
    let data = TempDir::new().unwrap();
    let p = participant(data.path(), ANY);
    let mut client = Client::connect(p.address);
    client.send(&Message::Admin(AdminMessage::AskStats));
    let Some(Message::Admin(AdminMessage::Stats(stats))) = client.receive() else { panic!("no figures") };
    assert_eq!((stats.role, stats.node), (Role::Participant, 1));
    assert!(stats.cpu_us > 0);
    let mut bytes = &stats.sync_us[..];
    let histogram: hdrhistogram::Histogram<u64> =
        hdrhistogram::serialization::Deserializer::new().deserialize(&mut bytes).unwrap();
    assert_eq!(histogram.len(), stats.groups);
}

#[test]
fn a_port_in_use_is_refused_with_what_to_do() {
    let data = TempDir::new().unwrap();
    let taken = TcpListener::bind(ANY).unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let error = run_expecting_refusal(config(Role::Participant, 1, &address, data.path()));
    let text = error.to_string();
    assert!(text.contains(&address) && text.contains("another process listens there"), "{text}");
}

#[test]
fn a_directory_in_use_or_of_another_node_is_refused() {
    let data = TempDir::new().unwrap();
    let p = participant(data.path(), ANY);
    let error = run_expecting_refusal(config(Role::Participant, 1, ANY, data.path()));
    assert!(matches!(error, NodeError::Open { source: OpenError::Locked { .. }, .. }), "{error}");
    p.stop();
    let error = run_expecting_refusal(config(Role::Participant, 2, ANY, data.path()));
    assert!(matches!(error, NodeError::Open { source: OpenError::WrongOwner { .. }, .. }), "{error}");
}

#[test]
fn a_record_of_an_unknown_kind_is_refused_with_its_place() {
    let data = TempDir::new().unwrap();
    append_unknown_record(data.path());
    let error = run_expecting_refusal(config(Role::Participant, 1, ANY, data.path()));
    let text = error.to_string();
    assert!(matches!(error, NodeError::Replay { .. }), "{text}");
    assert!(text.contains("LSN") && text.contains(data.path().to_str().unwrap()), "{text}");
}

fn append_unknown_record(data: &Path) {
    use engine::{DirStorage, Options, Owner, Store, Table, UringDisk, Worker};
    use std::sync::Arc;
    tokio_uring::start(async {
        let wake = Arc::new(tokio::sync::Notify::new());
        let mut options = Options::new(Owner { role: Role::Participant.code(), node: 1, cluster: CLUSTER.0 });
        options.segment_bytes = 8 << 20;
        let storage = Arc::new(DirStorage::open(data).unwrap());
        let disk = UringDisk::new(Arc::clone(&storage), Arc::clone(&wake));
        let worker = Worker::thread(Arc::clone(&wake)).unwrap();
        let (mut store, _) = Store::open(options, storage, disk, worker, Table::new(), &mut |_, _| {}).unwrap();
        store.append(&mut |out| out.push(255));
        let mut now_us = 0;
        while store.poll(now_us).unwrap() < store.end() {
            now_us += 1_000;
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    });
}

#[test]
fn a_process_that_is_not_welcome_is_told_why_and_does_not_take_the_place_of_another() {
    let data = TempDir::new().unwrap();
    let p = participant(data.path(), ANY);
    let hello = |start| {
        let process = Process { log: 1, epoch: 1, start };
        Hello::daemon(Role::Coordinator, 5, CLUSTER, process)
    };
    let alive = |client: &mut Client| {
        client.send(&Message::Admin(AdminMessage::AskStats));
        assert!(matches!(client.receive(), Some(Message::Admin(AdminMessage::Stats(_)))));
    };
    let mut first = Client::connect_as(p.address, hello(1));
    alive(&mut first);
    let mut again = Client::connect_as(p.address, hello(1));
    alive(&mut again);
    first.assert_closed();
    let mut unwelcome = Client::connect_as(p.address, hello(UNWELCOME_START));
    assert!(matches!(unwelcome.receive(), Some(Message::Handshake(HandshakeMessage::Unwelcome(_)))));
    unwelcome.assert_closed();
    p.wait_for_log("is refused, copy: another process");
    alive(&mut again);
}

#[test]
fn a_wrong_address_or_cluster_is_written_down_on_both_sides() {
    let (p_data, c_data) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    let p = participant(p_data.path(), ANY);
    let mut elsewhere = config(Role::Coordinator, 1, ANY, c_data.path());
    elsewhere.peers = vec![(2, p.address.to_string())];
    let c = Running::coordinator(elsewhere.clone());
    c.wait_for_log("participant 1 answers there instead of participant 2");
    c.stop();
    elsewhere.peers = vec![(1, p.address.to_string())];
    elsewhere.cluster = protocol::ClusterId(9);
    elsewhere.data = c_data.path().join("other");
    let c = Running::coordinator(elsewhere);
    c.wait_for_log("belongs to cluster 1, this node to cluster 9");
    p.wait_for_log("belongs to cluster 9, this node to cluster 1");
}
