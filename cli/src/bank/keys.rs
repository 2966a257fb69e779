//! How a bank's accounts stand in keys. All keys of one account share a tag, so they live on one
//! participant; a transfer touches two.

use protocol::TxnId;

/// All balances: from the first up to but without the second.
pub(crate) const BALANCES: (&str, &str) = ("balance/", "balance0");

/// How many accounts are open: `1..=` that.
pub(crate) const ACCOUNTS: &str = "bank/{opened}/accounts";

/// The sum of all balances when they were opened.
pub(crate) const TOTAL: &str = "bank/{opened}/total";

/// When something with an id of its own was begun first: what is done again under the id bears that time.
pub(crate) fn begun(id: TxnId) -> String {
    format!("bank/{{begun/{id}}}")
}

/// The first account that an opening with this id opened: of these accounts with this balance, for with others it is another.
pub(crate) fn opening(id: TxnId, accounts: u64, balance: i64) -> String {
    format!("bank/{{opened}}/opening/{id}/{accounts}/{balance}")
}

/// Where an account's balance stands.
pub(crate) fn balance(account: u64) -> String {
    format!("balance/{{{account}}}")
}

/// Where one entry of an account's history stands: ordered by time, unique by transaction.
pub(crate) fn history(account: u64, time_us: u64, txn: TxnId) -> String {
    format!("history/{{{account}}}/{time_us:020}-{txn}")
}

/// An account's whole history.
pub(crate) fn history_range(account: u64) -> (String, String) {
    (format!("history/{{{account}}}/"), format!("history/{{{account}}}0"))
}

/// Time and transaction of a history key.
pub(crate) fn parse_history(key: &[u8]) -> Option<(u64, TxnId)> {
    let (_, entry) = std::str::from_utf8(key).ok()?.rsplit_once('/')?;
    let (time_us, txn) = entry.split_once('-')?;
    Some((time_us.parse().ok()?, txn.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_history_key_lies_in_its_range_beside_its_balance_and_is_read_back() {
        let key = history(7, 1_700_000_000_000_000, TxnId(0xab));
        let (start, end) = history_range(7);
        assert!(start <= key && key < end);
        assert!(history(7, u64::MAX, TxnId(u128::MAX)) < end);
        assert!(!(history_range(7).0..history_range(7).1).contains(&history(70, 1, TxnId(1))));
        assert_eq!(parse_history(key.as_bytes()), Some((1_700_000_000_000_000, TxnId(0xab))));
        assert_eq!(protocol::routing::bin_of(key.as_bytes()), protocol::routing::bin_of(balance(7).as_bytes()));
        assert_eq!(parse_history(b"history/{7}/x"), None);
    }

    #[test]
    fn every_balance_lies_in_the_range_of_balances_and_nothing_else_does() {
        for account in [1, 9, 10, u64::MAX] {
            assert!((BALANCES.0..BALANCES.1).contains(&balance(account).as_str()));
            assert!(!(BALANCES.0..BALANCES.1).contains(&history(account, 1, TxnId(1)).as_str()));
        }
        assert!(!(BALANCES.0..BALANCES.1).contains(&TOTAL));
    }
}
