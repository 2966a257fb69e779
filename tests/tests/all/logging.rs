//! What a node writes on standard error, and that nobody has to read it.

use std::fs::File;
use std::io::Read;
use std::os::fd::OwnedFd;
use std::process::{Command, Stdio};
use std::sync::mpsc::channel;
use std::time::{Duration, Instant};

use client::{Client, Options, Outcome, Transaction};
use rustix::pipe::{PipeFlags, fcntl_setpipe_size, pipe_with};
use tests::processes::{Cluster, assent};
use tests::transfers::connect;

use crate::processes::run;

/// As small as a pipe can be.
const PIPE_BYTES: usize = 4_096;

/// Connections that come and go, with a line or two for each at the level `debug`: more than the queue takes.
const CONNECTIONS: usize = 8_000;

/// How long a node may take to stop that has nothing to do.
const STOPS_WITHIN: Duration = Duration::from_secs(8);

fn small_pipe() -> (OwnedFd, OwnedFd) {
    let (reader, writer) = pipe_with(PipeFlags::CLOEXEC).expect("a pipe");
    fcntl_setpipe_size(&writer, PIPE_BYTES).expect("a small pipe");
    (reader, writer)
}

async fn put(client: &Client, value: &str) {
    let outcome = client.submit(Transaction::new().put("k", value.to_owned()).deadline(Duration::from_secs(20))).await;
    assert!(matches!(outcome, Ok(Outcome::Committed { .. })), "{outcome:?}");
}

async fn come_and_go(address: &str, connections: usize) {
    for _ in 0..connections {
        let connected = Client::connect(address, Options::default()).await;
        drop(connected.expect("the node still takes connections"));
    }
}

#[test]
fn a_node_serves_and_stops_although_nobody_reads_its_log() {
    let mut cluster = Cluster::start(2, &["--log-level", "debug"]);
    let mut unread = Vec::new();
    for node in cluster.nodes() {
        assert!(node.terminate().success());
        let (reader, writer) = small_pipe();
        node.start_logging_to(writer);
        unread.push(reader);
    }
    run(async {
        let client = connect(&cluster.coordinator.address).await;
        come_and_go(&cluster.coordinator.address, 200).await;
        put(&client, "still served").await;
    });
    for node in cluster.nodes() {
        let begun = Instant::now();
        assert!(node.terminate().success(), "{}", node.name);
        assert!(begun.elapsed() < STOPS_WITHIN, "{} took {:?} to stop", node.name, begun.elapsed());
    }
}

#[test]
fn a_node_that_fails_ends_although_nobody_reads_why() {
    let folder = tempfile::tempdir_in(tests::processes::target_folder()).expect("a folder");
    let (_unread, writer) = small_pipe();
    // Full before the node has said anything.
    let mut full = File::from(writer.try_clone().expect("another descriptor"));
    std::io::Write::write_all(&mut full, &[b'x'; PIPE_BYTES]).expect("it fits");
    let mut node = Command::new(assent())
        .args(["participant", "--id", "1", "--listen", "127.0.0.1:1", "--data"])
        .arg(folder.path().join("missing/p1"))
        .stderr(Stdio::from(writer))
        .spawn()
        .expect("the binary starts");
    let patience = Instant::now() + STOPS_WITHIN;
    while node.try_wait().expect("it can be waited for").is_none() {
        if Instant::now() > patience {
            node.kill().expect("it can be killed");
            node.wait().expect("it ends");
            panic!("the node waits for somebody to read why it does not run");
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn lines_that_nobody_read_are_counted_and_told_when_the_reader_is_back() {
    let mut cluster = Cluster::start(1, &["--log-level", "debug"]);
    assert!(cluster.coordinator.terminate().success());
    let (reader, writer) = small_pipe();
    cluster.coordinator.start_logging_to(writer);
    run(come_and_go(&cluster.coordinator.address, CONNECTIONS));
    let (line_to, lines) = channel();
    let reading = std::thread::spawn(move || {
        let mut text = String::new();
        let mut chunk = [0; 65_536];
        let mut reader = File::from(reader);
        while let Ok(count @ 1..) = reader.read(&mut chunk) {
            text.push_str(&String::from_utf8_lossy(&chunk[..count]));
            if text.contains("log lines were dropped") {
                let _ = line_to.send(());
            }
        }
        text
    });
    let told = lines.recv_timeout(Duration::from_secs(30));
    run(async { put(&connect(&cluster.coordinator.address).await, "x").await });
    assert!(cluster.coordinator.terminate().success());
    let text = reading.join().expect("the reader ends");
    assert!(told.is_ok(), "nothing is told of what was lost:\n{text}");
    let gaps: Vec<&str> = text.lines().filter(|line| line.contains("log lines were dropped")).collect();
    assert_eq!(gaps.len(), 1, "{gaps:?}");
    let lost: usize = gaps[0].split("lost=").nth(1).and_then(|rest| rest.split(' ').next()).unwrap().parse().unwrap();
    let told_of = |what: &str| text.lines().filter(|line| line.contains(what)).count();
    // Each of them is told of when it comes and when it goes.
    let connections = told_of("connected peer=client") + told_of("connection ended") + lost;
    assert!(connections >= 2 * CONNECTIONS, "{connections} lines, {lost} of them lost");
    assert!(text.contains("stopped cleanly"), "the last line is missing");
}

#[test]
fn a_word_that_is_no_level_is_refused() {
    for (level, code) in [("warning", 2), ("node", 2), ("info,nodes=debug", 2), ("node=debug", 3)] {
        let run = Command::new(assent())
            .args(["participant", "--id", "1", "--listen", "127.0.0.1:0", "--data", "/proc/none/p1"])
            .args(["--log-level", level])
            .output()
            .expect("the binary runs");
        let said = String::from_utf8_lossy(&run.stderr);
        assert_eq!(run.status.code(), Some(code), "{level}: {said}");
        assert_eq!(said.contains("--log-level: "), code == 2, "{level}: {said}");
    }
    let cluster = Command::new(assent()).args(["cluster", "--log-level", "loud"]).output().expect("the binary runs");
    assert_eq!(cluster.status.code(), Some(2), "{}", String::from_utf8_lossy(&cluster.stderr));
}
