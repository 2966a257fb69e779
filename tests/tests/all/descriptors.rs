//! The limit of open files: what the log needs is set aside before the first connection.

use std::time::{Duration, Instant};

use client::{Client, ClientError, Options, Outcome, Transaction};
use node::limits::REFUSED_CONNECTIONS_MAX;
use protocol::message::Hello;
use protocol::{ClusterId, HandshakeMessage, Message, Process, Role, frame};
use tests::processes::Cluster;
use tests::transfers::connect;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::processes::{account_at, run};

/// As an operator may have set it: far below what `network.connections` would need.
const OPEN_FILES_MAX: u32 = 64;

/// More idle connections than such a limit allows.
const IDLE_MAX: usize = 80;

/// A log of the smallest segments goes through several of them with so many values of [`VALUE_BYTES`].
const VALUES: u32 = 100;
const VALUE_BYTES: usize = 256 << 10;

/// Connects a client that asks for the node's figures, and then does nothing.
async fn connect_idle(address: &str) -> Result<Client, ClientError> {
    let options = Options { deadline: Duration::from_secs(2), ..Options::default() };
    let client = Client::connect(address, options).await?;
    client.stats().await.map(|_figures| client)
}

/// Connects clients until one is refused, and says why it was.
async fn idle_until_refused(address: &str) -> (Vec<Client>, String) {
    let mut idle = Vec::new();
    while idle.len() < IDLE_MAX {
        match connect_idle(address).await {
            Ok(client) => idle.push(client),
            Err(error) => return (idle, error.to_string()),
        }
    }
    (idle, String::new())
}

async fn put(client: &Client, key: String, value: Vec<u8>) {
    let outcome = client.submit(Transaction::new().put(key, value)).await;
    assert!(matches!(outcome, Ok(Outcome::Committed { .. })), "{outcome:?}");
}

fn segments(folder: &std::path::Path) -> usize {
    let files = std::fs::read_dir(folder).expect("a data directory");
    files.filter(|file| file.as_ref().expect("a file").file_name().to_string_lossy().starts_with("segment-")).count()
}

#[test]
fn idle_connections_leave_the_log_what_it_needs() {
    let mut cluster = Cluster::start(2, &["--log-segment", "8MiB", "--log-checkpoint", "1GiB"]);
    for node in cluster.nodes() {
        assert!(node.terminate().success());
        node.limit_open_files(OPEN_FILES_MAX);
    }
    for place in [1, 2, 0] {
        cluster.node(place).start();
    }
    run(async {
        let client = connect(&cluster.coordinator.address).await;
        put(&client, "first".to_owned(), vec![1]).await;
        let mut idle = Vec::new();
        for place in 0..=2 {
            let address = cluster.node(place).address.clone();
            let (there, _why) = idle_until_refused(&address).await;
            assert!((4..IDLE_MAX).contains(&there.len()), "{} idle connections at node {place}", there.len());
            idle.extend(there);
        }
        for number in 0..VALUES {
            put(&client, format!("value/{number}"), vec![7; VALUE_BYTES]).await;
        }
        assert!(segments(&cluster.participants[0].data) > 2 && segments(&cluster.participants[1].data) > 2);
    });
    for node in cluster.nodes() {
        let log = node.log();
        assert!(
            log.contains("network.connections and the limit of open files allow"),
            "{}: nothing is said of what is refused",
            node.name
        );
        assert!(log.contains("open_files_max=64"), "{}: what holds is not said:\n{log}", node.name);
        assert!(node.terminate().success(), "{}:\n{log}", node.name);
    }
}

/// A connection that the node has greeted, and that goes no further than these messages.
async fn stranger(address: &str, says: &[Message]) -> TcpStream {
    let mut stranger = TcpStream::connect(address).await.expect("a connection is left");
    assert!(stranger.read(&mut [0; 1_024]).await.is_ok_and(|count| count > 0), "it is greeted");
    for message in says {
        stranger.write_all(&frame::single(message)).await.expect("it is heard");
    }
    stranger
}

#[test]
fn idle_clients_and_strangers_do_not_keep_a_coordinator_out() {
    const CONNECTIONS: usize = 8;
    const HELLO_TIMEOUT: Duration = Duration::from_secs(20);
    let settings = ["--network-connections", "8", "--network-hello-timeout", "20s"];
    let mut cluster = Cluster::start(1, &settings);
    let participant = cluster.participants[0].address.clone();
    run(async {
        let (idle, why) = idle_until_refused(&cluster.coordinator.address).await;
        assert_eq!(idle.len(), CONNECTIONS);
        assert!(why.contains("too-many-clients"), "{why}");
    });
    assert!(cluster.coordinator.terminate().success());
    run(async {
        let (idle, why) = idle_until_refused(&participant).await;
        assert_eq!(idle.len(), CONNECTIONS * 3 / 4);
        assert!(why.contains("too-many-clients"), "{why}");
        // They take what is left, and say nothing, or that they are a coordinator and nothing after that.
        let process = Process { log: 7, epoch: 1, start: 7 };
        let hello =
            Message::Handshake(HandshakeMessage::Hello(Hello::daemon(Role::Coordinator, 77, ClusterId(1), process)));
        for says in [&[] as &[Message], &[hello]] {
            let mut strangers = Vec::new();
            while strangers.len() < CONNECTIONS - idle.len() + REFUSED_CONNECTIONS_MAX {
                strangers.push(stranger(&participant, says).await);
            }
            cluster.coordinator.start();
            let started = Instant::now();
            let client = connect(&cluster.coordinator.address).await;
            put(&client, "first".to_owned(), vec![1]).await;
            let served = started.elapsed();
            assert!(served < HELLO_TIMEOUT / 2, "{served:?}: it waited until strangers were closed");
            assert!(cluster.coordinator.terminate().success());
        }
    });
}

#[test]
fn a_limit_that_leaves_no_connections_is_refused_with_what_is_needed() {
    let mut cluster = Cluster::start(1, &[]);
    let node = &mut cluster.participants[0];
    assert!(node.terminate().success());
    node.limit_open_files(24);
    assert_eq!(node.start_refused().code(), Some(3));
    let log = node.log();
    assert!(log.contains("the limit of open files is 24, and this node needs at least "), "{log}");
}

#[test]
fn connections_to_participants_do_not_count_against_those_that_a_coordinator_accepts() {
    let mut cluster = Cluster::start(3, &["--network-connections", "1"]);
    run(async {
        let client = connect(&cluster.coordinator.address).await;
        let keys: Vec<_> = (1..=3).map(|participant| tests::transfers::balance(account_at(participant, 3))).collect();
        let write = keys.iter().fold(Transaction::new(), |write, key| write.put(key.clone(), "1"));
        let outcome = client.submit(write).await;
        assert!(matches!(outcome, Ok(Outcome::Committed { .. })), "{outcome:?}");
        let second = connect_idle(&cluster.coordinator.address).await;
        assert!(second.is_err(), "one connection may be accepted, and there are two");
        // A participant that comes back is met all the same.
        cluster.participants[1].kill();
        cluster.participants[1].start();
        put(&client, keys[1].clone(), b"2".to_vec()).await;
    });
}
