//! What a process takes: memory and processor time, as `/proc` tells it.

use std::fs;
use std::time::Duration;

use rustix::process::Pid;

/// Ticks of `/proc/PID/stat` in a second; the same on every Linux.
const TICKS_PER_SECOND: u64 = 100;

/// Bytes that a process holds in memory now, without the pages of files that it has mapped: the system takes those back
/// when it needs them.
pub(super) fn held_bytes(pid: Pid) -> Option<u64> {
    status_bytes(pid, "RssAnon:")
}

/// Bytes that a process has in memory now.
pub(super) fn resident_bytes(pid: Pid) -> Option<u64> {
    status_bytes(pid, "VmRSS:")
}

/// The most bytes that it had in memory since [`reset_peak`], or its start.
pub(super) fn peak_bytes(pid: Pid) -> Option<u64> {
    status_bytes(pid, "VmHWM:")
}

/// Begins the peak anew; where the system refuses that, it counts from the start.
pub(super) fn reset_peak(pid: Pid) {
    _ = fs::write(format!("/proc/{}/clear_refs", pid.as_raw_nonzero()), "5");
}

/// Processor time that it has used since its start.
pub(super) fn processor_time(pid: Pid) -> Option<Duration> {
    let stat = fs::read_to_string(format!("/proc/{}/stat", pid.as_raw_nonzero())).ok()?;
    parse_processor_time(&stat)
}

fn status_bytes(pid: Pid, field: &str) -> Option<u64> {
    parse_kib(&fs::read_to_string(format!("/proc/{}/status", pid.as_raw_nonzero())).ok()?, field)
}

fn parse_kib(status: &str, field: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix(field))?;
    line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok().map(|kib| kib * 1024)
}

fn parse_processor_time(stat: &str) -> Option<Duration> {
    // The name of the program may hold anything, and ends with the last parenthesis.
    let mut fields = stat.rsplit_once(')')?.1.split_whitespace().skip(11);
    let ticks = fields.next()?.parse::<u64>().ok()? + fields.next()?.parse::<u64>().ok()?;
    Some(Duration::from_millis(ticks * 1_000 / TICKS_PER_SECOND))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_system_tells_is_read() {
        assert_eq!(
            parse_kib("VmPeak:\t  9 kB\nVmHWM:\t    1234 kB\nVmRSS:\t     12 kB\n", "VmHWM:"),
            Some(1234 * 1024)
        );
        let stat = "77 (a (b) c) S 1 77 77 0 -1 4194560 1 2 3 4 150 25 0 0 20 0 1 0 5 6 7";
        assert_eq!(parse_processor_time(stat), Some(Duration::from_millis(1_750)));
    }

    #[test]
    fn this_process_holds_memory() {
        let pid = rustix::process::getpid();
        assert!(resident_bytes(pid).is_some_and(|bytes| bytes > 100_000));
        assert!(held_bytes(pid).is_some_and(|bytes| bytes > 10_000));
        assert!(peak_bytes(pid) >= resident_bytes(pid).map(|bytes| bytes / 2));
        assert!(processor_time(pid).is_some());
    }
}
