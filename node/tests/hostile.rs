//! Peers that misbehave: each is closed, alone, with a reason; others are served meanwhile.

#![allow(clippy::unwrap_used)]

mod world;

use std::io::{ErrorKind, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::time::{Duration, Instant};

use protocol::frame::{self, FRAME_HEADER_BYTES};
use protocol::limits::FRAME_BYTES_MAX;
use protocol::message::{Hello, MESSAGE_HEAD_BYTES, Submit};
use protocol::{
    AdminMessage, ClientMessage, ClusterId, CommitMessage, HandshakeMessage, Message, Process, RecoveryMessage, Role,
    TxnId, UnwelcomeReason,
};
use tempfile::TempDir;
use world::{CLUSTER, Client, Running, config, prepare_lost, submit};

struct Cluster {
    _data: (TempDir, TempDir),
    participant: Running,
    coordinator: Running,
}

fn cluster() -> Cluster {
    let data = (TempDir::new().unwrap(), TempDir::new().unwrap());
    let participant = Running::participant(config(Role::Participant, 1, "127.0.0.1:0", data.0.path()));
    let mut c = config(Role::Coordinator, 1, "127.0.0.1:0", data.1.path());
    c.peers = vec![(1, participant.address.to_string())];
    c.hello_timeout = Duration::from_millis(400);
    c.connections_max = 64;
    c.outbox_bytes_max = node::limits::OUTBOX_BYTES_MIN;
    let coordinator = Running::coordinator(c);
    Cluster { _data: data, participant, coordinator }
}

/// A hello's frame with some of its header changed, and the header's checksum made right again.
fn changed(change: impl FnOnce(&mut [u8])) -> Vec<u8> {
    let hello = Message::Handshake(HandshakeMessage::Hello(Hello::client(CLUSTER)));
    let mut bytes = frame::single(&hello);
    change(&mut bytes);
    let checksum = crc32c::crc32c(&bytes[..16]);
    bytes[16..20].copy_from_slice(&checksum.to_le_bytes());
    bytes
}

const PROCESS: Process = Process { log: 1, epoch: 1, start: 1 };

#[test]
fn bad_frames_close_their_connection_alone_with_a_reason() {
    let cluster = cluster();
    let node = &cluster.coordinator;
    let mut good = Client::connect(node.address);
    good.ask(1);
    let mut flipped = changed(|_| {});
    flipped[FRAME_HEADER_BYTES + 3] ^= 1;
    let cases: Vec<(Vec<u8>, &str)> = vec![
        (b"GET / HTTP/1.1\r\n\r\n".to_vec(), "this is not the assent protocol"),
        (changed(|header| header[4] = 99), "the peer sends frames of version 99"),
        (changed(|header| header[8..12].copy_from_slice(&u32::MAX.to_le_bytes())), "a frame of 4294967295 bytes"),
        (changed(|header| header[8..12].copy_from_slice(&0u32.to_le_bytes())), "a frame of 0 bytes"),
        (flipped, "the frame's checksum is wrong"),
        (frame::single(&submit(3)), "the peer began with Submit instead of Hello"),
    ];
    for (number, (bytes, reason)) in cases.into_iter().enumerate() {
        let mut bad = Client::silent(node.address);
        bad.stream.write_all(&bytes).unwrap();
        bad.assert_closed();
        node.wait_for_log(reason);
        good.ask(100 + number as u128);
    }
    let log = node.log();
    assert!(log.contains("connection closed address=127.0.0.1:"), "a reason names the address:\n{log}");
}

#[test]
fn whoever_is_not_welcome_or_says_what_it_may_not_is_closed() {
    let cluster = cluster();
    let node = &cluster.coordinator;
    let mut good = Client::connect(node.address);
    let hello = Hello::client(CLUSTER);
    for (hello, reason) in [
        (Hello { cluster: ClusterId(2), ..hello }, "the peer belongs to cluster 2"),
        (
            Hello { role: Role::Participant, node: 1, process: PROCESS, ..hello },
            "a participant has no business with a coordinator",
        ),
        (
            Hello { role: Role::Coordinator, node: 1, process: PROCESS, ..hello },
            "a coordinator has no business with a coordinator",
        ),
    ] {
        Client::connect_as(node.address, hello).assert_closed();
        node.wait_for_log(reason);
    }
    for (message, reason) in [
        (prepare_lost(), "a client may not send PrepareLost to a coordinator"),
        (Message::Handshake(HandshakeMessage::Hello(hello)), "a client may not send Hello to a coordinator"),
    ] {
        let mut bad = Client::connect(node.address);
        bad.send(&message);
        bad.assert_closed();
        node.wait_for_log(reason);
    }
    good.ask(1);
}

#[test]
fn silence_and_half_a_hello_are_closed_in_time() {
    let cluster = cluster();
    let node = &cluster.coordinator;
    let mut good = Client::connect(node.address);
    let silent = Client::silent(node.address);
    let mut half = Client::silent(node.address);
    half.stream.write_all(&changed(|_| {})[..FRAME_HEADER_BYTES + 2]).unwrap();
    let started = Instant::now();
    silent.assert_closed();
    half.assert_closed();
    assert!(started.elapsed() < Duration::from_secs(2));
    node.wait_for_logs(2, "did not say hello in time");
    good.ask(1);
}

#[test]
fn a_connection_too_many_is_refused() {
    let cluster = cluster();
    let node = &cluster.coordinator;
    let mut connections: Vec<Client> = (0..64).map(|_| Client::connect(node.address)).collect();
    // As many as may be accepted; the participant was dialled.
    node.wait_for_log("connected");
    for (number, client) in connections.iter_mut().enumerate() {
        client.ask(number as u128);
    }
    let mut refused = Client::connect(node.address);
    let unwelcome = Message::Handshake(HandshakeMessage::Unwelcome(UnwelcomeReason::TooManyClients.into()));
    assert_eq!(refused.receive(), Some(unwelcome));
    node.wait_for_log("64 clients are connected, no more than network.connections");
    connections[0].ask(1_000);
}

#[test]
fn whoever_does_not_take_its_answers_is_not_heard_until_it_does() {
    let cluster = cluster();
    let node = &cluster.coordinator;
    let mut greedy = Client::connect(node.address);
    greedy.stream.set_write_timeout(Some(Duration::from_millis(500))).unwrap();
    let request: Vec<u8> = (0..1_000).flat_map(|_| frame::single(&Message::Admin(AdminMessage::AskStats))).collect();
    let mut sent = 0;
    // An answer is longer than its question, so this ends, unless the node hoards answers.
    let blocked = loop {
        match greedy.stream.write(&request[sent % request.len()..]) {
            Ok(count) => sent += count,
            Err(error) => break error,
        }
        assert!(sent < 512 << 20, "the node takes questions without end");
    };
    assert!(matches!(blocked.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut), "{blocked}");
    Client::connect(node.address).ask(1);

    let whole = sent / (request.len() / 1_000);
    for _ in 0..whole {
        assert!(matches!(greedy.receive(), Some(Message::Admin(AdminMessage::Stats(_)))));
    }
}

#[test]
fn answers_larger_than_the_outbox_arrive_all_in_order_on_one_connection() {
    const QUESTIONS: u128 = 300;
    let data = TempDir::new().unwrap();
    let mut config = config(Role::Participant, 1, "127.0.0.1:0", data.path());
    config.outbox_bytes_max = node::limits::OUTBOX_BYTES_MIN;
    let node = Running::loud(config);
    let hello = Hello::daemon(Role::Coordinator, 1, CLUSTER, PROCESS);
    let mut coordinator = Client::connect_as(node.address, hello);
    coordinator.send_together(
        (0..QUESTIONS).map(|txn| Message::Recovery(RecoveryMessage::AskOutcome { txn: TxnId(txn), question: 1 })),
    );
    // What is said while messages are kept comes after them.
    coordinator.send(&Message::Recovery(RecoveryMessage::AskOutcome { txn: TxnId(QUESTIONS), question: 1 }));
    for expected in 0..=QUESTIONS {
        std::thread::sleep(Duration::from_millis(1));
        assert!(
            matches!(coordinator.receive(), Some(Message::Commit(CommitMessage::VoteReadOnly { txn, .. })) if txn == TxnId(expected))
        );
        if expected == QUESTIONS / 2 {
            let mut other = Client::connect(node.address);
            other.send(&Message::Admin(AdminMessage::AskStats));
            assert!(
                matches!(other.receive(), Some(Message::Admin(AdminMessage::Stats(_)))),
                "others are served meanwhile"
            );
        }
    }
    assert!(!node.log().contains("connection closed"), "{}", node.log());
}

/// Memory of this process, in bytes.
fn resident_bytes() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<usize>().unwrap() << 10
}

#[test]
fn clients_that_take_no_answers_are_bounded_together_and_others_do_not_wait_for_them() {
    const SLOW: usize = 100;
    const ANSWERS_EACH: u128 = 40;
    let data = TempDir::new().unwrap();
    let mut config = config(Role::Coordinator, 1, "127.0.0.1:0", data.path());
    config.outbox_bytes_max = node::limits::OUTBOX_BYTES_MIN;
    let all_bytes_max = config.outbox_bytes_max * node::limits::CLIENT_OUTBOXES_FACTOR;
    let node = Running::loud(config);
    let submit = |txn: u128| {
        Message::Client(ClientMessage::Submit(Submit { txn: TxnId(txn), deadline_ms: 1_000, operations: Vec::new() }))
    };
    let bytes_before = resident_bytes();
    let mut slow: Vec<Client> = (0..SLOW).map(|_| Client::connect(node.address)).collect();
    for client in &mut slow {
        client.send_together((0..ANSWERS_EACH).map(submit));
    }
    let mut good = Client::connect(node.address);
    for txn in 0..50 {
        let asked = Instant::now();
        good.send(&submit(txn));
        assert!(matches!(good.receive(), Some(Message::Client(ClientMessage::Committed { .. }))));
        assert!(asked.elapsed() < Duration::from_secs(1), "{:?} for an answer", asked.elapsed());
    }
    // Each slow one could make a node hold half of an outbox, and all of them a hundred times that.
    let grown_bytes = resident_bytes().saturating_sub(bytes_before);
    assert!(grown_bytes < all_bytes_max + (100 << 20), "{} MiB more", grown_bytes >> 20);
    // Whoever is still there takes the rest, in order.
    let kept_all = slow.iter_mut().filter_map(|client| {
        let mut answers = 0;
        while answers < ANSWERS_EACH {
            match client.receive() {
                Some(Message::Client(ClientMessage::Committed { txn, .. })) if txn == TxnId(answers) => answers += 1,
                Some(other) => panic!("{other:?}"),
                None => return None,
            }
        }
        Some(())
    });
    let kept_all = kept_all.count();
    let closed = node.log().matches("bytes that wait for clients wait for this one").count();
    assert!(kept_all > 0 || closed > 0, "nobody was slow");
    assert_eq!(kept_all < SLOW, closed > 0, "{kept_all} were served, {closed} were closed with the reason");
    good.send(&submit(1_000));
    assert!(matches!(good.receive(), Some(Message::Client(ClientMessage::Committed { .. }))));
}

#[test]
fn a_frame_full_of_questions_for_the_figures_is_closed() {
    let cluster = cluster();
    let node = &cluster.coordinator;
    let mut good = Client::connect(node.address);
    good.send_together(std::iter::repeat_n(
        Message::Admin(AdminMessage::AskStats),
        node::limits::ASK_STATS_PER_FRAME_MAX,
    ));
    for _ in 0..node::limits::ASK_STATS_PER_FRAME_MAX {
        assert!(matches!(good.receive(), Some(Message::Admin(AdminMessage::Stats(_)))));
    }
    let mut greedy = Client::connect(node.address);
    greedy.send_together(std::iter::repeat_n(
        Message::Admin(AdminMessage::AskStats),
        FRAME_BYTES_MAX / MESSAGE_HEAD_BYTES,
    ));
    greedy.assert_closed();
    node.wait_for_log("a frame asks for the figures more than 16 times");
    good.ask(1);
}

#[test]
fn the_number_of_no_node_is_refused() {
    let cluster = cluster();
    let node = &cluster.participant;
    let hello = Hello::daemon(Role::Coordinator, u32::MAX, CLUSTER, PROCESS);
    Client::connect_as(node.address, hello).assert_closed();
    node.wait_for_log("the hello names coordinator 4294967295");
}

#[test]
fn a_flood_of_bad_connections_is_counted_not_written() {
    let cluster = cluster();
    let node = &cluster.coordinator;
    for _ in 0..200 {
        let mut stream = TcpStream::connect(node.address).unwrap();
        let _ = stream.write_all(b"nonsense");
    }
    let mut good = Client::connect(node.address);
    good.ask(1);
    std::thread::sleep(Duration::from_millis(100));
    let warnings = node.log().matches("connection closed").count();
    assert!((1..=20).contains(&warnings), "{warnings} warnings");
}

#[test]
fn a_participant_of_another_version_is_one_error() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let (attempted, attempts) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let _ = stream.write_all(&changed(|header| header[4] = 99));
            let _ = attempted.send(());
            let _ = stream.read(&mut [0; 1_024]);
        }
    });
    let data = TempDir::new().unwrap();
    let mut config = config(Role::Coordinator, 1, "127.0.0.1:0", data.path());
    config.peers = vec![(1, address.to_string())];
    let node = Running::coordinator(config);
    for _ in 0..4 {
        attempts.recv_timeout(Duration::from_secs(20)).unwrap();
    }
    let log = node.log();
    let errors: Vec<_> = log.lines().filter(|line| line.contains("ERROR")).collect();
    assert_eq!(errors.len(), 1, "{log}");
    let told = ["the peer sends frames of version 99", "run the same version", "participant 1", &address.to_string()];
    assert!(told.iter().all(|told| errors[0].contains(told)), "{log}");
}
