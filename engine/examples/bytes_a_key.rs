//! What a key takes in memory: `cargo run --release -p engine --example bytes_a_key`. Each table is filled in a process of its own,
//! as keys come at run time (in any order) and as a start finds them (in order); the table's own figure is an upper bound.
#![allow(clippy::unwrap_used)]

use bytes::Bytes;
use engine::{Place, Table};

const KEYS: u64 = 1_000_000;

/// Bytes of this process that are no pages of files.
fn taken() -> u64 {
    let text = std::fs::read_to_string("/proc/self/statm").unwrap();
    let pages: Vec<u64> = text.split_whitespace().map(|number| number.parse().unwrap()).collect();
    (pages[1] - pages[2]) * 4096
}

fn fill(key_bytes: usize, value_bytes: usize, in_order: bool) {
    let (before, table) = (taken(), Table::new());
    for number in 0..KEYS {
        let number = if in_order { number } else { number.wrapping_mul(0x9e37_79b9_7f4a_7c15) };
        let mut key = number.to_be_bytes().to_vec();
        key.resize(key_bytes, b'k');
        table.apply(Place::default(), 0, &key, Some(Bytes::from(vec![b'v'; value_bytes])));
    }
    let measured = (taken() - before) / KEYS;
    let order = if in_order { "in order" } else { "in any order" };
    println!("| {key_bytes} | {value_bytes} | {order} | {measured} | {} |", table.memory_bytes() / KEYS);
}

fn main() {
    if let Some(case) = std::env::args().nth(1) {
        let numbers: Vec<usize> = case.split(',').map(|number| number.parse().unwrap()).collect();
        return fill(numbers[0], numbers[1], numbers[2] == 1);
    }
    println!("| key | value | keys come | bytes a key | counted |\n|---|---|---|---|---|");
    for (key_bytes, value_bytes) in [(16, 4), (24, 22), (24, 100), (64, 256)] {
        for in_order in 0..2 {
            let case = format!("{key_bytes},{value_bytes},{in_order}");
            let itself = std::env::current_exe().unwrap();
            assert!(std::process::Command::new(itself).arg(case).status().unwrap().success());
        }
    }
}
