//! A memory limit: clients put new keys at a participant that may hold 150 MiB. What grows the table has to be refused before
//! the system ends the node; what was there can be read, changed and deleted meanwhile; and a restart fits in the same limit.

use bytes::Bytes;
use client::Transaction;

use super::cage::Limit;
use super::press::Hands;
use super::stage::{Stage, Trouble};
use crate::processes::Launch;

const MEMORY_BYTES: u64 = 150 << 20;

/// The same of a short run, whose keys are long: keys live in memory, and it is soon full.
const MEMORY_BYTES_SHORT: u64 = 64 << 20;
const KEY_BYTES_SHORT: usize = 900;

/// Clients that put, and keys of each of their transactions.
const CLIENTS: usize = 16;
const KEYS_PER_TXN: u64 = 200;
const VALUE_BYTES: usize = 200;

pub(super) fn run(stage: &mut Stage) -> Result<(), Trouble> {
    let (bytes, key_bytes) = if stage.is_short() { (MEMORY_BYTES_SHORT, KEY_BYTES_SHORT) } else { (MEMORY_BYTES, 0) };
    let prefix = stage.cage("p1", Limit::MemoryBytes(bytes))?;
    stage.start(2, |name| Launch {
        prefix: if name == "p1" { prefix.clone() } else { Vec::new() },
        ..Launch::default()
    });
    let tag = stage.tags()[0].clone();
    stage.measure_usual_latency()?;
    stage.presses_until_refused = true;
    let (load, bystander) = stage.press(press(tag, key_bytes))?;
    stage.report.more.insert("committed_keys", (load.committed * KEYS_PER_TXN) as f64);
    stage.recover()?;
    stage.report.check(load.refused > 0, || "no growth was refused: the load was too small to say anything".to_owned());
    stage.check_bystander(bystander, 0.95);
    // Again from its log, under the same limit.
    stage.node("p1").kill();
    let began = std::time::Instant::now();
    let started = stage.node("p1").try_start();
    stage.report.more.insert("restart_s", began.elapsed().as_secs_f64());
    started.map_err(|why| Trouble::Failed(format!("p1 does not start again under the same limit: {why}")))?;
    stage.begin_recovery();
    stage.recover()
}

fn press(tag: String, key_bytes: usize) -> impl AsyncFnOnce(Hands) + Send + 'static {
    async move |hands: Hands| {
        let client = hands.connect().await;
        let value = Bytes::from(vec![b'x'; VALUE_BYTES]);
        for number in 0..CLIENTS {
            let (tag, value) = (tag.clone(), value.clone());
            let put = move |round| {
                (0..KEYS_PER_TXN).fold(Transaction::new(), |put, key| {
                    put.put(format!("grown/{{{tag}}}/{number}/{round}/{key:0key_bytes$}"), value.clone())
                })
            };
            tokio::spawn(hands.clone().keep_asking(client.clone(), put));
        }
        let beside = hands.connect().await;
        let key = |number: u64| format!("beside/{{{tag}}}/{}", number % 8);
        hands
            .stand_by(beside, move |number| match number {
                0..8 => Transaction::new().put(key(number), "1"),
                _ => Transaction::new()
                    .get(key(number))
                    .add(key(number), 1)
                    .delete(key(number + 1))
                    .put(key(number + 1), "1"),
            })
            .await;
    }
}
