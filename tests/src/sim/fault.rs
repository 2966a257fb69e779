//! What can go wrong.

// Fields have their units in their names; a kind is said by its fault.
#![allow(missing_docs)]

use std::fmt;

/// One thing that goes wrong, where, and for how long. Nodes are counted from 0, coordinators first; links likewise.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// A node's power is cut between two of its steps, with that of another one perhaps.
    Crash { node: usize, with: Option<usize>, down_us: u64 },
    /// A node's power is cut within the nth operation of its disk from now on.
    CrashInDisk { node: usize, nth: u64, down_us: u64 },
    /// A node crashes, and again within the nth operation of its recovery's disk.
    CrashInRecovery { node: usize, nth: u64, down_us: u64 },
    /// A node stops cleanly.
    Stop { node: usize, down_us: u64 },
    /// The nth operation of a node's disk fails, or writes a part.
    DiskError { node: usize, nth: u64, short: bool, down_us: u64 },
    /// A node's disk takes no new files for a while.
    NoSpace { node: usize, for_us: u64 },
    /// A node's disk is slow for a while.
    SlowDisk { node: usize, factor: u64, for_us: u64 },
    /// A bit of what is durable flips; the node notices when it starts the next time.
    BitRot { node: usize, down_us: u64 },
    /// The disk acknowledges a write and does not do it; the node crashes soon.
    LostWrite { node: usize, nth: u64, down_us: u64 },
    /// The disk acknowledges a write and does it elsewhere; the node crashes soon.
    MisdirectedWrite { node: usize, nth: u64, down_us: u64 },
    /// A node crashes, and comes back with an older copy of its data directory.
    OldDirectory { node: usize, kept_us: u64, down_us: u64 },
    /// The nth message on a link from now on is lost.
    Lose { link: usize, back: bool, nth: u64 },
    /// It comes twice, the second time later.
    Duplicate { link: usize, back: bool, nth: u64, later_us: u64 },
    /// It comes later.
    Delay { link: usize, back: bool, nth: u64, later_us: u64 },
    /// It comes after the one behind it.
    Reorder { link: usize, back: bool, nth: u64 },
    /// Nothing passes between a node and all others, or only one way.
    Isolate { node: usize, ways: Ways, for_us: u64 },
    /// Nothing passes on a link, or only one way.
    Partition { link: usize, ways: Ways, for_us: u64 },
    /// Everything takes longer on a node's links.
    SlowPeer { node: usize, factor: u64, for_us: u64 },
    /// A node stands still.
    Pause { node: usize, for_us: u64 },
    /// A connection breaks.
    Reconnect { link: usize },
    /// A node's clock jumps ahead while it runs.
    ClockJump { node: usize, by_us: u64 },
    /// A node crashes, and its clock shows an earlier time when it is back.
    ClockBack { node: usize, by_us: u64, down_us: u64 },
    /// All clients ask for many transactions at once.
    Overload { more: usize, for_us: u64 },
    /// A client asks for so many answers of the largest size, and reads none for a while.
    Flood { client: usize, answers: usize, for_us: u64 },
    /// A client asks for so many scans of all rows at once, and leaves without their answers.
    ScanFlood { client: usize, scans: usize, for_us: u64 },
    /// A client asks for so many transactions with large values at once.
    LargeFlood { client: usize, writes: usize },
    /// A node's disk takes seconds for a write, for a while.
    CrawlingDisk { node: usize, factor: u64, for_us: u64 },
    /// A coordinator stands still while a second process works on a copy of its directory; then it goes on, or starts again.
    SecondProcess { node: usize, alone_us: u64, restarts: u32, is_beside: bool, for_us: u64 },
    /// A coordinator crashes, and two processes start, one on its directory and one on a copy.
    EqualEpochs { node: usize, for_us: u64 },
    /// A second process starts on an empty directory under the number of a coordinator.
    EmptyDirectory { node: usize, for_us: u64 },
}

/// Which directions are cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ways {
    /// Both.
    Both,
    /// What the first sends.
    Out,
    /// What it is sent.
    In,
}

/// The kinds of faults, as they are counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    Crash,
    CrashTogether,
    CrashInDisk,
    CrashInRecovery,
    Stop,
    DiskError,
    ShortWrite,
    NoSpace,
    SlowDisk,
    BitRot,
    LostWrite,
    MisdirectedWrite,
    OldDirectory,
    Lose,
    Duplicate,
    Delay,
    Reorder,
    TwoWayPartition,
    OneWayPartition,
    SlowPeer,
    Pause,
    Reconnect,
    ClockJump,
    ClockBack,
    Overload,
    Flood,
    ScanFlood,
    LargeFlood,
    CrawlingDisk,
    SecondProcess,
    EqualEpochs,
    EmptyDirectory,
}

impl Kind {
    /// All of them.
    pub const ALL: [Self; 32] = [
        Self::Crash,
        Self::CrashTogether,
        Self::CrashInDisk,
        Self::CrashInRecovery,
        Self::Stop,
        Self::DiskError,
        Self::ShortWrite,
        Self::NoSpace,
        Self::SlowDisk,
        Self::BitRot,
        Self::LostWrite,
        Self::MisdirectedWrite,
        Self::OldDirectory,
        Self::Lose,
        Self::Duplicate,
        Self::Delay,
        Self::Reorder,
        Self::TwoWayPartition,
        Self::OneWayPartition,
        Self::SlowPeer,
        Self::Pause,
        Self::Reconnect,
        Self::ClockJump,
        Self::ClockBack,
        Self::Overload,
        Self::Flood,
        Self::ScanFlood,
        Self::LargeFlood,
        Self::CrawlingDisk,
        Self::SecondProcess,
        Self::EqualEpochs,
        Self::EmptyDirectory,
    ];

    /// Whether only worlds that are made for it have it.
    #[must_use]
    pub fn is_of_few_worlds(self) -> bool {
        matches!(self, Self::Flood | Self::ScanFlood | Self::LargeFlood | Self::CrawlingDisk) || self.is_of_identity()
    }

    /// Whether it is about who may speak for a number.
    #[must_use]
    pub fn is_of_identity(self) -> bool {
        matches!(self, Self::SecondProcess | Self::EqualEpochs | Self::EmptyDirectory)
    }

    /// Whether it destroys what was durable, so that a node may have to say so.
    #[must_use]
    pub fn is_damage(self) -> bool {
        matches!(self, Self::BitRot | Self::LostWrite | Self::MisdirectedWrite | Self::OldDirectory)
    }
}

impl Fault {
    /// Its kind.
    #[must_use]
    pub fn kind(&self) -> Kind {
        match self {
            Self::Crash { with: None, .. } => Kind::Crash,
            Self::Crash { with: Some(_), .. } => Kind::CrashTogether,
            Self::CrashInDisk { .. } => Kind::CrashInDisk,
            Self::CrashInRecovery { .. } => Kind::CrashInRecovery,
            Self::Stop { .. } => Kind::Stop,
            Self::DiskError { short: false, .. } => Kind::DiskError,
            Self::DiskError { short: true, .. } => Kind::ShortWrite,
            Self::NoSpace { .. } => Kind::NoSpace,
            Self::SlowDisk { .. } => Kind::SlowDisk,
            Self::BitRot { .. } => Kind::BitRot,
            Self::LostWrite { .. } => Kind::LostWrite,
            Self::MisdirectedWrite { .. } => Kind::MisdirectedWrite,
            Self::OldDirectory { .. } => Kind::OldDirectory,
            Self::Lose { .. } => Kind::Lose,
            Self::Duplicate { .. } => Kind::Duplicate,
            Self::Delay { .. } => Kind::Delay,
            Self::Reorder { .. } => Kind::Reorder,
            Self::Isolate { ways: Ways::Both, .. } | Self::Partition { ways: Ways::Both, .. } => Kind::TwoWayPartition,
            Self::Isolate { .. } | Self::Partition { .. } => Kind::OneWayPartition,
            Self::SlowPeer { .. } => Kind::SlowPeer,
            Self::Pause { .. } => Kind::Pause,
            Self::Reconnect { .. } => Kind::Reconnect,
            Self::ClockJump { .. } => Kind::ClockJump,
            Self::ClockBack { .. } => Kind::ClockBack,
            Self::Overload { .. } => Kind::Overload,
            Self::Flood { .. } => Kind::Flood,
            Self::ScanFlood { .. } => Kind::ScanFlood,
            Self::LargeFlood { .. } => Kind::LargeFlood,
            Self::CrawlingDisk { .. } => Kind::CrawlingDisk,
            Self::SecondProcess { .. } => Kind::SecondProcess,
            Self::EqualEpochs { .. } => Kind::EqualEpochs,
            Self::EmptyDirectory { .. } => Kind::EmptyDirectory,
        }
    }
}

/// A fault of a plan: it happens once so many transactions have been answered, and a moment later.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Planned {
    /// Its number in the plan.
    pub number: usize,
    /// Answers before it.
    pub after: u64,
    /// The moment, in microseconds.
    pub delay_us: u64,
    /// What it is.
    pub fault: Fault,
}

impl fmt::Display for Planned {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: after {} answers and {} us: {:?}", self.number, self.after, self.delay_us, self.fault)
    }
}
