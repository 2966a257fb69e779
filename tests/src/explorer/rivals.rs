//! Two coordinators under one number, explored whole: the real machines, with both processes alive, both asked for the same
//! transaction at two participants, and connections that one of them takes from the other, and the other takes back.
//!
//! A participant hears the process whose hello was welcome last; the connection of the other one ends with all that is on it,
//! and that of the first process may come back, at any time. One process may crash for good, at any time.
//!
//! What has to hold in every state: what one participant has committed no other has aborted; it is committed under one attempt, which
//! was decided. Where no participant can go over from one process to the other, the two have not decided it under two attempts
//! either, and nobody has aborted what one of them has decided.
//!
//! Not here: what one coordinator does with faults (`cluster.rs`).

use std::collections::VecDeque;

use bytes::Bytes;
use protocol::message::Submit;
use protocol::{ClientMessage, HandshakeMessage, Message, NodeId, Operation, Role, Tick, TxnId};
use rustc_hash::FxHashMap;

use crate::explorer::automaton::{Automaton, Input, NodeState};
use crate::explorer::facts::Ballot;
use crate::explorer::messages::{MessageId, Messages};
use crate::explorer::numbers::Numbers;
use crate::world::keys::Keys;
use crate::world::node::{CLUSTER, Kind, Node};
use crate::world::trace::Trace;

/// What the second process runs on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rival {
    /// A log of its own: somebody has given two coordinators the same number.
    OwnLog,
    /// A copy of the first one's log, started later: its epoch is above the first one's.
    Successor,
    /// A copy, both started after it was made: their epochs are equal.
    EqualEpochs,
}

const COORDINATORS: usize = 2;
const PARTICIPANTS: usize = 2;
const NODES: usize = COORDINATORS + PARTICIPANTS;

/// From a coordinator to a participant, and back.
const THERE: usize = 0;
const BACK: usize = 1;

/// No process.
const NOBODY: usize = COORDINATORS;

/// What both are asked for: the same transaction, as a client asks that has changed its coordinator.
const TXN: TxnId = TxnId(1);

/// How often each process may connect to each participant: the first one, which its rival drives out, comes back once.
const DIALS: [u8; COORDINATORS] = [2, 1];

/// The nodes: the two processes, then the participants. The links: for each process and participant, there and back.
#[derive(Clone, PartialEq, Eq, Hash)]
struct State {
    nodes: [NodeState; NODES],
    links: [[[u32; 2]; PARTICIPANTS]; COORDINATORS],
    is_connected: [[bool; PARTICIPANTS]; COORDINATORS],
    /// Which process each participant hears: whose hello was welcome last.
    heard: [usize; PARTICIPANTS],
    dials_left: [[u8; PARTICIPANTS]; COORDINATORS],
    has_asked: [bool; COORDINATORS],
    may_crash: bool,
}

#[derive(Clone, Copy, Debug)]
enum Choice {
    Dial(usize, usize),
    Deliver(usize, usize, usize),
    Flush(usize),
    Ask(usize),
    Crash(usize),
}

/// Explores the world of a rival; how many states there are.
///
/// # Errors
/// What does not hold, and the choices that led to it.
pub fn explore_rivals(rival: Rival) -> Result<usize, String> {
    let mut world = World::new(rival);
    let first = world.opening();
    let mut came_by: FxHashMap<State, Option<(State, Choice)>> = FxHashMap::default();
    came_by.insert(first.clone(), None);
    let mut queue = VecDeque::from([first]);
    while let Some(state) = queue.pop_front() {
        if let Err(what) = world.check(&state) {
            let mut choices = Vec::new();
            let mut at = &state;
            while let Some(Some((before, choice))) = came_by.get(at) {
                choices.push(format!("{choice:?}"));
                at = before;
            }
            choices.reverse();
            return Err(format!("{what}\nafter {}", choices.join(", ")));
        }
        for choice in world.choices(&state) {
            let next = world.take(&state, choice);
            if !came_by.contains_key(&next) {
                came_by.insert(next.clone(), Some((state.clone(), choice)));
                queue.push_back(next);
            }
        }
    }
    Ok(came_by.len())
}

struct World {
    rival: Rival,
    automata: Vec<Automaton>,
    messages: Messages,
    queues: Numbers<Vec<MessageId>>,
    ask: MessageId,
}

impl World {
    fn new(rival: Rival) -> Self {
        let mut messages = Messages::default();
        let coordinator = |trace: &Trace| {
            let participants = (1..=PARTICIPANTS as u32).collect();
            let config = coordinator::Config::new(1, CLUSTER, participants);
            Node::new(NodeId::coordinator(1), Kind::Coordinator(config), trace)
        };
        let started_before = move |trace: &Trace| {
            let mut node = coordinator(trace);
            node.start(Tick(0));
            node.crash(0);
            node
        };
        let mut automata = Vec::new();
        for place in 0..COORDINATORS + PARTICIPANTS {
            let fresh = move |trace: &Trace| match (place, rival) {
                (0, Rival::EqualEpochs) => started_before(trace),
                (0, Rival::OwnLog | Rival::Successor) => coordinator(trace),
                (1, Rival::OwnLog) => coordinator(trace).twin(false),
                (1, Rival::Successor | Rival::EqualEpochs) => started_before(trace).twin(true),
                (place, _) => {
                    let number = (place - COORDINATORS + 1) as u32;
                    let config = participant::Config::new(number, CLUSTER);
                    Node::new(NodeId::participant(number), Kind::Participant(config), trace)
                }
            };
            automata.push(Automaton::new(Box::new(fresh), None, true, &mut messages));
        }
        let add = |participant: &str| Operation::Add { key: key(participant), delta: 1, min: 0, max: 9 };
        let submit = Submit { txn: TXN, deadline_ms: 0, operations: vec![add("a@p1"), add("a@p2")] };
        let ask = messages.number(&Message::Client(ClientMessage::Submit(submit)));
        Self { rival, automata, messages, queues: Numbers::new(), ask }
    }

    /// All nodes run, and nobody has connected.
    fn opening(&mut self) -> State {
        let mut state = State {
            nodes: [0; NODES],
            links: [[[0; 2]; PARTICIPANTS]; COORDINATORS],
            is_connected: [[false; PARTICIPANTS]; COORDINATORS],
            heard: [NOBODY; PARTICIPANTS],
            dials_left: DIALS.map(|dials| [dials; PARTICIPANTS]),
            has_asked: [false; COORDINATORS],
            may_crash: true,
        };
        (0..NODES).for_each(|node| self.act(&mut state, node, Input::Start { now_us: 0 }));
        state
    }

    fn choices(&self, state: &State) -> Vec<Choice> {
        let is_up = |node: usize| self.automata[node].known(state.nodes[node]).is_up;
        let mut choices = Vec::new();
        for process in (0..COORDINATORS).filter(|process| is_up(*process)) {
            for participant in 0..PARTICIPANTS {
                if !state.is_connected[process][participant] && state.dials_left[process][participant] > 0 {
                    choices.push(Choice::Dial(process, participant));
                }
                for way in 0..2 {
                    if state.links[process][participant][way] != 0 {
                        choices.push(Choice::Deliver(process, participant, way));
                    }
                }
            }
            if !state.has_asked[process] {
                choices.push(Choice::Ask(process));
            }
            if state.may_crash {
                choices.push(Choice::Crash(process));
            }
        }
        let is_flushed = |node: &usize| self.automata[*node].known(state.nodes[*node]).is_flushed;
        choices.extend((0..NODES).filter(|node| is_up(*node) && !is_flushed(node)).map(Choice::Flush));
        choices
    }

    fn take(&mut self, state: &State, choice: Choice) -> State {
        let mut next = state.clone();
        match choice {
            Choice::Dial(process, participant) => self.dial(&mut next, process, participant),
            Choice::Deliver(process, participant, way) => self.deliver(&mut next, process, participant, way),
            Choice::Flush(node) => self.act(&mut next, node, Input::Flush),
            Choice::Ask(process) => {
                next.has_asked[process] = true;
                let (now_us, from, message) = (0, NodeId::client(process as u64), self.ask);
                self.act(&mut next, process, Input::Hear { now_us, from, message });
            }
            Choice::Crash(process) => {
                next.may_crash = false;
                self.act(&mut next, process, Input::Crash);
                (0..PARTICIPANTS).for_each(|participant| self.hang_up(&mut next, process, participant));
            }
        }
        next
    }

    fn dial(&mut self, state: &mut State, process: usize, participant: usize) {
        state.dials_left[process][participant] -= 1;
        state.is_connected[process][participant] = true;
        for (way, node) in [(THERE, process), (BACK, COORDINATORS + participant)] {
            if let Some(hello) = self.automata[node].known(state.nodes[node]).hello {
                self.put(state, (process, participant, way), hello);
            }
        }
    }

    /// A connection ends with all that is on it, at both ends.
    fn hang_up(&mut self, state: &mut State, process: usize, participant: usize) {
        state.links[process][participant] = [0; 2];
        state.is_connected[process][participant] = false;
        self.act(state, process, Input::Cut { from: NodeId::participant(participant as u32 + 1) });
        if state.heard[participant] == process {
            state.heard[participant] = NOBODY;
            self.act(state, COORDINATORS + participant, Input::Cut { from: NodeId::coordinator(1) });
        }
    }

    fn deliver(&mut self, state: &mut State, process: usize, participant: usize, way: usize) {
        let queue = state.links[process][participant][way];
        let message = self.queues.get(queue)[0];
        state.links[process][participant][way] = self.queues.changed(queue, |queue| _ = queue.remove(0));
        if way == BACK {
            let from = NodeId::participant(participant as u32 + 1);
            return self.act(state, process, Input::Hear { now_us: 0, from, message });
        }
        let hear = Input::Hear { now_us: 0, from: NodeId::coordinator(1), message };
        if !matches!(self.messages.get(message), Message::Handshake(HandshakeMessage::Hello(_))) {
            return self.act(state, COORDINATORS + participant, hear);
        }
        let node = COORDINATORS + participant;
        let answered = self.automata[node].step(state.nodes[node], hear, &mut self.messages);
        let refuses = |(_, answer): &(NodeId, MessageId)| {
            matches!(self.messages.get(*answer), Message::Handshake(HandshakeMessage::Unwelcome(_)))
        };
        if answered.sent.iter().any(refuses) {
            return self.hang_up(state, process, participant);
        }
        // Welcome: its connection takes the place of the other one's.
        if state.heard[participant] < COORDINATORS {
            self.hang_up(state, state.heard[participant], participant);
        }
        state.heard[participant] = process;
        self.act(state, node, hear);
    }

    /// Something happens to a node, and what it then sends is on its way, if anybody is there.
    fn act(&mut self, state: &mut State, node: usize, input: Input) {
        let step = self.automata[node].step(state.nodes[node], input, &mut self.messages);
        state.nodes[node] = step.to;
        for (to, message) in step.sent.iter() {
            let link = match to.role() {
                Role::Client => continue,
                Role::Participant => (node, to.number() as usize - 1, THERE),
                Role::Coordinator => (state.heard[node - COORDINATORS], node - COORDINATORS, BACK),
            };
            if link.0 < COORDINATORS && state.is_connected[link.0][link.1] {
                self.put(state, link, *message);
            }
        }
    }

    fn put(&mut self, state: &mut State, (process, participant, way): (usize, usize, usize), message: MessageId) {
        let queue = &mut state.links[process][participant][way];
        *queue = self.queues.changed(*queue, |queue| queue.push(message));
    }

    /// Checks a state.
    fn check(&self, state: &State) -> Result<(), String> {
        let facts = |node: usize| self.automata[node].facts(state.nodes[node]);
        let of_participants: Vec<_> = (COORDINATORS..NODES).map(facts).collect();
        let decided = |ballot: &Ballot| {
            (0..COORDINATORS).any(|process| facts(process).decided.iter().any(|decision| decision.ballot == *ballot))
        };
        let committed: Vec<Ballot> = of_participants.iter().flat_map(|facts| facts.committed.iter().copied()).collect();
        for (txn, attempt) in &committed {
            if of_participants.iter().any(|facts| facts.aborted.contains(&(*txn, *attempt))) {
                return Err(format!("{txn:?} {attempt} is committed at one participant and aborted at another"));
            }
            if committed.iter().any(|(_, other)| other != attempt) {
                return Err(format!("{txn:?} is committed under two attempts"));
            }
            if !decided(&(*txn, *attempt)) {
                return Err(format!("{txn:?} {attempt} is committed and was not decided"));
            }
        }
        let all: Vec<Ballot> =
            (0..COORDINATORS).flat_map(|process| facts(process).durably_decided.iter().copied()).collect();
        if self.rival == Rival::Successor {
            // What the first process decides after its last participant has gone over to the successor, nobody hears of: the
            // successor presumes that it was not decided (PROTOCOLS.md, "What is still possible").
            return Ok(());
        }
        if all.iter().any(|(_, attempt)| all.iter().any(|(_, other)| other != attempt)) {
            return Err("the two processes have decided the transaction under two attempts".to_owned());
        }
        for ballot in &all {
            if of_participants.iter().any(|facts| facts.aborted.contains(ballot)) {
                return Err(format!("{ballot:?} is decided, and a participant has aborted it"));
            }
        }
        Ok(())
    }
}

/// The key with this name.
fn key(name: &str) -> Bytes {
    Keys::new(PARTICIPANTS as u32).key(name).unwrap_or_default()
}
