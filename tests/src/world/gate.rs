//! The gate of one node: a message leaves once the log is stable up to where it has to be.

use protocol::{Index, Link, Message, NodeId, Outbox};

use crate::world::trace::Trace;
use crate::world::words;

/// Messages that have not left, and those that just have.
pub struct Gate {
    owner: NodeId,
    trace: Trace,
    stable: Index,
    held: Vec<(NodeId, Index, Message)>,
    left: Vec<(NodeId, Message)>,
}

impl Gate {
    /// The gate of a node whose log is stable up to `stable`.
    #[must_use]
    pub fn new(owner: NodeId, stable: Index, trace: Trace) -> Self {
        Self { owner, trace, stable, held: Vec::new(), left: Vec::new() }
    }

    /// The log is stable up to here.
    pub fn open_up_to(&mut self, stable: Index) {
        self.stable = stable;
        for (to, gate, message) in std::mem::take(&mut self.held) {
            self.post(to, gate, &message);
        }
    }

    /// Takes what has left.
    pub fn take_left(&mut self) -> Vec<(NodeId, Message)> {
        std::mem::take(&mut self.left)
    }

    /// A connection has ended, and what was held for it with it.
    pub fn lose(&mut self, to: NodeId) {
        self.held.retain(|(receiver, _, _)| *receiver != to);
    }

    /// Adds all that it holds to a node's state.
    pub fn add_state(&self, state: &mut Vec<u8>) {
        let Self { owner: _, trace: _, stable, held, left } = self;
        state.extend(format!("{stable} {held:?} {left:?}").into_bytes());
    }

    /// What is held, in words.
    pub fn held(&self) -> impl Iterator<Item = String> {
        self.held.iter().map(|(to, _, message)| format!("{} for {to}", words::message(message)))
    }
}

impl Outbox for Gate {
    fn post(&mut self, to: NodeId, gate: Index, message: &Message) {
        if gate <= self.stable {
            self.trace.line(format!("{} -> {to} {}", self.owner, words::message(message)));
            self.left.push((to, message.clone()));
        } else {
            self.held.push((to, gate, message.clone()));
        }
    }

    /// A world's nodes do not know who is connected.
    fn link(&self, _: NodeId) -> Link {
        Link::Open
    }

    fn disconnect(&mut self, to: NodeId) {
        self.trace.line(format!("{} disconnects {to}", self.owner));
    }
}
