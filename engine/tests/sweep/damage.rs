//! One change of a log's files, and the changes that a sweep makes.

use std::collections::BTreeSet;

use engine::Lsn;
use engine::memory::Memory;

use super::common::SEGMENT_BYTES;
use super::logs::{File, Log};

pub const SECTOR: usize = 512;
const COPY_BYTES: usize = 64 << 10;

/// One change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Damage {
    None,
    Bit {
        file: File,
        bit: usize,
    },
    Truncate {
        file: File,
        length: usize,
    },
    Zero {
        file: File,
        sector: usize,
    },
    Swap {
        sectors: [(u32, usize); 2],
    },
    Delete {
        file: File,
    },
    /// The file becomes what another segment is.
    Exchange {
        slot: u32,
        by: u32,
    },
    /// The file becomes what it was before (`Log::older`).
    Older {
        number: usize,
    },
}

/// A family of changes, one for each row of the report.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sweep {
    Undamaged,
    Bits,
    SuperblockBits,
    Truncations,
    Zeros,
    Swaps,
    Deletions,
    Exchanges,
    Older,
}

impl Sweep {
    pub const ALL: [Sweep; 9] = [
        Sweep::Undamaged,
        Sweep::Bits,
        Sweep::SuperblockBits,
        Sweep::Truncations,
        Sweep::Zeros,
        Sweep::Swaps,
        Sweep::Deletions,
        Sweep::Exchanges,
        Sweep::Older,
    ];

    pub fn name(self) -> &'static str {
        match self {
            Sweep::Undamaged => "undamaged",
            Sweep::Bits => "bits of segments",
            Sweep::SuperblockBits => "bits of superblock",
            Sweep::Truncations => "truncations",
            Sweep::Zeros => "zeroed sectors",
            Sweep::Swaps => "swapped sectors",
            Sweep::Deletions => "deleted files",
            Sweep::Exchanges => "exchanged files",
            Sweep::Older => "older files",
        }
    }

    /// Whether a case is one change at one place, which may cost the last group at most.
    pub fn is_local(self) -> bool {
        match self {
            Sweep::Undamaged | Sweep::Bits | Sweep::SuperblockBits | Sweep::Truncations | Sweep::Zeros => true,
            Sweep::Swaps | Sweep::Deletions | Sweep::Exchanges | Sweep::Older => false,
        }
    }

    /// How many changes there are.
    pub fn cases(self, log: &Log) -> usize {
        let segments = log.segments();
        match self {
            Sweep::Undamaged => 1,
            Sweep::Bits => segments.len() * SEGMENT_BYTES as usize * 8,
            Sweep::SuperblockBits => log.files[&File::Superblock].len() * 8,
            Sweep::Truncations => log.files.values().map(Vec::len).sum(),
            Sweep::Zeros => log.files.values().map(|bytes| bytes.len() / SECTOR).sum(),
            Sweep::Swaps => {
                let sectors = log.last_sectors().len();
                sectors * (sectors - 1) / 2
            }
            Sweep::Deletions => log.files.len(),
            Sweep::Exchanges => segments.len() * (segments.len() - 1),
            Sweep::Older => log.older.len(),
        }
    }

    /// The change with this number.
    pub fn case(self, log: &Log, number: usize) -> Damage {
        let segments = log.segments();
        match self {
            Sweep::Undamaged => Damage::None,
            Sweep::Bits => {
                let bits = SEGMENT_BYTES as usize * 8;
                Damage::Bit { file: File::Segment(segments[number / bits]), bit: number % bits }
            }
            Sweep::SuperblockBits => Damage::Bit { file: File::Superblock, bit: number },
            Sweep::Truncations => {
                let (file, length) = log.locate(number, 1);
                Damage::Truncate { file, length }
            }
            Sweep::Zeros => {
                let (file, sector) = log.locate(number, SECTOR);
                Damage::Zero { file, sector }
            }
            Sweep::Swaps => {
                let sectors = log.last_sectors();
                let mut pairs = (0..sectors.len()).flat_map(|b| (0..b).map(move |a| (a, b)));
                let (a, b) = pairs.nth(number).unwrap();
                Damage::Swap { sectors: [sectors[a], sectors[b]] }
            }
            Sweep::Deletions => Damage::Delete { file: *log.files.keys().nth(number).unwrap() },
            Sweep::Exchanges => {
                let (slot, by) = (number / (segments.len() - 1), number % (segments.len() - 1));
                Damage::Exchange { slot: segments[slot], by: segments[by + usize::from(by >= slot)] }
            }
            Sweep::Older => Damage::Older { number },
        }
    }
}

impl Log {
    pub fn segments(&self) -> Vec<u32> {
        let slot = |file: &File| match file {
            File::Superblock => None,
            File::Segment(slot) => Some(*slot),
        };
        self.files.keys().filter_map(slot).collect()
    }

    /// The file, and the unit in it, of the unit with this number in all files.
    fn locate(&self, number: usize, unit_bytes: usize) -> (File, usize) {
        let mut rest = number;
        for (&file, bytes) in &self.files {
            let units = bytes.len() / unit_bytes;
            if rest < units {
                return (file, rest);
            }
            rest -= units;
        }
        panic!("there is no unit {number}");
    }

    /// Slot and number of each sector of the last two groups that hold records or seals.
    fn last_sectors(&self) -> Vec<(u32, usize)> {
        let last = self.groups.iter().rev().take(2);
        let mut sectors: Vec<(u32, usize)> = last
            .flat_map(|(start, end)| (start.0 / SECTOR as u64)..(end.0 / SECTOR as u64))
            .map(|sector| {
                let lsn = sector * SECTOR as u64;
                (self.listed[&(lsn / SEGMENT_BYTES)], (lsn % SEGMENT_BYTES) as usize / SECTOR)
            })
            .collect();
        sectors.sort_unstable();
        sectors
    }

    /// Position in the log of a place in a segment, if the segment is listed.
    pub fn lsn(&self, slot: u32, offset: usize) -> Option<Lsn> {
        let index = self.listed.iter().find(|(_, listed)| **listed == slot)?.0;
        Some(Lsn(index * SEGMENT_BYTES + offset as u64))
    }

    fn is_dead(&self, file: File, offset: usize) -> bool {
        match file {
            File::Superblock => false,
            File::Segment(slot) => self.lsn(slot, offset).is_none_or(|lsn| lsn >= self.tail),
        }
    }
}

fn edit<T>(memory: &Memory, file: File, change: impl FnOnce(&mut Vec<u8>) -> T) -> T {
    match file {
        File::Superblock => memory.edit_superblock(change),
        File::Segment(slot) => memory.edit_segment(slot, change),
    }
    .unwrap()
}

fn sector(number: usize) -> std::ops::Range<usize> {
    number * SECTOR..(number + 1) * SECTOR
}

impl Damage {
    /// The files that are changed.
    pub fn files(&self, log: &Log) -> BTreeSet<File> {
        match self {
            Damage::None => BTreeSet::new(),
            Damage::Bit { file, .. }
            | Damage::Truncate { file, .. }
            | Damage::Zero { file, .. }
            | Damage::Delete { file } => BTreeSet::from([*file]),
            Damage::Swap { sectors } => sectors.iter().map(|(slot, _)| File::Segment(*slot)).collect(),
            Damage::Exchange { slot, .. } => BTreeSet::from([File::Segment(*slot)]),
            Damage::Older { number } => BTreeSet::from([log.older[*number].0]),
        }
    }

    /// Whether a log with this damage must open: nothing that was acknowledged was touched.
    pub fn is_none(&self, log: &Log) -> bool {
        match self {
            Damage::None => true,
            Damage::Bit { file: File::Superblock, .. } | Damage::Zero { file: File::Superblock, .. } => true,
            Damage::Truncate { file: File::Superblock, length } => *length >= COPY_BYTES,
            Damage::Bit { file, bit } => log.is_dead(*file, bit / 8),
            Damage::Zero { file, sector: number } => {
                log.is_dead(*file, number * SECTOR) || log.files[file][sector(*number)].iter().all(|byte| *byte == 0)
            }
            Damage::Swap { sectors: [a, b] } => {
                let content = |(slot, number): (u32, usize)| &log.files[&File::Segment(slot)][sector(number)];
                content(*a) == content(*b)
            }
            Damage::Truncate { file, .. } | Damage::Delete { file } => {
                *file != File::Superblock && log.is_dead(*file, 0) && !self.is_listed(log)
            }
            Damage::Exchange { .. } | Damage::Older { .. } => false,
        }
    }

    fn is_listed(&self, log: &Log) -> bool {
        let listed = |file: &File| log.listed.values().any(|slot| File::Segment(*slot) == *file);
        self.files(log).iter().any(listed)
    }

    /// The last position that is not what it was: a refusal names it or one before. `None` if that says nothing.
    pub fn last_lsn(&self, log: &Log) -> Option<Lsn> {
        match self {
            Damage::None => None,
            Damage::Bit { file: File::Segment(slot), bit } => log.lsn(*slot, bit / 8),
            Damage::Zero { file: File::Segment(slot), sector } => log.lsn(*slot, (sector + 1) * SECTOR - 1),
            Damage::Truncate { file: File::Segment(slot), length } => log.lsn(*slot, *length),
            Damage::Swap { sectors } => {
                sectors.iter().filter_map(|(slot, sector)| log.lsn(*slot, (sector + 1) * SECTOR - 1)).max()
            }
            Damage::Delete { file: File::Segment(slot) } | Damage::Exchange { slot, .. } => {
                log.lsn(*slot, SEGMENT_BYTES as usize - 1)
            }
            Damage::Bit { .. } | Damage::Zero { .. } | Damage::Truncate { .. } | Damage::Delete { .. } => {
                Some(log.tail)
            }
            Damage::Older { .. } => None,
        }
    }

    /// Makes the change in `memory`, which holds `log`.
    pub fn apply(&self, memory: &Memory, log: &Log) {
        match self {
            Damage::None => {}
            Damage::Bit { file, bit } => edit(memory, *file, |bytes| bytes[bit / 8] ^= 1 << (bit % 8)),
            Damage::Truncate { file, length } => edit(memory, *file, |bytes| bytes.truncate(*length)),
            Damage::Zero { file, sector: number } => edit(memory, *file, |bytes| bytes[sector(*number)].fill(0)),
            Damage::Swap { sectors: [a, b] } => {
                for (to, from) in [(a, b), (b, a)] {
                    let content = &log.files[&File::Segment(from.0)][sector(from.1)];
                    edit(memory, File::Segment(to.0), |bytes| bytes[sector(to.1)].copy_from_slice(content));
                }
            }
            Damage::Delete { file: File::Superblock } => assert!(memory.remove_superblock()),
            Damage::Delete { file: File::Segment(slot) } => assert!(memory.remove_segment(*slot)),
            Damage::Exchange { slot, by } => {
                edit(memory, File::Segment(*slot), |bytes| bytes.clone_from(&log.files[&File::Segment(*by)]));
            }
            Damage::Older { number } => {
                let (file, content) = &log.older[*number];
                edit(memory, *file, |bytes| bytes.clone_from(content));
            }
        }
    }

    /// Whether `undo` can take the change back; if not, it needs a disk of its own.
    pub fn can_undo(&self) -> bool {
        !matches!(self, Damage::Delete { .. })
    }

    /// Takes the change back.
    pub fn undo(&self, memory: &Memory, log: &Log) {
        for file in self.files(log) {
            let content = &log.files[&file];
            edit(memory, file, |bytes| match self {
                Damage::Bit { bit, .. } => bytes[bit / 8] = content[bit / 8],
                Damage::Zero { sector: number, .. } => {
                    bytes[sector(*number)].copy_from_slice(&content[sector(*number)])
                }
                Damage::Truncate { length, .. } => bytes.extend_from_slice(&content[*length..]),
                Damage::None
                | Damage::Swap { .. }
                | Damage::Delete { .. }
                | Damage::Exchange { .. }
                | Damage::Older { .. } => bytes.clone_from(content),
            });
        }
    }
}

/// Takes back what opening the log wrote.
pub fn undo_open(memory: &Memory, log: &Log) {
    edit(memory, File::Superblock, |bytes| bytes.clone_from(&log.files[&File::Superblock]));
}
