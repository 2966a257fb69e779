//! What an engine must be able to do to be swept, and the list of those that can.
//!
//! Not here: how damage is made (`image`) and judged (`record`).

use std::error::Error;
use std::path::Path;

use crate::assent::{Assent, Stop};
use crate::control::{Control, OnDamage};

/// What an engine says when it refuses.
pub(crate) type Refusal = Box<dyn Error + Send + Sync>;

/// An engine in one of its modes.
pub(crate) trait Subject: Sync {
    /// How `--only` names it.
    fn name(&self) -> &'static str;

    /// The engine and its version.
    fn engine(&self) -> String;

    /// Which of its modes, or how it was stopped.
    fn mode(&self) -> &'static str;

    /// Whether a file of its directory is log that holds acknowledged records.
    fn is_log(&self, file: &str) -> bool;

    /// The log is written in multiples of this many bytes, so zeros up to there belong to it.
    fn unit_bytes(&self) -> u64 {
        1
    }

    /// Whether a single silent loss breaks what the engine promises in this mode.
    fn promises_none(&self) -> bool {
        false
    }

    /// Writes `records` records to an empty directory, each durable before the next one is appended, then calls
    /// `acknowledged` with everything still open. That does not return: the process is killed.
    fn write(&self, dir: &Path, records: u64, acknowledged: &mut dyn FnMut()) -> Result<(), Refusal>;

    /// Opens the directory and hands out every record that the engine has, under its index.
    fn read(&self, dir: &Path, each: &mut dyn FnMut(u64, &[u8])) -> Result<(), Refusal>;
}

/// This log, as its owner may have left it.
static ASSENT: [Assent; 3] = [Assent(Stop::Killed), Assent(Stop::KilledSealed), Assent(Stop::Clean)];

#[cfg(feature = "peers")]
static RAFT: [crate::raft::Raft; 4] = {
    use crate::raft::{Content::*, Mode::*, Raft};
    [Raft(KeyValues, Default), Raft(KeyValues, Absolute), Raft(Entries, Default), Raft(Entries, Absolute)]
};

#[cfg(feature = "peers")]
static ROCKS: [crate::rocks::Rocks; 2] =
    [crate::rocks::Rocks(crate::rocks::Mode::Default), crate::rocks::Rocks(crate::rocks::Mode::Absolute)];

#[cfg(feature = "peers")]
static SQLITE: crate::sqlite::Sqlite = crate::sqlite::Sqlite;

/// What a harness must tell apart, made to order.
static CONTROLS: [Control; 5] = [
    Control(OnDamage::Refuse),
    Control(OnDamage::Stop),
    Control(OnDamage::Panic),
    Control(OnDamage::Abort),
    Control(OnDamage::Hang),
];

/// What is swept unless told otherwise.
pub(crate) fn subjects() -> Vec<&'static dyn Subject> {
    #[allow(unused_mut, reason = "without the peers nothing is added")]
    let mut all: Vec<&'static dyn Subject> = ASSENT.iter().map(|one| one as &dyn Subject).collect();
    #[cfg(feature = "peers")]
    {
        all.extend(RAFT.iter().map(|one| one as &dyn Subject));
        all.extend(ROCKS.iter().map(|one| one as &dyn Subject));
        all.push(&SQLITE);
    }
    all
}

/// The subject with this name, the controls among them.
pub(crate) fn find(name: &str) -> Option<&'static dyn Subject> {
    let controls = CONTROLS.iter().map(|one| one as &dyn Subject);
    subjects().into_iter().chain(controls).find(|subject| subject.name() == name)
}
