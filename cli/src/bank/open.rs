//! `assent bank open`: in batches, each of them one transaction that also counts what it opened.
//! So an interrupted opening is taken up where it stopped, and an audit is right in between.

use serde_json::json;

use crate::bank::ledger::Ledger;
use crate::exit::Failure;
use crate::output::{Output, progress_bar};

/// Accounts in one transaction: two operations each, with room to the limit of operations.
const ACCOUNTS_PER_BATCH: u64 = 1_000;

const _: () = assert!(ACCOUNTS_PER_BATCH as usize * 2 + 2 <= protocol::limits::OPERATIONS_MAX);

/// Opens what is not open yet of the accounts `1..=accounts`.
pub(crate) async fn run(ledger: &Ledger, accounts: u64, balance: i64, output: Output) -> Result<(), Failure> {
    let open_before = ledger.accounts().await?;
    if open_before >= accounts {
        return Err(Failure::No(format!("refused: the accounts 1 to {open_before} are open already")));
    }
    let bar = progress_bar("opening accounts", accounts);
    bar.set_position(open_before);
    for batch in batches(open_before + 1, accounts) {
        bar.set_position(*batch.start() - 1);
        ledger.open(batch, balance).await?;
    }
    bar.finish_and_clear();
    let opened = accounts - open_before;
    let json = json!({ "opened": opened, "accounts": accounts, "balance": balance });
    let first = open_before + 1;
    output.say(&json, format_args!("opened the accounts {first} to {accounts} with {balance} each"))
}

fn batches(first: u64, last: u64) -> impl Iterator<Item = std::ops::RangeInclusive<u64>> {
    (first..=last)
        .step_by(ACCOUNTS_PER_BATCH as usize)
        .map(move |start| start..=last.min(start + ACCOUNTS_PER_BATCH - 1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn batches_cover_every_account_once() {
        assert_eq!(batches(1, 2_500).collect::<Vec<_>>(), [1..=1_000, 1_001..=2_000, 2_001..=2_500]);
        assert_eq!(batches(5, 5).collect::<Vec<_>>(), [5..=5]);
    }
}
