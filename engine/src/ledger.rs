//! What the superblock shall say, and its writes: one at a time, each with all that was asked for until then.
//!
//! Invariant: whoever changes the wanted state takes a ticket, and acts on the change only when [`Ledger::is_durable`].
//! A write that found no space is tried again; any other failure is final. Not here: the layout (`superblock`).

use std::io;
use std::sync::Arc;

use crate::error::{LogError, advice};
use crate::limits::NO_SPACE_RETRY_US;
use crate::lsn::Lsn;
use crate::storage::{Storage, is_no_space};
use crate::superblock::Superblock;
use crate::worker::{Job, Worker};

/// A promise that a change is durable once the superblock with this sequence is.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) struct Ticket(u64);

/// The wanted superblock and how far it is durable.
pub(crate) struct Ledger {
    /// The wanted state. Its sequence is the one last given to the worker.
    wanted: Superblock,
    write_first: usize,
    changed: bool,
    in_flight: bool,
    durable_sequence: u64,
    retry_at_us: Option<u64>,
}

impl Ledger {
    /// Starts from a superblock that is durable in both copies.
    pub(crate) fn new(durable: Superblock, write_first: usize) -> Ledger {
        let durable_sequence = durable.sequence;
        let wanted = durable;
        Ledger { wanted, write_first, changed: false, in_flight: false, durable_sequence, retry_at_us: None }
    }

    /// The wanted state.
    pub(crate) fn wanted(&self) -> &Superblock {
        &self.wanted
    }

    /// Changes the wanted state.
    pub(crate) fn change(&mut self, change: impl FnOnce(&mut Superblock)) -> Ticket {
        change(&mut self.wanted);
        self.changed = true;
        Ticket(self.wanted.sequence + 1)
    }

    /// Whether the change that the ticket stands for is in both copies on disk.
    pub(crate) fn is_durable(&self, ticket: Ticket) -> bool {
        self.durable_sequence >= ticket.0
    }

    /// Gives the wanted state to the worker if it changed and no write is under way.
    pub(crate) fn drive(&mut self, now_us: u64, durable: Lsn, worker: &mut Worker, storage: &Arc<dyn Storage>) {
        let waits = self.retry_at_us.is_some_and(|at| now_us < at);
        if !self.changed || self.in_flight || waits {
            return;
        }
        self.retry_at_us = None;
        self.wanted.sequence += 1;
        self.wanted.durable = durable;
        let job = Job::Superblock { first: self.write_first, bytes: self.wanted.emit() };
        worker.submit(storage, job);
        self.changed = false;
        self.in_flight = true;
    }

    /// Takes the worker's answer to the write under way.
    pub(crate) fn written(
        &mut self,
        now_us: u64,
        result: io::Result<()>,
        storage: &dyn Storage,
    ) -> Result<(), LogError> {
        assert!(self.in_flight);
        self.in_flight = false;
        match result {
            Ok(()) => {
                self.durable_sequence = self.wanted.sequence;
                Ok(())
            }
            Err(error) if is_no_space(&error) => {
                tracing::warn!(file = storage.superblock_name(), %error, "no space to write the superblock; trying again");
                // The next write has a higher sequence and covers the tickets of this one.
                self.changed = true;
                self.retry_at_us = Some(now_us + NO_SPACE_RETRY_US);
                Ok(())
            }
            Err(error) => Err(LogError::Worker {
                file: storage.superblock_name(),
                operation: "writing the superblock",
                reason: error.to_string(),
                advice: advice(&error),
            }),
        }
    }

    /// When `drive` wants to be called again, in the caller's microseconds.
    pub(crate) fn retry_at_us(&self) -> Option<u64> {
        self.retry_at_us
    }
}
