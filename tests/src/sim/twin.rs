//! A second process under a coordinator's number: on a copy of its data directory, or on an empty one. It has a client of its
//! own; an operator ends it, or the one that it stands beside, after a while.
//!
//! Whoever is to go on does so on the first one's machine. What only the other one has decided without having delivered it may
//! be told to its clients and come to nothing (`coordinator/PROTOCOLS.md`, "What is still possible"): then its outcome counts as
//! unknown. Half of it is a failure as ever.
//!
//! Invariants: at most one such process at a time; a first process that stood still goes on only after the second one was
//! accepted durably by all participants. Not here: hellos and claims that must not be (`succession`).

use std::collections::BTreeSet;

use protocol::message::Hello;
use protocol::{AdminMessage, HandshakeMessage, InDoubt, Machine, Message, NodeId, Process, Role, TxnId};

use crate::judge::Outcome;
use crate::sim::fault::Kind;
use crate::sim::host::{CLUSTER, Host, State};
use crate::sim::network::{End, Link, frames, messages};
use crate::sim::world::{Event, World};

/// How often the operator looks, in microseconds.
const LOOK_US: u64 = 2_000;

/// The longest pause before one of two processes that start together dials a participant, in microseconds.
const DIAL_US_MAX: u64 = 20_000;

/// How many of a thousand participants have a power cut once they have given up a log, and how long it lasts, in microseconds.
const CRASHES_PER_MILLE: u64 = 300;
const CRASH_US: u64 = 5_000;

/// A second process.
pub(super) struct Twin {
    how: How,
    /// The host that it stands beside.
    of: usize,
    stage: Stage,
    /// Decisions that both logs hold, and that are not delivered.
    common: BTreeSet<TxnId>,
    /// The participants that have accepted it durably.
    accepted_by: BTreeSet<usize>,
    /// Connections on which an operator waits for participants: their hosts, starts and lines.
    asked: Vec<(usize, u64, u64)>,
    /// Participants that have said that they give up the log: they are not told again.
    answered: BTreeSet<usize>,
}

/// How a second process comes about.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum How {
    /// On a copy, while the first one stands still for so long at least; then that one is started so often, or goes on.
    Succeeds { alone_us: u64, restarts: u32, is_beside: bool },
    /// On a copy, with the first one, after a crash.
    Together,
    /// On an empty directory.
    Empty,
}

impl How {
    fn kind(self) -> Kind {
        match self {
            Self::Succeeds { .. } => Kind::SecondProcess,
            Self::Together => Kind::EqualEpochs,
            Self::Empty => Kind::EmptyDirectory,
        }
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Stage {
    /// The first one stands still.
    Alone { until: u64 },
    /// Both go on, or the first one alone.
    Both,
    /// This one is to end, and delivers what it has decided. Nothing new is asked of it.
    Drains { loser: usize },
    /// It has ended, and participants are told to give up its log.
    Replaces,
}

impl World<'_> {
    /// The host of the second process, whether there is one now.
    pub(super) fn twin_host(&self) -> usize {
        self.plan.setup.nodes()
    }

    /// Its client.
    pub(super) fn twin_client(&self) -> usize {
        self.plan.setup.clients + 1
    }

    /// Whether a link has an end that is not there now.
    pub(super) fn is_idle_twin_link(&self, link: usize) -> bool {
        self.twin.is_none() && self.links[link].end_of(self.twin_host()).is_some()
    }

    pub(super) fn begin_twin(&mut self, fault: usize, of: usize, how: How, for_us: u64) {
        if self.twin.is_some() || !self.hosts[of].is_up() || self.hosts[of].paused > 0 {
            return;
        }
        if how == How::Empty && !self.is_known_to_all(of) {
            return;
        }
        let seed = self.random.bits();
        let (memory, stage, lasts_us) = match how {
            How::Succeeds { alone_us, .. } => {
                self.hosts[of].paused += 1;
                let copy = self.hosts[of].memory.copy();
                copy.crash(seed);
                (copy, Stage::Alone { until: self.now + alone_us }, alone_us + for_us)
            }
            How::Together => {
                self.crash(of);
                (self.hosts[of].memory.copy(), Stage::Both, for_us)
            }
            How::Empty => (self.hosts[of].memory.beside(), Stage::Both, for_us),
        };
        let twin = self.twin_host();
        let boot = self.hosts[twin].boot;
        self.hosts[twin] = Host::beside(&self.hosts[of], memory, boot);
        if how == How::Empty {
            // It was started less often than the other log, or more often.
            let latest = self.hosts[of].starts.last().map_or(0, |process| process.epoch);
            self.hosts[twin].first_epoch = if seed & 1 == 0 { 1 } else { latest + 1 };
            self.hosts[twin].starts.clear();
        }
        for link in self.links_of[twin].clone() {
            let Link { earlier, met, dial_at, .. } = &mut self.links[link];
            earlier.clear();
            (*met, *dial_at) = (0, None);
        }
        self.twin = Some(Twin {
            how,
            of,
            stage,
            common: BTreeSet::new(),
            accepted_by: BTreeSet::new(),
            asked: Vec::new(),
            answered: BTreeSet::new(),
        });
        self.has_twins = true;
        let id = self.hosts[of].id;
        self.tell(|| format!("a second process begins under the number of {id}"));
        _ = self.start(twin);
        let common = self.undelivered(twin);
        if let Some(known) = &mut self.twin {
            known.common = common;
        }
        if how == How::Together {
            _ = self.start(of);
            self.dial_in_any_order(of);
            self.dial_in_any_order(twin);
        }
        if stage == Stage::Both {
            self.counts.fault(how.kind());
        }
        let client = self.twin_client();
        self.dial_after(self.clients[client].link, 1);
        self.fill(client);
        self.lasts(fault, lasts_us);
        self.at(self.now + LOOK_US, Event::Twin);
    }

    fn dial_in_any_order(&mut self, host: usize) {
        for link in self.links_of[host].clone() {
            if self.links[link].ends[0] == End::Node(host) {
                self.links[link].dial_at = None;
                let pause_us = self.random.scale(1, DIAL_US_MAX);
                self.dial_after(link, pause_us);
            }
        }
    }

    fn undelivered(&mut self, host: usize) -> BTreeSet<TxnId> {
        let undelivered = self.hosts[host].up().map(|running| running.machine().in_doubt()).unwrap_or_default();
        undelivered.into_iter().map(|InDoubt { txn, .. }| txn).collect()
    }

    /// Which process of a coordinator each participant that runs heeds, with its host.
    fn heeded(&mut self, number: u32) -> Vec<(usize, Option<Process>)> {
        let participants = self.plan.setup.coordinators..self.plan.setup.nodes();
        participants.map(|host| (host, self.hosts[host].up().and_then(|up| up.machine().heeded(number)))).collect()
    }

    fn is_known_to_all(&mut self, of: usize) -> bool {
        let log = self.hosts[of].up().map_or(0, |running| running.machine().process().log);
        let heeded = self.heeded(self.hosts[of].id.number());
        heeded.iter().all(|(_, process)| process.is_some_and(|process| process.log == log))
    }

    /// The operator looks.
    pub(super) fn look_at_twin(&mut self) {
        let Some(Twin { of, stage, accepted_by, .. }) = &self.twin else { return };
        let of = *of;
        match *stage {
            Stage::Alone { until } => {
                let is_accepted = accepted_by.len() == self.plan.setup.participants;
                if self.now >= until && is_accepted {
                    self.first_goes_on(of);
                }
            }
            Stage::Both => {}
            Stage::Drains { loser } => self.drain(of, loser),
            Stage::Replaces => self.replace(of),
        }
        if self.twin.is_some() {
            self.at(self.now + LOOK_US, Event::Twin);
        }
    }

    /// A participant has said that it has accepted a process, which it says when that is durable.
    pub(super) fn twin_is_accepted(&mut self, coordinator: usize, participant: usize) {
        if coordinator == self.twin_host()
            && let Some(twin) = &mut self.twin
        {
            twin.accepted_by.insert(participant);
        }
    }

    /// The first process goes on, or is started anew, knowing nothing of the second one.
    fn first_goes_on(&mut self, of: usize) {
        let Some(twin) = &mut self.twin else { return };
        twin.stage = Stage::Both;
        let How::Succeeds { restarts, is_beside, .. } = twin.how else { return };
        self.counts.fault(Kind::SecondProcess);
        let id = self.hosts[of].id;
        self.tell(|| format!("the first process of {id} goes on, after {restarts} restarts"));
        if !is_beside {
            self.crash(self.twin_host());
        }
        for _ in 0..restarts {
            self.crash(of);
            _ = self.start(of);
        }
        self.go_on(of);
    }

    /// The operator has seen enough.
    pub(super) fn end_twin(&mut self) {
        let Some(Twin { of, stage, how, .. }) = self.twin else { return };
        match how {
            How::Succeeds { .. } => {
                if matches!(stage, Stage::Alone { .. }) {
                    self.hosts[of].paused -= 1;
                }
                self.take_over(of);
                self.forget_twin();
            }
            How::Together => {
                let loser = self.loser(of);
                self.set_stage(Stage::Drains { loser });
                self.cut_off_clients(loser, 1);
            }
            How::Empty => self.forget_twin(),
        }
    }

    fn set_stage(&mut self, stage: Stage) {
        if let Some(twin) = &mut self.twin {
            twin.stage = stage;
        }
    }

    /// The second process goes on in the place of the first one, which has ended for good.
    fn take_over(&mut self, of: usize) {
        if !self.hosts[of].is_up() {
            _ = self.start(of);
        }
        let common = self.twin.as_ref().map(|twin| twin.common.clone()).unwrap_or_default();
        let lost: BTreeSet<TxnId> = self.undelivered(of).difference(&common).copied().collect();
        let (id, twin) = (self.hosts[of].id, self.twin_host());
        self.tell(|| format!("the first process of {id} ends for good, with {} decisions of its own", lost.len()));
        self.given_up.extend(lost);
        self.crash(twin);
        self.crash(of);
        if matches!(self.hosts[of].state, State::Refused(_)) {
            return;
        }
        self.hosts[of].memory = std::mem::take(&mut self.hosts[twin].memory);
        self.hosts[of].starts = self.hosts[twin].starts.clone();
        self.hosts[of].forget_durable();
        self.hosts[of].acknowledged.clear();
        self.at(self.now + 1, Event::Start(of));
    }

    /// What was decided by a process that nobody heeded came to nothing, whenever a client was told of it.
    pub(super) fn forget_given_up(&mut self) {
        for (at, transaction) in self.history.transactions.iter_mut().enumerate() {
            if self.given_up.contains(&transaction.id) {
                (transaction.outcome, transaction.completed_us) = (Outcome::Unknown, None);
                self.history
                    .questions
                    .iter_mut()
                    .filter(|asked| asked.transaction == at)
                    .for_each(|asked| asked.said = None);
            }
        }
    }

    /// The second process is gone for good, and its client with it.
    fn forget_twin(&mut self) {
        let (twin, client) = (self.twin_host(), self.twin_client());
        self.crash(twin);
        self.clients[client].pending.clear();
        self.twin = None;
        self.tell(|| "there is no second process any more".to_owned());
    }

    /// Of two with equal epochs, the one that fewer participants heed.
    fn loser(&mut self, of: usize) -> usize {
        let twin = self.twin_host();
        let heeded = self.heeded(self.hosts[of].id.number());
        let by = |host: &Host| {
            heeded
                .iter()
                .filter(|(_, process)| process.is_some_and(|process| host.starts.last() == Some(&process)))
                .count()
        };
        if by(&self.hosts[twin]) > by(&self.hosts[of]) { of } else { twin }
    }

    fn cut_off_clients(&mut self, host: usize, by: i32) {
        let of_clients = |link: &&usize| matches!(self.links[**link].ends[0], End::Client(_));
        let pipes: Vec<_> = self.links_of[host].iter().filter(of_clients).map(|link| (*link, 0)).collect();
        self.cut(&pipes, by);
    }

    /// Ends one of two as soon as all that it alone has decided is delivered; the other one is started anew.
    fn drain(&mut self, of: usize, loser: usize) {
        let common = self.twin.as_ref().map(|twin| twin.common.clone()).unwrap_or_default();
        if self.hosts[loser].awake().is_none() || !self.undelivered(loser).is_subset(&common) {
            return;
        }
        let twin = self.twin_host();
        let epoch = self.hosts[loser].starts.last().map_or(0, |process| process.epoch);
        let id = self.hosts[of].id;
        self.cut_off_clients(loser, -1);
        self.crash(twin);
        self.crash(of);
        if loser == of {
            self.hosts[of].memory = std::mem::take(&mut self.hosts[twin].memory);
            self.hosts[of].starts = self.hosts[twin].starts.clone();
            self.hosts[of].forget_durable();
        }
        self.tell(|| format!("one process of {id} ends for good, the other one starts anew"));
        self.hosts[of].first_epoch = epoch + 1;
        let client = self.twin_client();
        self.clients[client].pending.clear();
        self.at(self.now + 1, Event::Start(of));
        self.set_stage(Stage::Replaces);
    }

    /// Participants that heeded the one that has ended are told to take another log under its number, until they say that they
    /// do, and have accepted the other one.
    fn replace(&mut self, of: usize) {
        self.hear_participants();
        let mut is_done = true;
        for (host, process) in self.heeded(self.hosts[of].id.number()) {
            let Some(twin) = &self.twin else { return };
            let is_asked = twin.asked.iter().any(|(asked, ..)| *asked == host);
            let is_told = is_asked || twin.answered.contains(&host);
            let heeds_other = process.is_some_and(|process| self.hosts[of].starts.contains(&process));
            is_done &= heeds_other && !is_asked;
            if process.is_some() && !heeds_other && !is_told {
                self.tell_to_replace(host, self.hosts[of].id);
            }
        }
        if is_done {
            self.forget_twin();
        }
    }

    fn tell_to_replace(&mut self, host: usize, of: NodeId) {
        let clock_us = self.hosts[host].clock_us(self.now);
        let (id, boot) = (self.hosts[host].id, self.hosts[host].boot);
        let Some(running) = self.hosts[host].awake() else { return };
        running.set_clock(clock_us);
        let line = running.connect(None);
        let hello = Message::Handshake(HandshakeMessage::Hello(Hello::client(CLUSTER)));
        let replace = Message::Admin(AdminMessage::ReplaceLog { role: Role::Coordinator, node: of.number() });
        let heard = running.receive(line, &frames([&hello, &replace].into_iter()));
        self.tell(|| format!("{id} is told to take another log of {of}: {heard:?}"));
        if let Some(twin) = &mut self.twin {
            twin.asked.push((host, boot, line));
        }
        self.turn_soon(host);
    }

    /// The operator hangs up where there is an answer, which comes when it is durable: what a participant then forgets with a
    /// power cut is missed. One that has ended before that is asked again.
    fn hear_participants(&mut self) {
        let asked = self.twin.as_mut().map(|twin| std::mem::take(&mut twin.asked)).unwrap_or_default();
        for (host, boot, line) in asked {
            let is_same = self.hosts[host].boot == boot;
            let Some(running) = self.hosts[host].up().filter(|_| is_same) else { continue };
            let said = running.take(line).map(|bytes| messages(&bytes)).unwrap_or_default();
            let is_answered =
                said.iter().any(|message| matches!(message, Message::Admin(AdminMessage::PeerChanged { .. })));
            if is_answered {
                running.hang_up(line);
            }
            let Some(twin) = &mut self.twin else { return };
            if !is_answered {
                twin.asked.push((host, boot, line));
                continue;
            }
            twin.answered.insert(host);
            if self.is_under_load() && self.random.per_mille(CRASHES_PER_MILLE) {
                self.crash_for(host, CRASH_US);
            }
        }
    }
}
