//! A node as an automaton: states and steps are numbered, and each step is taken once, however often the search comes to it.
//!
//! A machine cannot be copied, so a state is kept as the inputs that lead to it from the start, and built again from them.
//! Invariant: states with the same number are equal, so their steps are; with `merges` off, only states with the same inputs are.

use std::collections::BTreeSet;
use std::rc::Rc;

use protocol::{Index, NodeId, Process, Tick};
use rustc_hash::FxHashMap;

use crate::explorer::facts::{Facts, Said};
use crate::explorer::messages::{MessageId, Messages};
use crate::explorer::numbers::Numbers;
use crate::explorer::scene::Broken;
use crate::explorer::state::fingerprint;
use crate::world::log::Log;
use crate::world::node::Node;
use crate::world::trace::Trace;

/// The number of a node's state.
pub(crate) type NodeState = u32;

/// What happens to a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Input {
    Start {
        now_us: u64,
    },
    Crash,
    Hear {
        now_us: u64,
        from: NodeId,
        message: MessageId,
    },
    Notice {
        now_us: u64,
    },
    Flush,
    /// Its connection to another node has ended.
    Cut {
        from: NodeId,
    },
}

/// What an input leads to.
#[derive(Clone)]
pub(crate) struct Step {
    pub(crate) to: NodeState,
    pub(crate) sent: Rc<[(NodeId, MessageId)]>,
}

/// What is known of a state.
pub(crate) struct Known {
    came_by: Option<(NodeState, Input)>,
    pub(crate) fingerprint: u128,
    pub(crate) is_up: bool,
    pub(crate) is_flushed: bool,
    /// When something becomes due.
    pub(crate) due_us: Option<u64>,
    pub(crate) in_flight: usize,
    pub(crate) hello: Option<MessageId>,
    /// The number of what its log says and what it has said.
    pub(crate) facts: u32,
}

pub(crate) struct Automaton {
    fresh: Box<dyn Fn(&Trace) -> Node>,
    broken: Option<Broken>,
    merges: bool,
    states: Vec<Known>,
    numbers: FxHashMap<u128, NodeState>,
    steps: FxHashMap<(NodeState, Input), Step>,
    facts: Numbers<Facts>,
}

impl Automaton {
    /// An automaton of the nodes that `fresh` makes. Its first state has number 0.
    pub(crate) fn new(
        fresh: Box<dyn Fn(&Trace) -> Node>,
        broken: Option<Broken>,
        merges: bool,
        messages: &mut Messages,
    ) -> Self {
        let (states, numbers, steps) = (Vec::new(), FxHashMap::default(), FxHashMap::default());
        let mut automaton = Self { fresh, broken, merges, states, numbers, steps, facts: Numbers::new() };
        let node = (automaton.fresh)(&Trace::default());
        automaton.keep(node, None, BTreeSet::new(), messages);
        automaton
    }

    pub(crate) fn known(&self, state: NodeState) -> &Known {
        &self.states[state as usize]
    }

    /// What is so in a state.
    pub(crate) fn facts(&self, state: NodeState) -> &Facts {
        self.facts.get(self.known(state).facts)
    }

    /// How many states were met.
    pub(crate) fn len(&self) -> usize {
        self.states.len()
    }

    /// Takes a step, or remembers it.
    pub(crate) fn step(&mut self, from: NodeState, input: Input, messages: &mut Messages) -> Step {
        if let Some(step) = self.steps.get(&(from, input)) {
            return step.clone();
        }
        let mut node = self.build(from, messages, &Trace::default());
        let sent = self.take(&mut node, input, messages);
        let mut said = self.facts(from).said.clone();
        if self.broken == Some(Broken::Memory) && input == Input::Crash {
            said.clear();
        }
        said.extend(sent.iter().filter_map(|(_, message)| Said::of(messages.get(*message))));
        let to = self.keep(node, Some((from, input)), said, messages);
        let step = Step { to, sent: sent.into() };
        self.steps.insert((from, input), step.clone());
        step
    }

    /// What a step does, line by line.
    pub(crate) fn tell(&self, from: NodeState, input: Input, messages: &mut Messages) -> Vec<String> {
        let trace = Trace::default();
        let mut node = self.build(from, messages, &trace);
        _ = trace.take();
        if input == Input::Flush {
            trace.line(format!("{} flushes", node.id()));
        }
        self.take(&mut node, input, messages);
        trace.take()
    }

    fn build(&self, state: NodeState, messages: &mut Messages, trace: &Trace) -> Node {
        let mut inputs = Vec::new();
        let mut at = state;
        while let Some((before, input)) = self.known(at).came_by {
            inputs.push(input);
            at = before;
        }
        let mut node = (self.fresh)(trace);
        for input in inputs.into_iter().rev() {
            self.take(&mut node, input, messages);
        }
        node
    }

    fn take(&self, node: &mut Node, input: Input, messages: &mut Messages) -> Vec<(NodeId, MessageId)> {
        if self.broken == Some(Broken::Gate) {
            node.gate.open_up_to(Index(u64::MAX));
        }
        match input {
            Input::Start { now_us } => node.start(Tick(now_us)),
            Input::Crash => self.crash(node),
            Input::Hear { now_us, from, message } => {
                let message = messages.get(message).clone();
                node.hear(Tick(now_us), from, Process::NONE, message);
            }
            Input::Notice { now_us } => _ = node.act(|machine, effects| machine.tick(Tick(now_us), effects)),
            Input::Flush => node.flush(),
            Input::Cut { from } => node.cut(from),
        }
        node.gate.take_left().into_iter().map(|(to, message)| (to, messages.number(&message))).collect()
    }

    fn crash(&self, node: &mut Node) {
        match self.broken {
            Some(Broken::Log) => _ = node.crash(usize::from(node.log.durable() > Log::first())),
            Some(Broken::Memory) => {
                node.crash(0);
                *node = (self.fresh)(&node.trace());
            }
            Some(Broken::Gate) | None => _ = node.crash(0),
        }
    }

    fn keep(
        &mut self,
        mut node: Node,
        came_by: Option<(NodeState, Input)>,
        said: BTreeSet<Said>,
        messages: &mut Messages,
    ) -> NodeState {
        let fingerprint = fingerprint(&(node.state(), &said));
        if self.merges
            && let Some(number) = self.numbers.get(&fingerprint)
        {
            return *number;
        }
        let number = self.states.len() as NodeState;
        self.numbers.insert(fingerprint, number);
        let facts = self.facts.number(Facts::new(&node, said));
        let hello = node.hello().map(|hello| messages.number(&hello));
        let (is_up, is_flushed) = (node.is_up(), node.log.is_flushed());
        let (due_us, in_flight) = (node.next_tick().map(|due| due.0), node.in_flight());
        self.states.push(Known { came_by, fingerprint, is_up, is_flushed, due_us, in_flight, hello, facts });
        number
    }
}
