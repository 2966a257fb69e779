//! The network: for each pair of nodes and each direction a queue of messages on their way.
//!
//! Nothing arrives by itself. A message is encoded when it leaves and decoded when it arrives.

use std::collections::{BTreeMap, VecDeque};

use bytes::Bytes;
use protocol::codec::Reader;
use protocol::{Message, NodeId};

/// From whom to whom.
pub type Link = (NodeId, NodeId);

/// Messages on their way.
#[derive(Default)]
pub struct Network {
    links: BTreeMap<Link, VecDeque<Bytes>>,
}

impl Network {
    /// A message leaves.
    pub fn send(&mut self, link: Link, message: &Message) {
        let mut bytes = Vec::new();
        message.encode(&mut bytes);
        self.links.entry(link).or_default().push_back(Bytes::from(bytes));
    }

    /// The first message on a link arrives.
    pub fn receive(&mut self, link: Link) -> Option<Message> {
        let bytes = self.links.get_mut(&link)?.pop_front()?;
        Some(decode(bytes))
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
        Some(decode(first))
    }

    /// The first message on a link is overtaken by all others. Returns it.
    pub fn delay(&mut self, link: Link) -> Option<Message> {
        let queue = self.links.get_mut(&link)?;
        queue.rotate_left(usize::from(!queue.is_empty()));
        queue.back().cloned().map(decode)
    }

    /// Loses all that is on its way to a node.
    pub fn lose_to(&mut self, node: NodeId) {
        self.links.retain(|(_, to), _| *to != node);
    }
}

fn decode(bytes: Bytes) -> Message {
    let mut reader = Reader::new(bytes);
    let message = Message::decode(&mut reader).expect("a message that was encoded");
    reader.finish().expect("nothing stands behind a message");
    message
}
