//! What a seed means: the sizes and settings of a world, and what goes wrong in it.

use std::collections::BTreeSet;

use node::limits::OUTBOX_BYTES_MIN;

use crate::judge::Layout;
use crate::random::Random;
use crate::sim::fault::{Fault, Kind, Planned, Ways};
use crate::workload::Workload;
use crate::workload::bank::Bank;
use crate::workload::bulk::Bulk;
use crate::workload::lists::Lists;
use crate::workload::pages::Pages;
use crate::workload::ring::Ring;
use crate::workload::sums::Sums;

/// See [`Setup::guest_served_us_max`]. Nodes may have to start and to find each other first, and what was under way may have
/// to be told again.
const GUEST_SERVED_US_MAX: u64 = 10_000_000;

/// Everything that is drawn before a run begins. What happens follows from it alone.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Where it comes from.
    pub seed: u64,
    /// Sizes and settings.
    pub setup: Setup,
    /// What goes wrong.
    pub faults: Vec<Planned>,
}

/// Sizes and settings of a world.
#[derive(Clone, Debug)]
pub struct Setup {
    /// How many participants.
    pub participants: usize,
    /// How many coordinators.
    pub coordinators: usize,
    /// How many clients.
    pub clients: usize,
    /// Transactions that a client has under way at once.
    pub in_flight: usize,
    /// Transactions that all clients ask for in all.
    pub transactions: u64,
    /// What they ask for; 0 where they do not.
    pub load: Load,
    /// Deadline of a transaction, in milliseconds.
    pub deadline_ms: u32,
    /// How long a client waits for an answer before it asks again, in microseconds.
    pub patience_us: u64,
    /// Size of a segment.
    pub segment_bytes: u64,
    /// Log between two checkpoints.
    pub checkpoint_bytes: u64,
    /// Idle time before a seal, in microseconds.
    pub seal_idle_us: u64,
    /// Bytes that may wait for a connection.
    pub outbox_bytes_max: usize,
    /// Least time of a message on its way, in microseconds.
    pub network_us: u64,
    /// Least time of a group's write, in microseconds.
    pub disk_us: u64,
    /// Least time of a background job of a log (a segment made, a superblock written), in microseconds; 0 if it takes none.
    pub job_us: u64,
    /// Settings of the coordinators' machines.
    pub max_concurrent_txns: usize,
    /// How long an attempt waits for votes, in microseconds.
    pub prepare_timeout_us: u64,
    /// How long it may wait for locks, in milliseconds.
    pub lock_wait_ms: u32,
    /// The first pause between two tellings of a decision, in microseconds.
    pub resend_interval_us: u64,
    /// Transactions that a participant has at once.
    pub in_flight_txns_max: usize,
    /// How long a participant stays in doubt before it asks, in microseconds.
    pub ask_interval_us: u64,
    /// Time in which a fresh client has to be served once the load has ended and all faults are undone, in microseconds.
    pub guest_served_us_max: u64,
    /// How many of a thousand messages between nodes come twice, for the whole time.
    pub duplicates_per_mille: u64,
    /// Whether what has missed its connection to a participant may come later, on one of its own.
    pub comes_late: bool,
    /// How far each node's clock is ahead of the world's, in microseconds.
    pub clocks_ahead_us: Vec<u64>,
    /// How much faster each node's clock goes, in millionths.
    pub drifts_ppm: Vec<i64>,
}

impl Setup {
    /// How many nodes.
    #[must_use]
    pub fn nodes(&self) -> usize {
        self.coordinators + self.participants
    }

    /// How many links: each coordinator with each participant, then each client with a coordinator.
    #[must_use]
    pub fn links(&self) -> usize {
        self.coordinators * self.participants + self.clients
    }

    fn draw(random: &mut Random) -> Self {
        let participants = [1, 2, 2, 3, 3, 3, 4, 5][random.below(8)];
        let coordinators = [1, 1, 1, 2, 2, 3][random.below(6)];
        let nodes = participants + coordinators;
        // The largest record of a machine fits a quarter of the smallest: a thousand outcomes.
        let segment_bytes = [160, 160, 192, 256, 512][random.below(5)] << 10;
        let drift = |random: &mut Random| random.between(0, 100_000) as i64 - 50_000;
        Self {
            participants,
            coordinators,
            clients: random.between(2, 10) as usize,
            in_flight: random.between(1, 8) as usize,
            transactions: random.between(900, 1_500),
            load: Load::draw(random),
            deadline_ms: random.scale(20, 5_000) as u32,
            patience_us: random.scale(50_000, 3_000_000),
            segment_bytes,
            checkpoint_bytes: random.scale(segment_bytes / 2, segment_bytes * 6),
            seal_idle_us: random.scale(200, 50_000),
            outbox_bytes_max: random.scale(OUTBOX_BYTES_MIN as u64, 64 << 20) as usize,
            network_us: random.scale(5, 1_000),
            disk_us: random.scale(10, 3_000),
            job_us: draw_job_us(Random(random.0 ^ 0x6A0B_5EED)),
            max_concurrent_txns: [4, 16, 4_096, 4_096, 4_096][random.below(5)],
            prepare_timeout_us: random.scale(20_000, 1_000_000),
            lock_wait_ms: random.scale(2, 500) as u32,
            resend_interval_us: random.scale(20_000, 1_000_000),
            in_flight_txns_max: [4, 16, 8_192, 8_192, 8_192][random.below(5)],
            ask_interval_us: random.scale(20_000, 1_000_000),
            guest_served_us_max: GUEST_SERVED_US_MAX,
            duplicates_per_mille: draw_duplicates(Random(random.0 ^ 0x4E7E_4710)),
            comes_late: Random(random.0 ^ 0xEA71_0003).below(4) == 0,
            clocks_ahead_us: (0..nodes).map(|_| random.between(0, 7_200_000_000)).collect(),
            drifts_ppm: (0..nodes).map(|_| drift(random)).collect(),
        }
    }
}

/// A few in some worlds, many in others.
fn draw_duplicates(mut random: Random) -> u64 {
    let few = [0, 0, 0, 0, 0, 0, 0, 5][random.below(8)];
    if random.below(8) == 0 { 50 } else { few }
}

fn draw_job_us(mut random: Random) -> u64 {
    if random.below(4) == 0 { random.scale(100, 50_000) } else { 0 }
}

/// The workloads that run side by side.
#[derive(Clone, Copy, Debug, Default)]
pub struct Load {
    /// Accounts of the bank.
    pub accounts: u32,
    /// Lists at a time, and appends to each.
    pub lists: (u32, u32),
    /// Links of the ring.
    pub links: u32,
    /// Sets of counters, and counters in each.
    pub sets: (u32, u32),
    /// Pages.
    pub pages: u32,
    /// Small rows at each participant.
    pub rows: u32,
}

impl Load {
    fn draw(random: &mut Random) -> Self {
        let mut load = Self::default();
        // One for sure, the others perhaps.
        let first = random.below(4);
        let is_on = |number: usize, random: &mut Random| first == number || random.per_mille(250);
        if is_on(0, random) {
            load.accounts = random.scale(2, 64) as u32;
        }
        if is_on(1, random) {
            load.lists = (random.scale(1, 24) as u32, random.scale(8, 64) as u32);
        }
        if is_on(2, random) {
            load.links = random.scale(4, 64) as u32;
        }
        if is_on(3, random) {
            load.sets = (random.between(2, 5) as u32, random.scale(1, 16) as u32);
        }
        load
    }

    /// The generators, in an order of their own.
    #[must_use]
    pub fn workloads(&self, participants: u32) -> Vec<Box<dyn Workload>> {
        let mut all: Vec<Box<dyn Workload>> = Vec::new();
        if self.accounts > 0 {
            all.push(Box::new(Bank::new(participants, self.accounts)));
        }
        if self.lists.0 > 0 {
            all.push(Box::new(Lists::new(participants, self.lists.0, self.lists.1)));
        }
        if self.links > 0 {
            all.push(Box::new(Ring::new(participants, self.links)));
        }
        if self.sets.0 > 0 {
            all.push(Box::new(Sums::new(participants, self.sets.0, self.sets.1)));
        }
        if self.pages > 0 {
            all.push(Box::new(Pages::new(participants, self.pages)));
        }
        if self.rows > 0 {
            all.push(Box::new(Bulk::new(participants, self.rows)));
        }
        all
    }

    /// What their judges have to know.
    #[must_use]
    pub fn layout(&self) -> Layout {
        Layout { accounts: self.accounts, links: self.links, sets: self.sets.0 }
    }
}

impl Plan {
    /// What this seed means.
    #[must_use]
    pub fn of(seed: u64) -> Self {
        let mut random = Random(seed.wrapping_mul(0x2545_F491_4F6C_DD1D) ^ 0xA55E_1717);
        let mut setup = Setup::draw(&mut random);
        let mut faults = draw_floods(&mut setup, Random(random.0 ^ 0x9A6E_5000));
        faults.extend(draw_overload(&mut setup, Random(random.0 ^ 0x0E10_AD00)));
        // Damage is rare: what comes after it is judged less severely.
        let identity = Random(random.0 ^ 0x1DE4_7177);
        let is_damaged = random.per_mille(200);
        if !is_damaged {
            faults.extend(draw_identity(&setup, identity));
        }
        for kind in Kind::ALL.into_iter().filter(|kind| !kind.is_of_few_worlds()) {
            let is_on = random.per_mille(if kind.is_damage() { 350 } else { 500 });
            let count = if kind.is_damage() { 1 } else { random.scale(1, 6) };
            if is_on && (is_damaged || !kind.is_damage()) {
                faults.extend((0..count).map(|_| draw_planned(kind, &setup, &mut random)));
            }
        }
        faults.sort_by_key(|planned| (planned.after, planned.delay_us));
        faults.iter_mut().enumerate().for_each(|(number, planned)| planned.number = number);
        Self { seed, setup, faults }
    }

    /// The same without any but these faults.
    #[must_use]
    pub fn with_only(&self, numbers: &BTreeSet<usize>) -> Self {
        let faults = self.faults.iter().filter(|planned| numbers.contains(&planned.number)).copied().collect();
        Self { faults, ..self.clone() }
    }
}

/// Few worlds have pages, which take time. In these, clients ask for more of them than may wait for a connection.
fn draw_floods(setup: &mut Setup, mut random: Random) -> Vec<Planned> {
    if random.below(32) > 0 {
        return Vec::new();
    }
    setup.load.pages = random.between(1, setup.participants as u64) as u32;
    setup.outbox_bytes_max = OUTBOX_BYTES_MIN;
    (0..random.between(1, 3)).map(|_| draw_planned(Kind::Flood, setup, &mut random)).collect()
}

/// Few worlds have many rows, which take time as well. In these, clients ask for more than can be done.
fn draw_overload(setup: &mut Setup, mut random: Random) -> Vec<Planned> {
    if random.below(16) > 0 {
        return Vec::new();
    }
    setup.load.rows = random.between(50, 150) as u32;
    let kinds = [Kind::ScanFlood, Kind::LargeFlood, Kind::CrawlingDisk];
    let mut faults = Vec::new();
    for kind in kinds {
        let count = random.between(0, 3);
        faults.extend((0..count).map(|_| draw_planned(kind, setup, &mut random)));
    }
    faults
}

/// In some worlds two processes have one number. Nothing is damaged in these: a fence that is lost fences nobody.
fn draw_identity(setup: &Setup, mut random: Random) -> Vec<Planned> {
    if random.below(4) > 0 {
        return Vec::new();
    }
    let kinds = [Kind::SecondProcess, Kind::EqualEpochs, Kind::EmptyDirectory];
    let mut faults = Vec::new();
    for kind in kinds {
        let count = [0, 1, 1, 2][random.below(4)];
        faults.extend((0..count).map(|_| draw_planned(kind, setup, &mut random)));
    }
    faults
}

fn draw_planned(kind: Kind, setup: &Setup, random: &mut Random) -> Planned {
    // Not quite to the end, so that there is something left to go wrong.
    let after = random.between(0, setup.transactions * 19 / 20);
    Planned { number: 0, after, delay_us: random.scale(1, 5_000), fault: draw(kind, setup, random) }
}

fn draw(kind: Kind, setup: &Setup, random: &mut Random) -> Fault {
    let node = random.below(setup.nodes());
    let link = random.below(setup.links());
    let back = random.per_mille(500);
    let nth = random.scale(1, 30);
    let down_us = random.scale(100, 300_000);
    let for_us = random.scale(1_000, 1_000_000);
    let later_us = random.scale(100, 500_000);
    let factor = random.scale(3, 300);
    match kind {
        Kind::Crash => Fault::Crash { node, with: None, down_us },
        Kind::CrashTogether => {
            let other = (node + 1 + random.below(setup.nodes() - 1)) % setup.nodes();
            Fault::Crash { node, with: Some(other), down_us }
        }
        Kind::CrashInDisk => Fault::CrashInDisk { node, nth, down_us },
        Kind::CrashInRecovery => Fault::CrashInRecovery { node, nth, down_us },
        Kind::Stop => Fault::Stop { node, down_us },
        Kind::DiskError => Fault::DiskError { node, nth, short: false, down_us },
        Kind::ShortWrite => Fault::DiskError { node, nth, short: true, down_us },
        Kind::NoSpace => Fault::NoSpace { node, for_us },
        Kind::SlowDisk => Fault::SlowDisk { node, factor, for_us },
        Kind::BitRot => Fault::BitRot { node, down_us },
        Kind::LostWrite => Fault::LostWrite { node, nth, down_us },
        Kind::MisdirectedWrite => Fault::MisdirectedWrite { node, nth, down_us },
        Kind::OldDirectory => Fault::OldDirectory { node, kept_us: random.scale(1_000, 1_000_000), down_us },
        Kind::Lose => Fault::Lose { link, back, nth },
        Kind::Duplicate => Fault::Duplicate { link, back, nth, later_us },
        Kind::Delay => Fault::Delay { link, back, nth, later_us },
        Kind::Reorder => Fault::Reorder { link, back, nth },
        Kind::TwoWayPartition if back => Fault::Isolate { node, ways: Ways::Both, for_us },
        Kind::TwoWayPartition => Fault::Partition { link, ways: Ways::Both, for_us },
        Kind::OneWayPartition => {
            let ways = if random.per_mille(500) { Ways::Out } else { Ways::In };
            if back { Fault::Isolate { node, ways, for_us } } else { Fault::Partition { link, ways, for_us } }
        }
        Kind::SlowPeer => Fault::SlowPeer { node, factor, for_us },
        Kind::Pause => Fault::Pause { node, for_us },
        Kind::Reconnect => Fault::Reconnect { link },
        Kind::ClockJump => Fault::ClockJump { node, by_us: random.scale(1_000, 100_000_000) },
        Kind::ClockBack => Fault::ClockBack { node, by_us: random.scale(1_000, 3_600_000_000), down_us },
        Kind::Flood => {
            let (client, answers) = (random.below(setup.clients), random.between(6, 8) as usize);
            // Long enough for them to come.
            Fault::Flood { client, answers, for_us: 200_000 + for_us }
        }
        Kind::ScanFlood => {
            let (client, scans) = (random.below(setup.clients), random.scale(20, 200) as usize);
            Fault::ScanFlood { client, scans, for_us }
        }
        Kind::LargeFlood => {
            Fault::LargeFlood { client: random.below(setup.clients), writes: random.scale(20, 200) as usize }
        }
        Kind::CrawlingDisk => Fault::CrawlingDisk { node, factor: random.scale(1_000, 10_000), for_us: 3 * for_us },
        Kind::SecondProcess => Fault::SecondProcess {
            node: random.below(setup.coordinators),
            alone_us: random.scale(1_000, 300_000),
            restarts: [0, 0, 1, 2, 3][random.below(5)],
            is_beside: back,
            for_us,
        },
        Kind::EqualEpochs => Fault::EqualEpochs { node: random.below(setup.coordinators), for_us },
        Kind::EmptyDirectory => Fault::EmptyDirectory { node: random.below(setup.coordinators), for_us },
        Kind::Overload => Fault::Overload { more: random.between(10, 100) as usize, for_us },
    }
}
