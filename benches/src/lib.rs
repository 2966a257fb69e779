//! The `benches` crate.
