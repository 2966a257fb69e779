//! What must have come before what, and cycles in that: names and classes after Adya (Weak Consistency, 1999).
//!
//! Nodes are transactions, and moments that stand for real time: a transaction that is over leads to the next moment, each moment to the
//! one after it and to the transactions that begin then. So a history of n transactions has a number of edges that is linear in n, and
//! yet a path from each one to all that began after its end. A step over moments, however many, counts as one.

use std::collections::VecDeque;

/// Why one thing is before another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Kind {
    /// It wrote what the other wrote on.
    WriteWrite = 1,
    /// It wrote what the other read.
    WriteRead = 2,
    /// It read what was there before the other wrote.
    ReadWrite = 4,
    /// It was over before the other began.
    RealTime = 8,
}

/// One thing before another, seen at a place of a list.
#[derive(Clone, Copy, Debug)]
pub(super) struct Edge {
    pub(super) from: u32,
    pub(super) to: u32,
    pub(super) kind: Kind,
    /// Which list, and where in it.
    pub(super) at: (u32, u32),
}

/// A class of cycles: how one begins, and how it may go on.
struct Class {
    name: &'static str,
    first: u8,
    rest: u8,
}

const WW: u8 = Kind::WriteWrite as u8;
const WR: u8 = Kind::WriteRead as u8;
const RW: u8 = Kind::ReadWrite as u8;
const RT: u8 = Kind::RealTime as u8;

/// The worst first. What stands before is ruled out for what comes after, so that `G1c` has a read in it, `G2` at least two read-write
/// edges, and those in real time need it.
const CLASSES: [Class; 8] = [
    Class { name: "G0", first: WW, rest: WW },
    Class { name: "G1c", first: WR, rest: WW | WR },
    Class { name: "G-single", first: RW, rest: WW | WR },
    Class { name: "G2", first: RW, rest: WW | WR | RW },
    Class { name: "G0-realtime", first: WW, rest: WW | RT },
    Class { name: "G1c-realtime", first: WR, rest: WW | WR | RT },
    Class { name: "G-single-realtime", first: RW, rest: WW | WR | RT },
    Class { name: "G2-realtime", first: RW, rest: WW | WR | RW | RT },
];

/// A directed graph whose nodes `0..transactions` are transactions, all others moments.
pub(super) struct Graph {
    transactions: u32,
    /// Ordered by where they begin.
    edges: Vec<Edge>,
    /// For each node, where its edges begin; and the end.
    starts: Vec<u32>,
}

impl Graph {
    pub(super) fn new(transactions: u32, nodes: u32, edges: &[Edge]) -> Self {
        let mut starts = vec![0; nodes as usize + 1];
        for edge in edges {
            starts[edge.from as usize + 1] += 1;
        }
        for node in 0..nodes as usize {
            starts[node + 1] += starts[node];
        }
        let mut places = starts.clone();
        let mut ordered = edges.to_vec();
        for edge in edges {
            let place = &mut places[edge.from as usize];
            ordered[*place as usize] = *edge;
            *place += 1;
        }
        Self { transactions, edges: ordered, starts }
    }

    fn edges_of(&self, node: u32) -> &[Edge] {
        &self.edges[self.starts[node as usize] as usize..self.starts[node as usize + 1] as usize]
    }

    fn nodes(&self) -> usize {
        self.starts.len() - 1
    }

    /// Everything that is on a cycle: sets of nodes that lead to each other (Tarjan 1972), of at least two.
    pub(super) fn components(&self) -> Vec<Vec<u32>> {
        let mut search = Tarjan::new(self.nodes());
        for root in 0..self.nodes() as u32 {
            if search.index[root as usize] == UNSEEN {
                search.visit_from(self, root);
            }
        }
        search.components
    }

    /// The shortest cycle of the worst class that there is within a component. Moments are left out: an edge in real time leads from
    /// transaction to transaction.
    pub(super) fn worst_cycle(&self, component: &[u32]) -> Option<(&'static str, Vec<Edge>)> {
        let mut is_inside = vec![false; self.nodes()];
        component.iter().for_each(|node| is_inside[*node as usize] = true);
        let transactions: Vec<u32> = component.iter().copied().filter(|node| *node < self.transactions).collect();
        CLASSES.iter().find_map(|class| {
            let cycles = transactions.iter().filter_map(|start| self.shortest_from(*start, class, &is_inside));
            Some((class.name, cycles.min_by_key(Vec::len)?))
        })
    }

    /// The shortest cycle from `start` back to it that begins and goes on as `class` says.
    fn shortest_from(&self, start: u32, class: &Class, is_inside: &[bool]) -> Option<Vec<Edge>> {
        let mut came_by: Vec<Option<Edge>> = vec![None; self.nodes()];
        let mut queue = VecDeque::new();
        let begin = |edge: &&Edge| class.first & edge.kind as u8 != 0 && is_inside[edge.to as usize];
        for edge in self.edges_of(start).iter().filter(begin) {
            came_by[edge.to as usize] = Some(*edge);
            queue.push_back(edge.to);
        }
        let mut is_done = vec![false; self.nodes()];
        while let Some(node) = queue.pop_front() {
            if std::mem::replace(&mut is_done[node as usize], true) {
                continue;
            }
            if node == start {
                return Some(self.path_to(start, &came_by));
            }
            for edge in self.edges_of(node) {
                let to = edge.to as usize;
                if class.rest & edge.kind as u8 == 0 || !is_inside[to] || is_done[to] {
                    continue;
                }
                // A moment is no step: it goes before all that waits.
                if edge.to >= self.transactions {
                    came_by[to] = Some(*edge);
                    queue.push_front(edge.to);
                } else if came_by[to].is_none() {
                    came_by[to] = Some(*edge);
                    queue.push_back(edge.to);
                }
            }
        }
        None
    }

    fn path_to(&self, start: u32, came_by: &[Option<Edge>]) -> Vec<Edge> {
        let mut path: Vec<Edge> = Vec::new();
        let mut at = start;
        while let Some(edge) = came_by[at as usize] {
            at = edge.from;
            match path.last_mut() {
                // Over moments back to the transaction that was over before them.
                Some(later) if later.from >= self.transactions => later.from = edge.from,
                _ => path.push(edge),
            }
            if at == start {
                break;
            }
        }
        path.reverse();
        path
    }
}

const UNSEEN: u32 = u32::MAX;

/// The state of the search for components.
struct Tarjan {
    index: Vec<u32>,
    low: Vec<u32>,
    is_open: Vec<bool>,
    open: Vec<u32>,
    next_index: u32,
    components: Vec<Vec<u32>>,
}

impl Tarjan {
    fn new(nodes: usize) -> Self {
        let (index, low, is_open) = (vec![UNSEEN; nodes], vec![0; nodes], vec![false; nodes]);
        Self { index, low, is_open, open: Vec::new(), next_index: 0, components: Vec::new() }
    }

    fn enter(&mut self, node: u32) {
        self.index[node as usize] = self.next_index;
        self.low[node as usize] = self.next_index;
        self.next_index += 1;
        self.is_open[node as usize] = true;
        self.open.push(node);
    }

    fn visit_from(&mut self, graph: &Graph, root: u32) {
        // Nodes on the way from the root, each with the number of its edges that were looked at.
        let mut way = vec![(root, 0)];
        self.enter(root);
        while let Some((node, looked_at)) = way.last_mut() {
            let node = *node;
            if let Some(edge) = graph.edges_of(node).get(*looked_at) {
                *looked_at += 1;
                let to = edge.to as usize;
                if self.index[to] == UNSEEN {
                    self.enter(edge.to);
                    way.push((edge.to, 0));
                } else if self.is_open[to] {
                    self.low[node as usize] = self.low[node as usize].min(self.index[to]);
                }
                continue;
            }
            way.pop();
            if let Some((parent, _)) = way.last() {
                self.low[*parent as usize] = self.low[*parent as usize].min(self.low[node as usize]);
            }
            if self.low[node as usize] == self.index[node as usize] {
                self.close(node);
            }
        }
    }

    fn close(&mut self, root: u32) {
        let from = self.open.iter().rposition(|node| *node == root).unwrap_or_default();
        let component = self.open.split_off(from);
        component.iter().for_each(|node| self.is_open[*node as usize] = false);
        if component.len() > 1 {
            self.components.push(component);
        }
    }
}
