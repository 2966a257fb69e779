//! A log full of live data: clients put new large values at a participant whose log may have 24 segments. When it is full, what
//! stores more is refused, and deletes and small overwrites go on; when the rows are deleted, it takes large values again.

use std::time::Duration;

use bytes::Bytes;
use client::{Client, Outcome, Transaction};
use protocol::OperationResult;

use super::press::Hands;
use super::stage::{Stage, Trouble, committed};
use crate::processes::Launch;

/// Segments of the log, and their size: some ten seconds to fill it.
const SEGMENTS: &str = "24";
const SEGMENT_BYTES: &str = "8MiB";

const CLIENTS: usize = 16;
const VALUE_BYTES: usize = 128 << 10;

/// How long a put may take: one that finds no space is tried again until then.
const DEADLINE: Duration = Duration::from_millis(500);

/// Rows that are deleted at once: their scan fits an answer.
const DELETED_AT_ONCE: u32 = 12;

pub(super) fn run(stage: &mut Stage) -> Result<(), Trouble> {
    let args = ["--log-segment", SEGMENT_BYTES, "--log-segments", SEGMENTS];
    stage.start(2, |name| Launch {
        args: if name == "p1" { args.map(str::to_owned).to_vec() } else { Vec::new() },
        ..Launch::default()
    });
    let tag = stage.tags()[0].clone();
    stage.measure_usual_latency()?;
    stage.presses_until_refused = true;
    let (load, deletes) = stage.press(press(tag.clone()))?;
    stage.recover()?;
    stage.report.check(load.refused > 0, || "nothing was refused: the log was not filled".to_owned());
    stage.check_bystander(deletes, 0.95);
    stage.fill(|client| empty(client, tag.clone()))?;
    stage.fill(|client| async move {
        let value = Bytes::from(vec![b'x'; VALUE_BYTES]);
        committed(&client, Transaction::new().put(format!("full/{{{tag}}}/again"), value)).await
    })
}

fn press(tag: String) -> impl AsyncFnOnce(Hands) + Send + 'static {
    async move |hands: Hands| {
        let client = hands.connect().await;
        let value = Bytes::from(vec![b'x'; VALUE_BYTES]);
        for number in 0..CLIENTS {
            let (tag, value) = (tag.clone(), value.clone());
            let key = move |round| format!("full/{{{tag}}}/{number}/{round}");
            let put = move |round| Transaction::new().put(key(round), value.clone()).deadline(DEADLINE);
            tokio::spawn(hands.clone().keep_asking(client.clone(), put));
        }
        let beside = hands.connect().await;
        let delete = |round| Transaction::new().delete(format!("full/{{{tag}}}/0/{round}"));
        hands.stand_by(beside, delete).await;
    }
}

/// Deletes all rows, some at once.
async fn empty(client: Client, tag: String) -> Result<(), String> {
    loop {
        let (start, end) = (format!("full/{{{tag}}}/"), format!("full/{{{tag}}}0"));
        let rows = match client.submit(Transaction::new().scan(start, end, DELETED_AT_ONCE)).await {
            Ok(Outcome::Committed { results: Some(results) }) => results.into_iter().next(),
            other => return Err(format!("the rows cannot be read: {other:?}")),
        };
        let Some(OperationResult::Rows { rows, .. }) = rows else { return Err("a scan has no rows".to_owned()) };
        if rows.is_empty() {
            return Ok(());
        }
        let delete = rows.into_iter().fold(Transaction::new(), |delete, (key, _)| delete.delete(key));
        committed(&client, delete).await.map_err(|why| format!("rows of a full log cannot be deleted: {why}"))?;
    }
}
