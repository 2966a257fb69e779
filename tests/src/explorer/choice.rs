//! What may happen next in a state.

use crate::explorer::cluster::Cluster;
use crate::explorer::scene::{Fault, Scene};
use crate::explorer::state::State;
use crate::world::network::opens_connection;

/// How often the clock moves at most. More than any story with these faults needs: one that needs more never ends.
const WAITS_MAX: u8 = 16;

/// How often it moves at most while a node is down: an attempt ends, the next one begins and ends.
const WAITS_DOWN_MAX: u8 = 3;

/// Something that may happen. Nodes, links and clients are meant by their places in [`State`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Choice {
    Submit(u8),
    Deliver(u8),
    DeliverLate,
    Flush(u8),
    /// A node does what is due.
    Notice(u8),
    Restart(u8),
    /// The clock moves to the next timer.
    Wait,
    /// A client that was told nothing asks again.
    Retry(u8),
    /// The fault at this place among those of the scene, at a node or link.
    Fault(u8, u8),
}

impl Choice {
    /// As a script tells it, as far as it can.
    pub(crate) fn words(self, scene: &Scene) -> String {
        let node = |at: u8| if at == 0 { "c1".to_owned() } else { format!("p{at}") };
        let link = |at: u8| {
            let (one, other) = (node(0), node(at / 2 + 1));
            if at.is_multiple_of(2) { format!("{one} {other}") } else { format!("{other} {one}") }
        };
        match self {
            Self::Submit(at) => format!("submit {}", scene.submit_words(at as usize)),
            Self::Deliver(at) => format!("deliver {}", link(at)),
            Self::DeliverLate => "# what was late arrives".to_owned(),
            Self::Flush(at) => format!("flush {}", node(at)),
            Self::Notice(at) => format!("# {} does what is due", node(at)),
            Self::Restart(at) => format!("restart {}", node(at)),
            Self::Wait => "# the clock moves to the next timer".to_owned(),
            Self::Retry(at) => format!("retry t{}", at + 1),
            Self::Fault(fault, at) => match scene.faults[fault as usize] {
                Fault::Crash => format!("crash {}", node(at)),
                Fault::Disconnect => format!("reconnect c1 {}", node(at)),
                Fault::Loss => format!("drop {}", link(at)),
                Fault::Double => format!("duplicate {}", link(at)),
                Fault::Overtaken => format!("delay {}", link(at)),
                Fault::Early => "# the clock moves to the next timer, early".to_owned(),
            },
        }
    }
}

impl Cluster {
    /// What happens of itself, and whether nothing moves any more.
    pub(crate) fn moves(&self, state: &State) -> (Vec<Choice>, bool) {
        let mut moves = Vec::new();
        let is_up = |node: usize| self.known(state, node).is_up;
        let clients = 0..self.scene.txns.len() as u8;
        moves.extend(clients.clone().filter(|at| state.asked & 1 << at == 0 && is_up(0)).map(Choice::Submit));
        let ready = self.links().filter(|at| state.links[*at] != 0 && is_up(receiver(*at)));
        moves.extend(ready.map(|at| Choice::Deliver(at as u8)));
        for at in self.nodes() {
            let node = self.known(state, at);
            if node.is_up && !node.is_flushed {
                moves.push(Choice::Flush(at as u8));
            }
            if node.is_up && node.due_us.is_some_and(|due_us| due_us <= state.now_us) {
                moves.push(Choice::Notice(at as u8));
            }
        }
        let is_still = moves.is_empty();
        if let Some((link, _)) = state.late
            && is_up(receiver(link as usize))
        {
            moves.push(Choice::DeliverLate);
        }
        let down: Vec<_> = self.nodes().filter(|at| !is_up(*at)).collect();
        moves.extend(down.iter().map(|at| Choice::Restart(*at as u8)));
        if is_still {
            if self.is_unfinished(state) && self.may_wait(state, !down.is_empty()) {
                moves.push(Choice::Wait);
            }
            if down.is_empty() && !self.is_unfinished(state) {
                let waiting = |at: &u8| self.told.get(state.told).iter().all(|(client, _)| client != at);
                let may_ask = |at: &u8| state.asked_again & 1 << at == 0;
                moves.extend(clients.filter(waiting).filter(may_ask).take(1).map(Choice::Retry));
            }
        }
        let at_rest = moves.is_empty();
        (moves, at_rest)
    }

    /// Whether a node that is up has something to do still.
    pub(crate) fn is_unfinished(&self, state: &State) -> bool {
        self.nodes().any(|at| self.known(state, at).in_flight > 0)
    }

    fn may_wait(&self, state: &State, is_down: bool) -> bool {
        let bounded = state.waits < WAITS_MAX && (!is_down || state.waits_down < WAITS_DOWN_MAX);
        bounded && self.next_due(state).is_some()
    }

    /// When the next timer fires.
    pub(crate) fn next_due(&self, state: &State) -> Option<u64> {
        let up = self.nodes().map(|at| self.known(state, at)).filter(|node| node.is_up);
        up.filter_map(|node| node.due_us).min()
    }

    /// What may go wrong.
    pub(crate) fn faults(&self, state: &State) -> Vec<Choice> {
        let mut choices = Vec::new();
        let is_up = |node: usize| self.known(state, node).is_up;
        for (number, fault) in self.scene.faults.iter().enumerate() {
            if state.faults & 1 << number == 0 {
                continue;
            }
            let nodes = self.nodes();
            let places: Vec<usize> = match fault {
                Fault::Crash => nodes.filter(|at| is_up(*at)).collect(),
                Fault::Disconnect => nodes.skip(1).filter(|at| is_up(*at) && is_up(0)).collect(),
                Fault::Loss => self.links().filter(|at| self.may_be_lost(state, *at)).collect(),
                Fault::Double | Fault::Overtaken => {
                    let free = |at: &usize| state.links[*at] != 0 && state.late.is_none();
                    let may_be = |at: &usize| *fault == Fault::Double || self.may_be_lost(state, *at);
                    self.links().filter(|at| free(at) && may_be(at) && is_up(receiver(*at))).collect()
                }
                Fault::Early => {
                    let is_early = self.next_due(state).is_some_and(|due_us| due_us > state.now_us);
                    (0..usize::from(is_early)).collect()
                }
            };
            choices.extend(places.into_iter().map(|at| Choice::Fault(number as u8, at as u8)));
        }
        choices
    }

    /// Whether something is on a link and may be lost or overtaken alone. What opens a connection may not.
    fn may_be_lost(&self, state: &State, link: usize) -> bool {
        let first = self.queues.get(state.links[link]).first();
        first.is_some_and(|first| !opens_connection(self.messages.get(*first)))
    }
}

/// The node that a link leads to.
pub(crate) fn receiver(link: usize) -> usize {
    if link.is_multiple_of(2) { link / 2 + 1 } else { 0 }
}
