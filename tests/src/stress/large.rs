//! Large transactions: more than a thousand clients, each with half a MiB at once.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use client::Transaction;

use super::press::Hands;
use super::stage::{Stage, Trouble};
use crate::processes::Launch;

/// What each transaction writes at each of two participants.
const VALUE_BYTES: usize = 256 << 10;

/// Clients that share a connection: what a client keeps in flight on one is bounded.
const CLIENTS_PER_CONNECTION: usize = 32;

/// Clients without overload.
const CLIENTS_USUAL: [usize; 2] = [8, 32];

const CLIENTS: usize = 1_600;

/// What they write: live data of 400 MiB at each participant.
const KEYS: u64 = 1_600;

pub(super) fn run(stage: &mut Stage) -> Result<(), Trouble> {
    stage.start(2, |_| Launch::default());
    let tags = stage.tags();
    stage.measure_usual_latency()?;
    stage.measure_peak(CLIENTS_USUAL.map(|clients| press(clients, tags.clone())))?;
    let (_, bystander) = stage.press(press(CLIENTS, tags))?;
    stage.recover()?;
    stage.check_bystander(bystander, 0.5);
    stage.check_goodput(0.8);
    Ok(())
}

fn press(clients: usize, tags: Vec<String>) -> impl AsyncFnOnce(Hands) + Send + 'static {
    async move |hands: Hands| {
        let value = Bytes::from(vec![b'x'; VALUE_BYTES]);
        let next = Arc::new(AtomicU64::new(0));
        let mut shared = hands.connect().await;
        for number in 0..clients {
            if number % CLIENTS_PER_CONNECTION == 0 {
                shared = hands.connect().await;
            }
            let (tags, value) = (tags.clone(), value.clone());
            let next = Arc::clone(&next);
            // However many clients there are, and whoever of them is served, all keys are written in turn: what a log has to
            // move on, because it is live and was not written for long, is as much in each case.
            let put = move |_| {
                let key = next.fetch_add(1, Ordering::Relaxed) % KEYS;
                let put = |put: Transaction, tag| put.put(format!("large/{{{tag}}}/{key}"), value.clone());
                tags.iter().fold(Transaction::new(), put)
            };
            tokio::spawn(hands.clone().keep_asking(shared.clone(), put));
        }
        let beside = hands.connect().await;
        let key = format!("beside/{{{}}}", tags[0]);
        hands.stand_by(beside, move |_| Transaction::new().add(key.clone(), 1)).await;
    }
}
