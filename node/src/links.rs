//! What is told of the connections to other nodes: that one is gone, stands still, or is back.
//!
//! Invariants: each change is told once; what is remembered of nodes is bounded, whatever numbers strangers give themselves. Not
//! here: clients, who come and go; why an attempt to connect fails (`reasons`); what a machine does about silence.

use std::cell::{Cell, RefCell};
use std::net::SocketAddr;

use protocol::{CommitMessage, Index, Machine, Message, NodeId, RecoveryMessage, Role, Tick};
use rustc_hash::FxHashMap;

use crate::connection::{CloseReason, Connection};
use crate::hub::Hub;
use crate::limits::{GONE_NODES_MAX, SILENT_US};
use crate::reasons::Who;

/// Nodes that are gone.
#[derive(Default)]
pub(crate) struct Links {
    gone: RefCell<FxHashMap<NodeId, u64>>,
    untold: RefCell<Vec<Gone>>,
}

/// A connection to a node that has ended, and is not told of yet. One a connection, and told of in the next turn.
struct Gone {
    node: NodeId,
    address: SocketAddr,
    reason: String,
    unanswered: u64,
}

/// What was asked of a node since it was heard last.
#[derive(Debug, Default)]
pub(crate) struct Asked {
    questions: Cell<u64>,
    /// The first of them may leave when the log is stable up to here.
    gate: Cell<Index>,
    /// When it was seen to wait.
    since_us: Cell<Option<u64>>,
    /// It was told that the node stands still.
    is_told: Cell<bool>,
    /// Whether each has taken the other for the node that it says it is: what was refused cannot be gone.
    pub(crate) is_met: Cell<bool>,
}

impl Asked {
    /// Counts a message that a node answers.
    pub(crate) fn count(&self, gate: Index, message: &Message) {
        let is_question = matches!(
            message,
            Message::Commit(CommitMessage::Prepare(_) | CommitMessage::Commit { .. })
                | Message::Recovery(RecoveryMessage::AskOutcome { .. } | RecoveryMessage::AskDecision { .. })
        );
        if is_question {
            if self.questions.get() == 0 {
                self.gate.set(gate);
            }
            self.questions.set(self.questions.get() + 1);
        }
    }

    /// Something was heard. For how long nothing was, if that was told.
    fn heard(&self, now_us: u64) -> Option<u64> {
        if self.questions.replace(0) == 0 {
            return None;
        }
        let since_us = self.since_us.take();
        let was_told = self.is_told.replace(false);
        since_us.filter(|_| was_told).map(|since| now_us.saturating_sub(since))
    }

    /// Whether it is now to be told that the node stands still.
    fn is_silent(&self, now_us: u64, stable: Index) -> bool {
        if self.questions.get() == 0 || self.gate.get() > stable || self.is_told.get() {
            return false;
        }
        let since_us = self.since_us.get().unwrap_or(now_us);
        self.since_us.set(Some(since_us));
        self.is_told.set(now_us - since_us >= SILENT_US);
        self.is_told.get()
    }
}

/// A node has said something after its hello: it was welcome here, and so was this one there. That it is there again is told
/// as loudly as that it was not.
pub(crate) fn answered(hub: &Hub, node: NodeId, connection: &Connection) {
    if node.role() == Role::Client || !connection.is_heard.get() || connection.asked.is_met.replace(true) {
        return;
    }
    let (address, epoch, now) = (connection.address, connection.process().epoch, hub.clock.now().0);
    let gone_us = hub.links.gone.borrow_mut().remove(&node);
    let failed_attempts = hub.reasons.over(Who::Node(node));
    let Some(withheld) = hub.warnings.pass(now) else { return };
    match gone_us {
        None if failed_attempts == 0 => tracing::info!(peer = %node, %address, epoch, withheld, "connected"),
        None => tracing::warn!(peer = %node, %address, epoch, failed_attempts, withheld, "connected"),
        Some(since_us) => {
            let gone_ms = now.saturating_sub(since_us) / 1_000;
            tracing::warn!(peer = %node, %address, epoch, gone_ms, failed_attempts, withheld, "connected again");
        }
    }
}

/// A connection has ended. Whether it is told that its node is gone: it was there, and no other connection took its place.
pub(crate) fn ended(hub: &Hub, connection: &Connection, reason: &CloseReason) -> bool {
    let Some(node) = connection.node.get().filter(|node| node.role() != Role::Client) else { return false };
    if !connection.asked.is_met.get() || hub.is_stopping.get() || hub.peers.borrow().is_connected(node) {
        return false;
    }
    let mut gone = hub.links.gone.borrow_mut();
    if gone.len() < GONE_NODES_MAX || gone.contains_key(&node) {
        gone.insert(node, hub.clock.now().0);
    }
    let (address, unanswered) = (connection.address, connection.asked.questions.get());
    hub.links.untold.borrow_mut().push(Gone { node, address, reason: reason.to_string(), unanswered });
    hub.wake.notify_one();
    true
}

/// Something has arrived from a node.
pub(crate) fn heard(hub: &Hub, connection: &Connection) {
    if let Some(silent_us) = connection.asked.heard(hub.clock.now().0)
        && let Some(node) = connection.node.get()
    {
        tracing::warn!(peer = %node, silent_ms = silent_us / 1_000, "answers again");
    }
}

/// Tells which nodes are gone, and what waits for them.
pub(crate) fn tell_gone(hub: &Hub, machine: &impl Machine, now: Tick) {
    if hub.links.untold.borrow().is_empty() {
        return;
    }
    for Gone { node, address, reason, unanswered } in hub.links.untold.take() {
        let Some(withheld) = hub.warnings.pass(now.0) else { continue };
        let waiting = waiting_for(machine, node);
        match node.role() {
            Role::Participant => tracing::warn!(
                peer = %node, %address, reason, unanswered, decisions_not_acknowledged = waiting, withheld,
                "gone; its transactions wait, and it is dialled for ever"
            ),
            Role::Coordinator | Role::Client => tracing::warn!(
                peer = %node, %address, reason, unanswered, promises_in_doubt = waiting, withheld,
                "gone; the promises made to it hold their locks until it is back"
            ),
        }
    }
}

/// Tells which nodes are connected and stand still, and what waits for them.
pub(crate) fn tell_silent(hub: &Hub, machine: &impl Machine, now: Tick, stable: Index) {
    for (node, connection) in hub.peers.borrow().nodes() {
        if !connection.asked.is_silent(now.0, stable) {
            continue;
        }
        let (unanswered, seconds) = (connection.asked.questions.get(), SILENT_US / 1_000_000);
        let waiting = waiting_for(machine, node);
        tracing::warn!(
            peer = %node, unanswered, unresolved = waiting,
            "connected, and silent for {seconds} s although it was asked: it stands still, or the network does"
        );
    }
}

/// Transactions that are not resolved and wait for this node: what was promised to a coordinator; at a coordinator, decisions
/// that not all participants have acknowledged.
fn waiting_for(machine: &impl Machine, node: NodeId) -> usize {
    let is_coordinator = node.role() == Role::Coordinator;
    let in_doubt = machine.in_doubt();
    in_doubt.iter().filter(|doubt| !is_coordinator || doubt.coordinator == node.number()).count()
}

#[cfg(test)]
mod tests {
    use protocol::{AdminMessage, TxnId};

    use super::*;

    fn ask(asked: &Asked, gate: u64) {
        asked.count(Index(gate), &Message::Recovery(RecoveryMessage::AskOutcome { txn: TxnId(1), question: 1 }));
    }

    #[test]
    fn silence_is_told_once_and_so_is_its_end() {
        let asked = Asked::default();
        assert!(!asked.is_silent(1, Index(0)));
        ask(&asked, 0);
        assert!(!asked.is_silent(10, Index(0)));
        assert!(!asked.is_silent(9 + SILENT_US, Index(0)));
        assert!(asked.is_silent(10 + SILENT_US, Index(0)));
        assert!(!asked.is_silent(20 + SILENT_US, Index(0)));
        assert_eq!(asked.heard(30 + SILENT_US), Some(20 + SILENT_US));
        assert_eq!(asked.heard(40 + SILENT_US), None);
    }

    #[test]
    fn what_waits_for_this_nodes_own_log_is_no_silence_of_another() {
        let asked = Asked::default();
        ask(&asked, 100);
        ask(&asked, 50);
        for second in 0..60 {
            assert!(!asked.is_silent(second * 1_000_000, Index(99)));
        }
        assert!(!asked.is_silent(60_000_000, Index(100)));
        assert!(asked.is_silent(60_000_000 + SILENT_US, Index(100)));
    }

    #[test]
    fn what_needs_no_answer_and_what_is_answered_in_time_is_not_told() {
        let asked = Asked::default();
        asked.count(Index(0), &Message::Admin(AdminMessage::AskStats));
        assert!(!asked.is_silent(0, Index(0)) && !asked.is_silent(SILENT_US, Index(0)));
        ask(&asked, 0);
        assert!(!asked.is_silent(0, Index(0)));
        assert_eq!(asked.heard(SILENT_US - 1), None);
        assert!(!asked.is_silent(2 * SILENT_US, Index(0)));
    }
}
