//! Ten times as much as the cluster can do: transactions arrive at a fixed rate, whether or not the earlier ones are
//! answered, and a client that is told BUSY comes again until its deadline. All nodes share a part of a processor, so that
//! the load, and not the program that makes it, is what is too much.

use std::time::{Duration, Instant};

use client::Transaction;

use super::cage::Limit;
use super::press::Hands;
use super::stage::{Stage, Trouble};
use crate::processes::Launch;

/// What all nodes get together, in percent of one processor.
const PROCESSOR_PERCENT: u64 = 5;

/// Clients without overload.
const CLIENTS_USUAL: [usize; 3] = [16, 64, 256];

/// How much more is asked for.
const FACTOR: f64 = 10.0;

/// Connections over which the transactions come.
const CONNECTIONS: usize = 16;

/// How long one may take.
const DEADLINE: Duration = Duration::from_secs(2);

/// How often transactions arrive, several at once.
const TICK: Duration = Duration::from_millis(10);

const ACCOUNTS: u64 = 10_000;

pub(super) fn run(stage: &mut Stage) -> Result<(), Trouble> {
    let prefix = stage.cage("all", Limit::ProcessorPercent(PROCESSOR_PERCENT))?;
    stage.start(2, |_| Launch { prefix: prefix.clone(), ..Launch::default() });
    let tags = stage.tags();
    stage.measure_usual_latency()?;
    stage.measure_peak(CLIENTS_USUAL.map(|clients| press_closed(clients, tags.clone())))?;
    let rate = stage.report.peak.unwrap_or(0.0) * FACTOR;
    stage.report.more.insert("asked_per_s", rate);
    let (done, bystander) = stage.press(press_open(rate, tags))?;
    stage.report.more.insert("refused_per_s", done.refused as f64 / done.seconds);
    stage.report.more.insert("unknown", done.unknown as f64);
    stage.report.more.insert("bystander_share", bystander.share());
    stage.recover()?;
    stage.check_goodput(0.8);
    Ok(())
}

fn transfer(tags: &[String], mixed: u64) -> Transaction {
    let mixed = mixed.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 24;
    let account = |tag: &str, number: u64| format!("balance/{{{tag}}}/{}", number % ACCOUNTS);
    Transaction::new().add(account(&tags[0], mixed), -1).add(account(&tags[1], mixed / ACCOUNTS), 1).deadline(DEADLINE)
}

fn press_closed(clients: usize, tags: Vec<String>) -> impl AsyncFnOnce(Hands) + Send + 'static {
    async move |hands: Hands| {
        let client = hands.connect().await;
        for number in 0..clients as u64 {
            let tags = tags.clone();
            tokio::spawn(hands.clone().keep_asking(client.clone(), move |round| transfer(&tags, number << 40 | round)));
        }
        std::future::pending().await
    }
}

fn press_open(rate: f64, tags: Vec<String>) -> impl AsyncFnOnce(Hands) + Send + 'static {
    async move |hands: Hands| {
        let mut clients = Vec::new();
        for _ in 0..CONNECTIONS {
            clients.push(hands.connect().await);
        }
        let key = format!("beside/{{{}}}", tags[0]);
        tokio::spawn(hands.clone().stand_by(hands.connect().await, move |_| Transaction::new().add(key.clone(), 1)));
        let (began, mut arrived) = (Instant::now(), 0_u64);
        let mut pace = tokio::time::interval(TICK);
        loop {
            pace.tick().await;
            while (arrived as f64) < began.elapsed().as_secs_f64() * rate {
                let client = clients[arrived as usize % CONNECTIONS].clone();
                let (hands, transaction) = (hands.clone(), transfer(&tags, 1 << 60 | arrived));
                tokio::spawn(async move { hands.ask(&client, transaction).await });
                arrived += 1;
                if arrived.is_multiple_of(256) {
                    tokio::task::yield_now().await;
                }
            }
        }
    }
}
