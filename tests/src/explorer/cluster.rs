//! What choices lead to: the nodes' automata, and what goes between them.

use std::collections::BTreeSet;
use std::ops::Range;

use protocol::{ClientMessage, Message, NodeId, Role};
use rustc_hash::FxHashSet;

use crate::explorer::automaton::{Automaton, Input, Known};
use crate::explorer::choice::{Choice, receiver};
use crate::explorer::facts::Facts;
use crate::explorer::messages::{MessageId, Messages};
use crate::explorer::numbers::Numbers;
use crate::explorer::scene::{Fault, Scene};
use crate::explorer::state::{PARTICIPANTS_MAX, State};
use crate::world::node::{CLUSTER, Kind, Node};
use crate::world::trace::Trace;

/// The client that asks what the keys hold.
const PROBE: u8 = u8::MAX;

/// The pause before a transaction that gave way is tried again: long enough that few attempts fit in the time for votes.
const RETRY_DELAY_US: u64 = 512_000;

/// What clients were told, each thing once.
pub(crate) type Told = BTreeSet<(u8, MessageId)>;

/// A small world, without the state in which it is.
pub(crate) struct Cluster {
    pub(crate) scene: Scene,
    automata: Vec<Automaton>,
    pub(crate) messages: Messages,
    /// What was ever on a link, and what clients were ever told.
    pub(crate) queues: Numbers<Vec<MessageId>>,
    pub(crate) told: Numbers<Told>,
    /// Facts of all nodes and what clients were told, where all holds that has to.
    pub(crate) sound: FxHashSet<([u32; PARTICIPANTS_MAX + 1], u32)>,
    submits: Vec<MessageId>,
    probe: MessageId,
    /// What happens, if that is asked for.
    pub(crate) tale: Option<Vec<String>>,
}

impl Cluster {
    /// Its nodes; `merges` as in [`Automaton`].
    pub(crate) fn new(scene: Scene, merges: bool) -> Self {
        assert!(scene.participants as usize <= PARTICIPANTS_MAX, "{scene:?}");
        let mut messages = Messages::default();
        let numbers: Vec<u32> = (1..=scene.participants).collect();
        let mut automata = Vec::new();
        for number in 0..=scene.participants {
            let numbers = numbers.clone();
            let fresh = move |trace: &Trace| {
                if number == 0 {
                    let mut config = coordinator::Config::new(1, CLUSTER, numbers.clone());
                    (config.retry_delay_us_min, config.retry_delay_us_max) = (RETRY_DELAY_US, RETRY_DELAY_US);
                    Node::new(NodeId::coordinator(1), Kind::Coordinator(config), trace)
                } else {
                    let config = participant::Config::new(number, CLUSTER);
                    Node::new(NodeId::participant(number), Kind::Participant(config), trace)
                }
            };
            automata.push(Automaton::new(Box::new(fresh), scene.broken, merges, &mut messages));
        }
        let submit = |at| messages.number(&Message::Client(ClientMessage::Submit(scene.submit(at))));
        let submits = (0..scene.txns.len()).map(submit).collect();
        let probe = messages.number(&Message::Client(ClientMessage::Submit(scene.probe())));
        let (queues, told, sound) = (Numbers::new(), Numbers::new(), FxHashSet::default());
        Self { scene, automata, messages, queues, told, sound, submits, probe, tale: None }
    }

    /// All nodes run and have met, and nobody has asked for anything.
    pub(crate) fn opening(&mut self) -> State {
        let (nodes, links) = ([0; PARTICIPANTS_MAX + 1], [0; 2 * PARTICIPANTS_MAX]);
        let faults = (1 << self.scene.faults.len()) - 1;
        // Until all have met, nobody asks.
        let (late, asked) = (None, u8::MAX);
        let mut state =
            State { now_us: 0, waits: 0, waits_down: 0, nodes, links, late, asked, asked_again: 0, told: 0, faults };
        for at in self.nodes() {
            self.restart(&mut state, at);
        }
        self.run(&mut state);
        state.asked = 0;
        state
    }

    /// A client asks what all keys hold, under exclusive locks. All goes well until it has its answer, which is returned.
    pub(crate) fn probe(&mut self, state: &State) -> Option<Message> {
        let mut state = *state;
        self.hear(&mut state, 0, client_id(PROBE), self.probe);
        for _ in 0..4 {
            self.run(&mut state);
            if let Some((_, answer)) = self.told.get(state.told).iter().find(|(told, _)| *told == PROBE) {
                return Some(self.messages.get(*answer).clone());
            }
            state = self.take(&state, Choice::Wait);
        }
        None
    }

    /// Delivers and flushes until nothing moves. The clock stands still.
    fn run(&mut self, state: &mut State) {
        while let Some(choice) = {
            let (moves, _) = self.moves(state);
            let moves_now =
                |choice: &Choice| matches!(choice, Choice::Deliver(_) | Choice::Flush(_) | Choice::Notice(_));
            moves.into_iter().find(moves_now)
        } {
            *state = self.take(state, choice);
        }
    }

    /// The places of its nodes.
    pub(crate) fn nodes(&self) -> Range<usize> {
        0..self.automata.len()
    }

    /// The places of its links.
    pub(crate) fn links(&self) -> Range<usize> {
        0..2 * self.automata.len() - 2
    }

    pub(crate) fn known(&self, state: &State, node: usize) -> &Known {
        self.automata[node].known(state.nodes[node])
    }

    pub(crate) fn facts(&self, state: &State, node: usize) -> &Facts {
        self.automata[node].facts(state.nodes[node])
    }

    /// How many states of each node were met.
    pub(crate) fn node_states(&self) -> Vec<usize> {
        self.automata.iter().map(Automaton::len).collect()
    }

    /// The state that a choice leads to.
    pub(crate) fn take(&mut self, state: &State, choice: Choice) -> State {
        let mut next = *state;
        if let Some(tale) = &mut self.tale {
            tale.push(format!("\n{}\n---", choice.words(&self.scene)));
        }
        match choice {
            Choice::Submit(at) => {
                next.asked |= 1 << at;
                self.hear(&mut next, 0, client_id(at), self.submits[at as usize]);
            }
            Choice::Retry(at) => {
                next.asked_again |= 1 << at;
                self.hear(&mut next, 0, client_id(at), self.submits[at as usize]);
            }
            Choice::Deliver(at) => self.deliver(&mut next, at as usize),
            Choice::DeliverLate => {
                if let Some((link, message)) = next.late.take() {
                    self.arrive(&mut next, link as usize, message);
                }
            }
            Choice::Flush(at) => self.act(&mut next, at as usize, Input::Flush),
            Choice::Notice(at) => {
                let now_us = next.now_us;
                self.act(&mut next, at as usize, Input::Notice { now_us });
            }
            Choice::Restart(at) => self.restart(&mut next, at as usize),
            Choice::Wait => self.wait(&mut next),
            Choice::Fault(fault, at) => {
                next.faults &= !(1 << fault);
                self.go_wrong(&mut next, self.scene.faults[fault as usize], at as usize);
            }
        }
        next
    }

    fn go_wrong(&mut self, state: &mut State, fault: Fault, at: usize) {
        match fault {
            Fault::Crash => {
                self.act(state, at, Input::Crash);
                self.links().filter(|link| receiver(*link) == at).for_each(|link| state.links[link] = 0);
            }
            Fault::Disconnect => self.connect(state, at),
            Fault::Loss => _ = self.take_first(state, at),
            Fault::Double => {
                let message = self.take_first(state, at);
                state.late = Some((at as u8, message));
                self.arrive(state, at, message);
            }
            Fault::Overtaken => state.late = Some((at as u8, self.take_first(state, at))),
            Fault::Early => self.wait(state),
        }
    }

    fn wait(&mut self, state: &mut State) {
        let all_up = self.nodes().all(|at| self.known(state, at).is_up);
        state.waits_down += u8::from(!all_up);
        state.waits += 1;
        state.now_us = self.next_due(state).map_or(state.now_us, |due_us| due_us.max(state.now_us));
    }

    /// Starts a node, with new connections.
    fn restart(&mut self, state: &mut State, at: usize) {
        let now_us = state.now_us;
        self.act(state, at, Input::Start { now_us });
        let others = if at == 0 { 1..self.automata.len() } else { at..at + 1 };
        others.for_each(|participant| self.connect(state, participant));
    }

    /// The connection between the coordinator and a participant ends with all that is on it. If both are up, there is a new one.
    fn connect(&mut self, state: &mut State, participant: usize) {
        let (there, back) = (2 * participant - 2, 2 * participant - 1);
        let coordinator_id = NodeId::coordinator(1);
        let participant_id = NodeId::participant(participant as u32);
        (state.links[there], state.links[back]) = (0, 0);
        self.act(state, 0, Input::Cut { from: participant_id });
        self.act(state, participant, Input::Cut { from: coordinator_id });
        let hellos = (self.known(state, 0).hello, self.known(state, participant).hello);
        if let (Some(from_coordinator), Some(from_participant)) = hellos {
            self.put(state, there, from_coordinator);
            self.put(state, back, from_participant);
        }
    }

    fn deliver(&mut self, state: &mut State, link: usize) {
        let message = self.take_first(state, link);
        self.arrive(state, link, message);
    }

    fn put(&mut self, state: &mut State, link: usize, message: MessageId) {
        state.links[link] = self.queues.changed(state.links[link], |queue| queue.push(message));
    }

    fn take_first(&mut self, state: &mut State, link: usize) -> MessageId {
        let first = self.queues.get(state.links[link])[0];
        state.links[link] = self.queues.changed(state.links[link], |queue| _ = queue.remove(0));
        first
    }

    fn arrive(&mut self, state: &mut State, link: usize, message: MessageId) {
        let participant = NodeId::participant(link as u32 / 2 + 1);
        let from = if link.is_multiple_of(2) { NodeId::coordinator(1) } else { participant };
        self.hear(state, receiver(link), from, message);
    }

    fn hear(&mut self, state: &mut State, at: usize, from: NodeId, message: MessageId) {
        let now_us = state.now_us;
        self.act(state, at, Input::Hear { now_us, from, message });
    }

    /// Something happens to a node, and what it then sends is on its way.
    fn act(&mut self, state: &mut State, at: usize, input: Input) {
        let from = state.nodes[at];
        if let Some(tale) = &mut self.tale {
            tale.extend(self.automata[at].tell(from, input, &mut self.messages));
        }
        let step = self.automata[at].step(from, input, &mut self.messages);
        state.nodes[at] = step.to;
        for (to, message) in step.sent.iter() {
            match to.role() {
                Role::Client => {
                    let told = (to.number() as u8, *message);
                    state.told = self.told.changed(state.told, |all| _ = all.insert(told));
                }
                Role::Coordinator if self.known(state, 0).is_up => self.put(state, 2 * at - 1, *message),
                Role::Participant if self.known(state, to.number() as usize).is_up => {
                    self.put(state, 2 * to.number() as usize - 2, *message);
                }
                // Nobody is there.
                Role::Coordinator | Role::Participant => {}
            }
        }
    }
}

fn client_id(at: u8) -> NodeId {
    NodeId::client(u64::from(at))
}
