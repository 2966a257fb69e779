//! What a fault does, and how it ends.

use engine::memory::Fault as DiskFault;

use crate::sim::fault::{Fault, Kind, Ways};
use crate::sim::host::State;
use crate::sim::network::{End, Tampering};
use crate::sim::twin::How;
use crate::sim::world::{Event, World};
use crate::workload::bulk::Bulk;

/// Times that it is tried to find a bit that was written.
const ROT_TRIES: usize = 40;

impl Tampering {
    /// As it is counted.
    #[must_use]
    pub fn kind(self) -> Kind {
        match self {
            Self::Lose => Kind::Lose,
            Self::Duplicate { .. } => Kind::Duplicate,
            Self::Delay { .. } => Kind::Delay,
            Self::Reorder => Kind::Reorder,
        }
    }
}

impl World<'_> {
    /// A fault happens, unless the load has ended. One row a fault.
    #[expect(clippy::too_many_lines)]
    pub(super) fn inject(&mut self, number: usize) {
        if !self.is_under_load() {
            return;
        }
        let planned = self.plan.faults[number];
        self.tell(|| format!("fault {planned}"));
        let (now, kind) = (self.now, planned.fault.kind());
        match planned.fault {
            Fault::Crash { node, with, down_us } => {
                let mut happened = self.crash_for(node, down_us);
                if let Some(other) = with {
                    happened &= self.crash_for(other, down_us);
                }
                self.count_if(happened, kind);
            }
            Fault::CrashInDisk { node, nth, down_us } => self.await_disk(node, nth, DiskFault::PowerCut, kind, down_us),
            Fault::CrashInRecovery { node, nth, down_us } => {
                if self.crash_for(node, down_us) {
                    self.await_disk(node, nth, DiskFault::PowerCut, kind, down_us);
                }
            }
            Fault::Stop { node, down_us } => self.stop(node, down_us),
            Fault::DiskError { node, nth, short, down_us } => {
                let fault = if short { DiskFault::Short } else { DiskFault::Io };
                self.await_disk(node, nth, fault, kind, down_us);
            }
            Fault::NoSpace { node, for_us } => {
                let used = self.hosts[node].memory.segment_bytes();
                self.hosts[node].memory.set_space(Some(used));
                self.awaited[node].push((DiskFault::NoSpace, kind));
                self.lasts(number, for_us);
            }
            Fault::SlowDisk { node, factor, for_us } | Fault::CrawlingDisk { node, factor, for_us } => {
                self.hosts[node].disk_factor = factor;
                self.counts.fault(kind);
                self.lasts(number, for_us);
            }
            Fault::BitRot { node, down_us } => {
                let happened = self.crash(node) && self.rot(node);
                self.is_damaged |= happened;
                self.hosts[node].damages += u32::from(happened);
                self.count_if(happened, kind);
                self.at(now + down_us, Event::Start(node));
            }
            Fault::LostWrite { node, nth, down_us } => {
                self.await_disk(node, nth, DiskFault::Lost, kind, down_us);
                self.lasts(number, down_us);
            }
            Fault::MisdirectedWrite { node, nth, down_us } => {
                self.await_disk(node, nth, DiskFault::Misdirected, kind, down_us);
                self.lasts(number, down_us);
            }
            Fault::OldDirectory { node, kept_us, .. } => {
                if self.hosts[node].is_up() {
                    self.copies.insert(number, self.hosts[node].memory.copy());
                    self.lasts(number, kept_us);
                }
            }
            Fault::Lose { link, back, nth } => self.tamper(link, back, nth, Tampering::Lose),
            Fault::Duplicate { link, back, nth, later_us } => {
                self.tamper(link, back, nth, Tampering::Duplicate { later_us });
            }
            Fault::Delay { link, back, nth, later_us } => self.tamper(link, back, nth, Tampering::Delay { later_us }),
            Fault::Reorder { link, back, nth } => self.tamper(link, back, nth, Tampering::Reorder),
            Fault::Isolate { node, ways, for_us } => {
                self.cut(&self.pipes_of(node, ways), 1);
                self.counts.fault(kind);
                self.lasts(number, for_us);
            }
            Fault::Partition { link, ways, for_us } => {
                self.cut(&pipes(link, 0, ways), 1);
                self.counts.fault(kind);
                self.lasts(number, for_us);
            }
            Fault::SlowPeer { node, factor, for_us } => {
                self.slow(node, factor);
                self.counts.fault(kind);
                self.lasts(number, for_us);
            }
            Fault::Pause { node, for_us } => {
                self.hosts[node].paused += 1;
                self.counts.fault(kind);
                self.lasts(number, for_us);
            }
            Fault::Reconnect { link } => {
                let happened = self.break_link(link);
                self.count_if(happened, kind);
            }
            Fault::ClockJump { node, by_us } => {
                self.hosts[node].jump(by_us as i64);
                self.counts.fault(kind);
                self.turn_soon(node);
            }
            Fault::ClockBack { node, by_us, down_us } => {
                let happened = self.crash_for(node, down_us);
                self.hosts[node].jump(-(by_us as i64));
                self.count_if(happened, kind);
            }
            Fault::Overload { more, for_us } => {
                self.in_flight += more;
                self.counts.fault(kind);
                (0..self.plan.setup.clients).for_each(|client| self.fill(client));
                self.lasts(number, for_us);
            }
            Fault::Flood { client, answers, for_us } => {
                if self.flood(client, answers) {
                    self.cut(&pipes(self.clients[client].link, 0, Ways::In), 1);
                    self.counts.fault(kind);
                    self.lasts(number, for_us);
                }
            }
            Fault::ScanFlood { client, scans, for_us } => {
                if self.ask_at_once(client, scans, |_, _| Bulk::scan_all()) {
                    self.counts.fault(kind);
                    self.lasts(number, for_us);
                }
            }
            Fault::SecondProcess { node, alone_us, restarts, is_beside, for_us } => {
                self.begin_twin(number, node, How::Succeeds { alone_us, restarts, is_beside }, for_us);
            }
            Fault::EqualEpochs { node, for_us } => self.begin_twin(number, node, How::Together, for_us),
            Fault::EmptyDirectory { node, for_us } => self.begin_twin(number, node, How::Empty, for_us),
            Fault::LargeFlood { client, writes } => {
                let participants = self.plan.setup.participants as u32;
                let happened =
                    self.ask_at_once(client, writes, |txn, at| Bulk::write_much(participants, txn, at as u32));
                self.count_if(happened, kind);
            }
        }
    }

    /// A fault that lasts ends.
    pub(super) fn undo(&mut self, number: usize) {
        let planned = self.plan.faults[number];
        self.tell(|| format!("fault {} ends", planned.number));
        match planned.fault {
            Fault::NoSpace { node, .. } => {
                self.hosts[node].memory.set_space(None);
                self.awaited[node].retain(|(_, kind)| *kind != Kind::NoSpace);
                self.turn_soon(node);
            }
            Fault::SlowDisk { node, .. } => self.hosts[node].disk_factor = 1,
            Fault::CrawlingDisk { node, .. } => self.hurry_disk(node),
            Fault::LostWrite { node, down_us, .. } | Fault::MisdirectedWrite { node, down_us, .. } => {
                if self.is_under_load() {
                    self.crash_for(node, down_us);
                }
            }
            Fault::OldDirectory { node, down_us, .. } => self.go_back(number, node, down_us),
            Fault::Isolate { node, ways, .. } => self.cut(&self.pipes_of(node, ways), -1),
            Fault::Partition { link, ways, .. } => {
                self.cut(&pipes(link, 0, ways), -1);
                if self.random.per_mille(300) {
                    self.break_link(link);
                }
            }
            Fault::SlowPeer { node, .. } => self.slow(node, 1),
            Fault::Pause { node, .. } => self.go_on(node),
            Fault::Overload { more, .. } => self.in_flight -= more,
            Fault::SecondProcess { .. } | Fault::EqualEpochs { .. } | Fault::EmptyDirectory { .. } => self.end_twin(),
            Fault::Flood { client, .. } => self.cut(&pipes(self.clients[client].link, 0, Ways::In), -1),
            Fault::ScanFlood { client, .. } => _ = self.break_link(self.clients[client].link),
            Fault::Crash { .. }
            | Fault::CrashInDisk { .. }
            | Fault::CrashInRecovery { .. }
            | Fault::Stop { .. }
            | Fault::DiskError { .. }
            | Fault::BitRot { .. }
            | Fault::Lose { .. }
            | Fault::Duplicate { .. }
            | Fault::Delay { .. }
            | Fault::Reorder { .. }
            | Fault::Reconnect { .. }
            | Fault::LargeFlood { .. }
            | Fault::ClockJump { .. }
            | Fault::ClockBack { .. } => {}
        }
    }

    /// Everything that goes wrong ends, and nothing more begins. The load must have ended.
    pub(super) fn heal(&mut self) {
        for number in std::mem::take(&mut self.active) {
            self.undo(number);
        }
        for host in &mut self.hosts {
            host.memory.clear_faults();
        }
        self.awaited.iter_mut().for_each(Vec::clear);
        for link in &mut self.links {
            link.pipes.iter_mut().for_each(|pipe| pipe.tampering.clear());
        }
    }

    pub(super) fn lasts(&mut self, number: usize, for_us: u64) {
        self.active.insert(number);
        self.at(self.now + for_us, Event::Undo(number));
    }

    fn count_if(&mut self, happened: bool, kind: Kind) {
        if happened {
            self.counts.fault(kind);
        }
    }

    pub(super) fn crash_for(&mut self, node: usize, down_us: u64) -> bool {
        let was_up = self.crash(node);
        self.at(self.now + down_us, Event::Start(node));
        was_up
    }

    /// Plans a fault for the disk of a node.
    fn await_disk(&mut self, node: usize, nth: u64, fault: DiskFault, kind: Kind, down_us: u64) {
        self.hosts[node].memory.fail(nth, fault);
        self.awaited[node].push((fault, kind));
        self.down_us[node] = down_us;
    }

    fn stop(&mut self, node: usize, down_us: u64) {
        if self.hosts[node].paused > 0 || !self.hosts[node].is_up() {
            return;
        }
        self.note_checkpoints(node);
        self.hosts[node].memory.hold(false);
        let stopped = self.hosts[node].leave().map(|running| running.stop());
        self.notice_faults(node);
        let id = self.hosts[node].id;
        match stopped {
            Some(Ok(())) => {
                self.counts.fault(Kind::Stop);
                self.tell(|| format!("{id} stops"));
            }
            Some(Err(error)) => {
                self.tell(|| format!("{id} does not stop cleanly: {error}"));
                self.crash(node);
            }
            None => {}
        }
        self.lose_connections(node);
        self.at(self.now + down_us, Event::Start(node));
    }

    /// A bit of what is durable flips; whether one was found.
    fn rot(&mut self, node: usize) -> bool {
        let memory = self.hosts[node].memory.clone();
        let random = &mut self.random;
        if random.per_mille(100) {
            let flipped = memory.edit_superblock(|bytes| flip(bytes, random.bits()));
            return flipped == Some(true);
        }
        let slots = memory.slots();
        (0..ROT_TRIES).any(|_| {
            let Some(slot) = random.of(&slots) else { return false };
            memory.edit_segment(slot, |bytes| flip(bytes, random.bits())) == Some(true)
        })
    }

    /// A node comes back with an older copy of its data directory.
    fn go_back(&mut self, number: usize, node: usize, down_us: u64) {
        let Some(copy) = self.copies.remove(&number) else { return };
        if !self.is_under_load() || matches!(self.hosts[node].state, State::Refused(_)) {
            return;
        }
        self.crash(node);
        copy.hold(true);
        self.hosts[node].memory = copy;
        let seed = self.random.bits();
        self.hosts[node].memory.crash(seed);
        self.hosts[node].forget_durable();
        self.hosts[node].acknowledged.clear();
        self.hosts[node].damages += 1;
        self.is_damaged = true;
        self.counts.fault(Kind::OldDirectory);
        self.at(self.now + down_us, Event::Start(node));
    }

    fn tamper(&mut self, link: usize, back: bool, nth: u64, tampering: Tampering) {
        self.links[link].pipes[usize::from(back)].tampering.push((nth, tampering));
    }

    /// The pipes of a node, as link and direction.
    fn pipes_of(&self, node: usize, ways: Ways) -> Vec<(usize, usize)> {
        let ends = self.links.iter().enumerate().filter_map(|(link, ends)| Some((link, ends.end_of(node)?)));
        ends.flat_map(|(link, end)| pipes(link, end, ways)).collect()
    }

    pub(super) fn cut(&mut self, pipes: &[(usize, usize)], by: i32) {
        for (link, direction) in pipes {
            let pipe = &mut self.links[*link].pipes[*direction];
            pipe.cuts = pipe.cuts.saturating_add_signed(by);
            if pipe.cuts == 0 {
                self.release_held(*link, *direction);
            }
        }
    }

    fn slow(&mut self, node: usize, factor: u64) {
        for (link, direction) in self.pipes_of(node, Ways::Both) {
            self.links[link].pipes[direction].factor = factor;
        }
    }

    /// A node that stood still goes on.
    pub(super) fn go_on(&mut self, node: usize) {
        self.hosts[node].paused -= 1;
        if self.hosts[node].paused > 0 {
            return;
        }
        self.turn_soon(node);
        for link in 0..self.links.len() {
            if self.links[link].end_of(node).is_some() {
                self.read_on(node, link);
                if self.links[link].ends[0] == End::Node(node) && !self.links[link].open[0] {
                    self.dial_after(link, 1);
                }
            }
        }
    }
}

/// The pipes of a link, seen from one end.
fn pipes(link: usize, end: usize, ways: Ways) -> Vec<(usize, usize)> {
    match ways {
        Ways::Both => vec![(link, 0), (link, 1)],
        Ways::Out => vec![(link, end)],
        Ways::In => vec![(link, 1 - end)],
    }
}

/// Flips a bit of a sector that was written; whether the drawn one was.
fn flip(bytes: &mut [u8], draw: u64) -> bool {
    let at = (draw >> 3) as usize % bytes.len();
    let sector = at / 512 * 512;
    let is_written = bytes[sector..].iter().take(512).any(|byte| *byte != 0);
    if is_written {
        bytes[at] ^= 1 << (draw & 7);
    }
    is_written
}
