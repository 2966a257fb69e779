//! Groups follow the disk: none takes long because it became large, and a quick disk gets large ones.
#![allow(clippy::unwrap_used)]

use engine::limits::{GROUP_BYTES_MAX, SEGMENT_BYTES_DEFAULT};
use engine::memory::Memory;
use engine::{Options, Owner, Store, Table, Worker};

/// Writes for so many seconds as much as the disk takes, and a second more than it takes, in records of `record_bytes`; the times of the
/// groups after three seconds, in microseconds, and bytes written in a second.
fn written(fixed_us: u64, bytes_per_second: u64, record_bytes: usize, seconds: u64) -> (Vec<u64>, u64) {
    let memory = Memory::new();
    memory.set_pace(fixed_us, bytes_per_second);
    let options =
        Options { segment_bytes: SEGMENT_BYTES_DEFAULT, ..Options::new(Owner { role: 1, node: 1, cluster: 1 }) };
    let opened = Store::open(options, memory.storage(), memory.disk(), Worker::inline(), Table::new(), &mut |_, _| ());
    let (mut store, _) = opened.unwrap();
    let (mut now_us, mut times) = (0, Vec::new());
    while now_us < seconds * 1_000_000 {
        while store.end().0 - store.durable().0 < bytes_per_second.min(8 << 20) {
            store.append(&mut |into| into.resize(into.len() + record_bytes, 1));
        }
        store.poll(now_us).unwrap();
        now_us += 1;
        // The next one is written when this one is: the time of a write is the time that passes.
        store.drain_write_times(&mut |elapsed_us| {
            if now_us > 3_000_000 {
                times.push(elapsed_us);
            }
            now_us += elapsed_us;
        });
    }
    (times, store.stats().bytes * 1_000_000 / now_us)
}

#[test]
fn on_a_slow_disk_no_group_takes_long() {
    for (fixed_us, rate) in [(5_000, 200_000), (20_000, 200_000), (5_000, 2_000_000), (100, 20_000_000)] {
        for record_bytes in [100, 1_000, 9_000] {
            // The first group is written before anything is known.
            let (times, written) = written(fixed_us, rate, record_bytes, 60);
            let slowest = times[1..].iter().copied().max().unwrap();
            println!("{rate} B/s, {fixed_us} us, records of {record_bytes}: {slowest} us at most, {written} B/s");
            assert!(slowest <= fixed_us + 450_000, "{rate} B/s, records of {record_bytes}: {slowest} us");
            assert!(written * 10 >= rate * 6, "{rate} B/s, records of {record_bytes}: {written} B/s are written");
        }
    }
}

#[test]
fn on_a_disk_that_is_quick_or_only_waits_groups_are_as_large_as_they_may_be() {
    for (fixed_us, rate) in [(100, 1 << 30), (8_000, 200 << 20), (90_000, 1 << 30)] {
        let (times, _) = written(fixed_us, rate, 1_000, 5 + 300 * fixed_us / 1_000_000);
        let full = fixed_us + GROUP_BYTES_MAX as u64 * 1_000_000 / rate;
        assert!(times.iter().rev().take(20).all(|&time| time + 300 >= full), "{rate} B/s: {:?}", &times[..20]);
    }
}
