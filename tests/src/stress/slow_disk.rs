//! A slow disk: one of two participants writes 200 kB a second, and a thousand clients ask for transfers. What the disk
//! takes has to be done, however much is asked for.

use std::time::{Duration, Instant};

use client::{Client, Transaction};

use super::cage::{Disk, Limit};
use super::press::Hands;
use super::stage::{Stage, Trouble, committed};
use crate::processes::{Launch, target_folder};

const BYTES_PER_SECOND: u64 = 200_000;

/// How long a segment may take to be made on the disk as it is.
const SEGMENTS_PATIENCE: Duration = Duration::from_secs(30);

const ACCOUNTS: u64 = 2_000;

/// Clients without overload.
const CLIENTS_USUAL: [usize; 2] = [32, 102];

const CLIENTS: usize = 1_024;

pub(super) fn run(stage: &mut Stage) -> Result<(), Trouble> {
    let folder = target_folder();
    let disk = Disk::of(&folder).map_err(|error| Trouble::Skipped(format!("{}: {error}", folder.display())))?;
    stage.start(2, |_| Launch::default());
    let tags = stage.tags();
    stage.fill(|client| open_accounts(client, tags.clone()))?;
    wait_for_segments(stage)?;
    stage.take("p1", Limit::WriteBytesPerSecond(disk, BYTES_PER_SECOND))?;
    stage.measure_usual_latency()?;
    stage.measure_peak(CLIENTS_USUAL.map(|clients| press(clients, tags.clone())))?;
    let (_, bystander) = stage.press(press(CLIENTS, tags))?;
    stage.recover()?;
    stage.check_bystander(bystander, 0.5);
    stage.check_goodput(0.8);
    Ok(())
}

/// On the slow disk a segment would take minutes to be made; the next one is ready before, and the load does not fill it.
fn wait_for_segments(stage: &mut Stage) -> Result<(), Trouble> {
    let next = stage.node("p1").data.join("segment-0001");
    let patience = Instant::now() + SEGMENTS_PATIENCE;
    while !next.exists() {
        if Instant::now() >= patience {
            return Err(Trouble::Failed(format!("{} is not made", next.display())));
        }
        stage.pause(Duration::from_millis(50))?;
    }
    stage.pause(Duration::from_millis(500))
}

fn account(tag: &str, number: u64) -> String {
    format!("balance/{{{tag}}}/{number}")
}

/// Transfers between an account of each participant, and beside them one that the other participant's disk does alone.
fn press(clients: usize, tags: Vec<String>) -> impl AsyncFnOnce(Hands) + Send + 'static {
    async move |hands: Hands| {
        let client = hands.connect().await;
        for number in 0..clients as u64 {
            let tags = tags.clone();
            let transfer = move |round: u64| {
                let mixed = (number << 32 | round).wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 32;
                let (from, to) = (account(&tags[0], mixed % ACCOUNTS), account(&tags[1], mixed / ACCOUNTS % ACCOUNTS));
                Transaction::new().add(from, -1).add(to, 1)
            };
            tokio::spawn(hands.clone().keep_asking(client.clone(), transfer));
        }
        let beside = hands.connect().await;
        let key = format!("beside/{{{}}}", tags[1]);
        hands.stand_by(beside, move |_| Transaction::new().add(key.clone(), 1)).await;
    }
}

async fn open_accounts(client: Client, tags: Vec<String>) -> Result<(), String> {
    for tag in tags {
        let open = (0..ACCOUNTS).fold(Transaction::new(), |open, number| open.put(account(&tag, number), "1000000"));
        committed(&client, open).await?;
    }
    Ok(())
}
