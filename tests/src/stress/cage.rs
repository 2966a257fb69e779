//! Limits that the system puts on a process: control groups, of the first version or the second.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use rustix::process::Pid;

/// Where control groups are mounted.
const GROUPS: &str = "/sys/fs/cgroup";

/// The period over which processor time is shared out, in microseconds: short, so that a limited node stands still briefly.
const PROCESSOR_PERIOD_US: u64 = 20_000;

/// What is limited.
#[derive(Clone, Copy, Debug)]
pub enum Limit {
    /// Memory, with the page cache of the files that were read.
    MemoryBytes(u64),
    /// Bytes written to a disk each second, past the page cache.
    WriteBytesPerSecond(Disk, u64),
    /// Processor time, in percent of one processor.
    ProcessorPercent(u64),
}

/// A disk, by the numbers of its device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Disk {
    major: u32,
    minor: u32,
}

impl Disk {
    /// The whole disk on which a file lies.
    ///
    /// # Errors
    /// What the system refuses, or that it is no disk.
    pub fn of(path: &Path) -> io::Result<Self> {
        let device = fs::metadata(path)?.dev();
        let disk = Self { major: rustix::fs::major(device), minor: rustix::fs::minor(device) };
        let known = Path::new("/sys/dev/block").join(disk.to_string());
        // A partition lies in the folder of its disk.
        if known.join("partition").exists() {
            let of_disk = fs::read_to_string(fs::canonicalize(known)?.join("../dev"))?;
            return of_disk.trim().parse().map_err(|()| io::Error::other(format!("{of_disk} names no disk")));
        }
        if known.exists() { Ok(disk) } else { Err(io::Error::other(format!("{} lies on no disk", path.display()))) }
    }
}

impl std::fmt::Display for Disk {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}:{}", self.major, self.minor)
    }
}

impl std::str::FromStr for Disk {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let (major, minor) = text.split_once(':').ok_or(())?;
        Ok(Self { major: major.parse().map_err(|_| ())?, minor: minor.parse().map_err(|_| ())? })
    }
}

impl Limit {
    /// The controller of the first version, and the files with what is written to them.
    fn first(self) -> (&'static str, Vec<(&'static str, String)>) {
        match self {
            Self::MemoryBytes(bytes) => ("memory", vec![("memory.limit_in_bytes", bytes.to_string())]),
            Self::WriteBytesPerSecond(disk, bytes) => {
                ("blkio", vec![("blkio.throttle.write_bps_device", format!("{disk} {bytes}"))])
            }
            Self::ProcessorPercent(percent) => {
                let quota = PROCESSOR_PERIOD_US * percent / 100;
                let period = ("cpu.cfs_period_us", PROCESSOR_PERIOD_US.to_string());
                ("cpu", vec![period, ("cpu.cfs_quota_us", quota.to_string())])
            }
        }
    }

    /// The same of the second version.
    fn second(self) -> (&'static str, Vec<(&'static str, String)>) {
        match self {
            Self::MemoryBytes(bytes) => ("memory", vec![("memory.max", bytes.to_string())]),
            Self::WriteBytesPerSecond(disk, bytes) => ("io", vec![("io.max", format!("{disk} wbps={bytes}"))]),
            Self::ProcessorPercent(percent) => {
                let quota = PROCESSOR_PERIOD_US * percent / 100;
                ("cpu", vec![("cpu.max", format!("{quota} {PROCESSOR_PERIOD_US}"))])
            }
        }
    }
}

/// A control group with its limit, removed with its value: what runs in it has to have ended by then.
#[derive(Debug)]
pub struct Cage {
    folder: PathBuf,
}

impl Cage {
    /// Makes a group with one limit.
    ///
    /// # Errors
    /// What the system lacks or refuses, as a sentence.
    pub fn new(name: &str, limit: Limit) -> Result<Self, String> {
        Self::below(Path::new(GROUPS), name, limit)
    }

    fn below(groups: &Path, name: &str, limit: Limit) -> Result<Self, String> {
        let is_second = groups.join("cgroup.controllers").exists();
        let (controller, settings) = if is_second { limit.second() } else { limit.first() };
        let parent = if is_second { groups.to_owned() } else { groups.join(controller) };
        let refused = |what: &Path, error: io::Error| format!("no control group ({}: {error})", what.display());
        if is_second {
            let subtree = parent.join("cgroup.subtree_control");
            fs::write(&subtree, format!("+{controller}")).map_err(|error| refused(&subtree, error))?;
        }
        if !parent.exists() {
            return Err(format!("no control group of {controller} ({})", parent.display()));
        }
        let folder = parent.join(format!("assent-stress-{}-{name}", std::process::id()));
        fs::create_dir(&folder).map_err(|error| refused(&folder, error))?;
        let cage = Self { folder };
        for (file, text) in settings {
            let file = cage.folder.join(file);
            fs::write(&file, text).map_err(|error| refused(&file, error))?;
        }
        Ok(cage)
    }

    /// Puts a process that runs into it.
    ///
    /// # Errors
    /// What the system refuses.
    pub fn take(&self, pid: Pid) -> io::Result<()> {
        fs::write(self.folder.join("cgroup.procs"), pid.as_raw_nonzero().to_string())
    }

    /// The command that runs another one in here.
    pub fn prefix(&self) -> Vec<String> {
        let enter = format!("echo $$ > {}/cgroup.procs && exec \"$@\"", self.folder.display());
        ["sh", "-c", &enter, "sh"].map(str::to_owned).to_vec()
    }
}

impl Drop for Cage {
    fn drop(&mut self) {
        // The system lets go of a process a moment after it has ended.
        for _ in 0..100 {
            if fs::remove_dir(&self.folder).is_ok() || !self.folder.exists() {
                return;
            }
            std::thread::sleep(std::time::Duration::from_millis(10));
        }
        eprintln!("{} could not be removed", self.folder.display());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DISK: Disk = Disk { major: 8, minor: 16 };

    #[test]
    fn a_limit_is_written_as_the_version_of_the_groups_asks_for() {
        for (limit, first, second) in [
            (Limit::MemoryBytes(7), ("memory.limit_in_bytes", "7"), ("memory.max", "7")),
            (
                Limit::WriteBytesPerSecond(DISK, 200_000),
                ("blkio.throttle.write_bps_device", "8:16 200000"),
                ("io.max", "8:16 wbps=200000"),
            ),
            (Limit::ProcessorPercent(30), ("cpu.cfs_quota_us", "6000"), ("cpu.max", "6000 20000")),
        ] {
            let folder = tempfile::tempdir().unwrap();
            let (controller, _) = limit.first();
            fs::create_dir(folder.path().join(controller)).unwrap();
            let cage = Cage::below(folder.path(), "p1", limit).unwrap();
            assert_eq!(fs::read_to_string(cage.folder.join(first.0)).unwrap(), first.1);
            assert_eq!(cage.folder.parent().unwrap(), folder.path().join(controller));
            fs::remove_dir_all(&cage.folder).unwrap();

            let folder = tempfile::tempdir().unwrap();
            fs::write(folder.path().join("cgroup.controllers"), "").unwrap();
            let cage = Cage::below(folder.path(), "p1", limit).unwrap();
            assert_eq!(fs::read_to_string(cage.folder.join(second.0)).unwrap(), second.1);
            assert_eq!(cage.folder.parent().unwrap(), folder.path());
            fs::remove_dir_all(&cage.folder).unwrap();
        }
    }

    #[test]
    fn what_the_system_lacks_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let refused = Cage::below(folder.path(), "p1", Limit::MemoryBytes(7)).unwrap_err();
        assert!(refused.contains("memory"), "{refused}");
    }

    #[test]
    fn a_disk_is_read_from_its_numbers() {
        assert_eq!("8:16".parse(), Ok(DISK));
        assert_eq!("8".parse::<Disk>(), Err(()));
    }
}
