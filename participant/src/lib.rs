//! The `participant` crate.
