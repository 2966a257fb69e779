//! The network: for each pair of nodes and each direction a queue of messages on their way.
//!
//! Nothing arrives by itself. A message is encoded when it leaves and decoded when it arrives.

use std::collections::{BTreeMap, VecDeque};

use bytes::Bytes;
use protocol::codec::Reader;
use protocol::{HandshakeMessage, Message, NodeId, Process};

/// From whom to whom.
pub type Link = (NodeId, NodeId);

/// Messages on their way.
#[derive(Default)]
pub struct Network {
    links: BTreeMap<Link, VecDeque<(Process, Bytes)>>,
}

impl Network {
    /// A message of a process leaves.
    pub fn send(&mut self, link: Link, by: Process, message: &Message) {
        let mut bytes = Vec::new();
        message.encode(&mut bytes);
        self.links.entry(link).or_default().push_back((by, Bytes::from(bytes)));
    }

    /// The first message on a link arrives.
    pub fn receive(&mut self, link: Link) -> Option<(Process, Message)> {
        let (by, bytes) = self.links.get_mut(&link)?.pop_front()?;
        Some((by, decode(bytes)))
    }

    /// The first message on a link.
    #[must_use]
    pub fn first(&self, link: Link) -> Option<Message> {
        self.links.get(&link)?.front().map(|(_, bytes)| decode(bytes.clone()))
    }

    /// How many messages are on a link.
    #[must_use]
    pub fn on_link(&self, link: Link) -> usize {
        self.links.get(&link).map_or(0, VecDeque::len)
    }

    /// The links that something is on, in order.
    #[must_use]
    pub fn busy_links(&self) -> Vec<Link> {
        self.links.iter().filter(|(_, queue)| !queue.is_empty()).map(|(link, _)| *link).collect()
    }

    /// The first message on a link arrives a second time, after all others on it. Returns it.
    pub fn duplicate(&mut self, link: Link) -> Option<Message> {
        let queue = self.links.get_mut(&link)?;
        let first = queue.front()?.clone();
        queue.push_back(first.clone());
        Some(decode(first.1))
    }

    /// The first message on a link is overtaken by all others. Returns it.
    pub fn delay(&mut self, link: Link) -> Option<Message> {
        let queue = self.links.get_mut(&link)?;
        queue.rotate_left(usize::from(!queue.is_empty()));
        queue.back().map(|(_, bytes)| decode(bytes.clone()))
    }

    /// Loses all that is on its way to a node.
    pub fn lose_to(&mut self, node: NodeId) {
        self.links.retain(|(_, to), _| *to != node);
    }
}

/// Whether a message is part of what opens a connection. It is lost only with the connection: without a hello there is none
/// (`node/src/connection.rs`), and the claims stand right behind it.
#[must_use]
pub fn opens_connection(message: &Message) -> bool {
    matches!(
        message,
        Message::Handshake(
            HandshakeMessage::Hello(_)
                | HandshakeMessage::Claim { .. }
                | HandshakeMessage::Accept { .. }
                | HandshakeMessage::Accepted { .. }
                | HandshakeMessage::Unwelcome(_)
        )
    )
}

fn decode(bytes: Bytes) -> Message {
    let mut reader = Reader::new(bytes);
    let message = Message::decode(&mut reader).expect("a message that was encoded").expect("a known one");
    reader.finish().expect("nothing stands behind a message");
    message
}
