//! The one test binary of the product. `README.md` says how to run a part of it.

mod audit;
mod bench;
mod bounds;
mod certificate;
mod disk_files;
mod disk_image;
mod disk_nodes;
mod edges;
mod explorer;
mod failure_table;
mod full_log;
mod fuzz;
mod judge;
mod memory;
mod planted;
mod processes;
mod random;
mod readme;
mod scripts;
mod scrub;
mod sim;
mod story;
mod tidy;
mod wal_tools;
mod workloads;
