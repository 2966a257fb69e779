//! How much memory a node takes, and how much it may: at its budget nothing is stored that enlarges the table.
//!
//! What counts is what the kernel counts, without pages of files, and what a start on the same log will take besides. The
//! allocator does not give back all that is freed, but it uses it again: so while the budget is used up, the table may
//! grow to the size that it had when that was found out, and no further.
//!
//! Not here: who refuses what (`participant`).

use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use engine::Table;
use protocol::Tick;

use crate::limits::{MEMORY_BUDGET_PERCENT, MEMORY_FREED_PERCENT, MEMORY_LOOK_US};

const PAGE_BYTES: u64 = 4_096;

/// Where a limit was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Origin {
    /// The setting.
    Setting,
    /// A file of a control group.
    Group(PathBuf),
    /// The machine's memory.
    Machine,
}

/// A budget, in bytes.
#[derive(Clone, Debug)]
pub(crate) struct Budget {
    pub(crate) bytes: u64,
    pub(crate) origin: Origin,
}

impl Budget {
    /// The one that was set, or else a share of what the control group or the machine has.
    pub(crate) fn find(set: Option<u64>) -> Option<Budget> {
        if let Some(bytes) = set {
            return Some(Budget { bytes, origin: Origin::Setting });
        }
        let share = |bytes: u64| bytes / 100 * MEMORY_BUDGET_PERCENT;
        let group = group_limit(Path::new("/proc/self/cgroup"), Path::new("/sys/fs/cgroup"));
        let machine = machine_bytes();
        match (group, machine) {
            (Some((bytes, file)), machine) if machine.is_none_or(|machine| bytes < machine) => {
                Some(Budget { bytes: share(bytes), origin: Origin::Group(file) })
            }
            (_, machine) => machine.map(|bytes| Budget { bytes: share(bytes), origin: Origin::Machine }),
        }
    }
}

/// The least memory limit of this process's control groups, of either version, and the file that says so.
fn group_limit(membership: &Path, mounts: &Path) -> Option<(u64, PathBuf)> {
    let text = fs::read_to_string(membership).ok()?;
    let mut limits = Vec::new();
    for line in text.lines() {
        let mut parts = line.splitn(3, ':').skip(1);
        let (Some(controllers), Some(path)) = (parts.next(), parts.next()) else { continue };
        let (roots, file) = if controllers.is_empty() {
            (vec![mounts.to_owned(), mounts.join("unified")], "memory.max")
        } else if controllers.split(',').any(|controller| controller == "memory") {
            (vec![mounts.join("memory")], "memory.limit_in_bytes")
        } else {
            continue;
        };
        // Each group is within those above it; in a container the path may be that of the host.
        for root in roots {
            let inner = root.join(path.trim_start_matches('/'));
            let groups = inner.ancestors().take_while(|group| group.starts_with(&root));
            let files = groups.map(|group| group.join(file));
            limits.extend(files.filter_map(|file| {
                let bytes = fs::read_to_string(&file).ok()?.trim().parse::<u64>().ok()?;
                Some((bytes, file))
            }));
        }
    }
    limits.into_iter().min()
}

fn machine_bytes() -> Option<u64> {
    let text = fs::read_to_string("/proc/meminfo").ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok().map(|kib| kib << 10)
}

/// Watches what the process takes.
pub(crate) struct MemoryWatch {
    budget: Budget,
    figures: File,
    look_at: Tick,
    /// What a start on the same log takes besides the table: it reads a segment at a time.
    start_bytes: u64,
    /// The largest that was seen while the budget was used up; 0 if it is not.
    peak: u64,
}

impl MemoryWatch {
    /// Watches for this budget; `None` where the system does not tell what the process takes.
    pub(crate) fn new(budget: Budget, segment_bytes: u64) -> Option<MemoryWatch> {
        let figures = File::open("/proc/self/statm").ok()?;
        Some(MemoryWatch { budget, figures, look_at: Tick(0), start_bytes: segment_bytes, peak: 0 })
    }

    /// Bytes of this process that are no pages of files.
    fn taken(&self) -> Option<u64> {
        let mut text = [0; 128];
        let length = self.figures.read_at(&mut text, 0).ok()?;
        let mut pages = std::str::from_utf8(&text[..length]).ok()?.split(' ').skip(1).map(str::parse::<u64>);
        let (resident, of_files) = (pages.next()?.ok()?, pages.next()?.ok()?);
        Some(resident.saturating_sub(of_files) * PAGE_BYTES)
    }

    /// Looks now and then, and tells the table whether it may grow.
    pub(crate) fn look(&mut self, now: Tick, table: &Table) {
        if now < self.look_at {
            return;
        }
        self.look_at = now.plus_us(MEMORY_LOOK_US);
        let Some(taken) = self.taken() else { return };
        let needed = taken + self.start_bytes + table.sparse_bytes();
        if self.judge(needed, table) {
            let bytes = self.budget.bytes;
            tracing::warn!(
                taken,
                needed,
                budget = bytes,
                keys = table.len(),
                "the memory budget is used up: what would enlarge the table is refused (no-memory) until keys are deleted; \
                 give more with memory-max"
            );
        }
    }

    /// Whether the budget is used up now and was not before.
    fn judge(&mut self, needed: u64, table: &Table) -> bool {
        if needed < self.budget.bytes / 100 * MEMORY_FREED_PERCENT {
            if self.peak > 0 {
                tracing::warn!(needed, budget = self.budget.bytes, "there is memory again");
            }
            self.peak = 0;
            table.limit(None);
        } else if needed >= self.budget.bytes && needed > self.peak + self.peak / 100 {
            let is_new = self.peak == 0;
            self.peak = needed;
            table.limit(Some(table.memory_bytes()));
            return is_new;
        }
        false
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    fn put(table: &Table, number: u32) {
        table.apply(engine::Place::default(), 0, &number.to_be_bytes(), Some(Bytes::from_static(b"value")));
    }

    #[test]
    fn the_least_limit_of_all_groups_holds() {
        let folder = tempfile::tempdir().unwrap();
        let (membership, mounts) = (folder.path().join("cgroup"), folder.path().join("mounts"));
        let write = |path: &str, text: &str| {
            let path = mounts.join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        };
        let found = || group_limit(&membership, &mounts).map(|(bytes, _)| bytes);
        assert_eq!(found(), None);
        fs::write(&membership, "4:memory:/a/b\n3:cpu,cpuacct:/\n0::/x/y\n").unwrap();
        assert_eq!(found(), None);
        write("x/y/memory.max", "max\n");
        write("memory/a/b/memory.limit_in_bytes", "9223372036854771712\n");
        assert_eq!(found(), Some(9_223_372_036_854_771_712));
        write("x/memory.max", "3000\n");
        assert_eq!(found(), Some(3_000));
        write("memory/a/memory.limit_in_bytes", "2000\n");
        assert_eq!(found(), Some(2_000));
    }

    #[test]
    fn at_the_budget_the_table_stays_as_large_as_it_is_and_what_is_freed_is_used_again() {
        let budget = Budget { bytes: 1_000, origin: Origin::Setting };
        let mut watch = MemoryWatch::new(budget, 0).unwrap();
        let table = Table::new();
        (0..100).for_each(|number| put(&table, number));
        assert!(!watch.judge(999, &table) && table.may_grow());
        assert!(watch.judge(1_000, &table) && !table.may_grow());
        // The allocator keeps what is freed.
        table.apply(engine::Place::default(), 0, &7_u32.to_be_bytes(), None);
        assert!(!watch.judge(1_005, &table) && table.may_grow());
        put(&table, 7);
        assert!(!table.may_grow());
        // Something else grows: the table has less.
        table.apply(engine::Place::default(), 0, &8_u32.to_be_bytes(), None);
        assert!(!watch.judge(1_100, &table) && !table.may_grow());
        assert!(!watch.judge(800, &table) && table.may_grow());
        assert!(watch.judge(1_001, &table), "it is told again");
    }
}
