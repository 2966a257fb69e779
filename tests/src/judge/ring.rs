//! A ring stays one ring through all its keys: for every reader of the whole of it, and at the end.
//!
//! Not seen: rotations that were lost or done in another order, as long as one ring results (marks tell of lost ones).

use protocol::operation::parse_number;
use protocol::{Operation, OperationResult};

use super::history::{History, Transaction};
use super::{Violation, blame, outcomes};
use crate::workload::number_of;
use crate::workload::ring::LINK;

/// Judges a ring of so many keys; none if there are none.
#[must_use]
pub fn check(history: &History, links: u32) -> Vec<Violation> {
    let mut violations = Vec::new();
    let opening = history.transactions.iter().find(|transaction| opens(transaction, links));
    for transaction in &history.transactions {
        let found = seen(transaction);
        if found.len() < links as usize || links == 0 {
            continue;
        }
        let before = !opening.is_some_and(|opening| opening.is_before(transaction));
        let is_nothing = found.iter().all(|(_, value)| value.is_none());
        if !(before && is_nothing)
            && let Err(why) = follow(&found, links)
        {
            let (id, client) = (transaction.id, transaction.client);
            blame(&mut violations, "ring", format!("{id:?} of client {client} has seen {why}"));
        }
    }
    let end: Vec<_> = history.rows_of(LINK).map(|(key, value)| (&key[..], Some(&value[..]))).collect();
    let is_open = opening.is_some_and(|opening| outcomes::took_effect(history, opening));
    if links > 0
        && (is_open || !end.is_empty())
        && let Err(why) = follow(&end, links)
    {
        blame(&mut violations, "ring", format!("the end has {why}"));
    }
    violations
}

/// A link's key and value.
type Link<'a> = (&'a [u8], Option<&'a [u8]>);

fn opens(transaction: &Transaction, links: u32) -> bool {
    let puts =
        |operation: &&Operation| matches!(operation, Operation::Put { key, .. } if key.starts_with(LINK.as_bytes()));
    links > 0 && transaction.operations.iter().filter(puts).count() == links as usize
}

/// All links that a transaction read.
fn seen(transaction: &Transaction) -> Vec<Link<'_>> {
    let links = transaction.done().filter_map(|(operation, result)| match (operation, result) {
        (Operation::Get { key }, OperationResult::Value(value)) if key.starts_with(LINK.as_bytes()) => {
            Some((&key[..], value.as_deref()))
        }
        _ => None,
    });
    links.collect()
}

/// Follows the ring from key 0 until it is back there.
fn follow(found: &[Link<'_>], links: u32) -> Result<(), String> {
    let mut next = vec![None; links as usize];
    for (key, value) in found {
        let number = value.and_then(parse_number).and_then(|number| u32::try_from(number).ok());
        if let Some(place) = number_of(key, LINK).and_then(|key| next.get_mut(key as usize)) {
            *place = number.filter(|number| *number < links);
        }
    }
    let (mut at, mut steps) = (0, 0);
    loop {
        at = next[at as usize].ok_or_else(|| format!("no link at key {at} after {steps} steps"))?;
        steps += 1;
        if at == 0 || steps > links {
            break;
        }
    }
    if steps == links { Ok(()) } else { Err(format!("a ring of {steps} keys, not of {links}: {next:?}")) }
}
