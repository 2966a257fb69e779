//! Reads that are given up: audits of many accounts at once, which one participant cannot answer in time. Half of them are
//! for that participant alone, the others go over all. When their clients leave, the work has to end with them.

use client::{Client, Transaction};

use super::press::Hands;
use super::stage::{Stage, Trouble, committed};
use crate::processes::Launch;

/// Rows that one transaction puts: as many operations as it may have.
const ROWS_PER_TXN: u32 = 4_000;

/// Audits at once without overload.
const AUDITS_USUAL: usize = 2;

pub(super) fn run(stage: &mut Stage) -> Result<(), Trouble> {
    // An audit takes a second at least of what one participant can do in twenty.
    let (rows, audits) = if stage.is_short() { (200_000, 320) } else { (1_000_000, 64) };
    stage.start(2, |_| Launch::default());
    let tags = stage.tags();
    let tag = tags[0].clone();
    stage.fill(|client| put_rows(client, tag, rows))?;
    stage.measure_usual_latency()?;
    stage.measure_peak([press(AUDITS_USUAL, tags.clone())])?;
    let (_, bystander) = stage.press(press(audits, tags))?;
    stage.recover()?;
    stage.check_bystander(bystander, 0.5);
    stage.check_goodput(0.8);
    Ok(())
}

fn press(audits: usize, tags: Vec<String>) -> impl AsyncFnOnce(Hands) + Send + 'static {
    async move |hands: Hands| {
        let client = hands.connect().await;
        for number in 0..audits {
            let tag = tags[0].clone();
            let audit = move |_| match number % 2 {
                0 => Transaction::new().totals(format!("stock/{{{tag}}}/"), format!("stock/{{{tag}}}0")),
                _ => Transaction::new().totals("stock/", "stock0"),
            };
            tokio::spawn(hands.clone().keep_asking(client.clone(), audit));
        }
        let beside = hands.connect().await;
        let key = format!("beside/{{{}}}", tags[0]);
        hands.stand_by(beside, move |_| Transaction::new().add(key.clone(), 1)).await;
    }
}

async fn put_rows(client: Client, tag: String, rows: u32) -> Result<(), String> {
    let mut putting = tokio::task::JoinSet::new();
    for first in (0..rows).step_by(ROWS_PER_TXN as usize) {
        let each = first..(first + ROWS_PER_TXN).min(rows);
        let put = each.fold(Transaction::new(), |put, row| put.put(format!("stock/{{{tag}}}/{row:08}"), "1"));
        let client = client.clone();
        putting.spawn(async move { committed(&client, put).await });
        if putting.len() >= 4 {
            putting.join_next().await.map_or(Ok(()), |put| put.map_err(|error| error.to_string())?)?;
        }
    }
    putting.join_all().await.into_iter().collect()
}
