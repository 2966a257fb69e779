//! Nodes: their turns, their disks, how they end and begin.

use engine::{OpenError, RecoveryReport};
use node::NodeError;
use node::limits::NODE_OUTBOX_FACTOR;
use protocol::{InDoubt, Machine, Role, TxnId};

use crate::judge::Transaction;
use crate::sim::fault::Kind;
use crate::sim::host::{Host, Running, State};
use crate::sim::network::End;
use crate::sim::world::{Event, World};
use crate::workload::MARK;

impl World<'_> {
    pub(super) fn turn_soon(&mut self, host: usize) {
        let at = self.now + self.random.between(1, 8);
        self.turn_by(host, at);
    }

    pub(super) fn turn_by(&mut self, host: usize, at: u64) {
        if self.hosts[host].turn_at.is_none_or(|due| at < due) {
            self.hosts[host].turn_at = Some(at);
            self.at(at, Event::Turn(host));
        }
    }

    pub(super) fn turn(&mut self, host: usize) {
        let now = self.now;
        let node = &mut self.hosts[host];
        if node.turn_at != Some(now) {
            return;
        }
        node.turn_at = None;
        let clock_us = node.clock_us(now);
        let Some(running) = node.awake() else { return };
        running.set_clock(clock_us);
        let result = running.turn();
        let in_flight = running.machine().in_flight();
        node.note_durable();
        self.trace.mix([now, 1, host as u64, running_end(&self.hosts[host])]);
        self.notice_faults(host);
        if self.hosts[host].memory.is_off() {
            return self.end_host(host, "the power is cut within an operation of its disk");
        }
        match result {
            Ok(wake) => {
                self.check_bounds(host, in_flight);
                self.after_turn(host, wake);
            }
            Err(error) => self.end_host(host, &error.to_string()),
        }
    }

    pub(super) fn after_turn(&mut self, host: usize, wake: Option<u64>) {
        self.write(host);
        self.work(host);
        for at in 0..self.links_of[host].len() {
            let link = self.links_of[host][at];
            self.notice_closed(host, link);
            self.read_on(host, link);
        }
        self.pump(host);
        let now = self.now;
        if let Some(wake) = wake {
            let at = self.hosts[host].when(wake, now);
            self.turn_by(host, at);
        }
        if self.hosts[host].awake().is_some_and(|running| running.is_keeping()) {
            self.turn_by(host, now + 20);
        }
    }

    /// Lets the disk work on what the node has begun to write.
    pub(super) fn write(&mut self, host: usize) {
        let node = &mut self.hosts[host];
        if node.is_writing || node.memory.writes_in_flight() == 0 {
            return;
        }
        node.is_writing = true;
        let (boot, factor) = (node.boot, node.disk_factor);
        let base = self.plan.setup.disk_us;
        let slow = if self.random.per_mille(10) { 10 } else { 1 };
        let takes = (base + self.random.between(0, base)) * slow * factor;
        self.at(self.now + takes, Event::DiskDone { host, boot });
    }

    /// The disk is fast again: what it was doing ends soon.
    pub(super) fn hurry_disk(&mut self, host: usize) {
        self.hosts[host].disk_factor = 1;
        if self.hosts[host].is_writing {
            let boot = self.hosts[host].boot;
            self.at(self.now + self.plan.setup.disk_us, Event::DiskDone { host, boot });
        }
        if self.hosts[host].is_working {
            let boot = self.hosts[host].boot;
            self.at(self.now + self.plan.setup.job_us, Event::JobDone { host, boot });
        }
    }

    /// Lets the background work on its log's files go on, which takes its time where it takes any.
    pub(super) fn work(&mut self, host: usize) {
        let node = &mut self.hosts[host];
        if node.is_working || !node.up().is_some_and(|running| running.pace().is_awaited()) {
            return;
        }
        node.is_working = true;
        let (boot, factor, base) = (node.boot, node.disk_factor, self.plan.setup.job_us);
        let takes = (base + self.random.between(0, base)) * factor;
        self.at(self.now + takes, Event::JobDone { host, boot });
    }

    pub(super) fn job_done(&mut self, host: usize, boot: u64) {
        let node = &mut self.hosts[host];
        if node.boot != boot || !node.is_working {
            return;
        }
        node.is_working = false;
        if let Some(running) = node.up() {
            running.pace().release();
            self.turn_soon(host);
        }
    }

    pub(super) fn disk_done(&mut self, host: usize, boot: u64) {
        let node = &mut self.hosts[host];
        if node.boot != boot || !node.is_writing {
            return;
        }
        node.is_writing = false;
        _ = node.memory.release();
        self.trace.mix([self.now, 2, host as u64, 0]);
        self.notice_faults(host);
        if self.hosts[host].memory.is_off() {
            return self.end_host(host, "the power is cut while a group is being written");
        }
        self.turn_soon(host);
    }

    /// Counts what was planned for the disk and has happened.
    pub(super) fn notice_faults(&mut self, host: usize) {
        for fault in self.hosts[host].memory.take_fired() {
            if let Some(at) = self.awaited[host].iter().position(|(awaited, _)| *awaited == fault) {
                let (_, kind) = self.awaited[host].remove(at);
                self.counts.fault(kind);
                self.is_damaged |= kind.is_damage();
                self.hosts[host].damages += u32::from(kind.is_damage());
                let id = self.hosts[host].id;
                self.tell(|| format!("{kind:?} has happened at {id}"));
            }
        }
    }

    /// A node's log or power has failed.
    pub(super) fn end_host(&mut self, host: usize, why: &str) {
        let id = self.hosts[host].id;
        self.tell(|| format!("{id} ends: {why}"));
        let down_us = self.down_us[host].max(100);
        self.crash(host);
        self.at(self.now + down_us, Event::Start(host));
    }

    /// A node's power is cut; whether it ran.
    pub(super) fn crash(&mut self, host: usize) -> bool {
        let was_up = self.hosts[host].is_up();
        if matches!(self.hosts[host].state, State::Refused(_)) {
            return false;
        }
        let seed = self.random.bits();
        self.note_checkpoints(host);
        self.notice_faults(host);
        self.hosts[host].crash(seed);
        self.awaited[host].clear();
        if was_up {
            self.counts.crashes += 1;
            let id = self.hosts[host].id;
            self.tell(|| format!("{id} crashes"));
            self.lose_connections(host);
        }
        was_up
    }

    pub(super) fn note_checkpoints(&mut self, host: usize) {
        if let Some(running) = self.hosts[host].up() {
            self.counts.checkpoints += running.stats().checkpoints;
        }
    }

    /// The others notice that a node is gone: at once, or when they miss it.
    pub(super) fn lose_connections(&mut self, host: usize) {
        for at in 0..self.links_of[host].len() {
            let link = self.links_of[host][at];
            let Some(end) = self.links[link].end_of(host).filter(|_| self.links[link].generation > 0) else { continue };
            self.links[link].open[end] = false;
            if end == 1 {
                self.links[link].met = 0;
            }
            let late = if self.random.per_mille(500) { 0 } else { self.random.scale(1_000, 2_000_000) };
            self.hang_up_after(link, 1 - end, late);
        }
    }

    /// Starts a node; what it has found, if it starts.
    pub(super) fn start(&mut self, host: usize) -> Option<RecoveryReport> {
        if !matches!(self.hosts[host].state, State::Down) {
            return None;
        }
        let setup = &self.plan.setup;
        let started = self.hosts[host].start(self.now, setup);
        self.trace.mix([self.now, 3, host as u64, u64::from(started.is_ok())]);
        self.notice_faults(host);
        let id = self.hosts[host].id;
        match started {
            Ok(report) => {
                self.counts.recoveries += u64::from(!report.created);
                self.counts.torn_groups += report.cuts.len() as u64;
                self.tell(|| {
                    let cuts: Vec<String> =
                        report.cuts.iter().map(|cut| format!("{}..{} ({})", cut.from, cut.to, cut.rule)).collect();
                    format!("{id} starts: {} records, log end {}, cut {cuts:?}", report.records, report.tail)
                });
                // It has started before the power was to be cut.
                for (_, kind) in self.awaited[host].iter_mut().filter(|(_, kind)| *kind == Kind::CrashInRecovery) {
                    *kind = Kind::CrashInDisk;
                }
                self.check_log(host, &report);
                self.turn_soon(host);
                for at in 0..self.links_of[host].len() {
                    let link = self.links_of[host][at];
                    if self.links[link].ends[0] == End::Node(host) {
                        self.dial_after(link, 1);
                    }
                }
                Some(report)
            }
            Err(error) => {
                self.start_failed(host, &error);
                None
            }
        }
    }

    /// Whether a log that was read again has all that was durable.
    fn check_log(&mut self, host: usize, report: &RecoveryReport) {
        let kept_until = self.hosts[host].kept_until();
        self.hosts[host].was_read(report.tail.0);
        if report.tail.0 < kept_until {
            let (id, tail) = (self.hosts[host].id, report.tail);
            self.fail("log", format!("{id} starts with a log that ends at {tail}, and {kept_until} was durable"));
        }
        let acknowledged = std::mem::take(&mut self.hosts[host].acknowledged);
        let in_doubt = self.hosts[host].up().map(|running| running.machine().in_doubt()).unwrap_or_default();
        if let Some(InDoubt { txn, .. }) = in_doubt.iter().find(|in_doubt| acknowledged.contains(&in_doubt.txn))
            && self.hosts[host].damages == 0
        {
            let id = self.hosts[host].id;
            self.fail("log", format!("{id} starts in doubt about {txn:?}, whose commit it has acknowledged"));
        }
    }

    /// Whether a participant has what it acknowledges: the row that each transaction leaves where it writes.
    pub(super) fn check_acknowledged(&mut self, host: usize, txn: TxnId) {
        let id = self.hosts[host].id;
        let Ok(mark) = self.keys.key(&format!("{MARK}{txn:?}@{id}")) else { return };
        let is_there = |running: &mut Running| running.table().get(&mark).is_ok_and(|row| row.is_some());
        if self.hosts[host].up().is_none_or(is_there) {
            return;
        }
        let leaves_it = |asked: &Transaction| asked.operations.iter().any(|operation| operation.key() == Some(&mark));
        if self.history.transactions.iter().any(|asked| asked.id == txn && leaves_it(asked)) {
            self.fail("log", format!("{id} acknowledges the commit of {txn:?}, which it has not done"));
        }
    }

    pub(super) fn start_failed(&mut self, host: usize, error: &NodeError) {
        let id = self.hosts[host].id;
        self.tell(|| format!("{id} does not start: {error}"));
        let is_transient = matches!(
            error,
            NodeError::Open { source: OpenError::Io { .. }, .. } | NodeError::Disk(_) | NodeError::DiskSlow { .. }
        );
        if self.hosts[host].memory.is_off() || is_transient {
            self.counts.crashes += 1;
            let seed = self.random.bits();
            self.hosts[host].crash(seed);
            let down_us = self.down_us[host].max(5_000);
            return self.at(self.now + down_us, Event::Start(host));
        }
        self.counts.reports += 1;
        self.hosts[host].state = State::Refused(error.to_string());
        if self.hosts[host].damages == 0 {
            self.fail("false alarm", format!("{id} refuses a log that nothing has damaged: {error}"));
        }
    }

    /// Whether the node keeps its limits: transactions, and bytes that wait to leave.
    pub(super) fn check_bounds(&mut self, host: usize, in_flight: usize) {
        for at in 0..self.links_of[host].len() {
            let link = self.links_of[host][at];
            // Where there is no connection, another one may have the number that its line has.
            let Some(end) = self.links[link].end_of(host).filter(|end| self.links[link].open[*end]) else { continue };
            let factor = if matches!(self.links[link].ends[1 - end], End::Client(_)) { 1 } else { NODE_OUTBOX_FACTOR };
            let line = self.links[link].lines[end];
            let unsent = self.hosts[host].up().map_or(0, |running| running.unsent_bytes(line));
            if unsent > self.plan.setup.outbox_bytes_max * factor {
                let id = self.hosts[host].id;
                self.fail("bounds", format!("{unsent} bytes wait to leave {id} on link {link}"));
            }
        }
        let setup = &self.plan.setup;
        let is_coordinator = self.hosts[host].id.role() == Role::Coordinator;
        let max = if is_coordinator { setup.max_concurrent_txns } else { setup.in_flight_txns_max };
        if in_flight > max {
            let id = self.hosts[host].id;
            self.fail("bounds", format!("{id} has {in_flight} transactions, {max} may be"));
        }
    }
}

fn running_end(host: &Host) -> u64 {
    match &host.state {
        State::Up(running) => running.store().end().0,
        State::Down | State::Refused(_) => 0,
    }
}
