//! Connections: who dials, what is carried, and when an end hears that it is over.

use protocol::Process;
use protocol::{CommitMessage, Machine, Message, Reason};

use crate::sim::fault::Kind;
use crate::sim::host::State;
use crate::sim::network::{self, End, Link, Tampering};
use crate::sim::world::{Event, World};
use crate::world::words;

impl World<'_> {
    pub(super) fn dial_after(&mut self, link: usize, pause_us: u64) {
        let at = self.now + pause_us + self.random.between(0, pause_us);
        if self.links[link].dial_at.is_none_or(|due| due < self.now || at < due) {
            self.links[link].dial_at = Some(at);
            self.at(at, Event::Dial(link));
        }
    }

    pub(super) fn dial(&mut self, link: usize) {
        if self.links[link].dial_at != Some(self.now) {
            return;
        }
        self.links[link].dial_at = None;
        let [dialler, dialled] = self.links[link].ends;
        let End::Node(asked) = dialled else { return };
        if self.is_idle_twin_link(link) {
            return;
        }
        if self.links[link].open[0] || matches!(self.hosts[asked].state, State::Refused(_)) {
            return;
        }
        if let End::Node(host) = dialler
            && self.hosts[host].awake().is_none()
        {
            // It dials when it has started, or goes on.
            return;
        }
        if self.links[link].is_cut() || self.hosts[asked].awake().is_none() {
            let pause_us = self.random.scale(2_000, 200_000);
            return self.dial_after(link, pause_us);
        }
        self.connect(link, asked);
    }

    pub(super) fn connect(&mut self, link: usize, asked: usize) {
        let (mut lines, mut dialler) = ([0; 2], Process::NONE);
        let number = self.hosts[asked].id.number();
        for (end, line) in lines.iter_mut().enumerate() {
            if let End::Node(host) = self.links[link].ends[end] {
                let clock_us = self.hosts[host].clock_us(self.now);
                if let Some(running) = self.hosts[host].up() {
                    running.set_clock(clock_us);
                    *line = running.connect((end == 0).then_some(number));
                    if end == 0 {
                        dialler = running.machine().process();
                    }
                }
            }
        }
        self.links[link].connect(lines, (dialler, self.hosts[asked].boot));
        self.trace.mix([self.now, 4, link as u64, self.links[link].generation]);
        let ends = self.links[link].ends;
        let [one, other] = ends.map(|end| self.name(end));
        self.tell(|| format!("{one} and {other} are connected"));
        for end in ends {
            match end {
                End::Node(host) => self.pump(host),
                End::Client(client) => self.client_connected(client),
            }
        }
    }

    /// The other end of a connection hears later that it has ended.
    pub(super) fn hang_up_after(&mut self, link: usize, end: usize, late_us: u64) {
        let Link { generation, lines, ends, .. } = &self.links[link];
        let boot = if let End::Node(host) = ends[end] { self.hosts[host].boot } else { 0 };
        let event = Event::HangUp { link, end, generation: *generation, line: lines[end], boot };
        let delay = self.delay_us(link, end) + late_us;
        self.at(self.now + delay, event);
    }

    pub(super) fn hung_up(&mut self, link: usize, end: usize, generation: u64, line: u64, boot: u64) {
        let is_current = self.links[link].generation == generation;
        if is_current && !self.links[link].open[end] {
            return;
        }
        if is_current {
            self.links[link].open[end] = false;
            self.trace.mix([self.now, 5, link as u64, end as u64]);
        }
        match self.links[link].ends[end] {
            End::Node(host) if self.hosts[host].boot == boot => {
                if let Some(running) = self.hosts[host].up() {
                    running.hang_up(line);
                    self.turn_soon(host);
                }
            }
            End::Node(_) => {}
            End::Client(_) if !is_current => return,
            End::Client(_) => {}
        }
        if is_current && end == 1 {
            self.earlier_later(link);
        }
        if is_current && end == 0 {
            let pause_us = self.random.scale(500, 100_000);
            self.dial_after(link, pause_us);
        }
    }

    /// A node has closed a connection by itself.
    pub(super) fn notice_closed(&mut self, host: usize, link: usize) {
        let Some(end) = self.links[link].end_of(host).filter(|end| self.links[link].open[*end]) else { return };
        let line = self.links[link].lines[end];
        if self.hosts[host].up().is_some_and(|running| !running.is_open(line)) {
            self.links[link].open[end] = false;
            let id = self.hosts[host].id;
            self.tell(|| format!("{id} has closed link {link}"));
            self.hang_up_after(link, 1 - end, 0);
            if end == 0 {
                let pause_us = self.random.scale(500, 100_000);
                self.dial_after(link, pause_us);
            }
        }
    }

    /// A connection breaks at both ends.
    pub(super) fn break_link(&mut self, link: usize) -> bool {
        let was_open = self.links[link].open == [true; 2];
        self.hang_up_after(link, 0, 0);
        self.hang_up_after(link, 1, 0);
        was_open
    }

    pub(super) fn delay_us(&mut self, link: usize, to_end: usize) -> u64 {
        let factor = self.links[link].pipes[1 - to_end].factor;
        let base = self.plan.setup.network_us;
        let slow = if self.random.per_mille(5) { 20 } else { 1 };
        (base + self.random.between(0, base)) * slow * factor
    }

    /// Takes what may leave a node.
    pub(super) fn pump(&mut self, host: usize) {
        for at in 0..self.links_of[host].len() {
            let link = self.links_of[host][at];
            let Some(end) = self.links[link].end_of(host).filter(|end| self.links[link].open[*end]) else { continue };
            let line = self.links[link].lines[end];
            while self.links[link].pipes[end].has_room() {
                let Some(bytes) = self.hosts[host].awake().and_then(|running| running.take(line)) else { break };
                self.send(link, end, bytes);
            }
        }
    }

    fn is_between_nodes(&self, link: usize) -> bool {
        self.links[link].ends.iter().all(|end| matches!(end, End::Node(_)))
    }

    pub(super) fn send(&mut self, link: usize, direction: usize, bytes: Vec<u8>) {
        let from = self.links[link].ends[direction];
        if self.is_between_nodes(link) {
            let is_conflict = |message: &Message| matches!(message, Message::Commit(CommitMessage::VoteNo { refusal, .. }) if refusal.reason == Reason::Conflict);
            for message in network::messages(&bytes) {
                self.check_succession(link, direction, &message);
                self.counts.conflicts += u64::from(is_conflict(&message));
                if let (Message::Commit(CommitMessage::CommitAck { txn, .. }), End::Node(host)) = (&message, from) {
                    self.hosts[host].acknowledged.insert(*txn);
                    self.check_acknowledged(host, *txn);
                }
            }
        }
        if self.trace.lines.is_some() {
            let (from, to) = (self.name(from), self.name(self.links[link].ends[1 - direction]));
            for message in network::messages(&bytes) {
                self.tell(|| format!("{from} -> {to} {}", words::message(&message)));
            }
        }
        let often = self.plan.setup.duplicates_per_mille;
        if often > 0 && self.is_between_nodes(link) && self.random.per_mille(often) {
            let later_us = self.random.scale(100, 500_000);
            self.links[link].pipes[direction].tampering.push((1, Tampering::Duplicate { later_us }));
        }
        if self.links[link].pipes[direction].tampering.is_empty() {
            return self.enqueue(link, direction, bytes);
        }
        let Some(tampered) = network::tamper(&mut self.links[link].pipes[direction], &bytes) else {
            return self.enqueue(link, direction, bytes);
        };
        if let End::Client(client) = self.links[link].ends[0] {
            self.clients[client].is_confused |= tampered.done.iter().any(|(done, _)| done.kind() == Kind::Duplicate);
        }
        for (tampering, message) in &tampered.done {
            self.counts.fault(tampering.kind());
            self.counts.lost_messages += u64::from(tampering.kind() == Kind::Lose);
            self.tell(|| format!("{tampering:?}: {}", words::message(message)));
        }
        if !tampered.now.is_empty() {
            self.enqueue(link, direction, tampered.now);
        }
        for (later_us, bytes) in tampered.later {
            let generation = self.links[link].generation;
            self.links[link].pipes[direction].in_flight += bytes.len();
            let delay = self.delay_us(link, 1 - direction) + later_us;
            self.at(self.now + delay, Event::Arrive { link, direction, generation, bytes });
        }
    }

    pub(super) fn enqueue(&mut self, link: usize, direction: usize, bytes: Vec<u8>) {
        let delay = self.delay_us(link, 1 - direction);
        let now = self.now;
        let generation = self.links[link].generation;
        let pipe = &mut self.links[link].pipes[direction];
        pipe.in_flight += bytes.len();
        if pipe.cuts > 0 {
            return pipe.held.push_back(bytes);
        }
        let at = (now + delay).max(pipe.last_arrival);
        pipe.last_arrival = at;
        self.at(at, Event::Arrive { link, direction, generation, bytes });
    }

    /// A cut ends: what was held goes on its way.
    pub(super) fn release_held(&mut self, link: usize, direction: usize) {
        let held = std::mem::take(&mut self.links[link].pipes[direction].held);
        for bytes in held {
            self.links[link].pipes[direction].in_flight -= bytes.len();
            self.enqueue(link, direction, bytes);
        }
    }

    pub(super) fn arrive(&mut self, link: usize, direction: usize, generation: u64, bytes: Vec<u8>) {
        let end = 1 - direction;
        if self.links[link].generation != generation || !self.links[link].open[end] {
            self.counts.lost_messages += network::messages(&bytes).len() as u64;
            if self.plan.setup.comes_late && direction == 0 && self.is_between_nodes(link) {
                self.keep_earlier(link, generation, bytes);
            }
            return;
        }
        match self.links[link].ends[end] {
            End::Client(client) => {
                self.links[link].pipes[direction].in_flight -= bytes.len();
                self.trace.mix([self.now, 6, client as u64, u64::from(crc32c::crc32c(&bytes))]);
                self.client_hears(client, &bytes);
                if let End::Node(host) = self.links[link].ends[direction] {
                    self.pump(host);
                }
            }
            End::Node(host) => {
                self.links[link].pipes[direction].unread.push_back(bytes);
                self.read_on(host, link);
            }
        }
    }

    /// A node reads what has arrived, if it does.
    pub(super) fn read_on(&mut self, host: usize, link: usize) {
        let Some(end) = self.links[link].end_of(host).filter(|end| self.links[link].open[*end]) else { return };
        let line = self.links[link].lines[end];
        let direction = 1 - end;
        while !self.links[link].pipes[direction].unread.is_empty() {
            let clock_us = self.hosts[host].clock_us(self.now);
            let Some(running) = self.hosts[host].awake().filter(|running| running.may_read(line)) else { return };
            running.set_clock(clock_us);
            let Some(bytes) = self.links[link].pipes[direction].unread.pop_front() else { return };
            let received = running.receive(line, &bytes);
            self.links[link].meet();
            self.links[link].pipes[direction].in_flight -= bytes.len();
            self.trace.mix([self.now, 7, host as u64, u64::from(crc32c::crc32c(&bytes))]);
            if let Err(reason) = received {
                let id = self.hosts[host].id;
                self.tell(|| format!("{id} closes link {link}: {reason}"));
                self.notice_closed(host, link);
            }
            self.turn_soon(host);
            if let End::Node(sender) = self.links[link].ends[direction] {
                self.pump(sender);
            }
        }
    }
}
