//! Clients that do not read: each asks for large answers, as many as its connection takes, and leaves them where they are.
//! They have to pay for that themselves.

use std::time::Duration;

use bytes::Bytes;
use client::{Client, Transaction};
use protocol::frame::single;
use protocol::message::{Hello, Message, Submit};
use protocol::{ClientMessage, ClusterId, HandshakeMessage, TxnId};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

use super::press::Hands;
use super::stage::{Stage, Trouble, committed};
use crate::processes::Launch;

/// Connections that are not read.
const DEAF: u128 = 48;

/// Answers of two MiB that each asks for at first, every other one from both participants, ...
const ASKED_AT_ONCE: u32 = 40;

/// ... and then one by one, so that it is memory that they take, and not the processor.
const ASK_EVERY: Duration = Duration::from_secs(1);

/// Clients that transfer meanwhile, and are to be served.
const OTHERS: usize = 16;

/// Rows and their bytes: together more than the largest answer.
const ROWS: u32 = 640;
const ROW_BYTES: usize = 4 << 10;

pub(super) fn run(stage: &mut Stage) -> Result<(), Trouble> {
    stage.start(2, |_| Launch::default());
    let tags = stage.tags();
    stage.fill(|client| put_rows(client, tags.clone()))?;
    stage.measure_usual_latency()?;
    stage.measure_peak([press(0, tags.clone())])?;
    let (others, _) = stage.press(press(DEAF, tags))?;
    stage.recover()?;
    stage.check_bystander(others, 0.95);
    stage.check_goodput(0.3);
    Ok(())
}

fn press(deaf: u128, tags: Vec<String>) -> impl AsyncFnOnce(Hands) + Send + 'static {
    async move |hands: Hands| {
        for number in 0..deaf {
            let (address, tag) = (hands.address.clone(), tags[number as usize % tags.len()].clone());
            tokio::spawn(ask_and_do_not_read(address, number, tag));
        }
        let client = hands.connect().await;
        for number in 0..OTHERS {
            let keys: Vec<String> = tags.iter().map(|tag| format!("beside/{{{tag}}}/{number}")).collect();
            let add = move |_| keys.iter().fold(Transaction::new(), |add, key| add.add(key.clone(), 1));
            tokio::spawn(hands.clone().keep_asking(client.clone(), add));
        }
        std::future::pending().await
    }
}

/// Asks at a steady pace, and reads nothing; comes again when it is closed.
async fn ask_and_do_not_read(address: String, number: u128, tag: String) {
    let mut asked = number << 64;
    loop {
        if let Ok(mut stream) = TcpStream::connect(&address).await {
            let hello = Hello::client(ClusterId(1));
            let mut written = stream.write_all(&single(&Message::Handshake(HandshakeMessage::Hello(hello)))).await;
            let mut left_at_once = ASKED_AT_ONCE;
            while written.is_ok() {
                asked += 1;
                let end = if asked.is_multiple_of(2) { format!("row/{{{tag}}}0") } else { "row0".to_owned() };
                let scan = Transaction::new().scan(format!("row/{{{tag}}}/"), end, 0);
                let operations = scan.operations().to_vec();
                let submit = Submit { txn: TxnId(asked), deadline_ms: 5_000, operations };
                written = stream.write_all(&single(&Message::Client(ClientMessage::Submit(submit)))).await;
                left_at_once = left_at_once.saturating_sub(1);
                if left_at_once == 0 {
                    tokio::time::sleep(ASK_EVERY).await;
                }
            }
        }
        tokio::time::sleep(ASK_EVERY).await;
    }
}

async fn put_rows(client: Client, tags: Vec<String>) -> Result<(), String> {
    let value = Bytes::from(vec![b'x'; ROW_BYTES]);
    for tag in tags {
        for first in (0..ROWS).step_by(128) {
            let each = first..first + 128;
            let put = |put: Transaction, row| put.put(format!("row/{{{tag}}}/{row:06}"), value.clone());
            committed(&client, each.fold(Transaction::new(), put)).await?;
        }
    }
    Ok(())
}
