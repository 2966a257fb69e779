//! The search.

use std::collections::BTreeSet;
use std::fmt;

use rustc_hash::FxHashSet;

use crate::explorer::choice::Choice;
use crate::explorer::cluster::Cluster;
use crate::explorer::scene::Scene;
use crate::explorer::state::{State, fingerprint};
use crate::world::words;

/// A state where nothing moves any more: its nodes, and what its clients were told.
pub type End = (Vec<u128>, Vec<String>);

/// What a search has seen.
#[derive(Debug)]
pub struct Report {
    /// Different states; without pruning, paths.
    pub states: usize,
    /// Choices that were taken.
    pub choices: usize,
    /// The choices on the longest of the shortest ways to a state.
    pub depth: usize,
    /// Different states of each node.
    pub node_states: Vec<usize>,
    /// The states where nothing moves any more.
    pub ends: BTreeSet<End>,
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { states: _, choices, depth, node_states, ends } = self;
        write!(f, "{choices} choices, {depth} deep, {} ends, node states {node_states:?}", ends.len())
    }
}

/// Something that does not hold, and how it came to that.
#[derive(Debug)]
pub struct Failure {
    /// What does not hold.
    pub what: String,
    /// How many choices led to it.
    pub choices: usize,
    /// What happened, as a script tells it.
    pub tale: String,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}\n\nThe shortest way to it, {} choices:\n\n{}", self.what, self.choices, self.tale)
    }
}

/// Explores a small world, each state once, breadth first.
///
/// # Errors
/// The first thing that does not hold, with a shortest way to it.
pub fn explore(scene: &Scene) -> Result<Report, Failure> {
    let mut cluster = Cluster::new(scene.clone(), true);
    let opening = cluster.opening();
    let mut known = FxHashSet::default();
    known.insert(fingerprint(&opening));
    // How each state was reached first: from which one, by which choice. States are numbered as they are met, so a frontier's
    // stand in a row.
    let mut came_by: Vec<(u32, Choice)> = vec![(0, Choice::Wait)];
    let mut ends = BTreeSet::new();
    let (mut choices, mut depth) = (0, 0);
    let mut frontier = vec![opening];
    while !frontier.is_empty() {
        let first = came_by.len() - frontier.len();
        let mut next_frontier = Vec::new();
        for (at, state) in frontier.into_iter().enumerate() {
            let number = (first + at) as u32;
            let (moves, is_rest) = cluster.moves(&state);
            if let Err(what) = look_at(&mut cluster, &state, is_rest, &mut ends) {
                return Err(failure(scene, what, &path_to(&came_by, number)));
            }
            for choice in moves.into_iter().chain(cluster.faults(&state)) {
                choices += 1;
                let next = cluster.take(&state, choice);
                if known.insert(fingerprint(&next)) {
                    next_frontier.push(next);
                    came_by.push((number, choice));
                }
            }
        }
        depth += usize::from(!next_frontier.is_empty());
        frontier = next_frontier;
    }
    Ok(Report { states: known.len(), choices, depth, node_states: cluster.node_states(), ends })
}

/// Explores a small world path by path: nothing is recognized, neither a state of the world nor one of a node.
///
/// # Errors
/// The first thing that does not hold, with a way to it.
pub fn explore_every_path(scene: &Scene) -> Result<Report, Failure> {
    let mut cluster = Cluster::new(scene.clone(), false);
    let mut ends = BTreeSet::new();
    let (mut paths, mut choices, mut depth) = (0, 0, 0);
    let mut open = vec![(cluster.opening(), Vec::<Choice>::new())];
    while let Some((state, path)) = open.pop() {
        let (mut next, is_rest) = cluster.moves(&state);
        if let Err(what) = look_at(&mut cluster, &state, is_rest, &mut ends) {
            return Err(failure(scene, what, &path));
        }
        next.extend(cluster.faults(&state));
        paths += usize::from(next.is_empty());
        depth = depth.max(path.len());
        for choice in next {
            choices += 1;
            let mut path = path.clone();
            path.push(choice);
            open.push((cluster.take(&state, choice), path));
        }
    }
    Ok(Report { states: paths, choices, depth, node_states: cluster.node_states(), ends })
}

/// Checks what has to hold of a state.
fn look_at(cluster: &mut Cluster, state: &State, is_rest: bool, ends: &mut BTreeSet<End>) -> Result<(), String> {
    cluster.check(state)?;
    if is_rest {
        cluster.check_rest(state)?;
        let nodes = cluster.nodes().map(|at| cluster.known(state, at).fingerprint).collect();
        let told = cluster
            .told
            .get(state.told)
            .iter()
            .map(|(client, answer)| format!("{client} {}", words::message(cluster.messages.get(*answer))));
        ends.insert((nodes, told.collect()));
    }
    Ok(())
}

fn path_to(came_by: &[(u32, Choice)], mut number: u32) -> Vec<Choice> {
    let mut path = Vec::new();
    while number != 0 {
        let (before, choice) = came_by[number as usize];
        path.push(choice);
        number = before;
    }
    path.reverse();
    path
}

fn failure(scene: &Scene, what: String, path: &[Choice]) -> Failure {
    let mut cluster = Cluster::new(scene.clone(), true);
    let mut state = cluster.opening();
    cluster.tale = Some(vec![format!("cluster participants={}\n---", scene.participants)]);
    for choice in path {
        state = cluster.take(&state, *choice);
    }
    let tale = cluster.tale.unwrap_or_default().join("\n");
    Failure { what, choices: path.len(), tale }
}
