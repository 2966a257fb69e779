//! Idle connections, more than a node has descriptors: half of them greet, half never say a word. The log has to get its
//! descriptors all the same, and who was connected before has to be served.

use std::time::Duration;

use bytes::Bytes;
use client::Transaction;
use protocol::frame::single;
use protocol::message::Hello;
use protocol::{ClusterId, HandshakeMessage, Message};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::press::Hands;
use super::stage::{Stage, Trouble};
use crate::processes::Launch;

/// Descriptors of each node, and idle connections to each.
const DESCRIPTORS: u64 = 2_048;
const IDLE: u64 = 2_500;

/// The same of a short run.
const DESCRIPTORS_SHORT: u64 = 256;
const IDLE_SHORT: u64 = 400;

/// Descriptors that this program needs for itself.
const OWN_DESCRIPTORS: u64 = 500;

/// Clients that were connected before, and write so that segments have to be made.
const CLIENTS: usize = 16;
const VALUE_BYTES: usize = 64 << 10;

pub(super) fn run(stage: &mut Stage) -> Result<(), Trouble> {
    let (descriptors, idle) = if stage.is_short() { (DESCRIPTORS_SHORT, IDLE_SHORT) } else { (DESCRIPTORS, IDLE) };
    raise_own_descriptors(3 * idle + OWN_DESCRIPTORS)?;
    let limit = format!("--nofile={descriptors}:{descriptors}");
    stage.start(2, |_| Launch {
        prefix: vec!["prlimit".to_owned(), limit.clone()],
        args: ["--log-segment", "8MiB"].map(str::to_owned).to_vec(),
        ..Launch::default()
    });
    let tags = stage.tags();
    stage.measure_usual_latency()?;
    stage.measure_peak([press(0, Vec::new(), tags.clone())])?;
    let nodes = stage.cluster().nodes().map(|node| node.address.clone()).collect();
    let (done, _) = stage.press(press(idle, nodes, tags))?;
    stage.recover()?;
    stage.check_bystander(done, 0.95);
    stage.check_goodput(0.3);
    Ok(())
}

fn raise_own_descriptors(needed: u64) -> Result<(), Trouble> {
    let limit = getrlimit(Resource::Nofile);
    if limit.current.is_none_or(|current| current >= needed) {
        return Ok(());
    }
    let raised = Rlimit { current: Some(needed), maximum: limit.maximum };
    setrlimit(Resource::Nofile, raised)
        .map_err(|error| Trouble::Skipped(format!("this program needs {needed} descriptors: {error}")))
}

fn press(idle: u64, nodes: Vec<String>, tags: Vec<String>) -> impl AsyncFnOnce(Hands) + Send + 'static {
    async move |hands: Hands| {
        let client = hands.connect().await;
        let value = Bytes::from(vec![b'x'; VALUE_BYTES]);
        for number in 0..CLIENTS {
            let keys: Vec<String> = tags.iter().map(|tag| format!("beside/{{{tag}}}/{number}")).collect();
            let value = value.clone();
            let put = move |_| keys.iter().fold(Transaction::new(), |put, key| put.put(key.clone(), value.clone()));
            tokio::spawn(hands.clone().keep_asking(client.clone(), put));
        }
        for node in nodes {
            for number in 0..idle {
                tokio::spawn(stay_idle(node.clone(), number % 2 == 0));
                if number % 50 == 0 {
                    tokio::time::sleep(Duration::from_millis(5)).await;
                }
            }
        }
        std::future::pending().await
    }
}

/// Connects and stays, and comes again when the other end has closed.
async fn stay_idle(address: String, greets: bool) {
    loop {
        if let Ok(mut stream) = TcpStream::connect(&address).await {
            let hello = Hello::client(ClusterId(1));
            if !greets || stream.write_all(&single(&Message::Handshake(HandshakeMessage::Hello(hello)))).await.is_ok() {
                let mut heard = [0; 256];
                while matches!(stream.read(&mut heard).await, Ok(1..)) {}
            }
        }
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
}
