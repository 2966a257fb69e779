//! `assent bank open`: in batches, each of them one transaction that also counts what it opened.
//! So an interrupted opening is taken up where it stopped, and an audit is right in between. The first batch of an opening with
//! an id also writes down where it began, so that the same opening done again is known to be that.

use protocol::TxnId;
use serde_json::json;

use crate::bank::keys;
use crate::bank::ledger::Ledger;
use crate::exit::Failure;
use crate::output::{Output, progress_bar};

/// Accounts in one transaction: two operations each, with room to the limit of operations.
const ACCOUNTS_PER_BATCH: u64 = 1_000;

const _: () = assert!(ACCOUNTS_PER_BATCH as usize * 2 + 3 <= protocol::limits::OPERATIONS_MAX);

/// Opens what is not open yet of the accounts `1..=accounts`.
pub(crate) async fn run(
    ledger: &Ledger,
    accounts: u64,
    balance: i64,
    id: Option<TxnId>,
    output: Output,
) -> Result<(), Failure> {
    let key = id.map(|id| keys::opening(id, accounts, balance));
    let began_at = match &key {
        Some(key) => ledger.opening(key).await?,
        None => None,
    };
    let open_before = ledger.accounts().await?;
    if open_before >= accounts && began_at.is_none() {
        return Err(Failure::No(format!("refused: the accounts 1 to {open_before} are open already")));
    }
    let bar = progress_bar("opening accounts", accounts);
    bar.set_position(open_before);
    for batch in batches(open_before + 1, accounts) {
        bar.set_position(*batch.start() - 1);
        let is_first = began_at.is_none() && *batch.start() == open_before + 1;
        let begins = key.as_deref().filter(|_| is_first);
        ledger.open(batch, balance, begins).await?;
    }
    bar.finish_and_clear();
    let first = began_at.unwrap_or(open_before + 1);
    let opened = accounts.saturating_sub(first - 1);
    let before = (open_before + 1).saturating_sub(first).min(opened);
    let json = json!({ "opened": opened, "of_them_before": before, "accounts": accounts, "balance": balance });
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
