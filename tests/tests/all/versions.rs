//! Builds of different versions, at real nodes: what need not be understood is skipped, what must be ends the connection with
//! a reason, and two builds without a common version tell so at both ends.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::process::Command;
use std::thread;
use std::time::Duration;

use protocol::frame::{self, FRAME_HEADER_BYTES, FrameReader};
use protocol::message::{Hello, OPTIONAL_KIND_MIN, Speaks, Submit, TxnStatus};
use protocol::{
    AdminMessage, ClientMessage, ClusterId, HandshakeMessage, Message, Operation, Process, Role, TxnId, UnwelcomeReason,
};
use tests::processes::{Cluster, Node, assent};

use crate::neighbours::{lines_with, told_once};
use crate::processes::run;

const CLUSTER: ClusterId = ClusterId(1);
const PATIENCE: Duration = Duration::from_secs(20);

/// A peer that a test plays, at a socket of its own.
struct Peer {
    stream: TcpStream,
    frames: FrameReader,
    heard: Vec<Message>,
}

impl Peer {
    fn connect(node: &Node) -> Self {
        let stream = TcpStream::connect(&node.address).expect("it listens");
        stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
        Self { stream, frames: FrameReader::default(), heard: Vec::new() }
    }

    /// Says hello as a later build would that still speaks our version: with more features, and fields behind ours.
    fn of_a_later_build(node: &Node, said: Hello) -> Self {
        let mut peer = Self::connect(node);
        let speaks = Speaks { newest: Speaks::OURS.newest + 1, features: u64::MAX, ..Speaks::OURS };
        let mut longer = hello(Hello { speaks, ..said });
        longer.extend_from_slice(b"more of it");
        longer[0] += 10;
        peer.say(&[&longer]);
        let heard = peer.hear();
        assert!(matches!(heard, Some(Message::Handshake(HandshakeMessage::Hello(_)))), "{heard:?}");
        peer
    }

    /// Says encoded messages in one frame.
    fn say(&mut self, messages: &[&[u8]]) {
        let mut bytes = vec![0; FRAME_HEADER_BYTES];
        messages.iter().for_each(|message| bytes.extend_from_slice(message));
        frame::seal(&mut bytes);
        self.stream.write_all(&bytes).expect("it is open");
    }

    /// The next message, or none if the node has closed the connection.
    fn hear(&mut self) -> Option<Message> {
        let mut buffer = [0; 4_096];
        while self.heard.is_empty() {
            let count = self.stream.read(&mut buffer).expect("the node answers or closes");
            if count == 0 {
                return None;
            }
            self.frames.extend(&buffer[..count]);
            self.frames.drain(|message| self.heard.push(message)).expect("frames");
        }
        Some(self.heard.remove(0))
    }
}

fn encoded(message: &Message) -> Vec<u8> {
    let mut bytes = Vec::new();
    message.encode(&mut bytes);
    bytes
}

fn hello(hello: Hello) -> Vec<u8> {
    encoded(&Message::Handshake(HandshakeMessage::Hello(hello)))
}

/// A message of a kind that this build does not know.
fn unknown(family: u8, kind: u8) -> [u8; 9] {
    [5, 0, 0, 0, family, kind, 1, 2, 3]
}

fn ask_stats() -> Vec<u8> {
    encoded(&Message::Admin(AdminMessage::AskStats))
}

fn unwelcome(reason: UnwelcomeReason) -> Option<Message> {
    Some(Message::Handshake(HandshakeMessage::Unwelcome(reason.into())))
}

#[test]
fn an_unknown_message_is_skipped_if_it_may_be_and_else_ends_the_connection_with_a_reason() {
    const KNOWN_FAMILY: u8 = 2;
    const NEW_FAMILY: u8 = 99;
    let cluster = Cluster::start(2, &[]);
    let client = Hello::client(CLUSTER);
    let coordinator = Hello::daemon(Role::Coordinator, 9, CLUSTER, Process { log: 7, epoch: 1, start: 7 });
    for (node, hello, family, what) in [
        (&cluster.coordinator, client, KNOWN_FAMILY, "connection closed"),
        (&cluster.participants[0], client, NEW_FAMILY, "connection closed"),
        (&cluster.participants[1], coordinator, KNOWN_FAMILY, "gone; the promises made to it"),
    ] {
        let mut peer = Peer::of_a_later_build(node, hello);
        for kind in [OPTIONAL_KIND_MIN, u8::MAX] {
            // What stands behind it in its frame is heard, and so is what comes later.
            peer.say(&[&unknown(family, kind), &ask_stats()]);
            peer.say(&[&ask_stats()]);
            for _ in 0..2 {
                let heard = peer.hear();
                assert!(matches!(heard, Some(Message::Admin(AdminMessage::Stats(_)))), "{heard:?}");
            }
        }
        assert_eq!(lines_with(node, &["unknown family"]), [""; 0]);
        peer.say(&[&unknown(family, OPTIONAL_KIND_MIN - 1), &ask_stats()]);
        assert_eq!(peer.hear(), unwelcome(UnwelcomeReason::NotUnderstood));
        assert_eq!(peer.hear(), None, "the connection ends");
        let told = run(told_once(node, &["unknown family"]));
        let address = peer.stream.local_addr().expect("an address").to_string();
        let parts = ["WARN", what, &address, &format!("unknown family {family}, kind 127")];
        assert!(parts.iter().all(|part| told.contains(part)), "{told}");
    }
}

#[test]
fn what_stands_before_an_unknown_message_counts() {
    let cluster = Cluster::start(1, &[]);
    let txn = TxnId(0xabc);
    let submit = Message::Client(ClientMessage::Submit(Submit {
        txn,
        deadline_ms: 10_000,
        operations: vec![Operation::Put { key: "k".into(), value: "v".into() }],
    }));
    let mut peer = Peer::of_a_later_build(&cluster.coordinator, Hello::client(CLUSTER));
    peer.say(&[&encoded(&submit), &unknown(2, OPTIONAL_KIND_MIN - 1)]);
    assert_eq!(peer.hear(), unwelcome(UnwelcomeReason::NotUnderstood));
    let ask = encoded(&Message::Client(ClientMessage::AskStatus { txn }));
    let mut other = Peer::of_a_later_build(&cluster.coordinator, Hello::client(CLUSTER));
    let status = std::iter::repeat_with(|| {
        other.say(&[&ask]);
        match other.hear() {
            Some(Message::Client(ClientMessage::Status { status, .. })) => status,
            heard => panic!("{heard:?}"),
        }
    });
    let status = status.take(1_000).find(|status| *status != TxnStatus::InProgress);
    assert_eq!(status, Some(TxnStatus::Committed));
}

/// What both ends of a connection become for each other: builds that speak other versions than this one.
const OTHERS: Speaks = Speaks { oldest: Speaks::OURS.newest + 1, newest: Speaks::OURS.newest + 2, features: 0 };

/// Listens on loopback and passes everything on to `target` and back, but for the hellos, which speak other versions.
fn between_builds(target: String) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("an address").to_string();
    thread::spawn(move || {
        for inbound in listener.incoming() {
            let (Ok(inbound), Ok(outbound)) = (inbound, TcpStream::connect(&target)) else { continue };
            for (from, to) in [(&inbound, &outbound), (&outbound, &inbound)] {
                let (from, to) = (from.try_clone().expect("a socket"), to.try_clone().expect("a socket"));
                thread::spawn(move || pass(from, to));
            }
        }
    });
    address
}

fn pass(mut from: TcpStream, mut to: TcpStream) {
    let mut frames = FrameReader::default();
    let mut buffer = [0; 4_096];
    while let Ok(count @ 1..) = from.read(&mut buffer) {
        frames.extend(&buffer[..count]);
        let mut bytes = Vec::new();
        let passed = frames.drain(|mut message| {
            if let Message::Handshake(HandshakeMessage::Hello(hello)) = &mut message {
                hello.speaks = OTHERS;
            }
            bytes.extend(frame::single(&message));
        });
        if passed.is_err() || to.write_all(&bytes).is_err() {
            break;
        }
    }
    _ = to.shutdown(Shutdown::Both);
    _ = from.shutdown(Shutdown::Both);
}

#[test]
fn builds_without_a_common_version_tell_so_once_at_both_ends() {
    let cluster = Cluster::start_behind(1, &[], |_, address| between_builds(address));
    let told = format!("the peer speaks {OTHERS} of the messages, this node {}", Speaks::OURS);
    for (node, peer) in [(&cluster.coordinator, "participant 1"), (&cluster.participants[0], "coordinator 1")] {
        let line = run(told_once(node, &[&told]));
        assert!(["ERROR", "refused", peer, "bring the older"].iter().all(|part| line.contains(part)), "{line}");
        assert_eq!(lines_with(node, &["no-common-version"]), [""; 0], "its own reason is the one that it tells");
    }
    // The same of a client. It is gone as soon as it has heard the node, and its own hello may be lost with that.
    let node = &cluster.participants[0];
    let between = between_builds(node.address.clone());
    let mut tries = 0;
    while lines_with(node, &["WARN", "connection closed", &told]).is_empty() {
        tries += 1;
        assert!(tries <= 20, "{} does not tell of a client of another version:\n{}", node.name, node.log());
        let output = Command::new(assent()).args(["stats", &between]).output().expect("it runs");
        let said = String::from_utf8(output.stderr).expect("text");
        assert_eq!((output.status.code(), said.lines().count()), (Some(3), 1), "{said}");
        assert!(
            said.contains(&OTHERS.to_string()) && said.contains(&format!("this client {}", Speaks::OURS)),
            "{said}"
        );
        thread::sleep(Duration::from_millis(200));
    }
}

/// A peer whose versions are older or newer than all of ours is told why, and nothing else.
#[test]
fn a_peer_of_another_version_is_told_so() {
    let cluster = Cluster::start(1, &[]);
    let older = Speaks { oldest: 1, newest: Speaks::OURS.oldest - 1, features: 0 };
    for node in [&cluster.coordinator, &cluster.participants[0]] {
        for speaks in [older, OTHERS] {
            let mut peer = Peer::connect(node);
            peer.say(&[&hello(Hello { speaks, ..Hello::client(CLUSTER) })]);
            let heard = peer.hear();
            assert!(matches!(heard, Some(Message::Handshake(HandshakeMessage::Hello(_)))), "{heard:?}");
            assert_eq!(peer.hear(), unwelcome(UnwelcomeReason::NoCommonVersion));
            assert_eq!(peer.hear(), None, "the connection ends");
            run(told_once(node, &["WARN", "connection closed", &format!("the peer speaks {speaks} of the messages")]));
        }
    }
}
