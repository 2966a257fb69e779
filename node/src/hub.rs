//! What the driver and the tasks of all connections share. One thread, so no locks.

use std::cell::{Cell, RefCell};
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;

use protocol::message::Hello;
use protocol::{Message, NodeId, Role};
use tokio::sync::Notify;

use crate::clock::Clock;
use crate::connection::{CloseReason, Connection, Served};
use crate::links::Links;
use crate::peers::Peers;
use crate::reasons::{Reasons, Who};
use crate::warning::WarningLimit;

pub(crate) struct Hub {
    pub(crate) clock: Clock,
    /// Wakes the driver.
    pub(crate) wake: Arc<Notify>,
    /// What this node says first.
    pub(crate) hello: Hello,
    pub(crate) peers: RefCell<Peers>,
    /// Messages since the driver's last turn. Bounded: a connection reads again only after that turn.
    pub(crate) inbox: RefCell<Vec<(Rc<Connection>, Message)>>,
    /// Bytes of unfinished frames on all connections.
    pub(crate) unfinished: Cell<usize>,
    pub(crate) is_stopping: Cell<bool>,
    pub(crate) warnings: WarningLimit,
    /// Apart from `warnings`, so that strangers cannot use up what alarms may say.
    pub(crate) alarms: WarningLimit,
    pub(crate) links: Links,
    /// Those of them that say that a process has been superseded, or is refused for another one.
    pub(crate) successions: Cell<u64>,
    pub(crate) reasons: Reasons,
}

impl Hub {
    pub(crate) fn new(clock: Clock, wake: Arc<Notify>, hello: Hello, outbox_bytes_max: usize) -> Self {
        Self {
            clock,
            wake,
            hello,
            peers: RefCell::new(Peers::new(outbox_bytes_max)),
            inbox: RefCell::default(),
            unfinished: Cell::new(0),
            is_stopping: Cell::new(false),
            warnings: WarningLimit::default(),
            alarms: WarningLimit::default(),
            links: Links::default(),
            successions: Cell::new(0),
            reasons: Reasons::default(),
        }
    }

    /// Writes down why an accepted connection has ended.
    pub(crate) fn log_end(&self, address: SocketAddr, served: &Served) {
        use crate::connection::CloseReason::{ByPeer, Stopping};
        let reason = &served.reason;
        let node = served.node.map(tracing::field::display);
        let is_client = served.hello.is_some_and(|hello| hello.role == Role::Client);
        if matches!(reason, ByPeer | Stopping) {
            tracing::debug!(%address, node, %reason, "connection ended");
        } else if reason.is_refusal() && !is_client {
            let who = match served.hello {
                Some(Hello { role: Role::Coordinator, node, .. }) => Who::Node(NodeId::coordinator(node)),
                Some(Hello { role: Role::Participant, node, .. }) => Who::Node(NodeId::participant(node)),
                Some(Hello { role: Role::Client, .. }) | None => Who::Host(address.ip()),
            };
            self.tell_refusal(who, &address.to_string(), reason, served.hello);
        } else if served.is_told {
            tracing::debug!(%address, node, %reason, "connection closed");
        } else if let Some(withheld) = self.warnings.pass(self.clock.now().0) {
            tracing::warn!(%address, node, %reason, withheld, "connection closed");
        }
    }

    /// Writes down that one end refuses the other for what it is, with the two processes, if that is news.
    pub(crate) fn tell_refusal(&self, who: Who, address: &str, reason: &CloseReason, peer: Option<Hello>) {
        let Some(repeated) = self.reasons.failed(who, &reason.to_string()) else {
            return tracing::debug!(address, %reason, "refused again");
        };
        // Whether it may speak for a number is told apart, so that strangers cannot use up what that may say.
        let limit = if reason.is_alarm() { &self.alarms } else { &self.warnings };
        let Some(withheld) = limit.pass(self.clock.now().0) else { return };
        let Hello { role, node, process, .. } = self.hello;
        let peer_process = peer.map(|hello| tracing::field::display(hello.process));
        let peer = peer.map_or_else(|| who.to_string(), |hello| format!("{} {}", hello.role, hello.node));
        tracing::error!(
            peer, peer_process, own = format!("{role} {node}"), own_process = %process, address, %reason, repeated, withheld,
            "refused; this is told once, and nothing is said between the two until it is set right"
        );
    }
}
