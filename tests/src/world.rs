//! A cluster in one thread: real machines, with a log, a network and a clock that move only when
//! they are told to.
//!
//! - `node.rs`: a machine on a log in memory (`log.rs`), behind a gate (`gate.rs`).
//! - `network.rs`: messages on their way.
//! - `keys.rs`, `words.rs`, `trace.rs`: names for keys, words for what happens, and what happened.
//!
//! Invariants, checked whenever a message leaves: a vote has its promise, a commit its decision and
//! an acknowledgement its commit in the durable log.
//!
//! Not here: the commands of scripts (`tests/all/story.rs`), torn writes, several groups in flight.

pub mod gate;
pub mod keys;
pub mod log;
pub mod network;
pub mod node;
pub mod trace;
pub mod words;

use std::collections::{BTreeMap, BTreeSet};

use protocol::message::Submit;
use protocol::{ClientMessage, HandshakeMessage, Machine, Message, NodeId, Process, Role, Tick, TxnId};

use crate::world::keys::Keys;
use crate::world::log::Rows;
use crate::world::network::{Link, Network, opens_connection};
use crate::world::node::{CLUSTER, Kind, Node};
use crate::world::trace::Trace;

/// After so many rounds without rest, a world is taken to run in a circle.
const ROUNDS_MAX: usize = 10_000;

/// The sizes and settings of a world.
pub struct Setup {
    /// How many participants.
    pub participants: u32,
    /// How many coordinators.
    pub coordinators: u32,
    /// Changes a coordinator's settings.
    pub coordinator: Box<dyn Fn(&mut coordinator::Config)>,
    /// Changes a participant's settings.
    pub participant: Box<dyn Fn(&mut participant::Config)>,
}

impl Default for Setup {
    fn default() -> Self {
        Self { participants: 2, coordinators: 1, coordinator: Box::new(|_| {}), participant: Box::new(|_| {}) }
    }
}

/// A cluster.
pub struct World {
    now: Tick,
    nodes: BTreeMap<NodeId, Node>,
    network: Network,
    /// Pairs that do not reach each other.
    apart: BTreeSet<(NodeId, NodeId)>,
    /// What happened.
    pub trace: Trace,
    /// What clients were told, in order.
    pub answers: Vec<(NodeId, Message)>,
    /// The names of keys.
    pub keys: Keys,
    asked: BTreeMap<TxnId, (NodeId, NodeId, Submit)>,
}

impl World {
    /// A cluster whose nodes run and have met.
    #[must_use]
    pub fn new(setup: &Setup) -> Self {
        let trace = Trace::default();
        let participants: Vec<u32> = (1..=setup.participants).collect();
        let mut nodes = BTreeMap::new();
        for number in 1..=setup.coordinators {
            let mut config = coordinator::Config::new(number, CLUSTER, participants.clone());
            (setup.coordinator)(&mut config);
            let id = NodeId::coordinator(number);
            nodes.insert(id, Node::new(id, Kind::Coordinator(config), &trace));
        }
        for number in participants {
            let mut config = participant::Config::new(number, CLUSTER);
            (setup.participant)(&mut config);
            let id = NodeId::participant(number);
            nodes.insert(id, Node::new(id, Kind::Participant(config), &trace));
        }
        let keys = Keys::new(setup.participants);
        let network = Network::default();
        let apart = BTreeSet::new();
        let (answers, asked) = (Vec::new(), BTreeMap::new());
        let mut world = Self { now: Tick(0), nodes, network, apart, trace, answers, keys, asked };
        for id in world.ids() {
            world.start(id);
        }
        world.run();
        _ = world.trace.take();
        world
    }

    /// All nodes, coordinators first.
    #[must_use]
    pub fn ids(&self) -> Vec<NodeId> {
        self.nodes.keys().copied().collect()
    }

    /// A node.
    ///
    /// # Errors
    /// If there is none of this name.
    pub fn node(&self, id: NodeId) -> Result<&Node, String> {
        self.nodes.get(&id).ok_or_else(|| format!("there is no {id}"))
    }

    /// A node, to change.
    ///
    /// # Errors
    /// If there is none of this name.
    pub fn node_mut(&mut self, id: NodeId) -> Result<&mut Node, String> {
        self.nodes.get_mut(&id).ok_or_else(|| format!("there is no {id}"))
    }

    /// A client asks a coordinator for a transaction.
    pub fn submit(&mut self, client: NodeId, coordinator: NodeId, submit: Submit) {
        self.asked.insert(submit.txn, (client, coordinator, submit.clone()));
        self.ask(client, coordinator, Message::Client(ClientMessage::Submit(submit)));
    }

    /// A client asks again for what it asked for before, on a connection of this client.
    ///
    /// # Errors
    /// If nobody asked.
    pub fn retry(&mut self, client: Option<NodeId>, txn: TxnId) -> Result<(), String> {
        let (asker, coordinator, submit) =
            self.asked.get(&txn).cloned().ok_or_else(|| format!("nobody asked for {txn:?}"))?;
        self.ask(client.unwrap_or(asker), coordinator, Message::Client(ClientMessage::Submit(submit)));
        Ok(())
    }

    /// A client's message arrives at once, unless its coordinator is down or out of reach.
    pub fn ask(&mut self, client: NodeId, coordinator: NodeId, message: Message) {
        if self.are_apart(client, coordinator) {
            self.lost_between(client, coordinator, &message);
        } else if !self.nodes.get(&coordinator).is_some_and(Node::is_up) {
            self.trace.line(format!("{coordinator} is down: {} is lost", words::message(&message)));
        } else {
            self.tell(client, coordinator, message);
        }
    }

    /// A node hears something at once.
    pub fn tell(&mut self, from: NodeId, to: NodeId, message: Message) {
        self.hear((from, to), Process::NONE, message);
    }

    fn hear(&mut self, (from, to): Link, by: Process, message: Message) {
        let now = self.now;
        if let Some(node) = self.nodes.get_mut(&to) {
            node.hear(now, from, by, message);
            self.carry(to);
        }
    }

    /// The first message on a link arrives; whether there was one for a node that takes it.
    pub fn deliver(&mut self, link: Link) -> bool {
        if !self.nodes.get(&link.1).is_some_and(Node::is_awake) {
            return false;
        }
        let Some((by, message)) = self.network.receive(link) else { return false };
        self.hear(link, by, message);
        true
    }

    /// What opens the connection of two nodes arrives, in both directions, as far as it stands first.
    pub fn meet(&mut self, one: NodeId, other: NodeId) {
        let links = [(one, other), (other, one)];
        while let Some(link) =
            links.into_iter().find(|link| self.network.first(*link).is_some_and(|first| opens_connection(&first)))
        {
            if !self.deliver(link) {
                return;
            }
        }
    }

    /// Whether the first message on a link may be lost, doubled or overtaken alone: it does not open a connection.
    #[must_use]
    pub fn is_fickle(&self, link: Link) -> bool {
        self.network.first(link).is_some_and(|first| !opens_connection(&first))
    }

    /// Makes a node's log durable.
    pub fn flush(&mut self, id: NodeId) {
        let Some(node) = self.nodes.get_mut(&id).filter(|node| node.is_awake() && !node.log.is_flushed()) else {
            return;
        };
        self.trace.line(format!("{id} flushes"));
        node.flush();
        self.carry(id);
        if let Some(node) = self.nodes.get_mut(&id) {
            node.log.cut_off();
        }
    }

    /// Delivers and flushes until nothing moves. The clock stands still.
    ///
    /// # Panics
    /// If that does not end.
    pub fn run(&mut self) {
        for _ in 0..ROUNDS_MAX {
            let mut moved = false;
            for link in self.network.busy_links() {
                for _ in 0..self.network.on_link(link) {
                    moved |= self.deliver(link);
                }
            }
            for id in self.ids() {
                let node = &self.nodes[&id];
                if node.is_awake() && !node.log.is_flushed() {
                    self.flush(id);
                    moved = true;
                }
            }
            if !moved {
                return;
            }
        }
        panic!("after {ROUNDS_MAX} rounds messages still move");
    }

    /// The clock moves, and every node that is awake does what became due.
    pub fn tick(&mut self, us: u64) {
        self.now = self.now.plus_us(us);
        let now = self.now;
        for id in self.ids() {
            if let Some(node) = self.nodes.get_mut(&id)
                && node.is_awake()
                && node.next_tick().is_some_and(|due| due <= now)
            {
                self.act(id, |machine, effects| machine.tick(now, effects));
            }
        }
    }

    /// Ends a node; its log loses what is not durable, and `lost` durable records besides.
    pub fn crash(&mut self, id: NodeId, lost: usize) {
        if self.nodes.get_mut(&id).is_some_and(|node| node.crash(lost)) {
            self.network.lose_to(id);
        }
    }

    /// Starts a node that does not run, and connects it.
    pub fn start(&mut self, id: NodeId) {
        let now = self.now;
        let Some(node) = self.nodes.get_mut(&id).filter(|node| !node.is_up()) else { return };
        node.start(now);
        self.carry(id);
        for other in self.ids() {
            self.greet(id, other);
        }
    }

    /// The connection between two nodes breaks, with all that was on it, and comes back.
    pub fn reconnect(&mut self, one: NodeId, other: NodeId) {
        self.disconnect(one, other);
        self.greet(one, other);
    }

    /// From now on two nodes, or a client and its coordinator, do not reach each other: their connection breaks with
    /// all that was on it, and whatever they say to each other is lost.
    pub fn partition(&mut self, one: NodeId, other: NodeId) {
        self.disconnect(one, other);
        self.apart.insert(pair(one, other));
    }

    /// They reach each other again. Nodes have a new connection.
    pub fn heal(&mut self, one: NodeId, other: NodeId) {
        if self.apart.remove(&pair(one, other)) {
            self.reconnect(one, other);
        }
    }

    fn are_apart(&self, one: NodeId, other: NodeId) -> bool {
        self.apart.contains(&pair(one, other))
    }

    fn disconnect(&mut self, one: NodeId, other: NodeId) {
        for link in [(one, other), (other, one)] {
            while self.drop_first(link) {}
            if let Some(node) = self.nodes.get_mut(&link.0) {
                node.gate.lose(link.1);
            }
        }
    }

    fn greet(&mut self, one: NodeId, other: NodeId) {
        let is_up = |id: NodeId| self.nodes.get(&id).is_some_and(Node::is_up);
        if !is_up(one) || !is_up(other) || one.role() == other.role() || self.are_apart(one, other) {
            return;
        }
        for (from, to) in [(one, other), (other, one)] {
            if let Some(node) = self.nodes.get_mut(&from)
                && let Some(hello) = node.hello()
            {
                node.assert_durable_before_said(&hello);
                self.trace.line(format!("{from} -> {to} {}", words::message(&hello)));
                self.network.send((from, to), node.process(), &hello);
            }
        }
    }

    /// Loses the first message on a link; whether there was one.
    pub fn drop_first(&mut self, link: Link) -> bool {
        let lost = self.network.receive(link).map(|(_, message)| message);
        self.fault("is lost", link, lost.as_ref())
    }

    /// The first message on a link will arrive again, after the others; whether there was one.
    pub fn duplicate(&mut self, link: Link) -> bool {
        let first = self.network.duplicate(link);
        self.fault("will come twice", link, first.as_ref())
    }

    /// The first message on a link will arrive after the others; whether there was one.
    pub fn delay(&mut self, link: Link) -> bool {
        if matches!(self.network.first(link), Some(Message::Handshake(HandshakeMessage::Hello(_)))) {
            // Nothing is heard on a connection before its hello.
            return false;
        }
        let first = self.network.delay(link);
        self.fault("is overtaken", link, first.as_ref())
    }

    fn fault(&self, what: &str, (from, to): Link, message: Option<&Message>) -> bool {
        if let Some(message) = message {
            self.trace.line(format!("{from} -> {to} {} ({what})", words::message(message)));
        }
        message.is_some()
    }

    /// The links that something is on.
    #[must_use]
    pub fn busy_links(&self) -> Vec<Link> {
        self.network.busy_links()
    }

    /// All rows of all participants.
    #[must_use]
    pub fn rows(&self) -> Rows {
        self.nodes.values().flat_map(Node::rows).collect()
    }

    /// Lets a node act, and carries what leaves it.
    pub fn act(&mut self, id: NodeId, story: impl FnOnce(&mut dyn Machine, &mut protocol::Effects<'_>)) {
        if let Some(node) = self.nodes.get_mut(&id) {
            _ = node.act(story);
            self.carry(id);
        }
    }

    fn carry(&mut self, from: NodeId) {
        let Some(node) = self.nodes.get_mut(&from) else { return };
        let by = node.process();
        let left = node.gate.take_left();
        left.iter().for_each(|(_, message)| node.assert_durable_before_said(message));
        for (to, message) in left {
            if self.are_apart(from, to) {
                self.lost_between(from, to, &message);
            } else if to.role() == Role::Client {
                self.answers.push((to, message));
            } else if self.nodes.get(&to).is_some_and(Node::is_up) {
                self.network.send((from, to), by, &message);
            } else {
                self.trace.line(format!("{to} is down: {} is lost", words::message(&message)));
            }
        }
    }
    fn lost_between(&self, from: NodeId, to: NodeId, message: &Message) {
        self.trace.line(format!("{from} does not reach {to}: {} is lost", words::message(message)));
    }
}

/// The same for both orders.
fn pair(one: NodeId, other: NodeId) -> (NodeId, NodeId) {
    (one.min(other), one.max(other))
}
