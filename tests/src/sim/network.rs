//! Connections, and what is on its way on them. Bytes come in order; a connection breaks at one end first.
//!
//! Not here: when what arrives (`world`), and faults of whole nodes (`inject`).

use std::collections::VecDeque;

use protocol::frame::{self, FrameReader};
use protocol::{HandshakeMessage, Message};

use crate::sim::earlier::Earlier;

/// Bytes that may be on their way in one direction before the sender has to wait, as the windows of TCP have it.
pub const WINDOW_BYTES: usize = 256 << 10;

/// Who is at an end of a link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// A node, counted from 0.
    Node(usize),
    /// A client, counted from 0.
    Client(usize),
}

/// Two that are connected, or would like to be. The first of them dials.
pub struct Link {
    /// Who dials, and who is dialled.
    pub ends: [End; 2],
    /// Counts the connections.
    pub generation: u64,
    /// Whether the connection is open, as each end sees it.
    pub open: [bool; 2],
    /// Its number at each end that is a node.
    pub lines: [u64; 2],
    /// From the first end to the second one, and back.
    pub pipes: [Pipe; 2],
    /// When the dialler tries next.
    pub dial_at: Option<u64>,
    /// Of each connection there was, the dialler's process, and which start of the other end took it.
    pub starts: Vec<(protocol::Process, u64)>,
    /// The latest of them that the other end has met since its start.
    pub met: u32,
    /// What has missed its connection and may come later.
    pub earlier: Vec<Earlier>,
}

/// One direction of a link.
#[derive(Default)]
pub struct Pipe {
    /// When the last bytes arrive that are on their way.
    pub last_arrival: u64,
    /// Bytes on their way, or not read yet.
    pub in_flight: usize,
    /// How many faults cut it now.
    pub cuts: u32,
    /// How much slower it is now.
    pub factor: u64,
    /// Bytes that wait for the cut to end.
    pub held: VecDeque<Vec<u8>>,
    /// Bytes that have arrived at an end that does not read.
    pub unread: VecDeque<Vec<u8>>,
    /// What is to happen to messages, and after how many.
    pub tampering: Vec<(u64, Tampering)>,
}

/// What happens to a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tampering {
    /// It is lost.
    Lose,
    /// It comes twice.
    #[allow(missing_docs)]
    Duplicate { later_us: u64 },
    /// It comes later.
    #[allow(missing_docs)]
    Delay { later_us: u64 },
    /// It changes places with the next one.
    Reorder,
}

impl Link {
    /// A link that is not connected.
    #[must_use]
    pub fn new(dialler: End, dialled: End) -> Self {
        Self {
            ends: [dialler, dialled],
            generation: 0,
            open: [false; 2],
            lines: [0; 2],
            pipes: [Pipe::new(), Pipe::new()],
            dial_at: None,
            starts: Vec::new(),
            met: 0,
            earlier: Vec::new(),
        }
    }

    /// Which end this node is, if it is one.
    #[must_use]
    pub fn end_of(&self, node: usize) -> Option<usize> {
        self.ends.iter().position(|end| *end == End::Node(node))
    }

    /// Whether messages pass neither way or only one.
    #[must_use]
    pub fn is_cut(&self) -> bool {
        self.pipes.iter().any(|pipe| pipe.cuts > 0)
    }

    /// The dialled end has heard the dialler on the connection that there is.
    pub fn meet(&mut self) {
        self.met = self.met.max(self.starts.last().map_or(0, |(process, _)| process.epoch));
    }

    /// A new connection: what was on its way on the last one is gone.
    pub fn connect(&mut self, lines: [u64; 2], (process, boot): (protocol::Process, u64)) {
        self.generation += 1;
        self.starts.push((process, boot));
        self.open = [true; 2];
        self.lines = lines;
        for pipe in &mut self.pipes {
            (pipe.in_flight, pipe.last_arrival) = (0, 0);
            pipe.held.clear();
            pipe.unread.clear();
        }
    }
}

impl Pipe {
    fn new() -> Self {
        Self { factor: 1, ..Self::default() }
    }

    /// Whether the sender may write more.
    #[must_use]
    pub fn has_room(&self) -> bool {
        self.in_flight < WINDOW_BYTES
    }
}

/// What becomes of bytes that somebody meddles with.
pub struct Tampered {
    /// What goes on its way now.
    pub now: Vec<u8>,
    /// Single messages that come later, by so much.
    pub later: Vec<(u64, Vec<u8>)>,
    /// What has happened, and to which message.
    pub done: Vec<(Tampering, Message)>,
}

/// Meddles with whole frames, as the pipe is to. The first message of a connection is left alone: without it, there is none.
pub fn tamper(pipe: &mut Pipe, bytes: &[u8]) -> Option<Tampered> {
    let mut messages = messages(bytes);
    let first = usize::from(matches!(messages.first(), Some(Message::Handshake(HandshakeMessage::Hello(_)))));
    let count = (messages.len() - first) as u64;
    let mut tampered = Tampered { now: Vec::new(), later: Vec::new(), done: Vec::new() };
    let mut gone = vec![false; messages.len()];
    for (left, tampering) in &mut pipe.tampering {
        let Some(at) = (*left <= count).then(|| first + *left as usize - 1) else {
            *left -= count;
            continue;
        };
        *left = 0;
        tampered.done.push((*tampering, messages[at].clone()));
        match *tampering {
            Tampering::Lose => gone[at] = true,
            Tampering::Duplicate { later_us } => tampered.later.push((later_us, frame::single(&messages[at]))),
            Tampering::Delay { later_us } => {
                gone[at] = true;
                tampered.later.push((later_us, frame::single(&messages[at])));
            }
            Tampering::Reorder if at + 1 < messages.len() => messages.swap(at, at + 1),
            Tampering::Reorder => {
                gone[at] = true;
                tampered.later.push((1, frame::single(&messages[at])));
            }
        }
    }
    pipe.tampering.retain(|(left, _)| *left > 0);
    if tampered.done.is_empty() {
        return None;
    }
    let kept = messages.iter().zip(&gone).filter(|(_, gone)| !**gone).map(|(message, _)| message);
    tampered.now = frames(kept);
    Some(tampered)
}

/// Messages as they pass over a connection.
pub fn frames<'a>(messages: impl Iterator<Item = &'a Message>) -> Vec<u8> {
    messages.map(frame::single).collect::<Vec<_>>().concat()
}

/// The messages of whole frames.
///
/// # Panics
/// If a node has sent something else.
#[must_use]
pub fn messages(bytes: &[u8]) -> Vec<Message> {
    let mut reader = FrameReader::default();
    reader.extend(bytes);
    let mut messages = Vec::new();
    reader.drain(|message| messages.push(message)).expect("a node sends whole frames");
    assert_eq!(reader.waiting_bytes(), 0, "a node sends whole frames");
    messages
}
