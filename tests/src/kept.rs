//! One machine alone, on a log and behind a gate that keep everything and lose nothing.

use protocol::message::Hello;
use protocol::{
    ClusterId, Effects, HandshakeMessage, Index, Journal, Link, Logged, Message, NodeId, Origin, Outbox, Place,
    Position, Process, Record, Role, Room,
};

/// What the process of a lone machine is told when it starts.
pub const ORIGIN: Origin = Origin { log: 1, start: 1, opening: 1, first_epoch: 1 };

/// The process of a peer that is made up, of this epoch.
#[must_use]
pub fn made_up(epoch: u32) -> Process {
    Process { log: 77, epoch, start: u64::from(epoch) }
}

/// What a peer that is made up says on a new connection, until it is accepted: it has heard
/// of nothing, and succeeds the process that was accepted before.
#[must_use]
pub fn greeting(role: Role, node: u32, cluster: ClusterId, epoch: u32) -> Vec<Message> {
    let by = made_up(epoch);
    let mut greeting = vec![
        Message::Handshake(HandshakeMessage::Hello(Hello::daemon(role, node, cluster, by))),
        Message::Handshake(HandshakeMessage::Claim { by, known: Process::NONE, stated: Position::UNKNOWN }),
    ];
    if role == Role::Coordinator {
        let known = if epoch == 1 { Process::NONE } else { made_up(epoch - 1) };
        greeting.push(Message::Handshake(HandshakeMessage::Accept { by, known }));
    } else {
        greeting.push(Message::Handshake(HandshakeMessage::Accepted { by }));
    }
    greeting
}

/// A log and a gate.
pub struct Kept {
    /// Bytes that were logged.
    pub logged_bytes: usize,
    /// What was logged.
    pub records: Vec<(Logged, Record)>,
    /// What was sent, and to whom.
    pub posted: Vec<(NodeId, Message)>,
    /// What the log says of its room.
    pub room: Room,
    /// How the connections to all others stand.
    pub link: Link,
}

impl Default for Kept {
    fn default() -> Self {
        Self { logged_bytes: 0, records: Vec::new(), posted: Vec::new(), room: Room::Plenty, link: Link::Open }
    }
}

impl Kept {
    /// Lets a machine act.
    pub fn effects<T>(&mut self, act: impl FnOnce(&mut Effects<'_>) -> T) -> T {
        let Self { logged_bytes, records, posted, room, link } = self;
        act(&mut Effects::new(&mut KeptJournal { logged_bytes, records, room: *room }, &mut KeptOutbox(posted, *link)))
    }

    /// Takes what was sent.
    pub fn take_posted(&mut self) -> Vec<Message> {
        std::mem::take(&mut self.posted).into_iter().map(|(_, message)| message).collect()
    }
}

struct KeptJournal<'a> {
    logged_bytes: &'a mut usize,
    records: &'a mut Vec<(Logged, Record)>,
    room: Room,
}

impl Journal for KeptJournal<'_> {
    fn append(&mut self, record: &Record) -> Logged {
        let mut bytes = Vec::new();
        record.encode(&mut bytes);
        *self.logged_bytes += bytes.len();
        let place = Place::of_address(*self.logged_bytes as u64);
        let at = Logged { position: Position { index: Index(self.end().0 + 1), hash: 1 }, place };
        self.records.push((at, record.clone()));
        at
    }

    fn end(&self) -> Index {
        Index(self.records.len() as u64)
    }

    fn room(&self) -> Room {
        self.room
    }
}

struct KeptOutbox<'a>(&'a mut Vec<(NodeId, Message)>, Link);

impl Outbox for KeptOutbox<'_> {
    fn post(&mut self, to: NodeId, _: Index, message: &Message) {
        self.0.push((to, message.clone()));
    }

    fn link(&self, _: NodeId) -> Link {
        self.1
    }

    fn disconnect(&mut self, _: NodeId) {}
}
