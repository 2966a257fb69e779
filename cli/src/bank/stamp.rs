//! Which transfer a transfer is, so that one that is submitted again is the same and happens once.
//!
//! Invariant: all operations of a transfer follow from its accounts, its amount and its stamp; so does the row that shows that it
//! has happened. Not here: the operations (`ledger`).

use std::time::{SystemTime, UNIX_EPOCH};

use protocol::TxnId;

/// A time between these is what an id of [`Stamp::now`] begins with: 2020 to 2120, in microseconds since 1970.
const TIMES_US: std::ops::Range<u64> = 1_577_836_800_000_000..4_733_510_400_000_000;

/// The identity of a transfer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Stamp {
    /// Its transaction.
    pub(crate) txn: TxnId,
    /// What its rows in the histories are called. The id of its transaction, unless a line of a file is tried anew.
    pub(crate) row: TxnId,
    /// The time in its rows.
    pub(crate) time_us: u64,
}

impl Stamp {
    /// A new one. The id begins with the time: with the id alone the transfer can be submitted again.
    pub(crate) fn now() -> Self {
        let time_us = now_us();
        let txn = TxnId(u128::from(time_us) << 64 | u128::from(rand::random::<u64>()));
        Self { txn, row: txn, time_us }
    }

    /// The one that has this id, if the id begins with a time.
    pub(crate) fn of_id(txn: TxnId) -> Option<Self> {
        let time_us = (txn.0 >> 64) as u64;
        TIMES_US.contains(&time_us).then_some(Self { txn, row: txn, time_us })
    }

    /// The same transfer under a transaction of its own.
    pub(crate) fn anew(self) -> Self {
        Self { txn: TxnId(rand::random()), ..self }
    }
}

/// This machine's clock, in microseconds since 1970.
pub(crate) fn now_us() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_micros() as u64)
}

/// The id of a file's content: the same for the same bytes, and for no others by accident.
pub(crate) fn id_of_content(bytes: &[u8]) -> TxnId {
    TxnId(fnv1a(FNV_OFFSET, bytes))
}

/// The id of a line of a load.
pub(crate) fn id_of_line(load: TxnId, line: u64) -> TxnId {
    TxnId(fnv1a(fnv1a(FNV_OFFSET, &load.0.to_le_bytes()), &line.to_le_bytes()))
}

const FNV_OFFSET: u128 = 0x6c62_272e_07bb_0142_62b8_2175_6295_c58d;
const FNV_PRIME: u128 = 0x0000_0000_0100_0000_0000_0000_0000_013b;

/// FNV-1a of 128 bits (Fowler, Noll, Vo; RFC 9923): the same in every release, and wide enough against accidents. Who wants
/// two files to have one id can have that; he could as well give both the same.
fn fnv1a(hash: u128, bytes: &[u8]) -> u128 {
    bytes.iter().fold(hash, |hash, byte| (hash ^ u128::from(*byte)).wrapping_mul(FNV_PRIME))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stamp_is_made_again_from_its_id() {
        let stamp = Stamp::now();
        assert_eq!(Stamp::of_id(stamp.txn), Some(stamp));
        assert_eq!(Stamp::of_id(TxnId(7)), None);
        assert_eq!(Stamp::of_id(TxnId(u128::MAX)), None);
    }

    #[test]
    fn ids_of_contents_and_lines_are_what_they_always_were_and_differ() {
        // Published test vectors.
        assert_eq!(id_of_content(b"").0, FNV_OFFSET);
        assert_eq!(id_of_content(b"a").0, 0xd228_cb69_6f1a_8caf_7891_2b70_4e4a_8964);
        assert_ne!(id_of_content(b"1,2,3\n"), id_of_content(b"1,2,3"));
        let (one, two) = (id_of_content(b"1"), id_of_content(b"2"));
        let mut ids: Vec<_> = (1..1_000).flat_map(|line| [id_of_line(one, line), id_of_line(two, line)]).collect();
        ids.sort_unstable();
        ids.dedup();
        assert_eq!(ids.len(), 2 * 999);
    }
}
