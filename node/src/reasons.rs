//! Why other nodes are not connected: each reason is told when it is new, and counted when it comes again.
//!
//! Invariants: what is remembered is bounded, whatever numbers strangers give themselves; what does not fit is told each time,
//! within the limit of warnings. Not here: who is told, and at which level (`dialer`, `hub`).

use std::cell::RefCell;
use std::collections::VecDeque;
use std::fmt;
use std::net::IpAddr;

use protocol::NodeId;
use rustc_hash::FxHashMap;

use crate::limits::{GONE_NODES_MAX, REASONS_MAX};

/// Who is not connected.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Who {
    Node(NodeId),
    /// It did not say who it is.
    Host(IpAddr),
}

impl fmt::Display for Who {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Node(node) => write!(f, "{} {}", node.role(), node.number()),
            Self::Host(address) => write!(f, "somebody at {address}"),
        }
    }
}

/// What was told.
#[derive(Debug, Default)]
pub(crate) struct Reasons(RefCell<FxHashMap<Who, Told>>);

#[derive(Debug, Default)]
struct Told {
    /// The newest, each once.
    reasons: VecDeque<String>,
    /// How often one of them came again since the last new one.
    again: u64,
    attempts: u64,
}

impl Reasons {
    /// Takes note of an attempt that failed. If its reason is new: how often known ones have come again since the last new one.
    pub(crate) fn failed(&self, who: Who, reason: &str) -> Option<u64> {
        let mut all = self.0.borrow_mut();
        if all.len() >= GONE_NODES_MAX && !all.contains_key(&who) {
            return Some(0);
        }
        let told = all.entry(who).or_default();
        told.attempts += 1;
        if told.reasons.iter().any(|known| known == reason) {
            told.again += 1;
            return None;
        }
        if told.reasons.len() == REASONS_MAX {
            told.reasons.pop_front();
        }
        told.reasons.push_back(reason.to_owned());
        Some(std::mem::take(&mut told.again))
    }

    /// An attempt has succeeded: every reason is new again. How many attempts had failed.
    pub(crate) fn over(&self, who: Who) -> u64 {
        self.0.borrow_mut().remove(&who).map_or(0, |told| told.attempts)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reason_is_new_once_until_an_attempt_succeeds() {
        let reasons = Reasons::default();
        let (one, two) = (Who::Node(NodeId::participant(1)), Who::Node(NodeId::participant(2)));
        assert_eq!(reasons.failed(one, "refused"), Some(0));
        assert_eq!([reasons.failed(one, "refused"), reasons.failed(one, "refused")], [None, None]);
        assert_eq!(reasons.failed(two, "refused"), Some(0));
        assert_eq!(reasons.failed(one, "copy"), Some(2));
        assert_eq!(reasons.failed(one, "refused"), None, "reasons that take turns are known all the same");
        assert_eq!((reasons.over(one), reasons.over(one)), (5, 0));
        assert_eq!(reasons.failed(one, "copy"), Some(0));
    }

    #[test]
    fn what_is_remembered_is_bounded() {
        let reasons = Reasons::default();
        let who = Who::Host(IpAddr::from([127, 0, 0, 1]));
        for number in 0..10 * REASONS_MAX {
            assert!(reasons.failed(who, &number.to_string()).is_some());
        }
        for number in 1..=2 * GONE_NODES_MAX {
            reasons.failed(Who::Node(NodeId::coordinator(number as u32)), "copy");
        }
        let all = reasons.0.borrow();
        assert_eq!((all.len(), all[&who].reasons.len()), (GONE_NODES_MAX, REASONS_MAX));
    }
}
