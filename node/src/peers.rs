//! All connections, and who is at the other end of which. A machine's messages come in here and
//! find the outbox that they leave through.
//!
//! Invariants: one connection a node; a client's number is never used again; a message to a node
//! that is not connected is dropped and counted (machines repeat what matters when they meet); what a
//! node says reaches the machine in order, and only while its outbox has room for the answer.

use std::collections::VecDeque;
use std::rc::Rc;

use planted::planted;
use protocol::{Index, Link, Message, NodeId, Role};
use rustc_hash::FxHashMap;

use crate::connection::{CloseReason, Connection};
use crate::limits::{CLIENT_OUTBOXES_FACTOR, NODE_OUTBOX_FACTOR, OUTBOX_SHARE_BYTES_MIN};

#[derive(Default)]
pub(crate) struct Peers {
    all: FxHashMap<u64, Rc<Connection>>,
    /// Of `all`.
    accepted: usize,
    /// Of `accepted`.
    clients: usize,
    by_node: FxHashMap<NodeId, Rc<Connection>>,
    /// Connections whose outbox has changed, or holds messages back.
    listed: Vec<Rc<Connection>>,
    /// Connections that keep messages for a later turn.
    keeping: Vec<Rc<Connection>>,
    next_id: u64,
    next_client: u64,
    outbox_bytes_max: usize,
    /// What waits for clients, and for how many.
    waiting: Waiting,
    unreachable: u64,
}

/// What waits to be taken by clients.
#[derive(Clone, Copy, Debug, Default)]
struct Waiting {
    bytes: usize,
    clients: usize,
}

impl Peers {
    pub(crate) fn new(outbox_bytes_max: usize) -> Self {
        Self { outbox_bytes_max, ..Self::default() }
    }

    /// How many connections there are.
    pub(crate) fn len(&self) -> usize {
        self.all.len()
    }

    /// Whether a node is connected.
    pub(crate) fn is_connected(&self, node: NodeId) -> bool {
        self.by_node.get(&node).is_some_and(|connection| !connection.is_closed())
    }

    /// The nodes that are connected, without clients.
    pub(crate) fn nodes(&self) -> impl Iterator<Item = (NodeId, &Connection)> {
        let nodes = self.by_node.iter().filter(|(node, _)| node.role() != Role::Client);
        nodes.map(|(node, connection)| (*node, &**connection))
    }

    /// How many of them were accepted, not dialled.
    pub(crate) fn accepted(&self) -> usize {
        self.accepted
    }

    /// How many clients have said hello, and are connected.
    pub(crate) fn clients(&self) -> usize {
        self.clients
    }

    /// Lets the oldest connection go that has said nothing, or names a node and has said nothing after that, if there is one:
    /// nobody knows who that is.
    pub(crate) fn make_room(&self) {
        let is_client = |connection: &Connection| connection.node.get().is_some_and(|node| node.role() == Role::Client);
        let silent = self.all.values().filter(|connection| {
            connection.is_asked && !connection.is_closed() && !is_client(connection) && !connection.is_of_node()
        });
        if let Some(oldest) = silent.min_by_key(|connection| connection.opened_us) {
            oldest.close(CloseReason::MadeRoom);
        }
    }

    /// The connection on which a part of a frame has waited longest for the rest; one of a node only if there is no other.
    pub(crate) fn most_stalled(&self) -> Option<Rc<Connection>> {
        let stalled = self.all.values().filter_map(|connection| Some((connection.stalled()?, connection)));
        stalled.min_by_key(|(since, _)| *since).map(|(_, connection)| Rc::clone(connection))
    }

    /// Takes a connection whose other end is not known yet.
    pub(crate) fn admit(&mut self, connection: Rc<Connection>) -> u64 {
        let id = self.next_id;
        self.next_id += 1;
        self.accepted += usize::from(connection.is_asked);
        self.all.insert(id, connection);
        id
    }

    /// A number for a client.
    pub(crate) fn new_client(&mut self) -> NodeId {
        self.next_client += 1;
        self.clients += 1;
        NodeId::client(self.next_client)
    }

    /// The process at the other end is welcome: from now on it is heard under its number, and no other connection is.
    pub(crate) fn introduce(&mut self, node: NodeId, connection: &Rc<Connection>) {
        if connection.is_closed() {
            // It has ended behind its hello: who is connected stays so.
            return;
        }
        if let Some(other) = self.by_node.insert(node, Rc::clone(connection)) {
            other.is_heard.set(false);
            other.close(CloseReason::Replaced);
        }
        connection.is_heard.set(true);
    }

    pub(crate) fn forget(&mut self, id: u64, connection: &Rc<Connection>) {
        if self.all.remove(&id).is_some() {
            self.accepted -= usize::from(connection.is_asked);
            self.clients -= usize::from(connection.node.get().is_some_and(|node| node.role() == Role::Client));
        }
        self.count_waiting(connection, 0);
        self.keeping.retain(|other| !Rc::ptr_eq(other, connection));
        if let Some(node) = connection.node.get()
            && self.by_node.get(&node).is_some_and(|current| Rc::ptr_eq(current, connection))
        {
            self.by_node.remove(&node);
        }
    }

    /// Lets go what the log now allows, and wakes the writers: one write a connection.
    pub(crate) fn flush(&mut self, stable: Index) {
        self.listed.retain(|connection| {
            let mut outbox = connection.outbox.borrow_mut();
            outbox.release(stable);
            if outbox.is_ready() {
                connection.has_bytes.notify_one();
            }
            let stays = outbox.is_holding() && !connection.is_closed();
            connection.is_listed.set(stays);
            stays
        });
    }

    /// Hands a message back if the machine may have it now; else keeps it for a later turn, and with
    /// it all that its node says after it.
    pub(crate) fn pass_or_keep(&mut self, connection: &Rc<Connection>, message: Message) -> Option<Message> {
        if connection.is_closed() {
            return Some(message);
        }
        let is_keeping = connection.is_keeping();
        if !is_keeping && !connection.is_congested(self.outbox_share()) {
            return Some(message);
        }
        connection.kept.borrow_mut().push_back(message);
        if !is_keeping {
            self.keeping.push(Rc::clone(connection));
        }
        None
    }

    /// The connections that keep messages; to be given back with [`Peers::keep_on`].
    pub(crate) fn take_keeping(&mut self) -> Vec<Rc<Connection>> {
        std::mem::take(&mut self.keeping)
    }

    /// The next kept message of a connection whose outbox has room for the answer.
    pub(crate) fn next_kept(&self, connection: &Connection) -> Option<(NodeId, Message)> {
        if connection.is_closed() || connection.is_congested(self.outbox_share()) {
            return None;
        }
        connection.node.get().zip(connection.kept.borrow_mut().pop_front())
    }

    /// Those that still keep messages stay listed; the others read on.
    pub(crate) fn keep_on(&mut self, mut keeping: Vec<Rc<Connection>>) {
        keeping.retain(|connection| {
            let is_keeping = connection.is_keeping();
            if !is_keeping {
                *connection.kept.borrow_mut() = VecDeque::new();
                connection.read_on();
            }
            is_keeping
        });
        self.keeping = keeping;
    }

    /// What may wait for a connection before it is not read from: half of its outbox, or, when much waits for all clients
    /// together, an equal share of that.
    pub(crate) fn outbox_share(&self) -> usize {
        let half = self.outbox_bytes_max / 2;
        let much = self.outbox_bytes_max.saturating_mul(CLIENT_OUTBOXES_FACTOR) / 2;
        if self.waiting.bytes <= much {
            return half;
        }
        (much / self.waiting.clients.max(1)).clamp(OUTBOX_SHARE_BYTES_MIN.min(half), half)
    }

    /// Takes note of what waits for a client now.
    pub(crate) fn note_unsent(&mut self, connection: &Connection) {
        let unsent = if connection.is_closed() { 0 } else { connection.outbox.borrow().unsent_bytes() };
        self.count_waiting(connection, unsent);
    }

    fn count_waiting(&mut self, connection: &Connection, unsent: usize) {
        if connection.node.get().is_none_or(|node| node.role() != Role::Client) {
            return;
        }
        let before = connection.counted.replace(unsent);
        self.waiting.bytes = self.waiting.bytes - before + unsent;
        self.waiting.clients = self.waiting.clients - usize::from(before > 0) + usize::from(unsent > 0);
    }

    /// Past the bound of all clients together the one that has taken the least pays.
    fn close_slowest(&mut self) {
        let max = self.outbox_bytes_max.saturating_mul(CLIENT_OUTBOXES_FACTOR);
        while self.waiting.bytes > max {
            let clients = self.all.values().filter(|connection| !connection.is_closed());
            let Some(slowest) = clients.max_by_key(|connection| connection.counted.get()).map(Rc::clone) else {
                return;
            };
            let unsent = slowest.counted.get();
            slowest.close(CloseReason::OutboxesFull { unsent, all: self.waiting.bytes, max });
            self.count_waiting(&slowest, 0);
        }
    }

    /// Whether every outbox of a living connection is empty.
    pub(crate) fn is_flushed(&self) -> bool {
        self.all.values().all(|connection| connection.is_closed() || connection.outbox.borrow().unsent_bytes() == 0)
    }

    /// Closes what has said nothing, or half of something, for too long.
    pub(crate) fn sweep(&self, now_us: u64, hello_timeout_us: u64) {
        for connection in self.all.values() {
            if connection.node.get().is_none() && now_us.saturating_sub(connection.opened_us) > hello_timeout_us {
                connection.close(CloseReason::HelloTimeout);
            } else if connection.is_stalled(now_us) {
                connection.close(CloseReason::FrameTimeout);
            }
        }
    }

    pub(crate) fn stop_reading(&self) {
        self.all.values().for_each(|connection| connection.stop_reading());
    }

    pub(crate) fn close_all(&self) {
        self.all.values().for_each(|connection| connection.close(CloseReason::Stopping));
    }

    /// Messages that were dropped since this was last asked, because their node was not connected.
    pub(crate) fn take_unreachable(&mut self) -> u64 {
        std::mem::take(&mut self.unreachable)
    }
}

impl protocol::Outbox for Peers {
    fn post(&mut self, to: NodeId, gate: Index, message: &Message) {
        let Some(connection) = self.by_node.get(&to).filter(|connection| !connection.is_closed()) else {
            // A client that has gone is no news: it asks again.
            self.unreachable += u64::from(to.role() != Role::Client);
            return;
        };
        let mut outbox = connection.outbox.borrow_mut();
        outbox.post(gate, message);
        connection.asked.count(gate, message);
        let unsent = outbox.unsent_bytes();
        let factor = if to.role() == Role::Client { 1 } else { NODE_OUTBOX_FACTOR };
        let max = self.outbox_bytes_max.saturating_mul(factor);
        if unsent > max && !planted!("outbox-unbounded") {
            connection.close(CloseReason::OutboxFull { unsent, max });
        }
        if !connection.is_listed.replace(true) {
            self.listed.push(Rc::clone(connection));
        }
        drop(outbox);
        if to.role() == Role::Client {
            let connection = Rc::clone(connection);
            self.note_unsent(&connection);
            self.close_slowest();
        }
    }

    fn disconnect(&mut self, to: NodeId) {
        if let Some(connection) = self.by_node.get(&to) {
            connection.close(CloseReason::GivenUp);
        }
    }

    fn link(&self, to: NodeId) -> Link {
        match self.by_node.get(&to).filter(|connection| !connection.is_closed()) {
            None => Link::Down,
            Some(connection) if connection.outbox.borrow().unsent_bytes() > self.outbox_bytes_max / 2 => {
                Link::Congested
            }
            Some(_) => Link::Open,
        }
    }
}
