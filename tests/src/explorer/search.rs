//! The search.

use std::collections::{BTreeSet, HashMap};
use std::fmt;

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
    let mut known = HashMap::from([(fingerprint(&opening), ())]);
    // How each state was reached first: from which one, by which choice.
    let mut came_by: Vec<(u32, Choice)> = vec![(0, Choice::Wait)];
    let mut ends = BTreeSet::new();
    let (mut choices, mut depth) = (0, 0);
    let mut frontier = vec![(0_u32, opening)];
    while !frontier.is_empty() {
        let mut next_frontier = Vec::new();
        for (number, state) in frontier {
            if let Err(what) = look_at(&mut cluster, &state, &mut ends) {
                return Err(failure(scene, what, &path_to(&came_by, number)));
            }
            for choice in all_choices(&cluster, &state) {
                choices += 1;
                let next = cluster.take(&state, choice);
                if known.insert(fingerprint(&next), ()).is_none() {
                    next_frontier.push((came_by.len() as u32, next));
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
        if let Err(what) = look_at(&mut cluster, &state, &mut ends) {
            return Err(failure(scene, what, &path));
        }
        let next = all_choices(&cluster, &state);
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

fn all_choices(cluster: &Cluster, state: &State) -> Vec<Choice> {
    let (mut choices, _) = cluster.moves(state);
    choices.extend(cluster.faults(state));
    choices
}

/// Checks what has to hold of a state.
fn look_at(cluster: &mut Cluster, state: &State, ends: &mut BTreeSet<End>) -> Result<(), String> {
    cluster.check(state)?;
    if cluster.moves(state).1 {
        cluster.check_rest(state)?;
        let nodes = (0..state.nodes.len()).map(|at| cluster.known(state, at).fingerprint).collect();
        let told = state
            .told
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
