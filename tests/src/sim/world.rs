//! The world of one run: what happens, in its order.
//!
//! Its parts: `power` (nodes), `carry` (connections), `asking` (clients), `inject` (faults), `course` (the phases of a run).

use std::any::Any;
use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap};
use std::panic::{AssertUnwindSafe, catch_unwind};

use engine::memory::{Fault as DiskFault, Memory};
use protocol::{NodeId, Process, TxnId};

use crate::judge::History;
use crate::random::Random;
use crate::sim::check::Failure;
use crate::sim::client::Client;
use crate::sim::fault::Kind;
use crate::sim::host::Host;
use crate::sim::network::{End, Link};
use crate::sim::plan::Plan;
use crate::sim::report::Counts;
use crate::sim::twin::Twin;
use crate::workload::Workload;
use crate::world::keys::Keys;

/// Events of a run: more of them is a circle.
const EVENTS_MAX: u64 = 10_000_000;

/// Failures of one run that are told: the first says most.
const FAILURES_MAX: usize = 5;

/// What is to happen.
pub(super) enum Event {
    Turn(usize),
    DiskDone { host: usize, boot: u64 },
    JobDone { host: usize, boot: u64 },
    Arrive { link: usize, direction: usize, generation: u64, bytes: Vec<u8> },
    HangUp { link: usize, end: usize, generation: u64, line: u64, boot: u64 },
    Dial(usize),
    Earlier(usize),
    EarlierOver { link: usize, host: usize, line: u64, boot: u64 },
    Start(usize),
    Wake(usize),
    Inject(usize),
    Undo(usize),
    Twin,
    Look,
}

pub(super) struct Scheduled {
    at: u64,
    sequence: u64,
    event: Event,
}

impl PartialEq for Scheduled {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Scheduled {}

impl PartialOrd for Scheduled {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Scheduled {
    /// The earliest is the greatest.
    fn cmp(&self, other: &Self) -> Ordering {
        (other.at, other.sequence).cmp(&(self.at, self.sequence))
    }
}

/// How far a run is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    Opening,
    Load,
    Rest { until: u64 },
    Probe { until: u64 },
    Quiet { until: u64 },
    Over,
}

/// What came of a run.
pub struct Run {
    /// Where it came from.
    pub plan: Plan,
    /// Of everything that happened, in its order.
    pub hash: u64,
    /// What was seen.
    pub counts: Counts,
    /// What must not be.
    pub failures: Vec<Failure>,
    /// What destroyed records have led to, and nobody has reported.
    pub unnoticed: Vec<Failure>,
    /// What happened, in words, if that was asked for.
    pub lines: Vec<String>,
}

/// Runs a plan to its end.
#[must_use]
pub fn run(plan: &Plan, is_told: bool) -> Run {
    let mut world = World::new(plan, is_told);
    // A node that panics has ended as a daemon would, and says why.
    let ended = catch_unwind(AssertUnwindSafe(|| world.go()));
    if let Err(panic) = ended {
        world.fail("panic", panic_text(panic.as_ref()));
    }
    let mut unnoticed = world.take_unnoticed();
    unnoticed.truncate(FAILURES_MAX);
    world.failures.truncate(FAILURES_MAX);
    Run {
        plan: plan.clone(),
        hash: world.trace.hash,
        counts: world.counts,
        failures: world.failures,
        unnoticed,
        lines: world.trace.lines.unwrap_or_default(),
    }
}

fn panic_text(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("without a word").to_owned()
}

/// What has happened: always as a hash, in words if asked for.
pub(super) struct Trace {
    hash: u64,
    pub(super) lines: Option<Vec<String>>,
}

impl Trace {
    pub(super) fn mix(&mut self, words: [u64; 4]) {
        for word in words {
            self.hash = (self.hash ^ word).wrapping_mul(0x9E37_79B9_7F4A_7C15).rotate_left(29);
        }
    }
}

/// The world of one run.
pub(super) struct World<'a> {
    pub(super) plan: &'a Plan,
    pub(super) now: u64,
    pub(super) random: Random,
    pub(super) hosts: Vec<Host>,
    pub(super) links: Vec<Link>,
    pub(super) clients: Vec<Client>,
    pub(super) counts: Counts,
    /// Transactions that each client has under way at once, now.
    pub(super) in_flight: usize,
    /// Faults that last, by their numbers.
    pub(super) active: BTreeSet<usize>,
    /// Copies of data directories, by the fault that took them.
    pub(super) copies: BTreeMap<usize, Memory>,
    /// For each host, the faults of its disk that have not happened yet.
    pub(super) awaited: Vec<Vec<(DiskFault, Kind)>>,
    /// For each host, how long it is down when its disk ends it.
    pub(super) down_us: Vec<u64>,
    /// The second process under a number that there is now.
    pub(super) twin: Option<Twin>,
    /// Whether there ever was one.
    pub(super) has_twins: bool,
    /// What a process that nobody heeded had decided when it ended for good.
    pub(super) given_up: BTreeSet<TxnId>,
    /// Who has said to whom that it may be heeded: a coordinator with `Accept`, a participant with `Accepted`.
    pub(super) offered: BTreeSet<(NodeId, Process)>,
    /// Whether something durable was destroyed.
    pub(super) is_damaged: bool,
    pub(super) links_of: Vec<Vec<usize>>,
    pub(super) queue: BinaryHeap<Scheduled>,
    pub(super) sequence: u64,
    pub(super) history: History,
    pub(super) keys: Keys,
    pub(super) workloads: Vec<Box<dyn Workload>>,
    pub(super) asking: Random,
    pub(super) trace: Trace,
    pub(super) phase: Phase,
    pub(super) asked: u64,
    pub(super) answered: u64,
    /// Where the last transactions begin in the history.
    pub(super) probed_from: usize,
    pub(super) next_fault: usize,
    pub(super) failures: Vec<Failure>,
}

impl<'a> World<'a> {
    fn new(plan: &'a Plan, is_told: bool) -> Self {
        let setup = &plan.setup;
        let mut random = Random(plan.seed ^ 0x5EED_0F57_E900);
        let asking = random.fork();
        let mut links = Vec::new();
        for coordinator in 0..setup.coordinators {
            for participant in setup.coordinators..setup.nodes() {
                links.push(Link::new(End::Node(coordinator), End::Node(participant)));
            }
        }
        let mut clients = Vec::new();
        for number in 0..setup.clients {
            clients.push(Client::new(number, links.len()));
            links.push(Link::new(End::Client(number), End::Node(number % setup.coordinators)));
        }
        // The guest, who comes last.
        clients.push(Client::new(setup.clients, links.len()));
        links.push(Link::new(End::Client(setup.clients), End::Node(setup.clients % setup.coordinators)));
        // A second process under the number of a coordinator, and its client.
        let twin = setup.nodes();
        for participant in setup.coordinators..setup.nodes() {
            links.push(Link::new(End::Node(twin), End::Node(participant)));
        }
        clients.push(Client::new(setup.clients + 1, links.len()));
        links.push(Link::new(End::Client(setup.clients + 1), End::Node(twin)));
        let links_of = (0..=twin)
            .map(|host| (0..links.len()).filter(|link| links[*link].end_of(host).is_some()).collect())
            .collect();
        let nodes = setup.nodes();
        let mut hosts: Vec<Host> = (0..nodes).map(|number| Host::new(number, setup)).collect();
        hosts.push(Host::beside(&hosts[0], Memory::new(), 0));
        Self {
            plan,
            now: 0,
            workloads: setup.load.workloads(setup.participants as u32),
            random,
            asking,
            hosts,
            links,
            links_of,
            clients,
            counts: Counts { runs: 1, ..Counts::default() },
            in_flight: setup.in_flight,
            active: BTreeSet::new(),
            copies: BTreeMap::new(),
            awaited: vec![Vec::new(); nodes + 1],
            down_us: vec![0; nodes + 1],
            twin: None,
            has_twins: false,
            given_up: BTreeSet::new(),
            offered: BTreeSet::new(),
            is_damaged: false,
            queue: BinaryHeap::new(),
            sequence: 0,
            history: History::default(),
            keys: Keys::new(setup.participants as u32),
            trace: Trace { hash: plan.seed, lines: is_told.then(Vec::new) },
            phase: Phase::Opening,
            asked: 0,
            answered: 0,
            probed_from: 0,
            next_fault: 0,
            failures: Vec::new(),
        }
    }

    /// From the first start to the last judgement.
    fn go(&mut self) {
        self.open();
        while self.phase != Phase::Over && self.failures.is_empty() {
            if !self.step() {
                self.fail("liveness", "nothing is left to happen".to_owned());
            }
        }
        self.end();
    }

    pub(super) fn at(&mut self, at: u64, event: Event) {
        self.sequence += 1;
        self.queue.push(Scheduled { at: at.max(self.now), sequence: self.sequence, event });
    }

    /// What the trace calls an end of a link.
    pub(super) fn name(&self, end: End) -> String {
        match end {
            End::Node(host) => self.hosts[host].id.to_string(),
            End::Client(client) => format!("client{client}"),
        }
    }

    pub(super) fn tell(&mut self, words: impl FnOnce() -> String) {
        if let Some(lines) = &mut self.trace.lines {
            lines.push(format!("{:>12} us  {}", self.now, words()));
        }
    }

    pub(super) fn fail(&mut self, checker: &'static str, what: String) {
        self.tell(|| format!("FAILURE ({checker}): {what}"));
        self.failures.push(Failure { checker, what });
    }

    fn step(&mut self) -> bool {
        let Some(Scheduled { at, event, .. }) = self.queue.pop() else { return false };
        self.now = at;
        self.counts.events += 1;
        if self.counts.events > EVENTS_MAX {
            self.fail("liveness", format!("after {EVENTS_MAX} events there is no end"));
        }
        match event {
            Event::Turn(host) => self.turn(host),
            Event::DiskDone { host, boot } => self.disk_done(host, boot),
            Event::JobDone { host, boot } => self.job_done(host, boot),
            Event::Arrive { link, direction, generation, bytes } => self.arrive(link, direction, generation, bytes),
            Event::HangUp { link, end, generation, line, boot } => self.hung_up(link, end, generation, line, boot),
            Event::Dial(link) => self.dial(link),
            Event::Earlier(link) => self.earlier_arrives(link),
            Event::EarlierOver { link, host, line, boot } => self.earlier_over(link, host, line, boot),
            Event::Start(host) if host == self.twin_host() && self.twin.is_none() => {}
            Event::Start(host) => _ = self.start(host),
            Event::Wake(client) => self.wake(client),
            Event::Inject(number) => self.inject(number),
            Event::Undo(number) => {
                if self.active.remove(&number) {
                    self.undo(number);
                }
            }
            Event::Twin => self.look_at_twin(),
            Event::Look => self.look(),
        }
        true
    }
}
