//! What the driver and the tasks of all connections share. One thread, so no locks.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;

use protocol::Message;
use protocol::message::Hello;
use tokio::sync::Notify;

use crate::clock::Clock;
use crate::connection::{Connection, Served};
use crate::links::Links;
use crate::peers::Peers;
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
        }
    }

    /// Writes down why an accepted connection has ended.
    pub(crate) fn log_end(&self, address: std::net::SocketAddr, served: &Served) {
        use crate::connection::CloseReason::{ByPeer, Stopping};
        let reason = &served.reason;
        match (reason, served.node) {
            (ByPeer | Stopping, node) => {
                tracing::debug!(%address, node = node.map(tracing::field::display), %reason, "connection ended");
            }
            (_, node) if reason.is_alarm() => {
                if let Some(withheld) = self.alarms.pass(self.clock.now().0) {
                    tracing::error!(%address, node = node.map(tracing::field::display), %reason, withheld, "connection refused");
                }
            }
            (_, node) => {
                if let Some(withheld) = self.warnings.pass(self.clock.now().0) {
                    tracing::warn!(%address, node = node.map(tracing::field::display), %reason, withheld, "connection closed");
                }
            }
        }
    }
}
