//! A node with what it runs on: its disk, its clock, and who starts it again.

use std::collections::BTreeSet;

use coordinator::Coordinator;
use engine::memory::{Memory, MemoryDisk};
use engine::{RecoveryReport, Room};
use node::{NodeConfig, NodeError, SimulatedNode};
use participant::Participant;
use protocol::{
    ClusterId, Effects, InDoubt, Logged, Machine, Message, NodeId, Origin, Owed, Process, Record, Role, StartError,
    Tick, TxnId, Unwelcome,
};

use crate::sim::plan::Setup;

/// The cluster of every world.
pub const CLUSTER: ClusterId = ClusterId(7);

/// When every world begins, in microseconds since 1970: clocks may go back from there.
const EPOCH_US: u64 = 1_700_000_000_000_000;

/// The machine of a node of either role.
pub enum Either {
    /// A coordinator's.
    Coordinator(Box<Coordinator>),
    /// A participant's.
    Participant(Box<Participant>),
}

impl Either {
    fn machine(&self) -> &dyn Machine {
        match self {
            Self::Coordinator(machine) => machine.as_ref(),
            Self::Participant(machine) => machine.as_ref(),
        }
    }

    fn machine_mut(&mut self) -> &mut dyn Machine {
        match self {
            Self::Coordinator(machine) => machine.as_mut(),
            Self::Participant(machine) => machine.as_mut(),
        }
    }

    /// Which process of a coordinator a participant heeds.
    #[must_use]
    pub fn heeded(&self, coordinator: u32) -> Option<Process> {
        match self {
            Self::Coordinator(_) => None,
            Self::Participant(machine) => Some(machine.heeded(coordinator)),
        }
    }

    /// Transactions that have not ended here.
    #[must_use]
    pub fn in_flight(&self) -> usize {
        match self {
            Self::Coordinator(machine) => machine.unfinished_txns(),
            Self::Participant(machine) => machine.in_flight_txns(),
        }
    }
}

impl Machine for Either {
    fn replay(&mut self, at: Logged, record: Record) {
        self.machine_mut().replay(at, record);
    }

    fn start(&mut self, now: Tick, origin: Origin, effects: &mut Effects<'_>) -> Result<(), StartError> {
        self.machine_mut().start(now, origin, effects)
    }

    fn welcome(&self, node: NodeId, process: Process) -> Result<(), Unwelcome> {
        self.machine().welcome(node, process)
    }

    fn handle(&mut self, now: Tick, from: NodeId, message: Message, effects: &mut Effects<'_>) {
        self.machine_mut().handle(now, from, message, effects);
    }

    fn tick(&mut self, now: Tick, effects: &mut Effects<'_>) {
        self.machine_mut().tick(now, effects);
    }

    fn next_tick(&self) -> Option<Tick> {
        self.machine().next_tick()
    }

    fn has_work(&self) -> bool {
        self.machine().has_work()
    }

    fn process(&self) -> Process {
        self.machine().process()
    }

    fn checkpoint(&mut self, from: u64, effects: &mut Effects<'_>) -> Option<u64> {
        self.machine_mut().checkpoint(from, effects)
    }

    fn owes(&self) -> Owed {
        self.machine().owes()
    }

    fn in_doubt(&self) -> Vec<InDoubt> {
        self.machine().in_doubt()
    }
}

/// A node that runs.
pub type Running = SimulatedNode<Either, MemoryDisk>;

/// What a node is doing.
pub enum State {
    /// It runs.
    Up(Box<Running>),
    /// It does not, and will be started.
    Down,
    /// It refuses to start, and says why: an operator is called.
    Refused(String),
}

/// One node's machine.
pub struct Host {
    /// Who it is.
    pub id: NodeId,
    /// Its disk, which outlives it.
    pub memory: Memory,
    /// What it is doing.
    pub state: State,
    /// Counts its starts: what was meant for an earlier one does not reach a later one.
    pub boot: u64,
    /// How many faults make it stand still now.
    pub paused: u32,
    /// The next turn, in the world's time.
    pub turn_at: Option<u64>,
    /// Whether the end of a write in flight is due already.
    pub is_writing: bool,
    /// Whether the end of a background job of its log is due already.
    pub is_working: bool,
    /// How much slower the disk is now.
    pub disk_factor: u64,
    /// Up to where its log was durable when it was last seen, and before the last group.
    durable: [u64; 2],
    /// Transactions that it has acknowledged since its start.
    pub acknowledged: BTreeSet<TxnId>,
    /// Where its log ended when all was asked for.
    quiet_from: Option<u64>,
    /// How often something durable was destroyed.
    pub damages: u32,
    /// How far its clock is ahead of the world's: it does not go back while its node runs.
    ahead_us: u64,
    drift_ppm: i64,
    alarms_before: u64,
    successions_before: u64,
    /// Every start of its log.
    pub starts: Vec<Process>,
    /// The epoch under which it starts at least.
    pub first_epoch: u32,
}

impl Host {
    /// A node that does not run yet.
    #[must_use]
    pub fn new(number: usize, setup: &Setup) -> Self {
        let id = match number.checked_sub(setup.coordinators) {
            None => NodeId::coordinator(1 + number as u32),
            Some(participant) => NodeId::participant(1 + participant as u32),
        };
        Self {
            id,
            memory: Memory::new(),
            state: State::Down,
            boot: 0,
            paused: 0,
            turn_at: None,
            is_writing: false,
            is_working: false,
            disk_factor: 1,
            durable: [0; 2],
            acknowledged: BTreeSet::new(),
            quiet_from: None,
            damages: 0,
            ahead_us: setup.clocks_ahead_us[number],
            drift_ppm: setup.drifts_ppm[number],
            alarms_before: 0,
            successions_before: 0,
            starts: Vec::new(),
            first_epoch: 1,
        }
    }

    /// One that has the same number and clock on a disk of its own, and does not run yet.
    #[must_use]
    pub fn beside(first: &Self, memory: Memory, boot: u64) -> Self {
        Self {
            id: first.id,
            memory,
            state: State::Down,
            boot,
            paused: 0,
            turn_at: None,
            is_writing: false,
            is_working: false,
            disk_factor: 1,
            durable: [0; 2],
            acknowledged: BTreeSet::new(),
            quiet_from: None,
            damages: first.damages,
            ahead_us: first.ahead_us,
            drift_ppm: first.drift_ppm,
            alarms_before: 0,
            successions_before: 0,
            starts: first.starts.clone(),
            first_epoch: 1,
        }
    }

    /// The node, if it runs.
    pub fn up(&mut self) -> Option<&mut Running> {
        match &mut self.state {
            State::Up(running) => Some(running),
            State::Down | State::Refused(_) => None,
        }
    }

    /// The node, if it runs and does not stand still.
    pub fn awake(&mut self) -> Option<&mut Running> {
        if self.paused > 0 { None } else { self.up() }
    }

    /// Whether it runs.
    #[must_use]
    pub fn is_up(&self) -> bool {
        matches!(self.state, State::Up(_))
    }

    /// What its clock shows.
    #[must_use]
    pub fn clock_us(&self, now: u64) -> u64 {
        let passed = i128::from(now) * i128::from(1_000_000 + self.drift_ppm) / 1_000_000;
        EPOCH_US + self.ahead_us + passed as u64
    }

    /// When its clock will show `us`, in the world's time; not before the next microsecond.
    #[must_use]
    pub fn when(&self, us: u64, now: u64) -> u64 {
        let to_go = us.saturating_sub(self.clock_us(now));
        let passed = i128::from(to_go) * 1_000_000 / i128::from(1_000_000 + self.drift_ppm);
        now + 1 + passed as u64
    }

    /// Its clock jumps: ahead at any time, back only while it does not run.
    pub fn jump(&mut self, by_us: i64) {
        self.ahead_us = self.ahead_us.saturating_add_signed(by_us);
    }

    /// Starts it on what its disk holds.
    ///
    /// # Errors
    /// Why it does not start.
    pub fn start(&mut self, now: u64, setup: &Setup) -> Result<RecoveryReport, NodeError> {
        self.memory.hold(false);
        let clock_us = self.clock_us(now);
        let (memory, id) = (self.memory.clone(), self.id);
        let config = NodeConfig { first_epoch: self.first_epoch, ..config(id, setup) };
        let started =
            SimulatedNode::start(config, memory.storage(), memory.disk(), clock_us, |table| match id.role() {
                Role::Coordinator => Either::Coordinator(Box::new(Coordinator::new(coordinator_config(id, setup)))),
                Role::Client | Role::Participant => {
                    Either::Participant(Box::new(Participant::new(participant_config(id, setup), table)))
                }
            });
        self.memory.hold(true);
        let (running, report) = started?;
        running.pace().hold(setup.job_us > 0);
        self.boot += 1;
        self.starts.push(running.machine().process());
        self.state = State::Up(Box::new(running));
        Ok(report)
    }

    /// Takes notice of how far the log is durable.
    pub fn note_durable(&mut self) {
        if let State::Up(running) = &self.state {
            let durable = running.store().durable().0;
            if durable > self.durable[0] {
                self.durable = [durable, self.durable[0]];
            }
        }
    }

    /// Nothing is asked for any more.
    pub fn note_quiet(&mut self) {
        self.quiet_from = self.up().map(|running| running.store().end().0);
    }

    /// Where its log ended then, if nothing was logged since and an idle log is sealed.
    #[must_use]
    pub fn idle_from(&self) -> Option<u64> {
        let State::Up(running) = &self.state else { return None };
        let store = running.store();
        let may_tell = self.damages == 0 && store.room() == Room::Plenty;
        self.quiet_from.filter(|from| may_tell && *from == store.end().0)
    }

    /// It has another log now, of which nothing is known.
    pub fn forget_durable(&mut self) {
        self.durable = [0; 2];
    }

    /// Where its log must not end before: what was durable stays, but for the last group if something was destroyed, of which
    /// nothing else says that it was durable.
    #[must_use]
    pub fn kept_until(&self) -> u64 {
        match self.damages {
            0 => self.durable[0],
            1 => self.durable[1],
            _ => 0,
        }
    }

    /// Its log was read again up to here, and its superblock says so.
    pub fn was_read(&mut self, tail: u64) {
        self.durable = [tail; 2];
    }

    /// It ends without a word; of what its disk had not made durable, anything may survive.
    pub fn crash(&mut self, seed: u64) {
        self.leave();
        self.memory.crash(seed);
    }

    /// It is not there any more; its disk stays as it is.
    pub fn leave(&mut self) -> Option<Box<Running>> {
        (self.alarms_before, self.successions_before) = (self.alarms(), self.succession_alarms());
        self.turn_at = None;
        self.is_writing = false;
        self.is_working = false;
        match std::mem::replace(&mut self.state, State::Down) {
            State::Up(running) => Some(running),
            State::Down | State::Refused(_) => None,
        }
    }

    /// Alarms that it has written down, at all its starts.
    #[must_use]
    pub fn alarms(&self) -> u64 {
        match &self.state {
            State::Up(running) => self.alarms_before + running.alarms(),
            State::Down | State::Refused(_) => self.alarms_before,
        }
    }
}

impl Host {
    /// Those of its alarms that say that a process has been superseded.
    #[must_use]
    pub fn succession_alarms(&self) -> u64 {
        match &self.state {
            State::Up(running) => self.successions_before + running.succession_alarms(),
            State::Down | State::Refused(_) => self.successions_before,
        }
    }
}

fn config(id: NodeId, setup: &Setup) -> NodeConfig {
    NodeConfig {
        role: id.role(),
        number: id.number(),
        cluster: CLUSTER,
        listen: String::new(),
        data: format!("{id}").into(),
        peers: Vec::new(),
        first_epoch: 1,
        segment_bytes: setup.segment_bytes,
        segments_max: engine::limits::SEGMENTS_DEFAULT,
        memory_max: None,
        checkpoint_bytes: setup.checkpoint_bytes,
        seal_idle: std::time::Duration::from_micros(setup.seal_idle_us),
        scrub_bytes_per_second: 0,
        scrub_pause: std::time::Duration::ZERO,
        connections_max: 1_000,
        outbox_bytes_max: setup.outbox_bytes_max,
        hello_timeout: std::time::Duration::from_secs(5),
    }
}

fn coordinator_config(id: NodeId, setup: &Setup) -> coordinator::Config {
    let participants = (1..=setup.participants as u32).collect();
    let mut config = coordinator::Config::new(id.number(), CLUSTER, participants);
    config.max_concurrent_txns = setup.max_concurrent_txns;
    config.prepare_timeout_us = setup.prepare_timeout_us;
    config.lock_wait_ms = setup.lock_wait_ms;
    config.resend_interval_us = setup.resend_interval_us;
    config
}

fn participant_config(id: NodeId, setup: &Setup) -> participant::Config {
    let mut config = participant::Config::new(id.number(), CLUSTER);
    config.in_flight_txns_max = setup.in_flight_txns_max;
    config.ask_interval_us = setup.ask_interval_us;
    config
}
