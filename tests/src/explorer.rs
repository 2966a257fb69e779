//! Small worlds explored whole: every order in which messages arrive, logs become durable and timers fire, with a fault at
//! every place where it can happen. The machines are the real ones, and so are the log and the gate of [`crate::world`].
//!
//! - `scene.rs`: what a small world consists of.
//! - `automaton.rs`: a node as an automaton whose steps are taken once each; `messages.rs`, `numbers.rs`: messages, queues and
//!   whatever else states share, as numbers.
//! - `state.rs`: a state of a world; `choice.rs`: what may happen next; `cluster.rs`: what it leads to.
//! - `facts.rs`: what the logs say and what was said; `invariants.rs`: what has to hold of that in every state;
//!   `rest.rs`: what has to hold where nothing moves any more.
//! - `rivals.rs`: two coordinators under one number, a world of its own.
//! - `search.rs`: the search, breadth first, and the shortest way to what it finds.
//!
//! **States.** A state is: the clock; each node's machine, log and gate; what is on each link; what clients have asked
//! and were told; which faults are left. Nothing else decides what happens next. States that are equal are explored once. A node's
//! state is compared by a fingerprint of 128 bits of all its fields as text (`coordinator/src/state.rs`, `participant/src/state.rs`), and a
//! world's by one of its numbers; two states that differ and have the same fingerprint would hide one of them. Nothing else is
//! pruned: choices that commute are taken in both orders, and meet again. So every state that can be reached is looked at, and what is
//! counted is states.
//!
//! **Speed.** A machine acts only in a step that was never taken before, and these are few: where a world has ten million states, its
//! nodes have some twenty thousand. So a state is a few numbers, and what leads from one to the next is looked up; what holds of the same
//! facts is looked at once.
//!
//! **Time.** The clock moves to the next timer when nothing else can move but a restart or an overtaken message, which may both be
//! later than any timer; [`Fault::Early`] lets one timer fire before messages that are on their way.
//!
//! **Connections** are first in, first out, as TCP. A node that crashes loses what is on its way to it; what it has sent may
//! still arrive until it is back: then the connections are new. Single messages that are lost, doubled or overtaken, which TCP
//! excludes, are faults of their own; what opens a connection is not lost alone.
//!
//! Not here: checkpoints, several coordinators, disks that lose what was durable (`tests/all/random.rs`, the scripts).

mod automaton;
mod choice;
mod cluster;
mod facts;
mod invariants;
mod messages;
mod numbers;
mod rest;
mod rivals;
mod scene;
mod search;
mod state;

pub use rivals::{Rival, explore_rivals};
pub use scene::{Broken, Fault, Scene};
pub use search::{End, Failure, Report, explore, explore_every_path};
